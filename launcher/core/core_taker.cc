#include "launcher/core/core_taker.h"

#include <algorithm>

#include "launcher/core/process_memory.h"
#include "launcher/identity.h"
#include "launcher/notifier.h"
#include "launcher/process_status.h"
#include "launcher/shared_folder.h"

namespace shmrec::launcher {
namespace {

constexpr const char* kFolder = "cores";

std::optional<agent::CoreRequest> read_request(pid_t tid, uint64_t at) {
  const Result<ProcessMemory> memory = ProcessMemory::open(tid);
  agent::CoreRequest request;
  if (!memory || memory->read(at, {reinterpret_cast<unsigned char*>(&request), sizeof request}) !=
                     sizeof request)
    return {};
  return request;
}

}  // namespace

Result<std::unique_ptr<CoreTaker>> CoreTaker::start(CoreTakerOptions options) {
  Result<UniqueFd> folder = make_shared_folder(options.run_directory / kFolder, options.file_mode);
  if (!folder) return folder.error();
  return std::unique_ptr<CoreTaker>(new CoreTaker(std::move(options), std::move(*folder)));
}

CoreTaker::CoreTaker(CoreTakerOptions options, UniqueFd folder)
    : options_(std::move(options)), folder_(std::move(folder)), thread_([this] { work(); }) {}

CoreTaker::~CoreTaker() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CoreTaker::take(int listener, const seccomp_notif& request) {
  const std::lock_guard lock(mutex_);
  // Who waits goes before who does not.
  const auto first_live = std::find_if(waiting_.begin(), waiting_.end(),
                                       [](const Request& other) { return other.listener < 0; });
  waiting_.insert(first_live, {listener, request, {}, 0});
  changed_.notify_all();
}

std::vector<CoreTaker::Told> CoreTaker::take_live(const std::vector<CoreSubject>& subjects) {
  std::unique_lock lock(mutex_);
  const uint64_t first = next_number_;
  for (const CoreSubject& subject : subjects) waiting_.push_back({-1, {}, subject, next_number_++});
  changed_.notify_all();
  std::vector<Told> tolds;
  for (uint64_t number = first; number < first + subjects.size(); ++number) {
    changed_.wait(lock, [&] { return ends_ || answers_.count(number) > 0; });
    if (ends_) break;
    tolds.push_back(std::move(answers_.extract(number).mapped()));
  }
  return tolds;
}

bool CoreTaker::give_way(pid_t tid) {
  std::unique_lock lock(mutex_);
  const pid_t live = live_;
  if (live == 0 || live != process_of(tid)) return false;
  give_way_ = true;
  changed_.wait(lock, [&] { return live_ != live; });
  return true;
}

std::vector<CoreTaker::Told> CoreTaker::tell_new() {
  const std::lock_guard lock(mutex_);
  return std::exchange(told_, {});
}

void CoreTaker::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.empty() && !busy_; });
}

void CoreTaker::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ends_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const Request request = waiting_.front();
    waiting_.pop_front();
    busy_ = true;
    live_ = request.live.pid;
    give_way_ = false;
    lock.unlock();
    Told told;
    std::thread([&] { told = serve(request); }).join();
    if (request.listener >= 0) answer_error(request.listener, request.notification.id, 0);
    lock.lock();
    busy_ = false;
    live_ = 0;
    if (request.number != 0) answers_[request.number] = told;
    told_.push_back(std::move(told));
    changed_.notify_all();
  }
}

CoreTaker::Told CoreTaker::serve(const Request& request) {
  if (request.listener < 0) return take_one(request.live);
  return serve_waiting(request.notification);
}

CoreTaker::Told CoreTaker::serve_waiting(const seccomp_notif& notification) {
  CoreSubject subject;
  subject.waiting_thread = static_cast<pid_t>(notification.pid);
  subject.pid = process_of(subject.waiting_thread);
  Told told;
  told.ends = true;
  told.pid = subject.pid;
  told.what = "core of pid " + std::to_string(subject.pid);
  if (subject.pid <= 0) {
    told.how = "it lives in another pid namespace, or is gone";
    return told;
  }
  {
    const ActAs identity(subject.pid);
    subject.request = read_request(subject.waiting_thread, notification.data.args[3]);
  }
  if (!subject.request) {
    told.how = "its memory cannot be read: it has another user, may not be dumped, or is gone";
    return told;
  }
  subject.id_high = subject.request->id_high;
  subject.id_low = subject.request->id_low;
  subject.zone = subject.request->zone;
  return take_one(subject);
}

CoreTaker::Told CoreTaker::take_one(const CoreSubject& subject) {
  Told told;
  told.ends = subject.request.has_value();
  told.pid = subject.pid;
  told.recording = recording_name(subject);
  told.name = status_value(subject.pid, "Name");
  told.what = "core of pid " + std::to_string(subject.pid) + " (recording " + told.recording + ")";
  told.file = options_.run_directory / kFolder / core_file_name(subject);
  const ActAs identity(subject.pid);
  const CorePlace place{folder_.get(), options_.file_mode};
  const Result<TakenCore> taken = take_core(subject, options_.choice, place, give_way_);
  told.taken = static_cast<bool>(taken);
  told.how = taken ? describe(*taken) : taken.error().message;
  return told;
}

}  // namespace shmrec::launcher
