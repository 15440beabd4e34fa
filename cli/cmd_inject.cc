// shmrec inject and uninject: the sidecar into manifests, and out of them.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/printable.h"
#include "cli/commands.h"
#include "deploy/inject/inject.h"
#include "deploy/inject/manifest_files.h"

namespace shmrec::cli {
namespace {

struct Arguments {
  std::vector<std::string> paths;
  bool recursive = false;
  bool explain = false;
};

using Change = std::function<Result<inject::Injection>(const inject::ManifestFile&)>;

void print_lines(const char* prefix, const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::fprintf(stderr, "shmrec: %s%s\n", prefix, printable(line).c_str());
  }
}

int report(const Error& error) {
  print_lines("", error.message);
  return error.bad_input ? 2 : 1;
}

// All files as one: what one of them has wrong stops no other.
struct Total {
  inject::Injection all;
  int code = 0;

  void add(const inject::ManifestFile& file, const Change& change) {
    const Result<inject::Injection> one = file.text ? change(file) : file.text.error();
    if (!one) {
      code = std::max(code, report(one.error()));
      return;
    }
    for (const std::string& note : one->notes) print_lines("note: ", note);
    for (const std::string& error : one->errors) print_lines("", error);
    if (!one->errors.empty()) code = 2;
    inject::append_stream(all.yaml, one->yaml);
    all.workloads.insert(all.workloads.end(), one->workloads.begin(), one->workloads.end());
    all.containers.insert(one->containers.begin(), one->containers.end());
  }
};

Result<Total> change_all(const Arguments& arguments, const Change& change) {
  const Result<std::vector<std::string>> names =
      inject::find_manifests(arguments.paths, arguments.recursive);
  if (!names) return names.error();
  Total total;
  for (const std::string& name : *names) total.add(inject::read_manifest(name), change);
  return total;
}

int print(const std::string& text, int code) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  return code;
}

int run_inject(const Arguments& arguments, const inject::Options& options) {
  const Result<Total> total = change_all(arguments, [&](const inject::ManifestFile& file) {
    return inject::inject(*file.text, file.name, options);
  });
  if (!total) return report(total.error());
  if (total->code == 0) {
    if (const auto unknown = inject::find_unknown_name(options, total->all.containers)) {
      return report(*unknown);
    }
  }
  return print(arguments.explain ? inject::explain(total->all.workloads) : total->all.yaml,
               total->code);
}

// NAME=WORDS. Of more words JSON says where one ends.
Result<> read_entrypoint(const std::string& text, inject::Entrypoints& out) {
  const size_t equals = text.find('=');
  const std::string value = equals == text.npos ? "" : text.substr(equals + 1);
  std::optional<std::vector<std::string>> words;
  if (value.starts_with('[')) {
    words = inject::parse_words(value);
  } else if (!value.empty() && value.find_first_of(" \t\"'{") == value.npos) {
    words = {value};
  }
  if (!words || equals == 0) {
    return Error{"--entrypoint " + printable(text) +
                 ": expected CONTAINER=[\"/program\", \"argument\"], a JSON list of words, or "
                 "CONTAINER=/program; write it so"};
  }
  out[text.substr(0, equals)] = std::move(*words);
  return Unit{};
}

void add_files(CLI::App& app, Arguments& arguments) {
  app.add_option("-f,--filename", arguments.paths,
                 "Manifests, or a directory of them (*.yaml, *.yml, *.json); may be repeated; - is "
                 "standard input")
      ->required()
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
  app.add_flag("-R,--recursive", arguments.recursive, "Directories with those below them");
}

}  // namespace

int cmd_inject(int argc, char** argv) {
  CLI::App app{
      "Reads Kubernetes manifests and prints them with the sidecar and with the command of the "
      "containers under shmrec run. Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, "
      "ReplicationControllers, Jobs, CronJobs, PodTemplates and lists of them are changed, the "
      "rest passes. What was injected before is renewed: with what is given now, else as it was.",
      "shmrec inject"};
  app.footer(
      "A container without a command is not recorded, and named on standard error; its image's can "
      "be given by --entrypoint or the annotation shmrec.dev/entrypoint.CONTAINER of its pod. "
      "Pods with the annotation shmrec.dev/inject: \"false\" pass as they are.\n"
      "Exit code: 0 done, perhaps with notes; 1 failed; 2 bad usage, or a document that could not "
      "be changed (it passes as it is) or read (it is left out).");
  Arguments arguments;
  std::string mode;
  std::vector<std::string> entrypoints;
  inject::Options options;
  options.default_image = "localhost/shmrec-sidecar:" SHMREC_VERSION;
  options.version = SHMREC_VERSION;
  add_files(app, arguments);
  app.add_option("--container", options.containers,
                 "Container to record, may be repeated; default: all but init containers")
      ->type_name("NAME")
      ->expected(1)
      ->take_all();
  app.add_option("--entrypoint", entrypoints,
                 "What a container without command starts, as a JSON list: its image's Entrypoint, "
                 "and Cmd unless the manifest has args; may be repeated")
      ->type_name("NAME=WORDS")
      ->expected(1)
      ->take_all();
  app.add_option("--image", options.image,
                 "Image of the sidecar; default: " + options.default_image)
      ->type_name("IMAGE");
  app.add_option("--mode", mode, "native (default): Kubernetes 1.29 or later; classic: before")
      ->type_name("native|classic")
      ->check(CLI::IsMember({"native", "classic"}).description(""));
  app.add_option("--policy-configmap", options.policy_configmap,
                 "ConfigMap whose key policy.yaml says what is recorded; '': none")
      ->type_name("NAME");
  app.add_option("--sidecar-config", options.sidecar_config,
                 "ConfigMap whose key sidecar.yaml configures the sidecar; '': none")
      ->type_name("NAME");
  app.add_option("--claim", options.claim,
                 "PersistentVolumeClaim that keeps the bundles when the pod is gone; '': none")
      ->type_name("NAME");
  app.add_flag("--explain", arguments.explain,
               "Print what would be added, and which permissions, instead");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  for (const std::string& text : entrypoints) {
    if (const Result<> read = read_entrypoint(text, options.entrypoints); !read) {
      return report(read.error());
    }
  }
  if (!mode.empty()) {
    options.mode = mode == "classic" ? inject::Mode::kClassic : inject::Mode::kNative;
  }
  return run_inject(arguments, options);
}

int cmd_uninject(int argc, char** argv) {
  CLI::App app{
      "Reads Kubernetes manifests and prints them without what shmrec inject has added to them: "
      "as they were before.",
      "shmrec uninject"};
  app.footer(
      "Exit code: 0 done; 1 failed; 2 bad usage, or a document that could not be changed (it "
      "passes as it is) or read (it is left out).");
  Arguments arguments;
  add_files(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const Result<Total> total = change_all(arguments, [](const inject::ManifestFile& file) {
    return inject::uninject(*file.text, file.name);
  });
  if (!total) return report(total.error());
  return print(total->all.yaml, total->code);
}

}  // namespace shmrec::cli
