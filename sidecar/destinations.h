// From the configuration's destinations to those of egress.
#pragma once

#include <memory>
#include <vector>

#include "sidecar/config.h"
#include "sidecar/egress/destination.h"

namespace shmrec::sidecar {

egress::Log log_to_spdlog();
// Those that can be opened; of the others, why not.
struct OpenedDestinations {
  std::vector<std::unique_ptr<egress::Destination>> all;
  std::vector<std::string> troubles;
};
OpenedDestinations open_destinations(const std::vector<DestinationConfig>& configs);

}  // namespace shmrec::sidecar
