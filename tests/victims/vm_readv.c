// process_vm_readv and process_vm_writev between processes, to and from shared memory on both
// sides, and /proc/PID/mem.
#include <sys/prctl.h>
#include <sys/uio.h>

#include "victim.h"

struct Shared {
  volatile int ready, done;
  char data[4096], copy[4096];
};

static struct Shared* s;

static void serve(void* unused) {
  (void)unused;
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  char* own = map_shared(kPage);
  memset(own, 0, kPage);
  for (int i = 0; i < 1000; ++i) own[i] = i;
  memcpy(s->data, &own, sizeof(own));
  s->ready = 1;
  await_value(&s->done, 1);
  CHECK_EQ(own[500], 'W');
  CHECK_EQ(own[501], (char)501);
}

int main(void) {
  s = map_shared(sizeof(*s));
  pid_t pid = child(serve, NULL);
  await_value(&s->ready, 1);
  char* remote_address;
  memcpy(&remote_address, s->data, sizeof(remote_address));
  struct iovec local[2] = {{s->copy, 100}, {s->copy + 200, 900}};
  struct iovec remote = {remote_address, 1000};
  CHECK_EQ(process_vm_readv(pid, local, 2, &remote, 1, 0), 1000);
  for (int i = 0; i < 100; ++i) CHECK_EQ(s->copy[i], (char)i);
  for (int i = 100; i < 1000; ++i) CHECK_EQ(s->copy[i + 100], (char)i);
  s->copy[0] = 'W';
  local[0].iov_len = 1;
  remote = (struct iovec){remote_address + 500, 1};
  CHECK_EQ(process_vm_writev(pid, local, 1, &remote, 1, 0), 1);
  char path[64], byte = 0;
  snprintf(path, sizeof(path), "/proc/%d/mem", pid);
  int memory = open(path, O_RDONLY);
  CHECK(memory >= 0);
  CHECK_EQ(pread(memory, &byte, 1, (off_t)(remote_address + 500)), 1);
  CHECK_EQ(byte, 'W');
  s->done = 1;
  wait_ok(pid);
  say("vm_readv\n");
}
