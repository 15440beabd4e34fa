// shmrec dump: prints a file of any of the project's formats.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cli/commands.h"
#include "recording/bundle/bundle.h"
#include "recording/log/shmlog_dump.h"
#include "recording/run/run_files.h"
#include "recording/stream/stream_dump.h"
#include "recording/stream/stream_files.h"

namespace shmrec::cli {
namespace {

int fail(const Error& error) {
  std::fprintf(stderr, "shmrec: %s\n", error.message.c_str());
  return error.bad_input ? 2 : 1;
}

bool print_line(const std::string& line) {
  return std::fputs(line.c_str(), stdout) >= 0 && std::fputc('\n', stdout) >= 0;
}

int dump_log(const std::string& path, bool json) {
  const auto log = recording::ShmlogReader::open(path);
  if (!log) return fail(log.error());
  recording::dump_shmlog(**log, json, print_line);
  return 0;
}

// By ID, pid or name, as the other commands. A log that has been written over may not know it any
// more; its directory has its ID.
Result<std::filesystem::path> stream_directory(const recording::RunFiles& files,
                                               const std::string& id_or_name) {
  const std::filesystem::path all = files.directory() / recording::kRecordingsFolder;
  std::error_code ignored;
  const bool is_name = id_or_name[0] != '.' && id_or_name.find('/') == std::string::npos;
  if (is_name && std::filesystem::is_directory(all / id_or_name, ignored)) return all / id_or_name;
  const recording::Timeline timeline = files.timeline();
  const auto found = timeline.find(id_or_name);
  if (!found) return found.error();
  return all / (*found)->id;
}

int dump_stream_of(const std::string& path, const std::string& id_or_name, bool json) {
  const auto files = recording::RunFiles::open(path, recording::RunFiles::Read::kWhole);
  if (!files) return fail(files.error());
  if ((*files)->directory().empty())
    return fail({path + ": a log alone; the streams are in a run directory"});
  const auto directory = stream_directory(**files, id_or_name);
  if (!directory) return fail(directory.error());
  auto stream = recording::StreamReader::open(*directory);
  if (!stream) return fail(stream.error());
  const auto dumped = recording::dump_stream(*stream, json, print_line);
  return dumped ? 0 : fail(dumped.error());
}

int dump_manifest(const std::string& path) {
  const auto bundle = recording::open_bundle(path);
  if (!bundle) return fail(bundle.error());
  const auto manifest = recording::manifest_json(*bundle);
  if (!manifest) return fail(manifest.error());
  std::printf("%s\n", manifest->c_str());
  return 0;
}

std::string first_bytes(const std::string& path, size_t count) {
  std::string bytes(count, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<size_t>(file.gcount()));
  return bytes;
}

}  // namespace

int cmd_dump(int argc, char** argv) {
  CLI::App app{
      "Prints what is in a file, by its magic: a shared-memory log item by item, of a bundle or a "
      "run directory the manifest, or what a recording at level replay has recorded.",
      "shmrec dump"};
  std::string path, recording;
  bool json = false;
  app.add_option("FILE", path, "A .shmlog file, a bundle or a run directory")->required();
  app.add_option(
         "--recording", recording,
         "Of the recording with this ID: start, system calls, signals, what was read of the "
         "processor, in order (level replay)")
      ->type_name("ID");
  app.add_flag("--json", json,
               "A log or a stream as JSON Lines, one object an item; a manifest is JSON anyway");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (!recording.empty()) return dump_stream_of(path, recording, json);
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return dump_manifest(path);
  const bool is_log = first_bytes(path, sizeof(shmlog::kMagic)) ==
                      std::string(std::begin(shmlog::kMagic), std::end(shmlog::kMagic));
  return is_log ? dump_log(path, json) : dump_manifest(path);
}

}  // namespace shmrec::cli
