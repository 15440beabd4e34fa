// From the configuration's destinations to those of egress.
#pragma once

#include <memory>
#include <vector>

#include "sidecar/config.h"
#include "sidecar/egress/destination.h"

namespace shmrec::sidecar {

egress::Log log_to_spdlog();
Result<std::vector<std::unique_ptr<egress::Destination>>> open_destinations(
    const std::vector<DestinationConfig>& configs);

}  // namespace shmrec::sidecar
