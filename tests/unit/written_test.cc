// What syscalls write, against what the table says that they do: each call is made for real with
// all its memory in one arena, and every byte of it that changed must have been announced.
#include <gtest/gtest.h>

#include "syscalls/replay_rule.h"
#include "tests/unit/written_areas.h"

namespace shmrec::syscalls {
namespace {

void interrupts_by_alarm() {
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);  // without SA_RESTART
}

void make_all(WrittenOracle& oracle) {
  written_by_files(oracle);
  written_by_waits(oracle);
  written_by_sockets(oracle);
  written_by_ipc(oracle);
  written_by_processes(oracle);
  written_by_time_and_signals(oracle);
  written_by_memory(oracle);
  written_by_devices(oracle);
}

// A byte that is written with the value it had does not show: two values find it.
TEST(Written, EveryChangedByteIsAnnounced) {
  interrupts_by_alarm();
  for (uint8_t canary : {0xA5, 0x3C}) {
    WrittenOracle oracle(canary);
    make_all(oracle);
    for (const std::string& complaint : oracle.complaints()) ADD_FAILURE() << complaint;
    EXPECT_GE(oracle.distinct(), 150u);
    oracle.report(std::cout);
  }
}

TEST(Written, TheOracleSeesWhatIsNotAnnounced) {
  WrittenOracle oracle(0xA5);
  oracle.done(SYS_uname, oracle.room(390));
  EXPECT_EQ(oracle.missed(), 0u);
  oracle.ignore_announcements();
  oracle.done(SYS_uname, oracle.room(390));
  EXPECT_GT(oracle.missed(), 0u);
}

}  // namespace
}  // namespace shmrec::syscalls
