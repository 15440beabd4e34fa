# Who may read a run: the owner alone, or the group too if the spool is shared with it.
. "$(dirname "$0")/lib.sh"

modes() { (cd "$1"/sh-* && stat -c '%n %a' . run.shmlog run.json events.jsonl launcher.log end.json); }
private='. 700
run.shmlog 600
run.json 600
events.jsonl 600
launcher.log 600
end.json 600'
shared='. 2770
run.shmlog 660
run.json 660
events.jsonl 660
launcher.log 660
end.json 660'

for mask in 000 022 077; do
  (umask $mask; run --keep-spool sh -c umask > out)
  check "a spool that the launcher makes, umask $mask" "$private" "$(modes spool)"
  check "...the command has the caller's umask" "0$mask" "$(cat out)"
  rm -rf spool
done

mkdir -m 2770 spool
for mask in 000 022 077; do
  (umask $mask; run --keep-spool sh -c 'exit 0')
  check "a spool with the setgid bit, umask $mask" "$shared" "$(modes spool)"
  rm -rf spool/*
done

# A place below such a volume that nobody has made yet.
(umask 077; SHMREC_SPOOL=$work/spool/deep/er run --keep-spool sh -c 'exit 0')
check "a new directory in a shared volume" "2770 2770" "$(echo $(stat -c %a spool/deep spool/deep/er))"
check "...and what is in it" "$shared" "$(modes spool/deep/er)"
rm -rf spool

# As in a pod: the application is one user, the sidecar another, the group is common.
if [ "$(id -u)" = 0 ] && setpriv --reuid 12345 --regid 12345 --clear-groups true 2>/dev/null; then
  chmod 755 "$work"
  mkdir -m 2770 spool && chgrp 4242 spool
  # Outside of its own directory the application may write nothing: the bundle fails, the run stays.
  (cd / && setpriv --reuid 12345 --regid 12345 --groups 4242 "$driver" --keep-spool sh -c 'exit 0' 2>"$work/err")
  check "the group is the spool's" "4242 4242" "$(echo $(stat -c %g spool/sh-* spool/sh-*/run.shmlog))"
  check "...though the owner has another" "12345" "$(stat -c %u spool/sh-*)"
  check "...and has the bit" 2770 "$(stat -c %a spool/sh-*)"
  as_sidecar() { setpriv --reuid 23456 --regid 23456 --groups 4242 "$@"; }
  as_sidecar cat spool/sh-*/run.json > out
  check "another user of the group reads it" 1 "$(grep -c '"format": "shmrec-run/1"' out)"
  as_sidecar flock --nonblock --exclusive "$(echo spool/sh-*/run.shmlog)" true
  check "...sees that it is over" 0 $?
  as_sidecar rm -rf spool/sh-*
  check "...and removes it" "" "$(ls spool)"
  setpriv --reuid 23456 --regid 23456 --clear-groups ls spool 2>/dev/null
  check "others see nothing" 2 $?
fi
finish
