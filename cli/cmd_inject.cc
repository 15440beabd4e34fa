// shmrec inject: the sidecar into manifests.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <sstream>
#include <string>

#include "cli/commands.h"
#include "deploy/inject/inject.h"
#include "deploy/inject/yaml_source.h"

namespace shmrec::cli {
namespace {

struct CloseFile {
  void operator()(FILE* file) const {
    if (file != stdin) std::fclose(file);
  }
};

// At most one byte more than can be read, which is then refused.
Result<std::string> read_all(const std::string& path) {
  const std::unique_ptr<FILE, CloseFile> file(path == "-" ? stdin : std::fopen(path.c_str(), "re"));
  if (!file) return Error{path + ": " + std::strerror(errno)};
  std::string text;
  char block[64 * 1024];
  errno = 0;
  while (text.size() <= inject::kMaxSourceBytes) {
    const size_t n = std::fread(block, 1, sizeof block, file.get());
    text.append(block, n);
    if (n == 0) break;
  }
  if (std::ferror(file.get())) return system_error(path);
  return text;
}

int report(const Error& error) {
  std::istringstream lines(error.message);
  for (std::string line; std::getline(lines, line);) {
    std::fprintf(stderr, "shmrec: %s\n", line.c_str());
  }
  return error.bad_input ? 2 : 1;
}

int run(const std::string& path, const inject::Options& options, bool explain) {
  const Result<std::string> text = read_all(path);
  if (!text) return report(text.error());
  const Result<inject::Injection> injection =
      inject::inject(*text, path == "-" ? "stdin" : path, options);
  if (!injection) return report(injection.error());
  for (const std::string& note : injection->notes) {
    std::fprintf(stderr, "shmrec: note: %s\n", note.c_str());
  }
  const std::string out = explain ? inject::explain(*injection) : injection->yaml;
  std::fwrite(out.data(), 1, out.size(), stdout);
  return 0;
}

}  // namespace

int cmd_inject(int argc, char** argv) {
  CLI::App app{
      "Reads Kubernetes manifests and prints them with the sidecar and with the command of the "
      "containers under shmrec run. Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, "
      "Jobs, CronJobs and lists of them are changed, the rest passes.",
      "shmrec inject"};
  std::string path, mode = "native";
  inject::Options options;
  options.image = "localhost/shmrec-sidecar:" SHMREC_VERSION;
  options.version = SHMREC_VERSION;
  bool explain = false;
  app.add_option("-f,--filename", path, "Manifests; - is standard input")
      ->required()
      ->type_name("FILE");
  app.add_option("--container", options.containers,
                 "Container to record, may be repeated; default: all but init containers")
      ->type_name("NAME")
      ->expected(1)
      ->take_all();
  app.add_option("--image", options.image, "Image of the sidecar")
      ->type_name("IMAGE")
      ->capture_default_str();
  app.add_option("--mode", mode, "native: Kubernetes 1.29 or later; classic: before")
      ->type_name("native|classic")
      ->capture_default_str()
      ->check(CLI::IsMember({"native", "classic"}).description(""));
  app.add_option("--policy-configmap", options.policy_configmap,
                 "ConfigMap whose key policy.yaml says what is recorded")
      ->type_name("NAME");
  app.add_flag("--explain", explain, "Print what would be added, and which permissions, instead");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (mode == "classic") options.mode = inject::Mode::kClassic;
  return run(path, options, explain);
}

}  // namespace shmrec::cli
