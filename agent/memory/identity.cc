#include "agent/memory/identity.h"

#include <linux/fcntl.h>
#include <linux/stat.h>

#include <initializer_list>

namespace shmrec::agent {

using shmlog::SegmentKind;

namespace {

int kept_maps = -1;

// Reads a file line by line through a small buffer; longer lines are cut.
class LineReader {
 public:
  explicit LineReader(const char* path)
      : fd_(kept_maps >= 0 ? kept_maps : sys(__NR_open, path, 02000000 /* O_CLOEXEC */, 0)) {
    if (kept_maps >= 0) sys(__NR_lseek, kept_maps, 0, 0 /* SEEK_SET */);
  }
  ~LineReader() {
    if (ok() && kept_maps < 0) sys(__NR_close, fd_);
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
    const char* key = path + sizeof "/SYSV" - 1;
    if (known.kind == SegmentKind::kSysV)
      identity->sysv_key = static_cast<int32_t>(parse_number(&key, 16));
    set_name(identity, known.kind == SegmentKind::kAnonymous ? "" : path + known.skip);
    return;
  }
  identity->kind = SegmentKind::kFile;
  set_name(identity, path);
}

}  // namespace

namespace {

constexpr uint64_t kStatxMask = STATX_TYPE | STATX_INO | STATX_BTIME;

uint64_t device_of(const struct statx& status) {
  return static_cast<uint64_t>(status.stx_dev_major) << 20 | status.stx_dev_minor;
}

uint64_t birth_time(const struct statx& status) {
  if (!(status.stx_mask & STATX_BTIME)) return 0;
  return static_cast<uint64_t>(status.stx_btime.tv_sec) * 1000000000 + status.stx_btime.tv_nsec;
}

// The kernel's file handle has the generation that file systems give to an inode number when they
// use it again. Birth times have the grain of the clock's tick: a file that is removed and made
// anew within it is told from its predecessor by this alone.
uint64_t handle_hash(int fd, const char* path, uint64_t flags) {
  constexpr uint64_t kFidOnly = 0x200;  // AT_HANDLE_FID: need not be good for opening
  struct {
    uint32_t bytes;
    int32_t type;
    uint8_t data[128];
  } handle;
  int32_t mount;
  for (const uint64_t kind : {kFidOnly, uint64_t{0}}) {
    memset(&handle, 0, sizeof handle);
    handle.bytes = sizeof handle.data;
    const int64_t result = sys(__NR_name_to_handle_at, fd, path, &handle, &mount, flags | kind);
    if (result == -EINVAL) continue;  // before Linux 6.5
    if (failed(result)) return 0;
    return hash_bytes(handle.data, min<size_t>(handle.bytes, sizeof handle.data)) | 1;
  }
  return 0;
}

// What stat tells of an object counts, also where /proc/self/maps has another device number for it
// (btrfs, overlayfs).
void take_status(SegmentIdentity* identity, const struct statx& status) {
  identity->device = device_of(status);
  identity->inode = status.stx_ino;
  identity->generation = birth_time(status);
}

bool is_in_memory(uint64_t file_system) {
  constexpr uint64_t kTmpfs = 0x01021994, kRamfs = 0x858458F6, kHugetlbfs = 0x958458F6;
  return file_system == kTmpfs || file_system == kRamfs || file_system == kHugetlbfs;
}

// Looks at the object of a mapping by a path. False: the path leads to something else.
bool identify_by_path(const char* path, const MapLine& line, SegmentIdentity* identity) {
  constexpr int64_t kHere = -100;  // AT_FDCWD
  struct statx status;
  if (failed(sys(__NR_statx, kHere, path, 0, kStatxMask, &status)) || status.stx_ino != line.inode)
    return false;
  take_status(identity, status);
  identity->handle = handle_hash(kHere, path, AT_SYMLINK_FOLLOW);
  uint64_t file_system[16] = {};  // struct statfs
  sys(__NR_statfs, path, file_system);
  identity->in_memory = is_in_memory(file_system[0]);
  return true;
}

// The kernel's own link from a mapping to its object, for those who may use it; else the path.
void identify_file(const MapLine& line, SegmentIdentity* identity) {
  TextBuffer<80> link;
  link.add("/proc/self/map_files/").add_hex_digits(line.begin).add("-").add_hex_digits(line.end);
  if (!identify_by_path(link.data, line, identity)) identify_by_path(line.path, line, identity);
}

}  // namespace

namespace {

// There is no /proc, or a filter of the program's keeps the agent out of it. Nobody can come upon
// an anonymous mapping but the children of this process, which know it already; so any name will do
// that nothing else has. No object has device 0.
void invent_identity(SegmentIdentity* identity) {
  identity->kind = SegmentKind::kAnonymous;
  identity->device = 0;
  identity->inode = uint64_t{current_thread()->process->index} << 48 | (rdtsc() & 0xFFFFFFFFFFFF);
}

}  // namespace

void identify_sysv(SegmentIdentity* identity, uint64_t id, int32_t key, int32_t maker) {
  memset(identity, 0, sizeof *identity);
  identity->kind = SegmentKind::kSysV;
  identity->inode = id;
  identity->generation = namespace_inode("/proc/self/ns/ipc");  // identifiers begin at 0 in each
  identity->sysv_key = key;
  identity->maker = maker;
  Text name = {identity->name, sizeof identity->name};
  name.add("SYSV").add_hex(static_cast<uint32_t>(key));
}

// "begin-end rwxp offset major:minor inode   path"
void parse_map_line(const char* text, MapLine* line) {
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

uint32_t protection_of(const MapLine& line) {
  return (line.readable ? 1u : 0u) | (line.writable ? 2u : 0u) | (line.executable ? 4u : 0u);
}

uint64_t namespace_inode(const char* path) {
  char link[64];
  uint64_t inode = 0;
  const int64_t size = sys(__NR_readlink, path, link, sizeof link);  // "pid:[4026531836]"
  for (int64_t i = 0; i < size; ++i)
    if (link[i] >= '0' && link[i] <= '9') inode = inode * 10 + static_cast<uint64_t>(link[i] - '0');
  return inode;
}

void keep_maps(int fd) { kept_maps = fd; }

bool for_each_map(bool (*visit)(const MapLine& line, void* context), void* context) {
  LineReader reader("/proc/self/maps");
  if (!reader.ok()) return false;
  char text[512];
  MapLine line;
  while (reader.next(text, sizeof text)) {
    parse_map_line(text, &line);
    if (!visit(line, context)) break;
  }
  return true;
}

namespace {

// Asks for the one mapping (since Linux 6.11); to read all lines takes long where there are many.
bool query_mapping(uint64_t address, MapLine* line) {
  struct {  // struct procmap_query
    uint64_t size, flags, address, begin, end, mapping_flags, page_bytes, offset, inode;
    uint32_t major, minor, name_bytes, build_id_bytes;
    uint64_t name, build_id;
  } query;
  static_assert(sizeof query == 104);
  constexpr uint64_t kQuery = 0xC0686611;  // PROCMAP_QUERY
  memset(&query, 0, sizeof query);
  memset(line, 0, sizeof *line);
  query.size = sizeof query;
  query.address = address;
  query.name = reinterpret_cast<uint64_t>(line->path);
  query.name_bytes = sizeof line->path;
  const int64_t maps = sys(__NR_open, "/proc/self/maps", O_CLOEXEC, 0);
  if (failed(maps)) return false;
  const int64_t result = sys(__NR_ioctl, maps, kQuery, &query);
  sys(__NR_close, maps);
  line->begin = query.begin;
  line->end = query.end;
  line->device = static_cast<uint64_t>(query.major) << 20 | query.minor;
  line->inode = query.inode;
  return !failed(result);
}

// False: the mappings cannot be read.
bool find_mapping(uint64_t address, MapLine* line) {
  memset(line, 0, sizeof *line);
  line->begin = address;
  return for_each_map(
      [](const MapLine& next, void* raw) {
        MapLine& wanted = *static_cast<MapLine*>(raw);
        if (wanted.begin >= next.end) return true;
        if (wanted.begin >= next.begin) wanted = next;
        return false;
      },
      line);
}

}  // namespace

bool identify_mapping(uint64_t address, SegmentIdentity* identity) {
  MapLine line;
  memset(identity, 0, sizeof *identity);
  if (!query_mapping(address, &line) && !find_mapping(address, &line)) {
    invent_identity(identity);
    return true;
  }
  identity->device = line.device;
  identity->inode = line.inode;
  classify(identity, line.path);
  if (identity->kind == SegmentKind::kSysV)
    identify_sysv(identity, line.inode, identity->sysv_key, 0);
  else if (identity->kind != SegmentKind::kAnonymous)
    identify_file(line, identity);
  return line.inode != 0;
}

bool identify_descriptor(int fd, SegmentIdentity* identity) {
  struct statx status;
  memset(&status, 0, sizeof status);
  memset(identity, 0, sizeof *identity);
  if (failed(sys(__NR_statx, fd, "", AT_EMPTY_PATH, kStatxMask, &status))) return false;
  if ((status.stx_mode & S_IFMT) != S_IFREG) return false;
  take_status(identity, status);
  identity->handle = handle_hash(fd, "", AT_EMPTY_PATH);
  uint64_t file_system[16] = {};  // struct statfs
  sys(__NR_fstatfs, fd, file_system);
  identity->in_memory = is_in_memory(file_system[0]);
  TextBuffer<40> link;
  link.add("/proc/self/fd/").add_decimal(static_cast<uint64_t>(fd));
  char path[256];
  const int64_t size = sys(__NR_readlink, link.data, path, sizeof path - 1);
  path[failed(size) ? 0 : size] = 0;
  classify(identity, path);
  return true;
}

namespace {

// "/a/b/../c//./d" becomes "/a/c/d". REQUIRES: it begins with a slash.
void simplify(char* path) {
  char* to = path;
  for (const char* at = path; *at;) {
    while (*at == '/') ++at;
    size_t size = 0;
    while (at[size] && at[size] != '/') ++size;
    if (size == 2 && at[0] == '.' && at[1] == '.') {
      while (to != path && *--to != '/') {
      }
    } else if (size && !(size == 1 && at[0] == '.')) {
      *to++ = '/';
      for (size_t i = 0; i < size; ++i) *to++ = at[i];
    }
    at += size;
  }
  if (to == path) *to++ = '/';
  *to = 0;
}

}  // namespace

void name_of_path(int dir, const char* path, char* name, size_t bytes) {
  TextBuffer<1024> full;
  SegmentIdentity named;
  memset(&named, 0, sizeof named);
  memset(name, 0, bytes);
  if (path[0] != '/') {
    TextBuffer<40> link;
    if (dir == AT_FDCWD)
      link.add("/proc/self/cwd");
    else
      link.add("/proc/self/fd/").add_decimal(static_cast<uint64_t>(dir));
    const int64_t size = sys(__NR_readlink, link.data, full.data, full.capacity / 2);
    if (failed(size)) return;
    full.size = static_cast<size_t>(size);
    full.data[size] = 0;
    if (path[0]) full.add("/");
  }
  full.add(path);
  if (path[0]) simplify(full.data);
  classify(&named, full.data);
  memcpy(name, named.name, min(bytes, sizeof named.name));
}

bool identify_name(int dir, const char* path, uint64_t flags, SegmentIdentity* identity,
                   uint64_t* size) {
  struct statx status;
  memset(identity, 0, sizeof *identity);
  if (failed(sys(__NR_statx, dir, path, flags, kStatxMask | STATX_SIZE, &status))) return false;
  if ((status.stx_mode & S_IFMT) != S_IFREG) return false;
  take_status(identity, status);
  *size = status.stx_size;
  const uint64_t follows = flags & AT_SYMLINK_NOFOLLOW ? 0 : AT_SYMLINK_FOLLOW;
  identity->handle = handle_hash(dir, path, (flags & AT_EMPTY_PATH) | follows);
  name_of_path(dir, path, identity->name, sizeof identity->name);
  return true;
}

bool maps_anonymous(int fd) {
  struct statx status;
  memset(&status, 0, sizeof status);
  if (failed(sys(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &status))) return false;
  return (status.stx_mode & S_IFMT) == S_IFCHR && status.stx_rdev_major == 1 &&
         status.stx_rdev_minor == 5;
}

}  // namespace shmrec::agent
