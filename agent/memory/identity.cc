#include "agent/memory/identity.h"

#include <linux/fcntl.h>
#include <linux/stat.h>

namespace shmrec::agent {

using shmlog::SegmentKind;

namespace {

// Reads a file line by line through a small buffer; longer lines are cut.
class LineReader {
 public:
  explicit LineReader(const char* path) : fd_(sys(__NR_open, path, 02000000 /* O_CLOEXEC */, 0)) {}
  ~LineReader() {
    if (ok()) sys(__NR_close, fd_);
  }
  bool ok() const { return !failed(fd_); }
  bool next(char* line, size_t bytes) {
    size_t size = 0;
    for (;;) {
      if (at_ == end_ && !fill()) break;
      const char c = buffer_[at_++];
      if (c == '\n') {
        line[size] = 0;
        return true;
      }
      if (size + 1 < bytes) line[size++] = c;
    }
    line[size] = 0;
    return size != 0;
  }

 private:
  bool fill() {
    end_ = sys(__NR_read, fd_, buffer_, sizeof buffer_);
    at_ = 0;
    return end_ > 0;
  }
  int64_t fd_;
  int64_t at_ = 0, end_ = 0;
  char buffer_[4096];
};

uint64_t parse_number(const char** at, int base) {
  uint64_t value = 0;
  for (;; ++*at) {
    const char c = **at;
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
    if (digit >= base) return value;
    value = value * static_cast<uint64_t>(base) + static_cast<uint64_t>(digit);
  }
}

// "begin-end rwxp offset major:minor inode   path"
void parse_line(const char* text, MapLine* line) {
  memset(line, 0, sizeof *line);
  const char* at = text;
  line->begin = parse_number(&at, 16);
  if (*at) ++at;
  line->end = parse_number(&at, 16);
  if (strlen(at) < 6) return;
  line->readable = at[1] == 'r';
  line->writable = at[2] == 'w';
  line->executable = at[3] == 'x';
  line->shared = at[4] == 's';
  at += 6;
  line->offset = parse_number(&at, 16);
  if (*at) ++at;
  const uint64_t major = parse_number(&at, 16);
  if (*at) ++at;
  line->device = major << 20 | parse_number(&at, 16);
  if (*at) ++at;
  line->inode = parse_number(&at, 10);
  while (*at == ' ') ++at;
  for (size_t i = 0; at[i] && i + 1 < sizeof line->path; ++i) line->path[i] = at[i];
}

bool starts_with(const char* text, const char* prefix) {
  for (; *prefix; ++text, ++prefix)
    if (*text != *prefix) return false;
  return true;
}

void set_name(SegmentIdentity* identity, const char* name) {
  size_t size = min(strlen(name), sizeof identity->name - 1);
  static constexpr char kDeleted[] = " (deleted)";
  if (size > sizeof kDeleted - 1 &&
      memcmp(name + size - (sizeof kDeleted - 1), kDeleted, sizeof kDeleted - 1) == 0)
    size -= sizeof kDeleted - 1;
  memset(identity->name, 0, sizeof identity->name);
  memcpy(identity->name, name, size);
}

// The path tells the kind.
void classify(SegmentIdentity* identity, const char* path) {
  struct Prefix {
    const char* prefix;
    size_t skip;
    SegmentKind kind;
  };
  static constexpr Prefix kPrefixes[] = {
      {"/dev/shm/", 8, SegmentKind::kPosixShm},
      {"/memfd:", 7, SegmentKind::kMemfd},
      {"/SYSV", 0, SegmentKind::kSysV},
      {"/dev/zero", 9, SegmentKind::kAnonymous},
      {"[anon_shmem:", 12, SegmentKind::kAnonymous},
  };
  for (const Prefix& known : kPrefixes) {
    if (!starts_with(path, known.prefix)) continue;
    identity->kind = known.kind;
    set_name(identity, known.kind == SegmentKind::kAnonymous ? "" : path + known.skip);
    return;
  }
  identity->kind = SegmentKind::kFile;
  set_name(identity, path);
}

}  // namespace

namespace {

// Birth time of the object, where inode numbers are used again after a deletion. Other kinds have
// inode numbers that are not.
bool has_generation(const SegmentIdentity& identity) {
  return identity.kind == SegmentKind::kFile || identity.kind == SegmentKind::kPosixShm;
}
uint64_t birth_time(const struct statx& status) {
  if (!(status.stx_mask & STATX_BTIME)) return 0;
  return static_cast<uint64_t>(status.stx_btime.tv_sec) * 1000000000 + status.stx_btime.tv_nsec;
}

// What tells apart objects of one inode number that are not the same.
uint64_t generation_of(const MapLine& line, const SegmentIdentity& identity) {
  // Shared memory identifiers, which are the inode numbers, begin at 0 in each IPC namespace.
  if (identity.kind == SegmentKind::kSysV) return namespace_inode("/proc/self/ns/ipc");
  struct statx status;
  const bool known = has_generation(identity) &&
                     !failed(sys(__NR_statx, -100 /* AT_FDCWD */, line.path, 0,
                                 STATX_INO | STATX_BTIME, &status)) &&
                     status.stx_ino == line.inode;
  return known ? birth_time(status) : 0;
}

}  // namespace

uint64_t namespace_inode(const char* path) {
  char link[64];
  uint64_t inode = 0;
  const int64_t size = sys(__NR_readlink, path, link, sizeof link);  // "pid:[4026531836]"
  for (int64_t i = 0; i < size; ++i)
    if (link[i] >= '0' && link[i] <= '9') inode = inode * 10 + static_cast<uint64_t>(link[i] - '0');
  return inode;
}

bool for_each_map(bool (*visit)(const MapLine& line, void* context), void* context) {
  LineReader reader("/proc/self/maps");
  if (!reader.ok()) return false;
  char text[512];
  MapLine line;
  while (reader.next(text, sizeof text)) {
    parse_line(text, &line);
    if (!visit(line, context)) break;
  }
  return true;
}

bool identify_mapping(uint64_t address, SegmentIdentity* identity) {
  struct Search {
    uint64_t address;
    SegmentIdentity* identity;
    bool found;
  } search = {address, identity, false};
  memset(identity, 0, sizeof *identity);
  for_each_map(
      [](const MapLine& line, void* raw) {
        Search& wanted = *static_cast<Search*>(raw);
        if (wanted.address < line.begin || wanted.address >= line.end) return true;
        wanted.identity->device = line.device;
        wanted.identity->inode = line.inode;
        classify(wanted.identity, line.path);
        wanted.found = line.inode != 0;
        wanted.identity->generation = generation_of(line, *wanted.identity);
        if (wanted.identity->kind == SegmentKind::kSysV)
          wanted.identity->device = 0;  // as in do_shmat
        return false;
      },
      &search);
  return search.found;
}

bool identify_descriptor(int fd, SegmentIdentity* identity) {
  struct statx status;
  memset(&status, 0, sizeof status);
  memset(identity, 0, sizeof *identity);
  if (failed(sys(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO | STATX_BTIME, &status)))
    return false;
  if ((status.stx_mode & S_IFMT) != S_IFREG) return false;
  identity->device = static_cast<uint64_t>(status.stx_dev_major) << 20 | status.stx_dev_minor;
  identity->inode = status.stx_ino;
  TextBuffer<40> link;
  link.add("/proc/self/fd/").add_decimal(static_cast<uint64_t>(fd));
  char path[256];
  const int64_t size = sys(__NR_readlink, link.data, path, sizeof path - 1);
  path[failed(size) ? 0 : size] = 0;
  classify(identity, path);
  if (has_generation(*identity)) identity->generation = birth_time(status);
  return true;
}

}  // namespace shmrec::agent
