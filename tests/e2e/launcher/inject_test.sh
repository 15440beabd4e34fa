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

# A 32-bit program, and one whose first instruction lies in the last bytes of its memory.
printf '.globl _start\n_start: mov $1,%%eax\nmov $7,%%ebx\nint $0x80\n' > t32.s
printf '.globl _start\n.fill 4085,1,0x90\n_start: mov $60,%%eax\nmov $7,%%edi\nsyscall\n' > edge.s
as --32 t32.s -o t32.o && ld -m elf_i386 t32.o -o t32 && ./t32
if [ $? = 7 ]; then
  run ./t32
  check "32-bit program" 7 $?
  check "...is said to be unrecorded" 1 "$(grep -c 'exec of .*/t32 by .*32-bit' err)"
  printf 'apiVersion: shmrec/v1\nkind: Policy\nfailurePolicy: closed\n' > closed.yaml
  run --policy closed.yaml ./t32
  check "...and killed if the policy says so" 137 $?
fi
as edge.s -o edge.o && ld -N edge.o -o edge 2>/dev/null
run ./edge
check "entry point at the edge" 7 $?

check "io_uring and userfaultfd" "38 38" "$(run perl -e 'syscall(425, 8, 0); print $!+0, " "; syscall(323, 0); print $!+0')"
check "...are said to be refused" 2 "$(grep -c ENOSYS err)"
check "an image that is no agent" native "$(run --no-agent "$victim")"
grep -q 'runs unrecorded' err
check "...is said" 0 $?
finish
