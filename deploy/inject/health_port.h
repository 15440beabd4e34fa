// The port of the sidecar's health server: 7071, or another one where a pod's containers seem to
// use it, or where the pod is in the node's network, which other pods' sidecars are in too.
#pragma once

#include "deploy/inject/pod_template.h"

namespace shmrec::inject {

bool is_in_host_network(const PodTemplate& pod);
// The same for the same pod each time.
int choose_health_port(const PodTemplate& pod);

}  // namespace shmrec::inject
