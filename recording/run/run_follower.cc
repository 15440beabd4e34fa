#include "recording/run/run_follower.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "recording/bundle/bundle_files.h"
#include "recording/log/shmlog_reader.h"
#include "recording/run/flat_json.h"
#include "recording/run/spool.h"
#include "recording/run/text.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {
namespace {

using shmlog::Area;
using shmlog::EntryState;
using shmlog::JournalEntry;
using shmlog::JournalType;
using shmlog::ProcessEntry;

constexpr uint32_t kBlock = 256;                       // process entries read at once
constexpr size_t kMaxText = 512;                       // of an executable or a mark
constexpr uint64_t kSane = 4'000'000'000'000'000'000;  // nanoseconds: a sum of two fits in 63 bits
constexpr uint32_t kMetAgain = 64;  // numbers whose entries may not be filled yet
// What is remembered of modules, all processes together; of those beyond, deaths have no place.
constexpr size_t kModulesOfAll = 1024, kModulesOfOne = 8, kMaxModuleNames = 4096;
constexpr size_t kMaxModuleName = 128;
constexpr int kMaxForks = 64;              // ancestors that a process has its modules of
constexpr size_t kMaxHoles = 1024;         // units waited for
constexpr int kPatience = 30;              // polls that a unit is waited for: its writer died in it
constexpr size_t kEventsPart = 256 << 10;  // bytes of events.jsonl a poll reads
constexpr size_t kMaxExitLine = 4096;      // longer lines are execs
constexpr uint32_t kExited = 1, kReplaced = 2;  // ProcessEntry::exit_known

// An area of which only what lies in the file remains.
Area clamped(const Area& area, uint64_t file_bytes, size_t least_entry) {
  Area usable{area.offset, 0, area.entry_bytes};
  if (area.entry_bytes < least_entry || area.offset > file_bytes) return usable;
  const uint64_t there = (file_bytes - area.offset) / area.entry_bytes;
  usable.count = static_cast<uint32_t>(std::min<uint64_t>(area.count, there));
  return usable;
}

bool in_use(uint32_t state) {
  return state == static_cast<uint32_t>(EntryState::kLive) ||
         state == static_cast<uint32_t>(EntryState::kEnded);
}

// The counters move; the rest of the header is copied with them because it lies in between.
Result<> read_header(int log, shmlog::Header& header) {
  const ssize_t got = pread_all(log, &header, sizeof header, 0);
  if (got < 0) return system_error("run.shmlog");
  if (got == sizeof header && memcmp(header.magic, shmlog::kMagic, sizeof header.magic) == 0 &&
      header.version == shmlog::kVersion)
    return Unit{};
  return Error{"run.shmlog: not a shared-memory log of version " +
               std::to_string(shmlog::kVersion)};
}

int signal_of(int wait_status) { return WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0; }

FollowedProcess::End end_by(int wait_status) {
  return WIFSIGNALED(wait_status) ? FollowedProcess::End::kKilled : FollowedProcess::End::kExited;
}

std::string short_printable(const std::string& text) { return printable(text.substr(0, kMaxText)); }

}  // namespace

std::string process_state(const FollowedProcess& process, bool run_over) {
  switch (process.end) {
    case FollowedProcess::End::kExited:
      return "exited";
    case FollowedProcess::End::kKilled:
      return "killed";
    case FollowedProcess::End::kReplaced:
      return "replaced";
    case FollowedProcess::End::kUnknown:
      return "unknown";
    case FollowedProcess::End::kNone:
      break;
  }
  return run_over ? "unknown" : "running";
}

// ---- LogFollower --------------------------------------------------------------------------------

Result<std::vector<RunFact>> LogFollower::poll(int log, bool last, size_t most) {
  shmlog::Header header;
  if (const Result<> read = read_header(log, header); !read) return read.error();
  if (!has_layout_) {
    const Result<> taken = take_layout(log, header);
    if (!taken) return taken.error();
  }
  std::vector<RunFact> facts;
  // Processes before the journal: whoever wrote there has its entry by then.
  announce_silent(facts);
  read_processes(log, header.next_process, most);
  retry_holes(log, last, facts);
  read_journal(log, header.journal_units, facts);
  if (last && !behind_) announce_silent(facts);
  settle(last && !behind_, facts);
  return facts;
}

Result<> LogFollower::take_layout(int log, const shmlog::Header& header) {
  struct stat status;
  if (fstat(log, &status) != 0) return system_error("run.shmlog");
  const auto bytes = static_cast<uint64_t>(status.st_size);
  table_count_ = header.processes.count;
  process_table_ = clamped(header.processes, bytes, sizeof(ProcessEntry));
  journal_ = clamped(header.journal, bytes, shmlog::kJournalUnitBytes);
  if (journal_.entry_bytes != shmlog::kJournalUnitBytes) journal_.count = 0;
  start_tsc_ = header.start_tsc;
  start_realtime_ns_ = header.start_realtime_ns;
  start_monotonic_ns_ = header.start_monotonic_ns;
  tsc_hz_ = header.tsc_hz;
  has_layout_ = true;
  return Unit{};
}

int64_t LogFollower::time_at(int64_t monotonic_ns) const {
  if (!has_layout_ || monotonic_ns < 0) return 0;
  const int64_t since = monotonic_ns - static_cast<int64_t>(std::min(start_monotonic_ns_, kSane));
  return std::max<int64_t>(static_cast<int64_t>(std::min(start_realtime_ns_, kSane)) + since, 0);
}

int64_t LogFollower::time_of(uint64_t tsc) const {
  if (tsc_hz_ == 0 || tsc == 0) return 0;
  const double ns = static_cast<double>(start_realtime_ns_) +
                    static_cast<double>(static_cast<int64_t>(tsc - start_tsc_)) * 1e9 /
                        static_cast<double>(tsc_hz_);
  return ns > 0 && ns < static_cast<double>(kSane) ? static_cast<int64_t>(ns) : 0;
}

uint64_t LogFollower::accesses() const {
  uint64_t sum = 0;
  for (const FollowedProcess& process : processes_) sum += process.accesses;
  return sum;
}

FollowedProcess* LogFollower::find(uint32_t process) {
  const auto known = by_entry_.find(process);
  return known == by_entry_.end() ? nullptr : &processes_[known->second];
}

const FollowedProcess* LogFollower::find(uint32_t process) const {
  const auto known = by_entry_.find(process);
  return known == by_entry_.end() ? nullptr : &processes_[known->second];
}

// ---- Processes

// Blocks of entries that are all told and not used again are left out: a run
// that forks for days has a long table.
void LogFollower::read_processes(int log, uint32_t next, size_t most) {
  const uint32_t count = std::min(process_table_.count, kMaxProcesses);
  const uint32_t used = std::min(next, count);
  not_followed_ = std::min(next, process_table_.count) - used;
  std::vector<bool> wanted(used / kBlock + 1);
  // Numbers handed out since the last poll, by their places.
  const uint32_t fresh = std::min(next - next_new_, process_table_.count);
  for (uint32_t i = 0; i < fresh; ++i) {
    const uint32_t slot = shmlog::table_slot(next - 1 - i, std::max(table_count_, 2u));
    if (slot < used) wanted[slot / kBlock] = true;
  }
  for (const auto& [slot, place] : at_slot_)
    if (slot < used && !seen_[place].settled) wanted[slot / kBlock] = true;
  for (uint32_t block = 0; block < wanted.size(); ++block) {
    if (wanted[block]) read_block(log, block * kBlock, std::min(used, (block + 1) * kBlock), most);
  }
  if (processes_.size() >= most) not_followed_ = std::max<uint64_t>(not_followed_, passed_over_);
  // An entry that is claimed but not filled is met again.
  if (next - next_new_ > kMetAgain) next_new_ = next - kMetAgain;
}

void LogFollower::read_block(int log, uint32_t begin, uint32_t end, size_t most) {
  if (begin >= end) return;
  // Entries may be larger than ours in a later version; hostile ones are read one by one.
  const uint64_t stride = process_table_.entry_bytes;
  const bool dense = stride == sizeof(ProcessEntry);
  std::vector<ProcessEntry> entries(dense ? end - begin : 1);
  const auto read = [&](uint32_t first, size_t count) {
    const size_t bytes = count * sizeof(ProcessEntry);
    const uint64_t at = process_table_.offset + uint64_t{first} * stride;
    return pread_all(log, entries.data(), bytes, at) == static_cast<ssize_t>(bytes);
  };
  if (dense && !read(begin, entries.size())) return;
  for (uint32_t i = std::max(begin, 1u); i < end; ++i) {
    if (!dense && !read(i, 1)) return;
    see(i, entries[dense ? i - begin : 0], most);
  }
}

void LogFollower::see(uint32_t slot, const ProcessEntry& entry, size_t most) {
  if (!in_use(entry.state)) return;
  const uint32_t index = entry.number;
  forget_former(slot, index);
  if (processes_.size() >= most && !by_entry_.contains(index)) {
    ++passed_over_;
    return;
  }
  const auto [known, added] = by_entry_.try_emplace(index, processes_.size());
  at_slot_[slot] = known->second;
  if (added) {
    FollowedProcess process;
    process.process = index;
    process.id = recording_id(entry.id_high, entry.id_low);
    process.pid = entry.pid;
    process.parent = entry.parent;
    process.pid_namespace = entry.pid_namespace;
    processes_.push_back(std::move(process));
    seen_.push_back({.start_tsc = entry.start_tsc, .start_kind = entry.start_kind});
    by_pid_[entry.pid].push_back(known->second);
  }
  Seen& seen = seen_[known->second];
  if (seen.settled) return;
  FollowedProcess& process = processes_[known->second];
  process.name = printable(fixed_text(entry.name));
  process.accesses = entry.accesses;
  seen.confirmed = seen.exit_known == entry.exit_known && seen.wait_status == entry.exit_status;
  seen.exit_known = entry.exit_known;
  seen.wait_status = entry.exit_status;
}

// The entry at `slot` is another recording's now: that of the one before it has
// ended, unseen.
void LogFollower::forget_former(uint32_t slot, uint32_t number) {
  const auto former = at_slot_.find(slot);
  if (former == at_slot_.end() || processes_[former->second].process == number) return;
  Seen& seen = seen_[former->second];
  if (!std::exchange(seen.settled, true))
    processes_[former->second].end = FollowedProcess::End::kUnknown;
}

// Starts whose journal entry did not come with the poll that met them: dropped,
// or torn by death.
void LogFollower::announce_silent(std::vector<RunFact>& facts) {
  for (size_t place = 0; place < processes_.size(); ++place) {
    if (std::exchange(seen_[place].announced, true)) continue;
    facts.push_back({.type = RunFact::Type::kProcessStarted,
                     .process = processes_[place].process,
                     .pid = processes_[place].pid});
  }
}

void LogFollower::end(size_t place, FollowedProcess::End how, int wait_status, uint64_t tsc,
                      std::vector<RunFact>& facts) {
  FollowedProcess& process = processes_[place];
  process.end = how;
  process.wait_status = wait_status;
  seen_[place].settled = true;
  facts.push_back({.type = RunFact::Type::kProcessEnded,
                   .process = process.process,
                   .pid = process.pid,
                   .time_ns = time_of(tsc),
                   .wait_status = wait_status,
                   .signal = signal_of(wait_status),
                   .replaced = how == FollowedProcess::End::kReplaced});
}

// Tells the ends that processes wrote down themselves.
void LogFollower::settle(bool last, std::vector<RunFact>& facts) {
  for (size_t place = 0; place < processes_.size(); ++place) {
    const Seen& seen = seen_[place];
    if (seen.settled || !(seen.confirmed || last)) continue;
    if (seen.exit_known == kReplaced) end(place, FollowedProcess::End::kReplaced, 0, 0, facts);
    if (seen.exit_known == kExited)
      end(place, end_by(seen.wait_status), seen.wait_status & 0xFFFF, 0, facts);
  }
}

// The newest recording of a pid that had started by then: pids are used again, and containers that
// share a log each have their own.
std::optional<size_t> LogFollower::newest_of(const PidSeen& seen) const {
  constexpr size_t kLookedAt = 64;
  const auto known = by_pid_.find(seen.pid);
  if (known == by_pid_.end()) return std::nullopt;
  const std::vector<size_t>& places = known->second;
  for (size_t i = 0; i < std::min(kLookedAt, places.size()); ++i) {
    const size_t place = places[places.size() - 1 - i];
    const uint64_t pid_namespace = processes_[place].pid_namespace;
    const bool same =
        pid_namespace == seen.pid_namespace || pid_namespace == 0 || seen.pid_namespace == 0;
    if (same && (seen.tsc == 0 || seen_[place].start_tsc <= seen.tsc)) return place;
  }
  return std::nullopt;
}

void LogFollower::note_exit(const PidSeen& seen, int wait_status, std::vector<RunFact>& facts) {
  RunFact fact{.type = RunFact::Type::kChildExit,
               .pid = seen.pid,
               .time_ns = time_of(seen.tsc),
               .wait_status = wait_status,
               .signal = signal_of(wait_status)};
  const std::optional<size_t> place = newest_of(seen);
  if (place) fact.process = processes_[*place].process;
  facts.push_back(std::move(fact));
  if (place && !seen_[*place].settled && seen_[*place].exit_known != kReplaced)
    end(*place, end_by(wait_status), wait_status, seen.tsc, facts);
}

// ---- Where a process died

void LogFollower::map_module(const JournalEntry& entry, const std::string& path) {
  const size_t most = kModulesOfAll + kModulesOfOne * processes_.size();
  if (module_count_ >= most && modules_refused_++ % kModulesOfAll == 0) forget_modules();
  if (module_count_ >= most) return;
  const std::string name = printable(base_name(path.substr(0, kMaxText))).substr(0, kMaxModuleName);
  auto known = module_name_at_.find(name);
  if (known == module_name_at_.end()) {
    if (module_names_.size() == kMaxModuleNames) return;
    known = module_name_at_.emplace(name, module_names_.size()).first;
    module_names_.push_back(name);
  }
  ++module_count_;
  modules_[entry.process].push_back(
      {entry.a, entry.a + std::min(entry.b, UINT64_MAX - entry.a), entry.c, known->second});
}

// Those of processes that are gone; children that still have them lose their places.
void LogFollower::forget_modules() {
  std::erase_if(modules_, [&](const auto& entry) {
    const auto known = by_entry_.find(entry.first);
    const bool gone = known == by_entry_.end() || seen_[known->second].settled;
    if (gone) module_count_ -= entry.second.size();
    return gone;
  });
}

// A forked process has its parent's modules but for those that it maps itself.
std::string LogFollower::place_of(uint32_t process, uint64_t pc) const {
  for (int i = 0; i < kMaxForks; ++i) {
    const auto known = by_entry_.find(process);
    if (known == by_entry_.end()) return "";
    const auto own = modules_.find(process);
    const size_t count = own == modules_.end() ? 0 : own->second.size();
    for (size_t at = count; at-- > 0;) {
      const Module& module = own->second[at];
      if (pc >= module.begin && pc < module.end)
        return module_names_[module.name] + "+" + hex(pc - module.begin + module.offset);
    }
    const auto start = static_cast<shmlog::StartKind>(seen_[known->second].start_kind);
    if (start != shmlog::StartKind::kFork && start != shmlog::StartKind::kVfork) return "";
    process = processes_[known->second].parent;
  }
  return "";
}

// ---- Journal

void LogFollower::read_journal(int log, uint64_t head, std::vector<RunFact>& facts) {
  if (journal_.count == 0) return;
  next_place_ = journal_resume(journal_, next_place_, head, journal_missed_);
  holes_.erase(holes_.begin(), holes_.lower_bound(head - std::min<uint64_t>(head, journal_.count)));
  const uint64_t stop = std::min(head, next_place_ + kMaxUnitsPerPoll);
  while (next_place_ < stop) {
    const uint32_t taken = take_entry(log, next_place_, facts);
    // A writer fills its units and marks them last: look at this one again
    // later.
    if (taken == 0 && holes_.size() < kMaxHoles) holes_[next_place_] = kPatience;
    next_place_ += std::max(taken, 1u);
  }
  behind_ = next_place_ < head;
}

void LogFollower::retry_holes(int log, bool last, std::vector<RunFact>& facts) {
  for (auto hole = holes_.begin(); hole != holes_.end();) {
    const uint32_t taken = take_entry(log, hole->first, facts);
    if (taken > 0) {
      // The units of its text were holes too.
      hole = holes_.erase(hole, holes_.lower_bound(hole->first + taken));
    } else if (last || --hole->second <= 0) {
      hole = holes_.erase(hole);
    } else {
      ++hole;
    }
  }
}

// Takes the entry at `place`; returns its units, 0 if there is none (yet).
uint32_t LogFollower::take_entry(int log, uint64_t place, std::vector<RunFact>& facts) {
  const std::optional<TailEntry> found = read_journal_entry(log, journal_, place);
  if (!found) return 0;
  // What was written again further on has been told, unless it was missed.
  const bool again = found->entry.place < place;
  if (!again || journal_missed_ > 0) take(found->entry, found->text, facts);
  return found->units;
}

void LogFollower::take(const JournalEntry& entry, std::string text, std::vector<RunFact>& facts) {
  const auto type = static_cast<JournalType>(entry.type);
  FollowedProcess* process = find(entry.process);
  RunFact fact{.process = process ? process->process : 0,
               .pid = process ? process->pid : 0,
               .time_ns = time_of(entry.tsc)};
  if (type == JournalType::kProcessStart && process != nullptr) {
    fact.type = RunFact::Type::kProcessStarted;
    fact.text = process->executable = short_printable(text);
    if (process->name.empty()) process->name = base_name(process->executable);
    if (!std::exchange(seen_[by_entry_[entry.process]].announced, true))
      facts.push_back(std::move(fact));
  } else if (type == JournalType::kModule) {
    map_module(entry, text);
  } else if (type == JournalType::kSignal) {
    fact.type = RunFact::Type::kSignal;
    fact.signal = static_cast<int>(entry.a & 0x7F);
    fact.place = place_of(entry.process, entry.d);
    if (process != nullptr) process->fatal_signal = fact.signal;
    facts.push_back(std::move(fact));
  } else if (type == JournalType::kMark) {
    fact.type = RunFact::Type::kMark;
    fact.text = short_printable(text);
    facts.push_back(std::move(fact));
  } else if (type == JournalType::kBrake) {
    brakes_ += entry.c == static_cast<uint64_t>(shmlog::BrakeReason::kMeasured);
  } else if (type == JournalType::kChildExit) {
    const uint64_t pid_namespace = process != nullptr ? process->pid_namespace : 0;
    note_exit({static_cast<int32_t>(entry.a), pid_namespace, entry.tsc},
              static_cast<int>(entry.b & 0xFFFF), facts);
  }
}

// ---- EventsFollower -----------------------------------------------------------------------------

std::vector<EventsFollower::Exit> EventsFollower::poll(int events) {
  std::vector<Exit> exits;
  std::string part(kEventsPart, '\0');
  const ssize_t got = pread_all(events, part.data(), part.size(), at_);
  behind_ = got == static_cast<ssize_t>(kEventsPart);
  if (got <= 0) return exits;
  at_ += static_cast<uint64_t>(got);
  std::string_view left(part.data(), static_cast<size_t>(got));
  for (size_t newline; (newline = left.find('\n')) != std::string_view::npos;
       left.remove_prefix(newline + 1)) {
    if (!std::exchange(skips_line_, false) && rest_.size() + newline <= kMaxExitLine)
      take_line(rest_ + std::string(left.substr(0, newline)), exits);
    rest_.clear();
  }
  skips_line_ = skips_line_ || rest_.size() + left.size() > kMaxExitLine;
  skips_line_ ? rest_.clear() : static_cast<void>(rest_.append(left));
  return exits;
}

void EventsFollower::take_line(std::string_view line, std::vector<Exit>& exits) {
  const bool wanted = line.find("\"exit\"") != std::string_view::npos ||
                      line.find("\"oom\"") != std::string_view::npos;
  // Most are execs.
  const std::optional<FlatJson> event = wanted ? flatten_json(line) : std::nullopt;
  if (!event) return;
  if (event->text("type") == "oom") ++out_of_memory_;
  if (event->text("type") != "exit") return;
  const auto pid = event->number("pid"), status = event->number("status");
  const int64_t tsc = std::max<int64_t>(0, event->number("tsc").value_or(0));
  if (pid && status && *pid > 0 && *pid <= INT32_MAX)
    exits.push_back({static_cast<int32_t>(*pid), static_cast<int>(*status & 0xFFFF),
                     static_cast<uint64_t>(tsc)});
}

// ---- RunFollower --------------------------------------------------------------------------------

void RunFollower::poll_launcher(const std::string& name, int directory, std::vector<Told>& told) {
  const UniqueFd events = open_untrusted(directory, "events.jsonl");
  if (!events) return;
  Launcher& launcher = launchers_[name];
  const uint64_t before = launcher.events.out_of_memory();
  Told one{.launcher = name, .exits = launcher.events.poll(events.get())};
  one.out_of_memory = launcher.events.out_of_memory() > before;
  if (one.exits.empty() && !one.out_of_memory) return;
  if (!launcher.pid_namespace) launcher.pid_namespace = read_identity(directory).pid_namespace;
  one.pid_namespace = *launcher.pid_namespace;
  told.push_back(std::move(one));
}

void RunFollower::poll_launchers(int run, std::vector<Told>& told) {
  poll_launcher("", run, told);
  constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  const int members = openat(run, "members", kOpenDirectory);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(members < 0 ? nullptr : fdopendir(members),
                                                   closedir);
  if (!stream) return;
  while (const dirent* entry = readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (!Spool::valid_name(name)) continue;
    if (!launchers_.contains(name) && launchers_.size() > Spool::kMaxMembers) continue;
    const UniqueFd member(openat(members, name.c_str(), kOpenDirectory));
    if (member) poll_launcher(name, member.get(), told);
  }
}

bool RunFollower::launchers_behind() const {
  return std::any_of(launchers_.begin(), launchers_.end(),
                     [](const auto& launcher) { return launcher.second.events.behind(); });
}

Result<std::vector<RunFact>> RunFollower::poll(const UniqueFd& run, bool run_over, size_t most) {
  const UniqueFd log = open_untrusted(run.get(), "run.shmlog");
  if (!log)
    return is_shortage(errno) ? system_error("run.shmlog") : Error{"run.shmlog: there is none"};
  // Before the log: what a launcher saw is then never told of a process not met yet.
  std::vector<Told> told;
  poll_launchers(run.get(), told);
  Result<std::vector<RunFact>> facts = log_.poll(log.get(), run_over && !launchers_behind(), most);
  if (!facts) return facts;
  for (const Told& one : told) {
    const size_t first = facts->size();
    for (const EventsFollower::Exit& exit : one.exits)
      log_.note_exit({exit.pid, one.pid_namespace, exit.tsc}, exit.wait_status, *facts);
    if (one.out_of_memory) facts->push_back({.type = RunFact::Type::kOutOfMemory});
    for (size_t i = first; i < facts->size(); ++i) (*facts)[i].launcher = one.launcher;
  }
  return facts;
}

}  // namespace shmrec::recording
