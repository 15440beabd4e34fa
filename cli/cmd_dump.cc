// shmrec dump: prints a file of any of the project's formats.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cli/commands.h"
#include "recording/bundle/bundle.h"
#include "recording/log/shmlog_dump.h"

namespace shmrec::cli {
namespace {

int fail(const Error& error) {
  std::fprintf(stderr, "shmrec: %s\n", error.message.c_str());
  return error.bad_input ? 2 : 1;
}

int dump_log(const std::string& path, bool json) {
  const auto log = recording::ShmlogReader::open(path);
  if (!log) return fail(log.error());
  recording::dump_shmlog(**log, json, [](const std::string& line) {
    return std::fputs(line.c_str(), stdout) >= 0 && std::fputc('\n', stdout) >= 0;
  });
  return 0;
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
      "run directory the manifest.",
      "shmrec dump"};
  std::string path;
  bool json = false;
  app.add_option("FILE", path, "A .shmlog file, a bundle or a run directory")->required();
  app.add_flag("--json", json,
               "A log as JSON Lines, one object an item; a manifest is JSON anyway");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return dump_manifest(path);
  const bool is_log = first_bytes(path, sizeof(shmlog::kMagic)) ==
                      std::string(std::begin(shmlog::kMagic), std::end(shmlog::kMagic));
  return is_log ? dump_log(path, json) : dump_manifest(path);
}

}  // namespace shmrec::cli
