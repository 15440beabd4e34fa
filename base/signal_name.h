// Names of signals. glibc's sigabbrev_np() knows none for real-time signals: it gives null, which
// is no name to put into a text.
#pragma once

#include <csignal>
#include <cstring>
#include <string>

namespace shmrec {

inline constexpr int kLastSignal = 64;

// "SIGSEGV", "SIGRTMIN+2"; "signal 32" for one without a name.
inline std::string signal_name(int signal) {
  if (const char* name = sigabbrev_np(signal)) return std::string("SIG") + name;
  if (signal < SIGRTMIN || signal > SIGRTMAX) return "signal " + std::to_string(signal);
  const int above = signal - SIGRTMIN;
  return above == 0 ? "SIGRTMIN" : "SIGRTMIN+" + std::to_string(above);
}

// "signal 11 (SIGSEGV)", as triggers and reports have it.
inline std::string signal_with_number(int signal) {
  const std::string number = "signal " + std::to_string(signal), name = signal_name(signal);
  return name == number ? number : number + " (" + name + ")";
}

}  // namespace shmrec
