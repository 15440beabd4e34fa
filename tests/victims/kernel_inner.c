// Calls whose pointers lie in structures or mean another thing by each command, with all of it in
// shared memory and with the parts in different places: keys, attributes, lists of interfaces and
// extents, addresses of pages. Each call is made on private memory too, and must give the same.
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/xattr.h>

#include "victim.h"

// Two pages in which a call finds what it needs.
struct Place {
  const char* name;
  char* outer;  // structures
  char* inner;  // what they point to
};

static long key_call(int command, const void* a, const void* b, const void* c, const void* d) {
  return syscall(SYS_keyctl, command, a, b, c, d);
}

static void keys(struct Place at) {
  const void* ring = (void*)(long)KEY_SPEC_PROCESS_KEYRING;
  strcpy(at.outer, "user");
  strcpy(at.outer + 64, at.name);
  strcpy(at.inner, "payload");
  const long key = syscall(SYS_add_key, at.outer, at.outer + 64, at.inner, 7, ring);
  if (key < 0) return say("no keys here: errno %d\n", errno);
  strcpy(at.inner, "another");
  CHECK(key_call(KEYCTL_UPDATE, (void*)key, at.inner, (void*)7, 0) == 0);
  const long found = key_call(KEYCTL_SEARCH, ring, at.outer, at.outer + 64, 0);
  memset(at.inner, '.', 64);
  const long size = key_call(KEYCTL_READ, (void*)key, at.inner + 8, (void*)20, 0);
  say("found %d, read %ld: %.20s\n", found == key, size, at.inner);
  const long all = key_call(KEYCTL_DESCRIBE, (void*)key, at.inner, (void*)kPage, 0);
  say("described %d\n", all == (long)strlen(at.inner) + 1 && !strncmp(at.inner, "user;", 5));
  struct iovec* parts = (struct iovec*)at.outer;
  parts[0] = (struct iovec){at.inner, 3};
  CHECK_ERRNO(key_call(KEYCTL_INSTANTIATE_IOV, (void*)key, parts, (void*)1, 0), EPERM);
  CHECK_ERRNO(key_call(KEYCTL_READ, (void*)key, (void*)8, (void*)20, 0), EFAULT);
  CHECK(key_call(KEYCTL_UNLINK, (void*)key, ring, 0, 0) == 0);
}

static void interfaces(struct Place at) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct ifconf* list = (struct ifconf*)at.outer;
  memset(at.inner, 0, kPage);
  *list = (struct ifconf){.ifc_len = kPage, .ifc_buf = at.inner};
  CHECK(ioctl(fd, SIOCGIFCONF, list) == 0);
  CHECK(list->ifc_buf == at.inner && list->ifc_len % (int)sizeof(struct ifreq) == 0);
  struct ifreq* first = (struct ifreq*)at.inner;
  say("interfaces %d bytes, the first %.16s\n", list->ifc_len, first->ifr_name);
  *list = (struct ifconf){.ifc_len = 0};
  CHECK(ioctl(fd, SIOCGIFCONF, list) == 0);
  say("would need %d bytes\n", list->ifc_len);
  close(fd);
}

static void extents(struct Place at) {
  int fd = make_file("extents", 0);
  CHECK_EQ(pwrite(fd, "begin", 5, 0), 5);
  CHECK_EQ(pwrite(fd, "end", 3, 1 << 20), 3);
  struct fiemap* map = (struct fiemap*)at.outer;
  memset(at.outer, 0x55, kPage);
  *map = (struct fiemap){.fm_length = ~0ull, .fm_flags = FIEMAP_FLAG_SYNC, .fm_extent_count = 4};
  if (ioctl(fd, FS_IOC_FIEMAP, map) != 0) {
    say("no extents here: errno %d\n", errno);
  } else {
    const unsigned last = map->fm_mapped_extents - 1;
    say("extents %u, the last at %llu, behind them %x\n", last + 1,
        (unsigned long long)map->fm_extents[last].fe_logical, (unsigned)at.outer[32 + 4 * 56]);
  }
  close(fd);
}

static void same_bytes(struct Place at) {
  int from = make_file("from", 8 * kPage), to = make_file("to", 8 * kPage);
  struct file_dedupe_range* range = (struct file_dedupe_range*)at.outer;
  memset(at.outer, 0, kPage);
  range->src_length = kPage;
  range->dest_count = 2;
  range->info[0].dest_fd = to;
  range->info[1].dest_fd = -1;
  const int result = ioctl(from, FIDEDUPERANGE, range);
  say("deduplicated %d, errno %d, status %d %d\n", result, result ? errno : 0,
      range->info[0].status, range->info[1].status);
  close(from), close(to);
}

static void pages(struct Place at) {
  void** addresses = (void**)at.outer;
  int* status = (int*)at.inner;
  at.inner[2 * kPage - 1] = 1;
  addresses[0] = at.outer;
  addresses[1] = at.inner;
  addresses[2] = at.inner + kPage;
  memset(status, 0x55, 12);
  const long result = syscall(SYS_move_pages, 0, 3, addresses, NULL, status, 0);
  say("pages %ld: %d %d %d\n", result, status[0], status[1], status[2]);
}

static void attributes(struct Place at) {
  struct {
    uint64_t value;
    uint32_t size, flags;
  }* arguments = (void*)at.outer;
  close(make_file("attributes", 0));
  strcpy(at.outer + 64, "user.colour");
  strcpy(at.outer + 128, "attributes");
  strcpy(at.inner, "green");
  memset(arguments, 0, sizeof *arguments);
  arguments->value = (uintptr_t)at.inner;
  arguments->size = 5;
  const long set = syscall(463, AT_FDCWD, at.outer + 128, 0, at.outer + 64, arguments, 16);
  if (set != 0) return say("no attributes here: errno %d\n", errno);
  memset(at.inner, '.', 16);
  arguments->size = 10;
  const long got = syscall(464, AT_FDCWD, at.outer + 128, 0, at.outer + 64, arguments, 16);
  say("attribute %ld: %.10s\n", got, at.inner);
}

static void names(struct Place at) {
  strcpy(at.outer, "named by itself");
  void* memory = map_private(kPage);
  const int result = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, memory, kPage, at.outer);
  say("named %d\n", result == 0 || errno == EINVAL);
  munmap(memory, kPage);
}

int main(void) {
  char *one = map_shared(2 * kPage), *two = map_shared(2 * kPage), *own = map_private(4 * kPage);
  const struct Place places[] = {{"private", own, own + 2 * kPage},
                                 {"shared", one, two},
                                 {"inner shared", own, one},
                                 {"outer shared", two, own}};
  for (int i = 0; i < 4; ++i) {
    say("%s\n", places[i].name);
    keys(places[i]);
    interfaces(places[i]);
    extents(places[i]);
    same_bytes(places[i]);
    pages(places[i]);
    attributes(places[i]);
    names(places[i]);
  }
}
