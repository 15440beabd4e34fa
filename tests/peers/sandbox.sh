#!/bin/sh
# Runs a program where it can change nothing but a scratch directory: the far half of compare.py's runs.
#
# usage: unshare --mount --pid --fork --kill-child --ipc --uts --net sandbox.sh SCRATCH COMMAND...
#
# COMMAND starts in SCRATCH/cwd. What the program sees: a file system that is read-only but for SCRATCH and /tmp (SCRATCH/tmp); a /dev
# with the harmless devices and its own terminals; its own /proc and network; sysctls and /sys
# read-only; no cgroups; no capability for the clock, modules, devices, reboot and the kernel's log.
# Processes that it leaves behind end with it. Ends as the command does, a signal as 128+n.
set -e
scratch=$1
shift

dev=$scratch/dev
mkdir -p "$scratch/tmp" "$scratch/cwd" "$dev"
chmod 1777 "$scratch/tmp"
mount --make-rprivate /
mount --bind "$scratch" "$scratch"
mount -t tmpfs -o mode=755 none "$dev"
for device in null zero full random urandom tty; do
  : > "$dev/$device"
  mount --bind "/dev/$device" "$dev/$device"
done
mkdir "$dev/pts" "$dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 none "$dev/pts"
mount -t tmpfs -o mode=1777 none "$dev/shm"
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do
  ln -s "/proc/self/fd/${number%:*}" "$dev/${number#*:}"
done
mount -t proc none /proc
for path in /proc/sys /proc/sysrq-trigger /sys; do
  [ -e "$path" ] || continue
  mount --bind "$path" "$path"
  mount -o remount,bind,ro "$path"
done
mount -t tmpfs -o ro none /sys/fs/cgroup
mount -o remount,bind,ro /
mount --bind "$scratch/tmp" /tmp
mount --rbind "$dev" /dev
ip link set lo up
cd "$scratch/cwd"

status=0
setpriv --bounding-set=-sys_time,-sys_module,-sys_boot,-sys_rawio,-mknod,-syslog,-wake_alarm \
  -- "$@" || status=$?
exit $status
