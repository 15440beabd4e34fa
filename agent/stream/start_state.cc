#include "agent/stream/start_state.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include <initializer_list>

#include "agent/agent_abi.h"
#include "agent/arch/x86_64/processor.h"
#include "agent/log/log.h"
#include "agent/memory/identity.h"
#include "agent/memory/maps.h"
#include "agent/signals/signal_sets.h"
#include "agent/stream/outputs.h"
#include "agent/stream/processor_reads.h"
#include "agent/stream/writer.h"

extern "C" shmrec::agent::BootInfo shmrec_boot_info;

namespace shmrec::agent {

using namespace stream;

namespace {

// ---- Files
// ---------------------------------------------------------------------------------------

// Those that have a number. What does not fit gets another one when it is met again.
constexpr uint32_t kKnownFiles = 256;
struct Files {
  uint32_t count;
  FileRecord known[kKnownFiles];
};
Files files = {};

bool same_file(const FileRecord& a, const FileRecord& b) {
  return a.device == b.device && a.inode == b.inode && a.size == b.size && a.seconds == b.seconds &&
         a.nanoseconds == b.nanoseconds;
}

bool describe(int fd, FileRecord* file) {
  struct statx status;
  if (failed(sys(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status))) return false;
  file->device = static_cast<uint64_t>(status.stx_dev_major) << 20 | status.stx_dev_minor;
  file->inode = status.stx_ino;
  file->size = status.stx_size;
  file->seconds = status.stx_mtime.tv_sec;
  file->nanoseconds = status.stx_mtime.tv_nsec;
  return true;
}

// ---- Mappings
// ------------------------------------------------------------------------------------

struct Walk {
  uint64_t stack;  // the program's
  const char* trouble;
};

bool is_kernels(const MapLine& line) {
  return line.path[0] == '[' && line.path[1] == 'v';  // [vvar], [vdso], [vsyscall]
}

bool write_memory(uint64_t address, uint64_t bytes) {
  MemoryRecord* record =
      static_cast<MemoryRecord*>(writer_begin(Type::kMemory, 0, 0, sizeof(MemoryRecord) + bytes));
  if (!record) return false;
  *record = {address, bytes};
  if (!safe_copy(record + 1, reinterpret_cast<void*>(address), bytes))
    return true;  // no page there
  writer_commit();
  return true;
}

// A program need not have a path (execveat, memfd_create).
int64_t open_mapped(const MapLine& line) {
  for (const char* path : {line.path, "/proc/self/exe"}) {
    const int64_t fd = sys(__NR_open, path, O_CLOEXEC, 0);
    FileRecord file = {};
    if (failed(fd)) continue;
    if (describe(static_cast<int>(fd), &file) && file.inode == line.inode) return fd;
    sys(__NR_close, fd);
  }
  return -ENOENT;
}

uint32_t file_of(const MapLine& line) {
  if (!line.inode) return 0;
  const int64_t fd = open_mapped(line);
  if (failed(fd)) return 0;
  const uint32_t number = write_file(0, static_cast<int>(fd), line.path);
  sys(__NR_close, fd);
  return number;
}

// Of a file's private pages the kernel has cleared what is behind the file's part; of the stack it
// has filled what is above the stack pointer.
bool write_content(const Walk& walk, const MapLine& line) {
  if (line.shared || !line.writable) return true;
  if (line.inode) return write_memory(line.end - kPage, kPage);
  if (walk.stack < line.begin || walk.stack >= line.end) return true;
  const uint64_t begin = page_down(walk.stack);
  return write_memory(begin, line.end - begin);
}

bool write_mapping(const MapLine& line, void* raw) {
  Walk& walk = *static_cast<Walk*>(raw);
  AgentsPart part;
  if (is_kernels(line) || next_agents_part(line.begin, line.end, &part)) return true;
  const uint32_t file = file_of(line);
  MappingRecord* record =
      static_cast<MappingRecord*>(writer_begin(Type::kMapping, 0, 0, sizeof(MappingRecord)));
  if (!record) walk.trouble = kNoRoom;
  if (line.inode && !file) walk.trouble = "a file of the program cannot be kept";
  if (walk.trouble) return false;
  const bool stack = walk.stack >= line.begin && walk.stack < line.end;
  *record = {line.begin,
             line.end,
             protection_of(line),
             (line.shared ? kMappingShared : 0u) | (stack ? kMappingStack : 0u),
             line.offset,
             file,
             0};
  writer_commit();
  if (!write_content(walk, line)) walk.trouble = kNoRoom;
  return !walk.trouble;
}

// ---- The rest
// ------------------------------------------------------------------------------------

uint32_t processor_name[12];

uint64_t vector_features() {
  uint32_t low = 0, high = 0;
  if (has_xsave()) asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

uint64_t ignored_signals(const Process* process) {
  uint64_t set = 0;
  for (int signal = 1; signal <= kLastSignal; ++signal)
    if (process->actions[signal].handler == kIgnore) set |= bit(signal);
  return set;
}

StartRecord* begin_start(Thread* thread, shmlog::StartKind kind, const Regs& regs) {
  StartRecord* start = static_cast<StartRecord*>(
      writer_begin(Type::kStart, static_cast<uint16_t>(kind), 0, sizeof(StartRecord)));
  if (!start) return nullptr;
  memset(start, 0, sizeof *start);
  memcpy(start->regs, &regs, sizeof start->regs);
  start->fs_base = read_fs_base();
  start->gs_base = thread->program_gs;
  start->agent_base = agent_base();
  start->heap_begin = start->heap_end = static_cast<uint64_t>(sys(__NR_brk, 0));
  start->pid = thread->process->pid;
  start->tid = thread->tid;
  sys(__NR_rt_sigprocmask, kSigBlock, 0, &start->blocked, kSetBytes);
  start->blocked = (start->blocked & ~kNeeded) | thread->virtual_mask;
  start->ignored = ignored_signals(thread->process);
  start->traps = cpuid_trapped() ? uint32_t{kTrapsCpuid} : 0;
  start->features = vector_features();
  memcpy(start->processor, processor_name, sizeof start->processor);
  return start;
}

}  // namespace

void note_processor() {
  for (uint32_t i = 0; i < 3; ++i) {
    uint32_t* four = processor_name + 4 * i;
    __get_cpuid(0x80000002 + i, &four[0], &four[1], &four[2], &four[3]);
  }
}

const char* write_start_state(Thread* thread, const Regs& regs, uint32_t cpu) {
  StartRecord* start = begin_start(thread, shmlog::StartKind::kExec, regs);
  if (!start) return kNoRoom;
  start->cpu = cpu;
  writer_commit();
  Walk walk = {regs.rsp, nullptr};
  return for_each_map(write_mapping, &walk) ? walk.trouble : "there is no /proc";
}

namespace {

// More of them is left out: what a thread has asked for may be much more than it gets.
constexpr uint64_t kMostPending = 1 << 20;

struct Pending {
  uint32_t count;
  Range ranges[kMaxRanges];
} pending_at_fork = {};

bool write_pending() {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < pending_at_fork.count; ++i) {
    const Range& range = pending_at_fork.ranges[i];
    if (range.bytes > kMostPending - bytes) continue;
    bytes += range.bytes;
    if (!write_memory(range.address, range.bytes)) return false;
  }
  return true;
}

}  // namespace

void note_pending_at_fork(Thread* thread) {
  if (!find_pending_outputs(thread, pending_at_fork.ranges, &pending_at_fork.count))
    pending_at_fork.count = 0;
}

const char* write_fork_state(Thread* thread, const shmlog::ProcessEntry& parent, uint64_t event,
                             uint64_t child_tid_at) {
  files.count = 0;
  StartRecord* start = begin_start(thread, shmlog::StartKind::kFork, thread->regs);
  if (!start) return kNoRoom;
  sys(__NR_getcpu, &start->cpu, 0, 0);
  start->parent_high = parent.id_high;
  start->parent_low = parent.id_low;
  start->parent_event = event;
  writer_commit();
  const bool tid_written = !child_tid_at || write_memory(child_tid_at, sizeof(int32_t));
  return tid_written && write_pending() ? nullptr : kNoRoom;
}

uint32_t write_file(uint64_t event, int fd, const char* path) {
  FileRecord file = {};
  if (!describe(fd, &file)) return 0;
  const uint32_t known = min(files.count, kKnownFiles);
  for (uint32_t i = 0; i < known; ++i)
    if (same_file(files.known[i], file)) return files.known[i].kept ? files.known[i].number : 0;
  file.number = files.count + 1;
  if (file.number > kMaxFiles) return 0;
  file.kept = sys(__NR_fcntl, -1, kCallCommand, kCallKeep, fd, 0) == 0;
  const uint64_t path_bytes = strlen(path) + 1;
  FileRecord* record = static_cast<FileRecord*>(
      writer_begin(Type::kFile, 0, event, sizeof(FileRecord) + path_bytes));
  if (!record) return 0;
  *record = file;
  memcpy(record + 1, path, path_bytes);
  writer_commit();
  if (files.count < kKnownFiles) files.known[files.count] = file;
  ++files.count;
  return file.kept ? file.number : 0;
}

}  // namespace shmrec::agent
