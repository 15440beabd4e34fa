// The C functions of shmrec.h: they check their arguments, translate errors to errno, and let no
// exception out. What they know beyond that is in log_file.h and attach.h; once recording runs, it
// is the agent who answers (fcntl(-1, kCallCommand, ...), agent/agent_abi.h).
#include "api/shmrec.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "agent/agent_abi.h"
#include "api/attach.h"
#include "recording/log/shmlog_create.h"

namespace {

using namespace shmrec;

static_assert(SHMREC_RECORDING_ID_SIZE == sizeof("xxxxxxxx-xxxx"));

// What was set, for the next shmrec_start(). Inherited over fork, run ID included.
struct Settings {
  std::string log_path;
  uint64_t log_bytes = uint64_t{64} << 20;
  uint64_t run_id = 0;
  bool stopped = false;
};

Settings& settings() {
  static Settings instance;
  return instance;
}

int fail(int error) {
  errno = error;
  return -1;
}
int report(int error) { return error == 0 ? 0 : fail(error); }

// Runs `body`, which returns an errno or 0.
template <typename Body>
int guarded(Body body) {
  try {
    return report(body());
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM);
  } catch (...) {
    return fail(EIO);
  }
}

// The agent's answer, or -1 with errno; without an agent the kernel answers EBADF.
long call_agent(agent::Call call, const void* argument = nullptr, size_t length = 0) {
  const long result = syscall(SYS_fcntl, -1, agent::kCallCommand, call, argument, length);
  if (result < 0 && errno == EBADF) errno = ESRCH;
  return result;
}

bool is_recording() {
  const int saved = errno;
  const bool recording = call_agent(agent::kCallIsRecording) == 1;
  errno = saved;
  return recording;
}

// EBUSY if the process has more than one thread.
int check_single_thread() {
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(opendir("/proc/self/task"), closedir);
  if (!tasks) return errno;
  int threads = 0;
  while (const dirent* entry = readdir(tasks.get())) threads += entry->d_name[0] != '.';
  return threads > 1 ? EBUSY : 0;
}

int start() {
  if (is_recording()) return 0;
  const Settings& set = settings();
  if (set.stopped) return EALREADY;
  if (set.log_path.empty()) return EINVAL;
  if (const int error = check_single_thread()) return error;
  api::LogFile log;
  if (const int error = api::open_log({set.log_path, set.log_bytes, set.run_id}, log)) return error;
  const int error = api::attach_agent(log);
  close(log.fd);
  return error;
}

int absolute(const char* name, std::string& path) {
  path.clear();
  if (name[0] != '/') {
    const std::unique_ptr<char, void (*)(void*)> directory(getcwd(nullptr, 0), free);
    if (!directory) return errno;
    path = std::string(directory.get()) + "/";
  }
  path += name;
  return path.size() < PATH_MAX ? 0 : ENAMETOOLONG;
}

int set_log_path(const char* name) {
  if (name == nullptr || name[0] == '\0') return EINVAL;
  std::string path;
  if (const int error = absolute(name, path)) return error;
  Settings& set = settings();
  if (path == set.log_path) return 0;  // the same run, also in a child that sets it again
  uint64_t run_id = 0;
  if (getrandom(&run_id, sizeof(run_id), 0) != sizeof(run_id)) return EIO;
  set.run_id = run_id;
  set.log_path = std::move(path);
  return 0;
}

}  // namespace

extern "C" {

int shmrec_start(void) { return guarded(start); }

int shmrec_stop(void) {
  if (!is_recording()) return 0;
  if (call_agent(agent::kCallStop) < 0) return -1;
  settings().stopped = true;
  return 0;
}

int shmrec_shmem_log_filename_set(const char* filename) {
  return guarded([filename] { return set_log_path(filename); });
}

const char* shmrec_shmem_log_filename_get(void) {
  const std::string& path = settings().log_path;
  return path.empty() ? nullptr : path.c_str();
}

int shmrec_shmem_log_size_set(uint64_t bytes) {
  if (bytes < recording::kMinLogBytes || bytes > recording::kMaxLogBytes) return fail(EINVAL);
  settings().log_bytes = bytes;
  return 0;
}

uint64_t shmrec_shmem_log_size_get(void) { return settings().log_bytes; }

int shmrec_event(const char* name) {
  const size_t length = name == nullptr ? 0 : strnlen(name, SHMREC_EVENT_NAME_MAX + 1);
  if (length == 0 || length > SHMREC_EVENT_NAME_MAX) return fail(EINVAL);
  return call_agent(agent::kCallMark, name, length) < 0 ? -1 : 0;
}

int shmrec_is_recording(void) { return is_recording() ? 1 : 0; }

int shmrec_recording_id(char id[SHMREC_RECORDING_ID_SIZE]) {
  if (id == nullptr) return fail(EINVAL);
  return call_agent(agent::kCallRecordingId, id, SHMREC_RECORDING_ID_SIZE) < 0 ? -1 : 0;
}

}  // extern "C"
