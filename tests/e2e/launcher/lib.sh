# Sourced by *_test.sh, which is run as: bash NAME_test.sh BIN_DIRECTORY
set -u
bin=${1:?usage: bash $0 BIN_DIRECTORY}
driver=$bin/launcher_driver
victim=$bin/launcher_victim_dynamic
work=$(mktemp -d) && cd "$work" || exit 1
trap 'stop; cd /; rm -rf "$work"' EXIT
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

# The sidecar's stand-in, listening at $socket. Its socket stays when it is stopped.
case $0 in /*) fake=$(dirname "$0")/fake_sidecar.py ;; *) fake=$OLDPWD/$(dirname "$0")/fake_sidecar.py ;; esac
socket=$work/spool/sidecar.sock sidecar=
start() {  # start MODE [KEY=VALUE...]
  rm -f heard "$socket"
  python3 "$fake" "$socket" "$work/heard" "$@" & sidecar=$!
  for _ in $(seq 100); do [ -S "$socket" ] && break; sleep 0.02; done
}
stop() { [ -z "$sidecar" ] || kill -9 "$sidecar"; wait "$sidecar" 2>/dev/null; sidecar=; }

finish() {
  [ "$failures" = 0 ] && exit 0
  echo "repeat by: bash $0 $bin"
  exit 1
}
