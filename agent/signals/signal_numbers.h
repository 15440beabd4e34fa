// The kernel's numbers for signals: which they are, why they came (si_code), and the flags of
// actions and alternate stacks.
#pragma once

#include <stdint.h>

namespace shmrec::agent {

constexpr int kSigquit = 3, kSigill = 4, kSigtrap = 5, kSigabrt = 6, kSigbus = 7, kSigfpe = 8,
              kSigkill = 9, kSigsegv = 11, kSigchld = 17, kSigcont = 18, kSigstop = 19,
              kSigtstp = 20, kSigttin = 21, kSigttou = 22, kSigurg = 23, kSigxcpu = 24,
              kSigxfsz = 25, kSigwinch = 28, kSigsys = 31;
constexpr int kLastSignal = 64;
constexpr uint64_t kSetBytes = 8;  // of a set of signals

// si_code. What the kernel itself found is positive; what a process sent is not.
constexpr int32_t kSiKernel = 0x80, kSiQueue = -1, kSiTimer = -2, kSiTkill = -6;
constexpr int32_t kSegvMaperr = 1, kSegvAccerr = 2, kBusAlignment = 1;
constexpr int32_t kTrapTrace = 2, kSysUserDispatch = 2;

constexpr uint64_t kDefault = 0, kIgnore = 1;  // SignalAction::handler
constexpr uint64_t kSaNoCldStop = 1, kSaNoCldWait = 2, kSaSiginfo = 4, kSaOnStack = 0x08000000,
                   kSaRestart = 0x10000000, kSaNoDefer = 0x40000000, kSaResetHand = 0x80000000,
                   kSaRestorer = 0x04000000, kSaExposeTagbits = 0x800;
// The kernel drops the others, so that a program can find out which there are.
constexpr uint64_t kSaKnown = kSaNoCldStop | kSaNoCldWait | kSaSiginfo | kSaOnStack | kSaRestart |
                              kSaNoDefer | kSaResetHand | kSaRestorer | kSaExposeTagbits;
constexpr int32_t kSsOnStack = 1, kSsDisable = 2, kSsAutodisarm = 1u << 31;

constexpr int kSigBlock = 0, kSigUnblock = 1, kSigSetmask = 2;  // rt_sigprocmask

}  // namespace shmrec::agent
