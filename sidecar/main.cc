// shmrec-sidecar: collects what launchers record into a shared spool (docs/sidecar.md).
#include <fcntl.h>
#include <signal.h>
#include <spdlog/cfg/env.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <set>
#include <thread>

#include "base/signal_name.h"
#include "sidecar/client.h"
#include "sidecar/collector.h"
#include "sidecar/control.h"
#include "sidecar/destinations.h"
#include "sidecar/http/artefact_server.h"
#include "sidecar/http/health_server.h"
#include "sidecar/store/owner.h"

namespace shmrec::sidecar {
namespace {

int report(const Error& error) {
  std::fprintf(stderr, "shmrec-sidecar: %s\n", error.message.c_str());
  return error.bad_input ? 2 : 1;
}

std::string random_name() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number)
    number = static_cast<uint64_t>(time(nullptr));
  char text[20];
  std::snprintf(text, sizeof text, "%016lx", static_cast<unsigned long>(number));
  return text;
}

// One sidecar from its configuration to its end. Members are stopped in the reverse of their order.
class Sidecar {
 public:
  // `mistakes`: in the configuration, which the sidecar does without.
  Sidecar(Config config, std::vector<std::string> mistakes)
      : config_(std::move(config)), mistakes_(std::move(mistakes)), instance_(random_name()) {
    if (!mistakes_.empty()) add_termination_message();
  }

  Result<> open() {
    std::error_code error;
    std::filesystem::create_directories(config_.spool, error);
    if (error) return Error{config_.spool + ": " + error.message(), false};
    Result<recording::Spool> spool = recording::Spool::open(config_.spool);
    if (!spool) return spool.error();
    spool_.emplace(std::move(*spool));
    const UniqueFd directory(::open(config_.spool.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return system_error(config_.spool);
    auto owner = OwnerLock::take(directory.get(), config_.spool, "spool");
    if (!owner) return owner.error();
    owner_.emplace(std::move(*owner));
    auto store = Store::open(config_.store);
    if (!store) return store.error();
    store_ = std::move(*store);
    limit_store();
    OpenedDestinations destinations = open_destinations(config_.destinations);
    if (config_.failure_closed && !destinations.troubles.empty())
      return Error{destinations.troubles.front()};
    auto queue = egress::Queue::open({.store = config_.store, .log = log_to_spdlog()},
                                     std::move(destinations.all));
    if (!queue) return queue.error();
    queue_ = std::move(*queue);
    collector_ = std::make_unique<Collector>(config_, instance_, *spool_, *store_, *queue_);
    for (const std::string& mistake : mistakes_) collector_->tell_mistake(mistake);
    for (const std::string& trouble : destinations.troubles)
      collector_->tell_mistake(trouble + "; nothing is sent there");
    return open_servers();
  }

  // Until a signal of `set`, which is blocked in every thread.
  void run(const sigset_t& set) {
    std::thread waiter([&] {
      int number = 0;
      while ((number = sigtimedwait(&set, nullptr, &kRetry)) < 0) (void)open_ports().ok();
      spdlog::info("{}: making what is due, then the end", signal_name(number));
      collector_->stop();
    });
    collector_->run();
    waiter.join();
  }

 private:
  // Where Kubernetes looks by default. The file is there, made for the container, or nobody looks.
  void add_termination_message() {
    constexpr const char* kPath = "/dev/termination-log";
    std::error_code error;
    if (!std::filesystem::is_regular_file(kPath, error)) return;
    for (const DestinationConfig& to : config_.destinations)
      if (!to.termination_message.empty() || to.name == "termination-log") return;
    DestinationConfig& to = config_.destinations.emplace_back();
    to.name = "termination-log";
    to.termination_message = kPath;
  }

  void limit_store() {
    const RetentionLimits limits =
        within_memory(config_.retention, disk_room(config_.store), memory_room(), store_->bytes());
    if (limits.bytes != config_.retention.bytes)
      spdlog::warn("{}: in memory, so its bundles take at most {} of it (retention.bytes)",
                   config_.store, in_mib(limits.bytes));
    config_.retention = limits;
  }

  Result<> open_servers() {
    auto control = ControlServer::open(
        {config_.spool + "/sidecar.sock", instance_,
         [this](const std::string&) { return collector_->run_to_join(); },
         [this] { collector_->look(); },
         [this](const std::string& probe, uid_t user) { return collector_->refuse(probe, user); }},
        *collector_);
    if (!control) return control.error();
    control_ = std::move(*control);
    collector_->set_control(*control_);
    return open_ports();
  }

  // What has an address that somebody else has taken is left out for now: the pod's programs wait
  // for the sidecar, and runs are collected without it. An address that is none, or that is refused
  // as it would be open to all, is a mistake in the configuration.
  Result<> open_ports() {
    for (const auto& open : {&Sidecar::open_artefacts, &Sidecar::open_health}) {
      const Result<> opened = (this->*open)();
      if (opened) continue;
      if (opened.error().bad_input && config_.failure_closed) return opened;
      say_port_trouble(opened.error());
    }
    return Unit{};
  }

  void say_port_trouble(const Error& trouble) {
    if (!port_troubles_.insert(trouble.message).second) return;
    const std::string text = trouble.message + "; runs are collected without this server";
    if (trouble.bad_input) return collector_->tell_mistake(text);
    spdlog::error("{}; trying again every {} s", text, kRetry.tv_sec);
  }

  Result<> open_artefacts() {
    if (config_.artefact_listen.empty() || artefacts_) return Unit{};
    auto server = ArtefactServer::start(
        *collector_, {config_.artefact_listen, config_.token_file, config_.no_auth, {}});
    if (!server) return server.error();
    artefacts_ = std::move(*server);
    spdlog::info("bundles at {}", artefacts_->address());
    return Unit{};
  }

  Result<> open_health() {
    if (config_.health_listen.empty() || health_) return Unit{};
    HealthOptions options;
    options.listen = config_.health_listen;
    if (artefacts_) options.more_metrics = [this] { return artefacts_->metrics(); };
    auto server = HealthServer::start(*collector_, options);
    if (!server) return server.error();
    health_ = std::move(*server);
    if (!port_troubles_.empty()) spdlog::info("health at {}", health_->address());
    return Unit{};
  }

  static constexpr timespec kRetry{5, 0};

  Config config_;
  const std::vector<std::string> mistakes_;
  const std::string instance_;
  std::optional<recording::Spool> spool_;
  std::optional<OwnerLock> owner_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<egress::Queue> queue_;
  std::unique_ptr<Collector> collector_;
  std::unique_ptr<ControlServer> control_;
  std::unique_ptr<ArtefactServer> artefacts_;
  std::unique_ptr<HealthServer> health_;
  std::set<std::string> port_troubles_;  // that were said
};

struct Arguments {
  std::optional<std::string> config;
  std::string spool, store, listen, token_file, health_listen;
  bool no_auth = false, strict = false;
  std::string address = "127.0.0.1:7071";  // of the health server to ask
  std::string method = "GET", path, body;
};

LoadedConfig configure(const Arguments& arguments) {
  LoadedConfig loaded = load_config_anyway(arguments.config, environ);
  Config* const config = &loaded.config;
  const std::pair<const std::string*, std::string*> given[] = {
      {&arguments.spool, &config->spool},
      {&arguments.store, &config->store},
      {&arguments.listen, &config->artefact_listen},
      {&arguments.token_file, &config->token_file},
      {&arguments.health_listen, &config->health_listen}};
  for (const auto& [value, member] : given)
    if (!value->empty()) *member = *value == "none" ? "" : *value;
  config->no_auth |= arguments.no_auth;
  config->failure_closed |= arguments.strict;
  return loaded;
}

void say_mistakes(const LoadedConfig& loaded) {
  for (const std::string& mistake : loaded.mistakes)
    std::fprintf(stderr, "shmrec-sidecar: %s\n", mistake.c_str());
}

int refuse(const LoadedConfig& loaded) {
  say_mistakes(loaded);
  std::fprintf(stderr,
               "shmrec-sidecar: not started, because the configuration has mistakes and "
               "failurePolicy is closed\n");
  return 2;
}

// The pod's programs wait for the sidecar, and what fails meanwhile must not be lost.
int serve(const Arguments& arguments) {
  LoadedConfig loaded = configure(arguments);
  if (!loaded.mistakes.empty() && loaded.config.failure_closed) return refuse(loaded);
  spdlog::set_default_logger(spdlog::stderr_color_mt("sidecar"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%fZ %^%l%$ %v", spdlog::pattern_time_type::utc);
  spdlog::cfg::load_env_levels();  // SPDLOG_LEVEL=debug
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGTERM, SIGINT}) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  if (!loaded.mistakes.empty())
    spdlog::error(
        "THE CONFIGURATION HAS MISTAKES: a key with one is as if it were not there, and the "
        "default "
        "holds; --strict or failurePolicy: closed would refuse");
  Sidecar sidecar(std::move(loaded.config), std::move(loaded.mistakes));
  if (const Result<> opened = sidecar.open(); !opened) return report(opened.error());
  sidecar.run(set);
  return 0;
}

int check(const Arguments& arguments) {
  const LoadedConfig loaded = configure(arguments);
  say_mistakes(loaded);
  if (!loaded.mistakes.empty()) return 2;
  std::printf("%s: ok, %zu rules, %zu destinations\n",
              arguments.config.value_or("defaults").c_str(), loaded.config.rules.size(),
              loaded.config.destinations.size());
  return 0;
}

int request(const Arguments& arguments) {
  // As the sidecar itself, which has said its mistakes.
  const LoadedConfig loaded = configure(arguments);
  const Result<int> status = send_request(
      loaded.config, {arguments.method, arguments.path, arguments.body}, stdout, stderr);
  if (!status) return report(status.error());
  return *status < 400 ? 0 : 1;
}

void add_options(CLI::App& app, Arguments& arguments) {
  app.add_option("-c,--config", arguments.config, "Configuration file (docs/sidecar.md)");
  app.add_option("--spool", arguments.spool,
                 "Directory that launchers record into ($SHMREC_SPOOL)");
  app.add_option("--store", arguments.store, "Directory of finished bundles ($SHMREC_STORE)");
  app.add_option("--listen", arguments.listen, "Artefact server: HOST:PORT, unix:/PATH or none");
  app.add_option("--token-file", arguments.token_file, "Bearer token of the artefact server");
  app.add_flag("--strict", arguments.strict,
               "Refuse a configuration with mistakes, as failurePolicy: closed");
  app.add_flag("--no-auth", arguments.no_auth, "Serve artefacts to whoever reaches the address");
  app.add_option("--health-listen", arguments.health_listen,
                 "Health server: HOST:PORT, unix:/PATH or none");
}

int main_of(int argc, char** argv) {
  CLI::App app{"Collects recordings of shared memory from a spool, keeps bundles, hands them out.",
               "shmrec-sidecar"};
  app.set_version_flag("--version", SHMREC_VERSION);
  app.require_subcommand(0, 1);
  app.footer("Exit code: 0 done, 1 failed, 2 bad usage or configuration.");
  Arguments arguments;
  add_options(app, arguments);
  CLI::App* health =
      app.add_subcommand("health", "Ask a sidecar whether it lives; for exec probes");
  health->add_option("ADDRESS", arguments.address, "Its health server")->capture_default_str();
  CLI::App* checked = app.add_subcommand("check", "Check the configuration and end");
  CLI::App* asked = app.add_subcommand(
      "request", "Ask the artefact server of the sidecar beside this process, with its token");
  asked->add_option("PATH", arguments.path, "For example /v1/bundles")->required();
  asked->add_option("-X,--method", arguments.method, "GET, POST or DELETE")->capture_default_str();
  asked->add_option("-d,--data", arguments.body, "JSON to send");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (*health) return health_probe(arguments.address);
  if (*checked) return check(arguments);
  if (*asked) return request(arguments);
  return serve(arguments);
}

}  // namespace
}  // namespace shmrec::sidecar

int main(int argc, char** argv) { return shmrec::sidecar::main_of(argc, argv); }
