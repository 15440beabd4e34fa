// shmrec install: put this program where containers of other images can start it.
//
// Made for an init step that shares a volume with the application: the copy appears at once and
// whole (rename), whoever may be running an older one goes on with it, and doing it again changes
// nothing.
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/output_file.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cli/commands.h"

namespace shmrec::cli {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kMode = 0755;

constexpr const char* kFooter = R"(
Example, as the first step in a pod whose containers share the volume /shmrec:
  shmrec install /shmrec
then start the application by /shmrec/shmrec run -- COMMAND.)";

Result<std::string> read_whole(const fs::path& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return system_error(path.string());
  std::string text;
  std::vector<char> block(1 << 20);
  for (;;) {
    const ssize_t bytes = read(file.get(), block.data(), block.size());
    if (bytes < 0) return system_error(path.string());
    if (bytes == 0) return text;
    text.append(block.data(), static_cast<size_t>(bytes));
  }
}

Result<std::string> this_program() {
  std::error_code error;
  const fs::path path = fs::read_symlink("/proc/self/exe", error);
  if (error) return system_error("/proc/self/exe", error.value());
  return read_whole(path);
}

// Whether it needs an interpreter and libraries, which the other image may not have.
bool is_dynamic(const std::string& program) {
  Elf64_Ehdr header;
  if (program.size() < sizeof header) return false;
  memcpy(&header, program.data(), sizeof header);
  for (size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const size_t at = header.e_phoff + i * sizeof segment;
    if (at + sizeof segment > program.size()) return false;
    memcpy(&segment, program.data() + at, sizeof segment);
    if (segment.p_type == PT_INTERP) return true;
  }
  return false;
}

bool is_there(const fs::path& path, const std::string& program) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  if ((status.st_mode & 07777) != kMode || static_cast<size_t>(status.st_size) != program.size())
    return false;
  const Result<std::string> there = read_whole(path);
  return there && *there == program;
}

Result<> write_whole(const OutputFile& file, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t bytes = write(file.fd(), text.data() + done, text.size() - done);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return file.error(errno);
    done += static_cast<size_t>(bytes);
  }
  if (fchmod(file.fd(), kMode) != 0) return file.error(errno);
  return Unit{};
}

Result<> put(const fs::path& path, const std::string& program) {
  Result<OutputFile> file = OutputFile::create(path, kMode, OutputFile::Special::kRefuse);
  if (!file) return file.error();
  const Result<> written = write_whole(*file, program);
  return written ? file->commit() : written;
}

Result<std::string> install(const fs::path& directory) {
  const Result<std::string> program = this_program();
  if (!program) return program.error();
  if (is_dynamic(*program))
    std::fputs(
        "shmrec: this build needs shared libraries, which other images may lack; release builds "
        "are static\n",
        stderr);
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return system_error(directory.string(), error.value());
  const fs::path path = fs::absolute(directory).lexically_normal() / "shmrec";
  if (is_there(path, *program)) return path.string() + " is there already\n";
  const Result<> done = put(path, *program);
  if (!done) return done.error();
  return path.string() + " installed (" + std::to_string(program->size() >> 10) + " KiB)\n";
}

std::string advice(const fs::path& directory) {
  const std::string program = (fs::absolute(directory).lexically_normal() / "shmrec").string();
  return "start the application by it, with the volume mounted at the same place:\n"
         "  command: [\"" +
         program + "\", \"run\", \"--\", \"COMMAND\", \"ARGUMENT\"]\n";
}

}  // namespace

int cmd_install(int argc, char** argv) {
  CLI::App app{
      "Copies this program, with the agent in it, to DIR/shmrec, so that containers of "
      "unchanged images can run their command by it.",
      "shmrec install"};
  std::string directory;
  app.footer(kFooter);
  app.add_option("DIR", directory, "Where to, made if missing: a volume that the containers share")
      ->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const Result<std::string> installed = install(directory);
  if (!installed) {
    std::fprintf(stderr, "shmrec: %s\n", installed.error().message.c_str());
    return 1;
  }
  std::printf("%s%s", installed->c_str(), advice(directory).c_str());
  return 0;
}

}  // namespace shmrec::cli
