# Sourced by *_test.sh, which is run as: bash NAME_test.sh BIN_DIRECTORY
set -u
bin=${1:?usage: bash $0 BIN_DIRECTORY}
driver=$bin/launcher_driver
victim=$bin/launcher_victim_dynamic
work=$(mktemp -d) && cd "$work" || exit 1
trap 'cd /; rm -rf "$work"' EXIT
export SHMREC_SPOOL=$work/spool SHMREC_LOG_SIZE=8MiB
failures=0

# run COMMAND...: with the stand-in agent; stderr goes to $work/err
run() { timeout 60 "$driver" "$@" 2>"$work/err"; }

check() {  # check WHAT EXPECTED ACTUAL
  [ "$2" = "$3" ] && return
  failures=$((failures + 1))
  echo "FAILED: $1"
  diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | sed 's/^</  expected:/; s/^>/  got:     /'
  [ ! -s "$work/err" ] || sed "s/^/  stderr: /" "$work/err"
}

finish() {
  [ "$failures" = 0 ] && exit 0
  echo "repeat by: bash $0 $bin"
  exit 1
}
