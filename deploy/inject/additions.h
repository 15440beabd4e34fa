// What shmrec adds to a pod: names, places and values, each in one place.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace shmrec::inject {

using Json = nlohmann::ordered_json;

// Which Kubernetes the sidecar is written for.
enum class Mode {
  kNative,   // from 1.29 on: an init container that goes on; ends after the workload, also in a Job
  kClassic,  // a container beside the others
};

inline constexpr std::string_view kInjectedAnnotation = "shmrec.dev/injected";
inline constexpr std::string_view kVersionAnnotation = "shmrec.dev/version";
// A JSON object, where there is something to know that cannot be seen (former.h).
inline constexpr std::string_view kStateAnnotation = "shmrec.dev/state";
// Of people: "false" lets a pod be; the command that a container's image starts, as a JSON list.
inline constexpr std::string_view kOptOutAnnotation = "shmrec.dev/inject";
inline constexpr std::string_view kEntrypointAnnotation = "shmrec.dev/entrypoint.";  // + container
inline constexpr std::string_view kSpoolVolume = "shmrec-spool";
inline constexpr std::string_view kStoreVolume = "shmrec-store";
inline constexpr std::string_view kToolsVolume = "shmrec-tools";
inline constexpr std::string_view kPolicyVolume = "shmrec-policy";
inline constexpr std::string_view kConfigVolume = "shmrec-config";
inline constexpr std::string_view kSocketVolume = "shmrec-socket";
inline constexpr std::string_view kInstallContainer = "shmrec-install";
inline constexpr std::string_view kSidecarContainer = "shmrec-sidecar";
inline constexpr std::string_view kToolsPath = "/shmrec";
inline constexpr std::string_view kSpoolPath = "/var/spool/shmrec";
inline constexpr std::string_view kStorePath = "/var/lib/shmrec";
inline constexpr std::string_view kPolicyPath = "/etc/shmrec";
inline constexpr std::string_view kConfigPath = "/etc/shmrec";  // of the sidecar
inline constexpr std::string_view kSocketPath = "/run/shmrec";
inline constexpr std::string_view kSpoolVariable = "SHMREC_SPOOL";
inline constexpr std::string_view kLauncher = "/shmrec/shmrec";

struct Addition {
  std::string name;  // of the field or item
  Json value;
  std::string why;  // for a person
};

inline constexpr int kHealthPort = 7071;

struct PodSettings {
  std::string image;
  Mode mode = Mode::kNative;
  std::string policy_configmap;  // "": none
  std::string sidecar_config;    // a ConfigMap; "": none
  std::string claim;             // for the store; "": it goes with the pod
  std::string user;              // digits; "": that of the image
  int health_port = kHealthPort;
  bool host_network = false;  // then no port is declared: it would be one of the node's
};

Addition spool_volume();
Addition store_volume(const std::string& claim);
Addition socket_volume();
Addition config_volume(const std::string& configmap);
Addition tools_volume();
Addition policy_volume(const std::string& configmap);
Addition install_container(const PodSettings& settings);
Addition sidecar_container(const PodSettings& settings);
Json command_prefix();
Addition spool_variable();
Json tools_mount();
Json spool_mount();
Json policy_mount();

}  // namespace shmrec::inject
