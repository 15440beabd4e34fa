// Small things for text that people read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace shmrec::recording {

std::string hex(uint64_t value);              // 0x1f
std::string with_separators(uint64_t value);  // 1,234,567
// Names come from the workload: control characters and bytes that are not ASCII become \xNN, so
// that no name can steer a terminal.
std::string printable(const std::string& text);
// The path behind its last '/'.
std::string base_name(const std::string& path);
// As one word for a shell.
std::string shell_quoted(const std::string& word);

// Rows of cells, padded to columns.
std::string columns(const std::vector<std::vector<std::string>>& rows, const std::string& indent);

}  // namespace shmrec::recording
