#include "sidecar/destinations.h"

#include <spdlog/spdlog.h>

#include "sidecar/egress/directory.h"
#include "sidecar/egress/exec_hook.h"
#include "sidecar/egress/put.h"
#include "sidecar/egress/termination_message.h"

namespace shmrec::sidecar {
namespace {

using Opened = Result<std::unique_ptr<egress::Destination>>;

template <typename T>
Opened widen(Result<std::unique_ptr<T>> made) {
  if (!made) return made.error();
  return std::unique_ptr<egress::Destination>(std::move(*made));
}

Opened open_one(const DestinationConfig& config) {
  if (config.put) return widen(egress::PutDestination::create(config.name, *config.put));
  if (config.exec)
    return widen(egress::ExecHook::create(config.name, *config.exec, log_to_spdlog()));
  if (!config.directory.empty())
    return std::unique_ptr<egress::Destination>(std::make_unique<egress::DirectoryDestination>(
        config.name, egress::DirectoryOptions{config.directory}));
  return std::unique_ptr<egress::Destination>(
      std::make_unique<egress::TerminationMessage>(config.name, config.termination_message));
}

}  // namespace

egress::Log log_to_spdlog() {
  return [](egress::LogLevel level, const std::string& text) {
    constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::info, spdlog::level::warn,
                                                     spdlog::level::err};
    spdlog::log(kLevels[static_cast<int>(level)], "{}", text);
  };
}

OpenedDestinations open_destinations(const std::vector<DestinationConfig>& configs) {
  OpenedDestinations destinations;
  for (const DestinationConfig& config : configs) {
    Opened opened = open_one(config);
    if (opened)
      destinations.all.push_back(std::move(*opened));
    else
      destinations.troubles.push_back("destination " + config.name + ": " + opened.error().message);
  }
  return destinations;
}

}  // namespace shmrec::sidecar
