// The calls that written_test.cc makes, by what they are about. Each function makes the calls of
// its area in all outcomes that it can bring about without harm; what this machine or user does not
// offer may fail.
#pragma once

#include <gtest/gtest.h>

#include <array>

#include "tests/unit/written_oracle.h"

namespace shmrec::syscalls {

void written_by_files(WrittenOracle& oracle);
void written_by_waits(WrittenOracle& oracle);
void written_by_sockets(WrittenOracle& oracle);
void written_by_ipc(WrittenOracle& oracle);
void written_by_processes(WrittenOracle& oracle);
void written_by_time_and_signals(WrittenOracle& oracle);
void written_by_memory(WrittenOracle& oracle);
void written_by_devices(WrittenOracle& oracle);

}  // namespace shmrec::syscalls
