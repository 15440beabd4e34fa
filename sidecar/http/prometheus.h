// Metrics as Prometheus' text format 0.0.4.
#pragma once

#include <string>
#include <vector>

#include "sidecar/service.h"

namespace shmrec::sidecar {

inline constexpr char kPrometheusType[] = "text/plain; version=0.0.4; charset=utf-8";

// A metric without values or with a name that Prometheus would refuse is left out.
std::string prometheus_text(const std::vector<Metric>& metrics);

}  // namespace shmrec::sidecar
