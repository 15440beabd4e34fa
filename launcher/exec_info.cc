#include "launcher/exec_info.h"

#include <elf.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <memory>

namespace shmrec::launcher {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr size_t kMaxStackPages = 64;  // of argv, envp and their strings

class StackReader {
 public:
  StackReader(std::span<const unsigned char> bytes, uint64_t address)
      : bytes_(bytes), address_(address), next_(address), text_left_(bytes.size()) {}

  // The next word upwards; false at the end of what was read.
  bool next(uint64_t& word) {
    const uint64_t offset = next_ - address_;
    if (offset + sizeof word > bytes_.size()) return false;
    std::memcpy(&word, bytes_.data() + offset, sizeof word);
    next_ += sizeof word;
    return true;
  }

  // Strings do not overlap where the kernel has put them there: all together are no longer than the
  // stack. Pointers that lead to one again and again would take the launcher's memory.
  bool string_at(uint64_t at, std::string& text) {
    if (at < address_ || at - address_ >= bytes_.size()) return false;
    const auto rest = bytes_.subspan(at - address_);
    const void* end = std::memchr(rest.data(), 0, rest.size());
    if (!end) return false;
    const char* begin = reinterpret_cast<const char*>(rest.data());
    const size_t length = static_cast<size_t>(static_cast<const char*>(end) - begin);
    if (length > text_left_) return false;
    text_left_ -= length;
    text.assign(begin, length);
    return true;
  }

  // Strings of a null-terminated vector of pointers. False if something was out of reach.
  bool strings(std::vector<std::string>& into) {
    bool all = true;
    for (uint64_t pointer = 0;;) {
      if (!next(pointer)) return false;
      if (pointer == 0) return all;
      std::string text;
      if (string_at(pointer, text))
        into.push_back(std::move(text));
      else
        all = false;
    }
  }

 private:
  std::span<const unsigned char> bytes_;
  uint64_t address_;
  uint64_t next_;
  uint64_t text_left_;
};

// The result lives until the next call.
std::span<const unsigned char> read_stack(int pid, uint64_t from) {
  constexpr size_t kBytes = kMaxStackPages * kPageBytes;
  static const auto bytes = std::make_unique_for_overwrite<unsigned char[]>(kBytes);
  // One part per page: the kernel stops at the first part it cannot read, here the stack's end.
  iovec parts[kMaxStackPages];
  uint64_t at = from;
  for (iovec& part : parts) {
    const uint64_t page_end = (at / kPageBytes + 1) * kPageBytes;
    part = {reinterpret_cast<void*>(at), page_end - at};
    at = page_end;
  }
  const iovec local{bytes.get(), kBytes};
  const ssize_t got = process_vm_readv(pid, &local, 1, parts, kMaxStackPages, 0);
  return {bytes.get(), got > 0 ? static_cast<size_t>(got) : 0};
}

}  // namespace

ExecInfo parse_initial_stack(std::span<const unsigned char> stack, uint64_t address) {
  ExecInfo info;
  StackReader reader(stack, address);
  uint64_t argc = 0;
  const bool counted = reader.next(argc);
  const bool arguments = reader.strings(info.arguments);
  const bool environment = reader.strings(info.environment);
  info.complete = counted && arguments && environment;
  for (uint64_t type = 0, value = 0; reader.next(type) && reader.next(value) && type != AT_NULL;)
    if (type == AT_EXECFN && !reader.string_at(value, info.executable)) info.complete = false;
  return info;
}

std::string executable_of(int pid) {
  char target[4096];
  const ssize_t bytes =
      readlink(("/proc/" + std::to_string(pid) + "/exe").c_str(), target, sizeof target);
  return bytes > 0 ? std::string(target, static_cast<size_t>(bytes)) : std::string();
}

ExecInfo read_exec_info(int pid, uint64_t stack_pointer) {
  ExecInfo info = parse_initial_stack(read_stack(pid, stack_pointer), stack_pointer);
  std::string path = executable_of(pid);
  if (!path.empty()) info.executable = std::move(path);
  return info;
}

}  // namespace shmrec::launcher
