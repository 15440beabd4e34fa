// shmrec bundle: make, list, show, verify and extract bundles.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/output_file.h"
#include "cli/commands.h"
#include "recording/bundle/bundle.h"

namespace shmrec::cli {
namespace {

using nlohmann::ordered_json;
using recording::BundleFile;

int report(const Error& error) {
  std::fprintf(stderr, "shmrec: %s\n", error.message.c_str());
  return error.bad_input ? 2 : 1;
}

// One line that is overwritten, on a terminal only, and only for work that takes a while.
class ProgressLine {
 public:
  explicit ProgressLine(const char* verb) : verb_(verb), terminal_(isatty(STDERR_FILENO) != 0) {}
  ~ProgressLine() {
    if (shown_) std::fputs("\r\x1b[K", stderr);
  }
  recording::Progress callback() {
    if (!terminal_) return {};
    return [this](uint64_t done, uint64_t total) { show(done, total); };
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kPatience{300}, kInterval{100};

  void show(uint64_t done, uint64_t total) {
    const Clock::time_point now = Clock::now();
    if (total == 0 || now < next_) return;
    next_ = now + kInterval;
    shown_ = true;
    std::fprintf(stderr, "\r%s: %3.0f%% of %s\x1b[K", verb_,
                 100.0 * static_cast<double>(done) / static_cast<double>(total),
                 recording::human_bytes(total).c_str());
  }

  const char* verb_;
  const bool terminal_;
  bool shown_ = false;
  Clock::time_point next_ = Clock::now() + kPatience;
};

void print_json(const ordered_json& document) {
  std::printf("%s\n", document.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

ordered_json to_json(const std::vector<BundleFile>& files) {
  ordered_json rows = ordered_json::array();
  for (const BundleFile& file : files) {
    ordered_json row = {{"name", file.name}, {"bytes", file.bytes}};
    if (!file.sha256.empty()) row["sha256"] = file.sha256;
    rows.push_back(std::move(row));
  }
  return rows;
}

// ---- Commands -----------------------------------------------------------------------------------

struct Arguments {
  std::string path;    // run directory or bundle
  std::string output;  // -o, -C
  std::string trigger = "on demand";
  std::vector<std::string> names;
  bool no_binaries = false;
  bool no_libraries = false;
  bool foreign = false;
  bool json = false;
};

int create(const Arguments& arguments) {
  ProgressLine line("bundling");
  recording::CreateBundleOptions options;
  options.output = arguments.output;
  options.trigger = arguments.trigger;
  options.collect_binaries = !arguments.no_binaries;
  options.collect_libraries = !arguments.no_libraries;
  options.foreign = arguments.foreign;
  options.progress = line.callback();
  const auto path = recording::create_bundle(arguments.path, options);
  if (!path) return report(path.error());
  if (!is_plain_output(*path)) return 0;  // -o /dev/stdout: its reader wants the bundle alone
  arguments.json ? print_json({{"bundle", path->string()}})
                 : void(std::printf("%s\n", path->c_str()));
  return 0;
}

int list(const Arguments& arguments) {
  ProgressLine line("reading");
  const auto files = recording::list_bundle(arguments.path, line.callback());
  if (!files) return report(files.error());
  if (arguments.json) {
    print_json(to_json(*files));
    return 0;
  }
  for (const BundleFile& file : *files) {
    std::printf("%12llu  %s\n", static_cast<unsigned long long>(file.bytes), file.name.c_str());
  }
  return 0;
}

int show(const Arguments& arguments) {
  const std::string name = arguments.names.empty() ? "manifest.json" : arguments.names[0];
  const auto text = recording::read_bundle_file(arguments.path, name);
  if (!text) return report(text.error());
  return std::fwrite(text->data(), 1, text->size(), stdout) == text->size() ? 0 : 1;
}

// `documents`: gets one, if they are wanted.
int verify_one(const std::string& path, ordered_json* documents) {
  ProgressLine line("verifying");
  const auto files = recording::verify_bundle(path, line.callback());
  if (documents != nullptr) {
    ordered_json document = {{"bundle", path}, {"ok", files.ok()}};
    if (files) document["files"] = to_json(*files);
    if (!files) document["error"] = files.error().message;
    documents->push_back(std::move(document));
  } else if (files) {
    std::printf("%s: ok, %zu files\n", path.c_str(), files->size());
  }
  return files ? 0 : report(files.error());
}

// All of them, whatever is wrong with one.
int verify(const Arguments& arguments) {
  ordered_json documents = ordered_json::array();
  int worst = 0;
  for (const std::string& path : arguments.names)
    worst = std::max(worst, verify_one(path, arguments.json ? &documents : nullptr));
  if (arguments.json) print_json(documents.size() == 1 ? documents[0] : documents);
  return worst;
}

int extract(const Arguments& arguments) {
  ProgressLine line("extracting");
  const std::string into = arguments.output.empty() ? "." : arguments.output;
  const auto files =
      recording::extract_bundle(arguments.path, into, arguments.names, line.callback());
  if (!files) return report(files.error());
  if (arguments.json) {
    print_json(to_json(*files));
    return 0;
  }
  for (const BundleFile& file : *files) std::printf("%s\n", file.name.c_str());
  return 0;
}

struct Subcommand {
  CLI::App* app;
  int (*run)(const Arguments&);
};

void add_bundle_argument(CLI::App* app, Arguments& arguments) {
  app->add_option("BUNDLE", arguments.path, "The bundle, NAME.shmrec.tar.zst")->required();
}

CLI::App* add_create(CLI::App& app, Arguments& arguments) {
  CLI::App* create = app.add_subcommand(
      "create", "Make a bundle of a run directory of the spool, whether the run ended or not");
  create->add_option("RUN_DIR", arguments.path, "The run directory; it is not changed")->required();
  create->add_option(
      "-o,--output", arguments.output,
      "File (replaced if it exists), or directory where the bundle gets the run's name "
      "(default: the current directory)");
  create->add_option("--trigger", arguments.trigger, "Why it is made; noted in the manifest")
      ->capture_default_str();
  create->add_flag("--no-binaries", arguments.no_binaries, "Leave out the recorded executables");
  create->add_flag("--no-libraries", arguments.no_libraries, "Leave out the libraries they used");
  create->add_flag("--foreign", arguments.foreign,
                   "Collected in another container: take binaries from the run directory only");
  create->add_flag("--json", arguments.json, "Print a JSON document");
  return create;
}

CLI::App* add_list(CLI::App& app, Arguments& arguments) {
  CLI::App* list = app.add_subcommand("ls", "List the files of a bundle with their sizes in bytes");
  add_bundle_argument(list, arguments);
  list->add_flag("--json", arguments.json, "Print a JSON document, with sums");
  return list;
}

CLI::App* add_show(CLI::App& app, Arguments& arguments) {
  CLI::App* show = app.add_subcommand("show", "Print one file of a bundle");
  add_bundle_argument(show, arguments);
  show->add_option("FILE", arguments.names, "Its name as ls prints it (default: manifest.json)")
      ->expected(0, 1);
  return show;
}

CLI::App* add_verify(CLI::App& app, Arguments& arguments) {
  CLI::App* verify = app.add_subcommand(
      "verify",
      "Check every sum, the manifest against the content, run.json and coverage.json against their "
      "schemas, and that the log opens");
  verify->add_option("BUNDLE", arguments.names, "Bundles, NAME.shmrec.tar.zst")->required();
  verify->add_flag("--json", arguments.json, "Print a JSON document");
  return verify;
}

CLI::App* add_extract(CLI::App& app, Arguments& arguments) {
  CLI::App* extract =
      app.add_subcommand("extract", "Write the files of a bundle, replacing nothing");
  add_bundle_argument(extract, arguments);
  extract->add_option("-C,--directory", arguments.output,
                      "Where to, made if missing (default: the current directory)");
  extract->add_option("FILES", arguments.names, "Names as ls prints them (default: all)");
  extract->add_flag("--json", arguments.json, "Print a JSON document");
  return extract;
}

}  // namespace

int cmd_bundle(int argc, char** argv) {
  CLI::App app{"Makes and reads bundles: one run as one file (docs/bundle_format.md).",
               "shmrec bundle"};
  app.require_subcommand(1);
  app.footer(
      "Exit code: 0 done; 1 failed; 2 bad usage, or the bundle is damaged or not to be trusted.");
  Arguments arguments;
  const Subcommand subcommands[] = {{add_create(app, arguments), create},
                                    {add_list(app, arguments), list},
                                    {add_show(app, arguments), show},
                                    {add_verify(app, arguments), verify},
                                    {add_extract(app, arguments), extract}};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  for (const Subcommand& subcommand : subcommands) {
    if (*subcommand.app) return subcommand.run(arguments);
  }
  return 2;
}

}  // namespace shmrec::cli
