# A policy with mistakes: the command runs and is recorded by the defaults, or is refused where that
# was asked for: in the file as far as it can be read, by a variable, or by an option.
. "$(dirname "$0")/lib.sh"

said() { grep -qF -- "$1" err && echo said; }

# goes_on WHAT MISTAKE OPTION...: with variables of the caller's
goes_on() {
  local what=$1 mistake=$2
  shift 2
  rm -rf spool
  run --keep-spool "$@" "$victim" >out
  check "$what: recorded" "0 recorded" "$? $(cat out)"
  check "...said" "said said" "$(said "$mistake") $(said 'THE POLICY HAS MISTAKES')"
  check "...in launcher.log" 1 "$(cat spool/*/launcher.log | grep -cF "policy mistake: ")"
  check "...in the coverage list" 1 \
    "$(grep -h '"type":"coverage"' spool/*/events.jsonl | grep -c 'as the policy was meant, but by the defaults')"
  check "...in the report" said "$(said 'not recorded: as the policy was meant, but by the defaults: ')"
}

# refuses WHAT MISTAKE OPTION...
refuses() {
  local what=$1 mistake=$2
  shift 2
  run "$@" "$victim" >out
  check "$what: refused" "2 " "$? $(cat out)"
  check "...said" "said said" "$(said "$mistake") $(said 'not started, because the policy has mistakes')"
}

head='apiVersion: shmrec/v1\nkind: Policy\n'
printf "${head}limits: {log: 64MiB}\n" > typo.yaml
printf "${head}limits: {log: 64MiB}\nfailurePolicy: closed\n" > typo-closed.yaml
printf "${head}limits: [\nfailurePolicy: closed # or nothing\n" > broken-closed.yaml
printf '{"apiVersion": "shmrec/v1", "kind": "Policy", "failurePolicy": "closed", "limits": }' > closed.json
printf "${head}failurepolicy: Closed\n" > misspelled-closed.yaml
printf "${head}# failurePolicy: closed\nlimits: [\n" > comment.yaml
printf "${head}segments: [{match: {posix: /a}, mode: shadow, direction: in}]\n" > shadow.yaml
: > empty.yaml

goes_on "an unknown key" "typo.yaml:3:10: unknown key 'log' in limits (did you mean 'logSize'?)" --policy typo.yaml
SHMREC_POLICY=$work/typo.yaml goes_on "...of SHMREC_POLICY" "(file named by SHMREC_POLICY)"
goes_on "no such file" "none.yaml: No such file or directory" --policy none.yaml
goes_on "a directory" "Is a directory" --policy .
goes_on "an empty file" "the file is empty" --policy empty.yaml
goes_on "no YAML, closed in a comment" "expected YAML" --policy comment.yaml
goes_on "what this release cannot do" "mode shadow cannot run yet" --policy shadow.yaml
SHMREC_LOGSIZE=1 goes_on "an unknown variable" "SHMREC_LOGSIZE is not known"
SHMREC_ORDER=exakt goes_on "a variable's wrong value" "'exakt' (did you mean 'exact'?)"
SHMREC_LOG_SIZE= SHMREC_SPOOL_SIZE=64MiB goes_on "a conflict" \
  "environment variable SHMREC_SPOOL_SIZE, over the policy: logSize (256MiB) is larger"
SHMREC_FAILURE_POLICY=open goes_on "closed in the file, open by the variable" "unknown key 'log'" --policy typo-closed.yaml

refuses "--strict" "unknown key 'log'" --strict --policy typo.yaml
SHMREC_XYZZY=1 refuses "--strict, an unknown variable" "SHMREC_XYZZY is not known" --strict
SHMREC_FAILURE_POLICY=closed refuses "the variable" "No such file" --policy none.yaml
SHMREC_FAILURE_POLICY=close refuses "the variable, misspelled" "did you mean 'closed'?"
refuses "closed beside a mistake" "unknown key 'log'" --policy typo-closed.yaml
refuses "closed in what is no YAML" "expected YAML" --policy broken-closed.yaml
refuses "closed in what is no JSON" "closed.json" --policy closed.json
refuses "closed, misspelled" "did you mean 'failurePolicy'?" --policy misspelled-closed.yaml

# Variables that are right hold beside a file that is not.
SHMREC_LOG_SIZE=9MiB goes_on "the log's size" "unknown key" --policy typo.yaml
check "...is the variable's" 9437184 "$(stat -c %s spool/*/run.shmlog)"
# What cannot be recorded is refused by --strict, too.
SHMREC_SPOOL=/proc/nowhere run --strict "$victim" > out
check "--strict without spool" "125 " "$? $(cat out)"
finish
