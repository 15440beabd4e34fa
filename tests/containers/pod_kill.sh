#!/bin/bash
# Kills the containers of a pod, the launcher in it, and pairs of them by SIGKILL at random moments, under
# load, again and again on the same volumes; then lets the kernel kill for want of memory.
# usage: pod_kill.sh DIRECTORY_OF_PROGRAMS [SEED]
#   $E2E_POD_KILLS  how often (default 100); shared among $E2E_PODS pods at a time (default 2)
# The load is the oracle (tests/victims/oracle.cc), which notes each access that it completes. Each time:
#   1. all bundles of earlier times are there, byte for byte;
#   2. the run that was killed gets a bundle, which verifies and holds every access that the oracle noted
#      (oracle.py --killed); in a fourth of the times it is killed as it starts, and may have none;
#   3. the spool is empty, and no partial file is left in spool or store.
# A sidecar that was killed is started again before or after the application has ended, and killed once
# more while it makes the bundle in about half of the times.
# Exit status 77: not root, or what is needed is not there.
set -euo pipefail
programs=$1 seed=${2:-1} times=${E2E_POD_KILLS:-100} pods=${E2E_PODS:-2}
mine=${3:-}  # number of this pod; none: all are to be started
pod=shmrec-pod-kill-$mine
. "$(dirname "$0")/pod.sh"
skip_unless_possible
[ -x "$programs/victims/oracle" ] || { echo "skipped: the oracle is not built"; exit 77; }

all_pods() {
  local i status=0 ended=0 outputs running=()
  outputs=$(mktemp -d)
  for ((i = 1; i <= pods; i++)); do
    "$0" "$programs" "$seed" "$i" >"$outputs/$i" 2>&1 &
    running+=($!)
  done
  for ((i = 1; i <= pods; i++)); do
    wait "${running[i - 1]}" || ended=$?
    [ $ended = 0 ] || [ $status = 1 ] || status=$ended
    echo "---- Pod $i"
    cat "$outputs/$i"
  done
  rm -rf "$outputs"
  return $status
}

if [ -z "$mine" ]; then
  all_pods
  exit
fi
RANDOM=$((seed * 100 + mine))
victims=(app launcher sidecar "app launcher" "app sidecar" "launcher sidecar")

begin "$programs" "$seed" "$mine"

pause() { sleep "$(printf '%d.%03d' $(($1 * RANDOM / 32768 / 1000)) $(($1 * RANDOM / 32768 % 1000)))"; }  # MS_AT_MOST
traces() { find "$work/shared/$1" -name 'trace.*' -size +1k 2>/dev/null; }
load_is_there() { [ "$(traces "$1" | wc -l)" = 6 ]; }

# From outside by SIGKILL: PID 1 of a container, which takes all of it along, or the launcher, which is
# the only child of the application container's shell.
pid_of() {
  case $1 in
    launcher) pgrep -P "$(cat "$work/app.pid")" || true ;;  # it may not run yet
    app) cat "$work/app.pid" ;;
    sidecar) pid_1 sidecar ;;
  esac
}

start_sidecar() {
  wait_until "end of the sidecar" 10 is_over sidecar
  start sidecar
  wait_until "health of the sidecar" 20 sidecar_is_ready
}

# Until a random moment under load, or, if early, from the one in which the container has a process.
start_app() {  # EARLY NUMBER
  rm -f "$work/app.pid"
  if [ "$1" = yes ]; then
    podman start "$pod-app" >/dev/null 2>&1 &
    wait_until "application" 10 test -s "$work/app.pid"
    pause 120
  else
    start app
    wait_until "load" 30 load_is_there "$2"
    pause 300
  fi
}

end_app() {
  wait  # for podman, which may not have finished starting it
  if ! is_over app; then kill -9 "$(pid_1 app)" 2>/dev/null || true; fi
  wait_until "end of the application" 10 is_over app
}

# ---- What must hold after each time

bundles() { find "$work/store" -maxdepth 1 -name '*.shmrec.tar.zst' | sort; }

# The log holds what the oracle noted.
holds_all() {  # NUMBER
  python3 "$containers/../e2e/oracle.py" --check "$work/extracted/run.shmlog" "$work/shared/$1" --killed 2>&1
}

# The launcher lived, and saw why its command died.
knows_reason() { grep '"oom"' "$work/extracted/events.jsonl"; }

check_time() {  # NUMBER MAY_HAVE_NONE CHECK
  local fresh bundle checked="no bundle"
  wait_until "empty spool" 90 spool_is_empty  # a run that was not whole yet waits a minute
  [ ! -s "$work/sums" ] || sha256sum --quiet -c "$work/sums" || fail "a finished bundle was changed or lost"
  fresh=$(comm -13 <(sed 's/^[^ ]*  //' "$work/sums" | sort) <(bundles))
  [ -n "$fresh" ] || [ "$2" = yes ] || fail "no bundle of this time"
  for bundle in $fresh; do
    "$programs/shmrec" bundle verify "$bundle" >"$work/verified" 2>&1 || { cat "$work/verified"; fail "$bundle"; }
    sha256sum "$bundle" >>"$work/sums"
  done
  rm -rf "$work/extracted"
  if [ -n "$fresh" ]; then  # the last one is of the whole run
    bundle=$(xargs ls -t <<<"$fresh" | head -n 1)
    "$programs/shmrec" bundle extract -C "$work/extracted" "$bundle" >/dev/null || fail "extract"
    checked=$("$3" "$1") || { echo "$checked" | tail -n 5; fail "the bundle does not say what happened"; }
  fi
  find "$work/spool" "$work/store" -name '*.partial*' >"$work/left"
  [ ! -s "$work/left" ] || { cat "$work/left"; fail "a partial file is left"; }
  echo "  $(wc -w <<<"$fresh") bundles; $checked"
}

one_time() {  # NUMBER
  local what=${victims[$((RANDOM % ${#victims[@]}))]} early=no again=no before=no one pids=()
  [ $((RANDOM % 4)) != 0 ] || early=yes
  [ $((RANDOM % 2)) = 0 ] || again=yes
  [ $((RANDOM % 2)) = 0 ] || before=yes
  echo "$1: $what killed, early: $early, sidecar killed while it collects: $again"
  mkdir -m 777 "$work/shared/$1"
  echo "$1" >"$work/shared/number"
  start_app $early "$1"
  # shellcheck disable=SC2207  # none or one
  for one in $what; do pids+=($(pid_of "$one")); done
  [ ${#pids[@]} = 0 ] || kill -9 "${pids[@]}"
  pause 300
  if [ $before = yes ]; then end_app; fi
  if [[ $what = *sidecar* ]]; then start_sidecar; fi
  end_app
  if [ $again = yes ]; then
    pause 800
    kill -9 "$(pid_1 sidecar)"
    start_sidecar
  fi
  check_time "$1" $early holds_all
}

# The application's container with little memory, in which something takes all it can get.
out_of_memory() {  # NUMBER CHECK COMMAND_OF_A_SHELL
  echo "$1: out of memory"
  mkdir -m 777 "$work/shared/$1"
  podman rm -f -t 0 "$pod-app" >/dev/null
  create_app -m 256m -e SHMREC_LOG_SIZE=256MiB -- sh -c "$3" ||
    { echo "  skipped: podman cannot limit memory here"; return; }
  (cd "$work" && start app)  # conmon leaves a file `oom` where it is started
  wait_until "end of the application" 60 is_over app
  [ "$(podman inspect --format '{{.State.ExitCode}}' "$pod-app")" = 137 ] || fail "it was not killed"
  check_time "$1" no "$2"
}

# ---- All

make_volumes 65532
cp "$programs/victims/oracle" "$work/app"
cat >"$work/config/sidecar.yaml" <<'END'
apiVersion: shmrec/v1
kind: Sidecar
retention: {count: 0}
rules:
- name: all
  trigger: {signal: any, processes: true, lost: true, outOfMemory: true, exitStatus: nonzero}
END
touch "$work/sums"
oracle='/shmrec/shmrec run -- /app/oracle'
install_tools
make_pod
create_sidecar 65532 -e SHMREC_LISTEN=none
create_app --pidfile "$work/app.pid" -e SHMREC_LOG_SIZE=256MiB -- \
  sh -c "n=\$(cat /shared/number); $oracle /shared/\$n \$n 3 2 0; sleep 1000"
start sidecar
wait_until "health of the sidecar" 20 sidecar_is_ready

for ((number = mine; number <= times; number += pods)); do one_time $number; done
if [ "$mine" != 1 ]; then exit; fi
# shellcheck disable=SC2016  # it is perl's
hog='perl -e "select undef, undef, undef, 0.6; \$x .= q(x) x 1e6 while 1"'
# PID 1 is the one that is killed: all of the container, as kubelet does it with control groups v2.
out_of_memory oom-container holds_all "$oracle /shared/oom-container 1 3 2 0 & exec $hog"
# The recorded command is killed, the launcher is not.
out_of_memory oom-command knows_reason "exec /shmrec/shmrec run -- $hog"
echo "bundles: $(bundles | wc -l)"
