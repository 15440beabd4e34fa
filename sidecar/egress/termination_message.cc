#include "sidecar/egress/termination_message.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "recording/bundle/bundle_files.h"
#include "recording/run/text.h"

namespace shmrec::sidecar::egress {
namespace {

constexpr size_t kMaxNotes = 4, kMaxNoteBytes = 600;

}  // namespace

bool TerminationMessage::take_line(const Bundle& file) {
  if (file.name == newest_.name) return true;
  // RFC 3339 in UTC sorts as text.
  if (!newest_.name.empty() && file.created < newest_.created) return false;
  newest_ = file;
  places_.clear();
  return true;
}

Result<> TerminationMessage::send(const Bundle& file, const std::atomic<bool>&) {
  begin_attempt();
  const std::lock_guard lock(mutex_);
  return take_line(file) ? write_line() : Result<>(Unit{});
}

void TerminationMessage::placed(const Bundle& file, const std::string& place) {
  const std::lock_guard lock(mutex_);
  if (place.empty() || !take_line(file)) return;
  places_.push_back(place);
  // Without the place the line is still right, so this is not worth an attempt of its own.
  (void)write_line().ok();
}

void TerminationMessage::note(const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (notes_.size() == kMaxNotes || std::find(notes_.begin(), notes_.end(), text) != notes_.end())
    return;
  notes_.push_back(text.substr(0, kMaxNoteBytes));
  (void)write_line().ok();
}

std::string TerminationMessage::bundle_text() const {
  if (newest_.name.empty()) return "";
  std::string text = newest_.trigger.empty() ? "a recording" : newest_.trigger;
  if (!newest_.run.empty()) text += " in run " + newest_.run;
  text += ": bundle " + newest_.path.string() + " (" + recording::human_bytes(newest_.bytes) +
          ", sha256 " + newest_.sha256 + ")";
  for (const std::string& place : places_) text += "; " + place;
  return text;
}

std::string TerminationMessage::line() const {
  std::string text = bundle_text();
  for (const std::string& note : notes_) text += (text.empty() ? "" : "; ") + note;
  text = recording::printable("shmrec: " + text);
  if (text.size() >= kMaxBytes) text.resize(kMaxBytes - 1);
  return text + "\n";
}

Result<> TerminationMessage::write_line() const {
  const UniqueFd file(open(
      path_.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644));
  if (!file) {
    if (errno == ELOOP) return Error{path_.string() + ": a symbolic link, which is not followed"};
    return system_error(path_.string());
  }
  struct stat status;
  if (fstat(file.get(), &status) != 0) return system_error(path_.string());
  if (!S_ISREG(status.st_mode) || status.st_nlink > 1) {
    return Error{path_.string() + ": not a plain file with one name"};
  }
  // First the new line, then the end of the old one: a reader in between sees one whole line.
  const std::string text = line();
  if (pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return system_error(path_.string());
  }
  if (ftruncate(file.get(), static_cast<off_t>(text.size())) != 0) {
    return system_error(path_.string());
  }
  return Unit{};
}

}  // namespace shmrec::sidecar::egress
