# The agent is in every image, however it is started, and execs that fail fail as they do alone.
. "$(dirname "$0")/lib.sh"

for kind in dynamic static static_pie; do
  other=$bin/launcher_victim_$kind
  check "$kind" recorded "$(run "$other")"
  check "$kind, exec" recorded "$(run "$victim" exec "$other")"
  check "$kind, exec from a thread" recorded "$(run "$victim" thread-exec "$other")"
  check "$kind, vfork" recorded "$(run "$victim" vfork "$other")"
  check "$kind, posix_spawn" recorded "$(run "$victim" spawn "$other")"
  check "$kind, env -i" recorded "$(run env -i "$other")"
done
check "exec of itself, often" recorded \
  "$(run "$victim" exec "$victim" exec "$victim" thread-exec "$victim" exec "$victim")"
printf '#!/bin/sh\nexec %s\n' "$victim" > shell && chmod +x shell
printf '%s\n' "$victim" > bare && chmod +x bare
check "shebang" recorded "$(run ./shell)"
check "script without shebang" recorded "$(run ./bare)"
check "found in PATH" recorded "$(PATH=$bin:$PATH run launcher_victim_static)"
check "failing execs" "$("$victim" bad-exec | sed s/native/recorded/)" "$(run "$victim" bad-exec)"
check "pipeline" "recorded recorded" "$(run sh -c "$victim | cat; $victim" | xargs)"
check "storm of threads" "0 failures" "$(run "$victim" storm 8 "$bin/launcher_victim_static")"
check "killed at any moment" "0 wrong" "$(run "$victim" kill-storm 200)"
check "an image that is no agent" native "$(run --no-agent "$victim")"
grep -q 'runs unrecorded' err
check "...is said" 0 $?
finish
