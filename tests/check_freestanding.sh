#!/bin/sh
# Guards the edge of the agent: its sources include nothing that needs a libc, and agent.so imports
# nothing but Zydis, leaves the vector registers alone and does not touch the program's TLS.
#
# usage: check_freestanding.sh SOURCE_ROOT AGENT_SO
# Assembly whose job is vector registers has a name that ends in _simd; it alone may use them.
set -eu
root=$1
agent=$2
found=$(mktemp)
trap 'rm -f "$found" "$found.all"' EXIT
failed=0

# complain WHAT: prints $found, if there is anything in it.
complain() {
  [ -s "$found" ] || return 0
  echo "check_freestanding: $1:" >&2
  sed 's/^/  /' "$found" >&2
  failed=1
}

allowed='^(<((stdint|stddef|stdarg|cpuid)\.h|initializer_list)>|<(linux|asm|asm-generic|Zydis)/[^>]*>'
allowed="$allowed"'|"(agent/[^"]*|syscalls/[^"]*|recording/(log/(shmlog_format|runtime_libraries)|stream/stream_format)\.h|policy/(glob|match)\.h)")'

# Headers, of the agent and of what it may include from other rooms.
cd "$root"
sources=$(find agent syscalls -path agent/pack -prune -o \( -name '*.cc' -o -name '*.h' -o -name '*.S' \) -print)
[ -n "$sources" ] || { echo "check_freestanding: no sources in $root/agent" >&2; exit 2; }
for shared in recording/stream/stream_format.h recording/log/shmlog_format.h recording/log/runtime_libraries.h policy/glob.h policy/match.h; do
  [ ! -e "$shared" ] || sources="$sources $shared"
done
for source in $sources; do
  sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*//p' "$source" |
    grep -vE "$allowed" | sed "s|^|$source includes |" || true
done > "$found"
complain 'headers that are not freestanding'

nm -D --undefined-only "$agent" > "$found.all"
grep -vE ' Zydis[A-Za-z0-9]+$' "$found.all" > "$found" || true
complain "$agent imports more than Zydis"

# "SYMBOL: instruction" for each instruction.
objdump -d --no-show-raw-insn "$agent" |
  awk '/^[0-9a-f]+ <.*>:$/ { gsub(/[<>:]/, "", $2); symbol = $2; next }
       /^ +[0-9a-f]+:/ { sub(/^ +[0-9a-f]+:[ \t]*/, ""); print symbol ": " $0 }' > "$found.all"
[ -s "$found.all" ] || { echo "check_freestanding: no code in $agent" >&2; exit 2; }
grep -E '%([xyz]?mm[0-9]|st\b|k[0-7]\b)' "$found.all" | grep -vE '^[A-Za-z0-9_]+_simd: ' > "$found" || true
complain "$agent uses vector or floating-point registers"
grep '%fs:' "$found.all" > "$found" || true
complain "$agent reads memory through fs"

exit $failed
