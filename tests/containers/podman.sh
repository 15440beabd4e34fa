# Sourced: podman with storage of its own, so that the tests neither see nor change other images.
# Sets $image, and $debugger, the root of a container that has gdb too. The storage is kept between runs, because
# making the image takes half a minute.
storage=${E2E_CACHE:-/var/tmp/shmrec-tests-$(id -u)}/containers
image=localhost/shmrec-test:bookworm
debugger=$storage/debugger
CONTAINERS_CONF=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/containers.conf
export CONTAINERS_CONF

# In the storage's directory: where the kernel has a container's process killed for want of memory,
# conmon leaves an empty file `oom` in the directory that podman was started in. So paths are absolute.
# Without the lock of take_turn (pod.sh), which conmon would hold for as long as a killed test's pod lives.
podman() {
  mkdir -p "$storage" || return
  env -C "$storage" podman --root "$storage/root" --runroot "$storage/runroot" --tmpdir "$storage/tmp" \
    --storage-driver vfs --runtime runc --cgroup-manager cgroupfs "$@" 9>&-
}
