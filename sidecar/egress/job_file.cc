#include "sidecar/egress/job_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/output_file.h"
#include "recording/bundle/bundle_files.h"
#include "recording/run/text.h"

namespace shmrec::sidecar::egress {
namespace {

using nlohmann::json;

constexpr const char* kDirectory = ".egress";
constexpr const char* kFormat = "shmrec-egress/1";
constexpr const char* kNew = ".new";
constexpr size_t kMaxBytes = 64 * 1024;
constexpr size_t kMaxDestinationName = 24;

struct Field {
  const char* key;
  std::string Bundle::*member;
};
constexpr Field kTexts[] = {
    {"bundle", &Bundle::name},     {"sha256", &Bundle::sha256}, {"run", &Bundle::run},
    {"trigger", &Bundle::trigger}, {"rule", &Bundle::rule},     {"created", &Bundle::created},
};

std::string file_name(const Job& job) { return job.bundle.name + "." + job.destination; }

std::string to_json(const Job& job) {
  json object = {{"format", kFormat},
                 {"destination", job.destination},
                 {"bytes", job.bundle.bytes},
                 {"attempts", job.attempts},
                 {"nextUnixMs", job.next_unix_ms}};
  for (const Field& field : kTexts) object[field.key] = job.bundle.*field.member;
  return object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

Result<Job> from_json(const std::string& text) {
  Job job;
  try {
    const json object = json::parse(text);
    if (object.at("format") != kFormat) return Error{"another format"};
    object.at("destination").get_to(job.destination);
    object.at("bytes").get_to(job.bundle.bytes);
    object.at("attempts").get_to(job.attempts);
    object.at("nextUnixMs").get_to(job.next_unix_ms);
    for (const Field& field : kTexts) object.at(field.key).get_to(job.bundle.*field.member);
  } catch (const json::exception&) {
    return Error{"not a job"};
  }
  if (!is_bundle_name(job.bundle.name) || !is_destination_name(job.destination) ||
      !is_sha256(job.bundle.sha256)) {
    return Error{"not a job"};
  }
  return job;
}

}  // namespace

bool is_destination_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxDestinationName &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; });
}

Result<JobFiles> JobFiles::open(const std::filesystem::path& store) {
  JobFiles files;
  files.store_ = store;
  const std::filesystem::path path = store / kDirectory;
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return system_error(path.string());
  files.directory_ =
      UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!files.directory_) return system_error(path.string());
  return files;
}

Result<> JobFiles::write(const Job& job) {
  const std::string name = file_name(job);
  const std::string temporary = name + kNew;
  const int dir = directory_.get();
  const std::string text = to_json(job);
  UniqueFd file(openat(dir, temporary.c_str(),
                       O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  if (!file || !is_regular_file(file.get()) ||
      !recording::write_all(file.get(), text.data(), text.size()) || fsync(file.get()) != 0 ||
      !rename_over_file(dir, temporary.c_str(), dir, name.c_str())) {
    const Error error = system_error((store_ / kDirectory / name).string());
    unlink_file(dir, temporary.c_str());
    return error;
  }
  if (fsync(dir) != 0 && errno != EINVAL) return system_error((store_ / kDirectory).string());
  return Unit{};
}

bool JobFiles::remove(const Job& job) {
  // Not synced: if this is lost with the machine's power, the bundle is sent twice.
  return unlinkat(directory_.get(), file_name(job).c_str(), 0) == 0 || errno == ENOENT;
}

Result<Job> JobFiles::read(const std::string& name) const {
  UniqueFd file(
      openat(directory_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status;
  if (!file || fstat(file.get(), &status) != 0) return system_error(name);
  if (!S_ISREG(status.st_mode) || status.st_size > static_cast<off_t>(kMaxBytes)) {
    return Error{"not a job"};
  }
  std::string text(static_cast<size_t>(status.st_size), '\0');
  const ssize_t got = recording::pread_all(file.get(), text.data(), text.size(), 0);
  if (got < 0) return system_error(name);
  text.resize(static_cast<size_t>(got));
  Result<Job> job = from_json(text);
  if (job && file_name(*job) != name) return Error{"not the job of its name"};
  if (job) job->bundle.path = store_ / job->bundle.name;
  return job;
}

Result<std::vector<Job>> JobFiles::read_all(std::vector<std::string>& skipped) const {
  const int fd = openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* dir = fd < 0 ? nullptr : fdopendir(fd);
  if (dir == nullptr) return system_error((store_ / kDirectory).string());
  std::vector<Job> jobs;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name.front() == '.') continue;
    if (name.ends_with(kNew)) {  // of a write that death cut short: the file of before is there
      unlink_file(directory_.get(), name.c_str());
      continue;
    }
    Result<Job> job = read(name);
    if (job) {
      jobs.push_back(std::move(*job));
    } else {
      skipped.push_back(recording::printable(name) + ": " + job.error().message);
    }
  }
  closedir(dir);
  std::sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) {
    return std::tie(a.bundle.created, a.bundle.name, a.destination) <
           std::tie(b.bundle.created, b.bundle.name, b.destination);
  });
  return jobs;
}

}  // namespace shmrec::sidecar::egress
