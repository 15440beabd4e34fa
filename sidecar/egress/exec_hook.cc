#include "sidecar/egress/exec_hook.h"

#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

#include <algorithm>

#include "base/signal_name.h"
#include "recording/run/text.h"
#include "sidecar/egress/child_process.h"

namespace shmrec::sidecar::egress {
namespace {

constexpr const char* kPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

bool holds_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return "killed by " + signal_name(WTERMSIG(status));
  return "exit status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

Result<std::unique_ptr<ExecHook>> ExecHook::create(std::string destination_name,
                                                   ExecOptions options, Log log) {
  const std::string who = "exec destination " + destination_name;
  if (options.command.empty() || options.command[0].empty() || options.command[0][0] != '/') {
    return Error{who + ": the command must begin with an absolute path"};
  }
  if (std::any_of(options.command.begin(), options.command.end(), holds_nul)) {
    return Error{who + ": the command holds a NUL"};
  }
  for (const std::string& entry : options.environment) {
    const size_t equals = entry.find('=');
    if (equals == 0 || equals == std::string::npos || holds_nul(entry)) {
      return Error{who + ": environment entries are NAME=VALUE"};
    }
  }
  return std::unique_ptr<ExecHook>(
      new ExecHook(std::move(destination_name), std::move(options), std::move(log)));
}

std::vector<std::string> ExecHook::environment_for(const Bundle& file) const {
  // First our own: the first of two equal names wins in most programs, and these must be true.
  std::vector<std::string> all = {
      "SHMREC_BUNDLE=" + file.path.string(),
      "SHMREC_BUNDLE_NAME=" + file.name,
      "SHMREC_BUNDLE_BYTES=" + std::to_string(file.bytes),
      "SHMREC_BUNDLE_SHA256=" + file.sha256,
      "SHMREC_RUN=" + recording::printable(file.run),
      "SHMREC_TRIGGER=" + recording::printable(file.trigger),
      "SHMREC_RULE=" + recording::printable(file.rule),
      "SHMREC_CREATED=" + file.created,
  };
  all.insert(all.end(), options_.environment.begin(), options_.environment.end());
  const auto is_path = [](const std::string& entry) { return entry.starts_with("PATH="); };
  if (std::none_of(all.begin(), all.end(), is_path)) all.push_back(kPath);
  return all;
}

void ExecHook::log_output(const std::string& output, uint64_t dropped) const {
  if (!log_) return;
  for (size_t at = 0; at < output.size();) {
    const size_t end = std::min(output.find('\n', at), output.size());
    if (end > at)
      log_(LogLevel::kInfo, name + ": " + recording::printable(output.substr(at, end - at)));
    at = end + 1;
  }
  if (dropped > 0) {
    log_(LogLevel::kInfo,
         name + ": " + std::to_string(dropped) + " more bytes of output not shown");
  }
}

Result<> ExecHook::send(const Bundle& file, const std::atomic<bool>& stop) {
  begin_attempt();
  const SourceFile source = open_source(file);
  if (!source.fd) return source.gone ? final_error(source.error) : source.error;
  const std::string& program = options_.command[0];
  const auto end = run_child(
      {options_.command, environment_for(file), options_.limit, options_.grace, kMaxOutput}, stop);
  if (!end) return end.error();
  log_output(end->output, end->dropped);
  if (end->why == ChildEnd::Why::kTimeLimit) {
    return Error{
        program + ": not done within " + std::to_string(options_.limit.count()) + " ms, killed",
        false};
  }
  if (end->why == ChildEnd::Why::kStopped) return Error{program + ": stopped", false};
  if (WIFEXITED(end->status) && WEXITSTATUS(end->status) == 0) return Unit{};
  const Error error{program + ": " + how_it_ended(end->status), false};
  const bool usage = WIFEXITED(end->status) && WEXITSTATUS(end->status) == EX_USAGE;
  return usage ? final_error(error) : error;
}

}  // namespace shmrec::sidecar::egress
