// The one result type of the host side: a value, or an Error that says what went wrong with which
// object and what to do. No exceptions cross a folder; libraries that throw are caught where they
// are called. Errors caused by input are reported by the command line with exit code 2.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <variant>

namespace shmrec {

struct Error {
  std::string message;    // complete sentence for a person, names the object; no trailing newline
  bool bad_input = true;  // true: the caller's file or argument is at fault (exit 2); false: ours
                          // or the system's (exit 1)
};

// An Error about `object` from errno `err`: "OBJECT: strerror".
inline Error system_error(const std::string& object, int err = errno) {
  return Error{object + ": " + std::strerror(err), false};
}

struct Unit {};

template <typename T = Unit>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}
  bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }
  // REQUIRES: ok()
  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  // REQUIRES: !ok()
  const Error& error() const { return std::get<Error>(state_); }

 private:
  std::variant<T, Error> state_;
};

}  // namespace shmrec
