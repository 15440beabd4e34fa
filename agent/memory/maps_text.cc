#include "agent/memory/maps_text.h"

#include <linux/fcntl.h>
#include <linux/mman.h>

#include "agent/agent_abi.h"
#include "agent/kernel/kernel_access.h"
#include "agent/log/log.h"
#include "agent/memory/brake.h"
#include "agent/memory/identity.h"
#include "agent/memory/regions.h"
#include "agent/patches/arena.h"

namespace shmrec::agent {

namespace {

constexpr uint64_t kLineBytes = 5 * 1024;    // a path has at most 4096
constexpr uint64_t kBlockBytes = 12 * 1024;  // a line of maps, and what smaps says under it

// ---- Whose file it is ---------------------------------------------------------------------------

enum class View { kMaps, kSmaps, kRollup, kNuma, kNone };
constexpr struct {
  const char* name;
  View view;
} kFiles[] = {{"maps", View::kMaps},
              {"smaps", View::kSmaps},
              {"smaps_rollup", View::kRollup},
              {"numa_maps", View::kNuma}};

// The process of the file, and where its agent is.
struct Owner {
  int32_t pid = 0;  // 0: this process
  uint64_t base = 0;
  bool has(const MapLine& line) const {
    return (line.begin >= base && line.begin < base + kZoneBytes) ||
           arena_begins(line.begin, pid, base);
  }
};

struct Asked {
  View view = View::kNone;
  Owner owner;
  uint64_t directory_bytes = 0;
  char path[128];  // ends with a slash after directory_bytes
};

bool same(const char* text, const char* other) {
  const size_t size = strlen(other);
  return strlen(text) == size && memcmp(text, other, size) == 0;
}

// The last number in a path: of /proc/12/task/34/ it is 34.
int32_t last_number(const char* path, uint64_t bytes) {
  int32_t value = 0;
  uint64_t at = bytes - 1;  // the slash
  while (at && path[at - 1] != '/') --at;
  for (; at + 1 < bytes; ++at) {
    if (path[at] < '0' || path[at] > '9') return 0;
    value = value * 10 + (path[at] - '0');
  }
  return value;
}

// A thread's number will do for its process's.
bool is_own(int32_t task) {
  const int64_t pid = sys(__NR_getpid);
  return task == pid || sys(__NR_tgkill, pid, task, 0) == 0;
}

bool in_proc(int fd) {
  constexpr uint64_t kProcMagic = 0x9FA0;
  uint64_t status[15];  // struct statfs
  return !failed(sys(__NR_fstatfs, fd, status)) && status[0] == kProcMagic;
}

Asked asked_of(int fd) {
  Asked asked;
  TextBuffer<40> link;
  link.add("/proc/self/fd/").add_decimal(static_cast<uint64_t>(fd));
  const int64_t size = sys(__NR_readlink, link.data, asked.path, sizeof asked.path - 1);
  if (size <= 0 || size == sizeof asked.path - 1) return asked;
  asked.path[size] = 0;
  uint64_t name = static_cast<uint64_t>(size);
  while (name && asked.path[name - 1] != '/') --name;
  if (!name) return asked;
  const int32_t task = last_number(asked.path, name);
  const bool own = task && is_own(task);
  asked.owner = {own ? 0 : task, own ? agent_base() : process_agent_base(task)};
  if (!task || !asked.owner.base) return asked;
  asked.directory_bytes = name;
  for (const auto& file : kFiles)
    if (same(asked.path + name, file.name)) asked.view = file.view;
  return asked;
}

// ---- Reading and writing text -------------------------------------------------------------------

class Reader {
 public:
  Reader(int fd, uint8_t* buffer, uint64_t bytes) : fd_(fd), buffer_(buffer), bytes_(bytes) {}
  // A line without its end, cut to `bytes`. False: no more.
  bool next(char* line, uint64_t bytes) {
    uint64_t size = 0;
    bool any = false;
    for (uint8_t c; take(&c);) {
      any = true;
      if (c == '\n') break;
      if (size + 1 < bytes) line[size++] = static_cast<char>(c);
    }
    line[size] = 0;
    return any;
  }

 private:
  bool take(uint8_t* c) {
    if (at_ == end_) {
      const int64_t got = sys(__NR_read, fd_, buffer_, bytes_);
      if (got <= 0) return false;
      at_ = 0;
      end_ = static_cast<uint64_t>(got);
    }
    *c = buffer_[at_++];
    return true;
  }
  int fd_;
  uint8_t* buffer_;
  uint64_t bytes_, at_ = 0, end_ = 0;
};

class Writer {
 public:
  Writer(int fd, uint8_t* buffer, uint64_t bytes) : fd_(fd), buffer_(buffer), bytes_(bytes) {}
  Writer& add(const char* text, uint64_t size) {
    for (uint64_t i = 0; i < size; ++i) {
      if (at_ == bytes_) flush();
      buffer_[at_++] = static_cast<uint8_t>(text[i]);
    }
    column_ += size;
    return *this;
  }
  Writer& add(const char* text) { return add(text, strlen(text)); }
  Writer& hex(uint64_t value) {
    char digits[16];
    uint64_t size = 0;
    for (uint64_t rest = value; rest || size < 8; rest >>= 4)
      digits[15 - size++] = "0123456789abcdef"[rest & 15];
    return add(digits + 16 - size, size);
  }
  void pad_to(uint64_t column) {
    while (column_ < column) add(" ");
  }
  void end_line() {
    add("\n");
    column_ = 0;
  }
  uint64_t column() const { return column_; }
  bool flush() {
    for (uint64_t done = 0; done < at_ && !failed_;) {
      const int64_t put = sys(__NR_write, fd_, buffer_ + done, at_ - done);
      if (put <= 0) failed_ = true;
      done += static_cast<uint64_t>(put);
    }
    at_ = 0;
    return !failed_;
  }

 private:
  int fd_;
  uint8_t* buffer_;
  uint64_t bytes_, at_ = 0, column_ = 0;
  bool failed_ = false;
};

// ---- One mapping --------------------------------------------------------------------------------

// A line of maps or smaps, and the lines of smaps under it.
struct Block {
  MapLine line;
  char* text;
  uint64_t size;  // of all lines, each with a NUL behind
};

bool is_header(const char* line) {
  return (line[0] >= '0' && line[0] <= '9') || (line[0] >= 'a' && line[0] <= 'f');
}

// Where the kernel's line goes on after begin, end, protection and offset.
const char* after_offset(const char* line) {
  for (int spaces = 0; *line; ++line)
    if (*line == ' ' && ++spaces == 3) break;
  return line;
}

struct Piece {
  uint64_t begin, end;
  bool traced;
  uint32_t protection;
};

bool region_behind(const Owner& owner, uint64_t address, Region* region) {
  return owner.pid ? region_next_remote(owner.pid, owner.base, address, region)
                   : region_next(address, region);
}

// The part of the mapping from `at` on that the program would see as one.
Piece piece_at(const MapLine& line, const Owner& owner, uint64_t at) {
  Piece piece = {at, line.end, false, 0};
  Region region;
  if (!line.shared || !region_behind(owner, at, &region) || region.begin >= line.end) return piece;
  if (region.begin > at) {
    piece.end = region.begin;
    return piece;
  }
  piece = {at, min(region.end, line.end), true, region.protection};
  while (piece.end < line.end && region_behind(owner, piece.end, &region) &&
         region.begin <= piece.end && region.protection == piece.protection)
    piece.end = min(region.end, line.end);
  return piece;
}

void write_header(Writer& out, const Block& block, const Piece& piece) {
  const MapLine& line = block.line;
  const uint32_t own = (line.readable ? PROT_READ : 0u) | (line.writable ? PROT_WRITE : 0u) |
                       (line.executable ? PROT_EXEC : 0u);
  const uint32_t protection = piece.traced ? piece.protection : own;
  const char letters[] = {protection & PROT_READ ? 'r' : '-', protection & PROT_WRITE ? 'w' : '-',
                          protection & PROT_EXEC ? 'x' : '-', line.shared ? 's' : 'p'};
  out.hex(piece.begin).add("-").hex(piece.end).add(" ").add(letters, 4).add(" ");
  out.hex(line.offset + (piece.begin - line.begin));
  // " device inode", then the name in the kernel's column.
  const char* rest = after_offset(block.text);
  uint64_t name = 1;
  for (int fields = 0; rest[name] && fields < 2; ++name)
    if (rest[name] == ' ') ++fields;
  const uint64_t fields = rest[name] ? name - 1 : name;
  while (rest[name] == ' ') ++name;
  out.add(rest, fields);
  out.add(" ");
  if (rest[name]) out.pad_to(static_cast<uint64_t>(rest - block.text) + name);
  out.add(rest + name);
  out.end_line();
}

bool starts(const char* text, const char* prefix) {
  const size_t size = strlen(prefix);
  return strlen(text) >= size && memcmp(text, prefix, size) == 0;
}

// "Size:                  8 kB"
void write_size(Writer& out, uint64_t bytes) {
  TextBuffer<24> number;
  number.add_decimal(bytes / 1024);
  out.add("Size:").pad_to(24 - number.size);
  out.add(number.data).add(" kB");
}

// "VmFlags: rd wr sh mr mw me ms"
void write_flags(Writer& out, const char* text, uint32_t protection) {
  out.add("VmFlags: ");
  if (protection & PROT_READ) out.add("rd ");
  if (protection & PROT_WRITE) out.add("wr ");
  if (protection & PROT_EXEC) out.add("ex ");
  out.add(text + strlen("VmFlags: "));
}

void write_details(Writer& out, const Block& block, const Piece& piece) {
  for (uint64_t at = strlen(block.text) + 1; at < block.size; at += strlen(block.text + at) + 1) {
    const char* text = block.text + at;
    if (piece.traced && starts(text, "Size:"))
      write_size(out, piece.end - piece.begin);
    else if (piece.traced && starts(text, "VmFlags: "))
      write_flags(out, text, piece.protection);
    else
      out.add(text);
    out.end_line();
  }
}

void write_block(Writer& out, const Block& block, const Owner& owner) {
  if (!block.size || owner.has(block.line)) return;
  for (uint64_t at = block.line.begin; at < block.line.end;) {
    const Piece piece = piece_at(block.line, owner, at);
    write_header(out, block, piece);
    write_details(out, block, piece);
    at = piece.end;
  }
}

// ---- The files ----------------------------------------------------------------------------------

struct Buffers {
  char* line;    // kLineBytes
  char* block;   // kBlockBytes
  uint8_t* in;   // a page
  uint8_t* out;  // a page
};

void write_maps(Reader& in, Writer& out, const Buffers& buffers, const Owner& owner) {
  Block block = {{}, buffers.block, 0};
  while (in.next(buffers.line, kLineBytes)) {
    if (is_header(buffers.line)) {
      write_block(out, block, owner);
      parse_map_line(buffers.line, &block.line);
      block.size = 0;
    }
    const uint64_t size = strlen(buffers.line) + 1;
    if (block.size + size > kBlockBytes) continue;
    memcpy(block.text + block.size, buffers.line, size);
    block.size += size;
  }
  write_block(out, block, owner);
}

// "7f7caf71d000 default file=/memfd:x mapped=1 N0=1"
void write_numa(Reader& in, Writer& out, const Buffers& buffers, const Owner& owner) {
  while (in.next(buffers.line, kLineBytes)) {
    MapLine line;
    parse_map_line(buffers.line, &line);
    if (owner.has(line)) continue;
    out.add(buffers.line);
    out.end_line();
  }
}

// "Rss:                1596 kB"
struct Amount {
  char name[32];
  uint64_t amount;
};
constexpr uint32_t kMaxAmounts = 32;

bool read_amount(const char* line, Amount* amount) {
  uint64_t at = 0;
  memset(amount, 0, sizeof *amount);
  for (; line[at] && line[at] != ':'; ++at)
    if (at + 1 < sizeof amount->name) amount->name[at] = line[at];
  if (line[at] != ':') return false;
  for (++at; line[at] == ' ';) ++at;
  if (line[at] < '0' || line[at] > '9') return false;
  for (; line[at] >= '0' && line[at] <= '9'; ++at)
    amount->amount = amount->amount * 10 + static_cast<uint64_t>(line[at] - '0');
  return true;
}

Amount* amount_named(Amount* amounts, uint32_t count, const char* name) {
  for (uint32_t i = 0; i < count; ++i)
    if (same(amounts[i].name, name)) return &amounts[i];
  return nullptr;
}

// What the agent's mappings hold of each amount that smaps names. How many.
uint32_t agent_amounts(Reader& smaps, const Buffers& buffers, const Owner& owner, Amount* amounts) {
  uint32_t count = 0;
  bool agents = false;
  while (smaps.next(buffers.line, kLineBytes)) {
    Amount amount;
    if (is_header(buffers.line)) {
      MapLine line;
      parse_map_line(buffers.line, &line);
      agents = owner.has(line);
    } else if (agents && read_amount(buffers.line, &amount)) {
      Amount* known = amount_named(amounts, count, amount.name);
      if (known)
        known->amount += amount.amount;
      else if (count < kMaxAmounts)
        amounts[count++] = amount;
    }
  }
  return count;
}

void write_rollup(Reader& in, Writer& out, const Buffers& buffers, Asked asked) {
  Amount amounts[kMaxAmounts];
  memcpy(asked.path + asked.directory_bytes, "smaps", 6);
  const int64_t smaps = sys(__NR_open, asked.path, O_RDONLY | O_CLOEXEC, 0);
  if (failed(smaps)) return;
  Reader details(static_cast<int>(smaps), buffers.in, kPage);
  const uint32_t count = agent_amounts(details, buffers, asked.owner, amounts);
  sys(__NR_close, smaps);
  Reader lines(in);
  while (lines.next(buffers.line, kLineBytes)) {
    Amount amount;
    const bool is_amount = read_amount(buffers.line, &amount);
    const Amount* agents = is_amount ? amount_named(amounts, count, amount.name) : nullptr;
    if (agents) {
      TextBuffer<24> number;
      number.add_decimal(amount.amount - min(amount.amount, agents->amount));
      out.add(amount.name).add(":").pad_to(24 - number.size);
      out.add(number.data).add(" kB");
    } else {
      out.add(buffers.line);
    }
    out.end_line();
  }
}

bool write_view(int from, int to, const Asked& asked, Thread* thread) {
  static_assert(kBounceBytes >= kBlockBytes + kLineBytes && kBounceBytes >= 2 * kPage);
  const Buffers buffers = {reinterpret_cast<char*>(thread->bounce),
                           reinterpret_cast<char*>(thread->bounce) + kLineBytes, thread->bounce2,
                           thread->bounce2 + kPage};
  Reader in(from, buffers.in, kPage);
  Writer out(to, buffers.out, kPage);
  if (asked.view == View::kRollup)
    write_rollup(in, out, buffers, asked);
  else if (asked.view == View::kNuma)
    write_numa(in, out, buffers, asked.owner);
  else
    write_maps(in, out, buffers, asked.owner);
  return out.flush();
}

// The same file, opened for reading only, as the program has opened the kernel's.
int64_t for_reading(int file) {
  TextBuffer<40> link;
  link.add("/proc/self/fd/").add_decimal(static_cast<uint64_t>(file));
  sys(__NR_fchmod, file, 0444);
  return sys(__NR_open, link.data, O_RDONLY | O_CLOEXEC, 0);
}

void answer(Thread* thread, int fd, const Asked& asked) {
  const int64_t file = sys(__NR_memfd_create, "maps", 1 /* MFD_CLOEXEC */);
  if (failed(file)) return;
  const bool written = write_view(fd, static_cast<int>(file), asked, thread);
  const int64_t readable = written ? for_reading(static_cast<int>(file)) : -EIO;
  const int64_t flags = sys(__NR_fcntl, fd, F_GETFD, 0);
  if (!failed(readable) && !failed(flags)) {
    sys(__NR_dup3, readable, fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0);
  } else {
    sys(__NR_lseek, fd, 0, 0);
    coverage(thread->process, "the program has read its mappings in /proc with the agent's");
  }
  if (!failed(readable)) sys(__NR_close, readable);
  sys(__NR_close, file);
}

// A descriptor that can be read: not O_PATH.
bool can_be_read(int fd) {
  constexpr int64_t kOnlyPath = 010000000;
  const int64_t flags = sys(__NR_fcntl, fd, F_GETFL, 0);
  return !failed(flags) && !(flags & kOnlyPath) && (flags & O_ACCMODE) != O_WRONLY;
}

void open_post(Thread* thread) {
  kernel_access_post(thread);
  const int64_t result = static_cast<int64_t>(thread->regs.rax);
  if (result < 0) return;
  const int fd = static_cast<int>(result);
  if (!in_proc(fd)) return;
  const Asked asked = asked_of(fd);
  if (asked.view == View::kNone || !can_be_read(fd)) return;
  if (!asked.owner.pid) {  // one mapping of the program is to be one for the kernel
    MapsLock lock;
    brake_unite(0, ~0ull, Braked::kWrites);
  }
  answer(thread, fd, asked);
}

}  // namespace

Answer do_open(Thread* thread, void* context) {
  const Answer answered = kernel_access(thread, context);
  if (answered == Answer::kDone) return answered;
  thread->call.post = open_post;
  return Answer::kPost;
}

}  // namespace shmrec::agent
