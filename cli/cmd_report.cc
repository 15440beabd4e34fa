// shmrec report: a bundle as one page to look at.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/output_file.h"
#include "cli/commands.h"
#include "cli/index_warning.h"
#include "recording/run/run_files.h"
#include "report/report.h"

namespace shmrec::cli {
namespace {

int fail(const Error& error) {
  std::fprintf(stderr, "shmrec: %s\n", error.message.c_str());
  return error.bad_input ? 2 : 1;
}

std::string base_name_of(const std::string& bundle) {
  std::filesystem::path path(bundle);
  if (!path.has_filename()) path = path.parent_path();
  return path.filename().string();
}

// "name.html" for "directory/name.shmrec.tar.zst".
std::string default_output(const std::string& bundle) {
  std::string name = base_name_of(bundle);
  for (const char* suffix : {".zst", ".tar", ".shmrec", ".shmlog"})
    if (name.ends_with(suffix)) name.resize(name.size() - std::string_view(suffix).size());
  return (name.empty() ? "report" : name) + ".html";
}

Result<> write_page(const std::string& path, const std::string& page) {
  // Values of shared memory are in it: for its owner alone, as a bundle is.
  constexpr mode_t kMode = 0600;
  Result<OutputFile> file = OutputFile::create(path, kMode, OutputFile::Special::kWrite);
  if (!file) return file.error();
  for (size_t done = 0; done < page.size();) {
    const ssize_t part = write(file->fd(), page.data() + done, page.size() - done);
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return file->error(errno);
    done += static_cast<size_t>(part);
  }
  return file->commit();
}

std::optional<int> report(const std::string& bundle, const std::string& output,
                          recording::RunFiles::Read read) {
  const auto files = recording::RunFiles::open(bundle, read);
  if (!files) return fail(files.error());
  const std::string page = report::make_report(**files, base_name_of(bundle));
  if (warn_of_index(**files)) return std::nullopt;
  const Result<> written = write_page(output, page);
  if (!written) return fail(written.error());
  std::fprintf(stderr, "shmrec: wrote %s\n", output.c_str());
  return 0;
}

}  // namespace

int cmd_report(int argc, char** argv) {
  CLI::App app{
      "Writes a bundle as one HTML page that needs no network: what happened, the processes, when "
      "and where they accessed shared memory, who shared what, and what was not recorded.",
      "shmrec report"};
  std::string bundle, output;
  app.add_option("BUNDLE", bundle, "Bundle, run directory or .shmlog file")->required();
  app.add_option("-o,--output", output, "The page; default: NAME.html in this directory")
      ->type_name("FILE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (output.empty()) output = default_output(bundle);
  return in_parts_or_whole([&](auto read) { return report(bundle, output, read); });
}

}  // namespace shmrec::cli
