// Figures (docs/sidecar.md, Measured): the sidecar makes one bundle at a time; what is resident
// then is mostly the mapped log, which the kernel takes back under a limit. The spool's limit
// leaves room for several logs of the default size (limits.logSize, 256MiB); kubelet evicts a pod
// whose emptyDir grows beyond its limit.
#include "deploy/inject/additions.h"

namespace shmrec::inject {
namespace {

constexpr std::string_view kSidecarProgram = "/usr/bin/shmrec-sidecar";
constexpr std::string_view kLauncherInImage = "/usr/bin/shmrec";

Json mount(std::string_view volume, std::string_view path, bool read_only = false) {
  Json out = {{"name", volume}, {"mountPath", path}};
  if (read_only) out["readOnly"] = true;
  return out;
}

Json variable(std::string_view name, std::string_view value) {
  return {{"name", name}, {"value", value}};
}

Json volume(std::string_view name, const char* size) {
  return {{"name", name}, {"emptyDir", {{"sizeLimit", size}}}};
}

// Pod Security Standard "restricted".
Json security_context(const std::string& user) {
  Json out = Json::object();
  if (!user.empty()) out["runAsUser"] = std::stoll(user);
  out["runAsNonRoot"] = true;
  out["allowPrivilegeEscalation"] = false;
  out["readOnlyRootFilesystem"] = true;
  out["capabilities"] = {{"drop", Json::array({"ALL"})}};
  out["seccompProfile"] = {{"type", "RuntimeDefault"}};
  return out;
}

Json resources(const char* cpu, const char* memory, const char* most_cpu, const char* most_memory) {
  return {{"requests", {{"cpu", cpu}, {"memory", memory}}},
          {"limits", {{"cpu", most_cpu}, {"memory", most_memory}}}};
}

}  // namespace

Addition spool_volume() {
  return {std::string(kSpoolVolume), volume(kSpoolVolume, "4Gi"),
          "emptyDir; where runs lie while they are recorded"};
}

Addition store_volume(const std::string& claim) {
  if (!claim.empty()) {
    return {std::string(kStoreVolume),
            {{"name", kStoreVolume}, {"persistentVolumeClaim", {{"claimName", claim}}}},
            "claim " + claim + "; the bundles, in a directory for each pod, which outlive it"};
  }
  return {std::string(kStoreVolume), volume(kStoreVolume, "4Gi"),
          "emptyDir; the bundles, for the sidecar alone"};
}

Addition socket_volume() {
  return {std::string(kSocketVolume), volume(kSocketVolume, "1Mi"),
          "emptyDir; the sidecar's socket, for itself alone"};
}

Addition config_volume(const std::string& configmap) {
  return {std::string(kConfigVolume),
          {{"name", kConfigVolume}, {"configMap", {{"name", configmap}}}},
          "ConfigMap " + configmap + "; its sidecar.yaml configures the sidecar"};
}

Addition tools_volume() {
  return {std::string(kToolsVolume), volume(kToolsVolume, "64Mi"),
          "emptyDir; the launcher, so that images stay as they are"};
}

Addition policy_volume(const std::string& configmap) {
  return {std::string(kPolicyVolume),
          {{"name", kPolicyVolume}, {"configMap", {{"name", configmap}}}},
          "ConfigMap " + configmap + "; its policy.yaml says what is recorded"};
}

Addition install_container(const PodSettings& settings) {
  Json value = {{"name", kInstallContainer},
                {"image", settings.image},
                {"command", {kLauncherInImage, "install", kToolsPath}},
                {"resources", resources("10m", "32Mi", "500m", "64Mi")},
                {"securityContext", security_context(settings.user)},
                {"volumeMounts", Json::array({mount(kToolsVolume, kToolsPath)})}};
  return {std::string(kInstallContainer), value,
          "copies the launcher into the tools volume, and ends"};
}

namespace {

// The socket is where no other container comes: who reaches it needs no token. Not in a claim,
// which may be on a file system without sockets. Each pod has a directory of its own in a claim,
// since a store has one owner.
Json sidecar_environment(const PodSettings& settings) {
  Json out = Json::array({variable(kSpoolVariable, kSpoolPath)});
  const std::string store(kStorePath);
  if (settings.claim.empty()) {
    out.push_back(variable("SHMREC_STORE", store));
    out.push_back(variable("SHMREC_LISTEN", "unix:" + store + "/api.sock"));
  } else {
    Json name = {{"name", "SHMREC_POD_NAME"}};
    name["valueFrom"]["fieldRef"]["fieldPath"] = "metadata.name";
    out.push_back(name);
    out.push_back(variable("SHMREC_STORE", store + "/$(SHMREC_POD_NAME)"));
    out.push_back(variable("SHMREC_LISTEN", "unix:" + std::string(kSocketPath) + "/api.sock"));
  }
  out.push_back(variable("SHMREC_NO_AUTH", "1"));
  out.push_back(variable("SHMREC_TERMINATION_MESSAGE", "/dev/termination-log"));
  if (!settings.sidecar_config.empty()) {
    out.push_back(variable("SHMREC_SIDECAR_CONFIG", std::string(kConfigPath) + "/sidecar.yaml"));
  }
  return out;
}

// A configuration may say another port than the probes ask.
bool says_port(const PodSettings& settings) {
  return settings.health_port != kHealthPort || !settings.sidecar_config.empty();
}

Json sidecar_command(const PodSettings& settings) {
  Json out = Json::array({kSidecarProgram});
  if (says_port(settings)) {
    out.push_back("--health-listen");
    out.push_back("0.0.0.0:" + std::to_string(settings.health_port));
  }
  return out;
}

Json health_probe(const PodSettings& settings) {
  Json command = Json::array({kSidecarProgram, "health"});
  if (says_port(settings)) command.push_back("127.0.0.1:" + std::to_string(settings.health_port));
  Json out;
  out["exec"]["command"] = command;
  return out;
}

Json with(Json map, const Json& fields) {
  map.update(fields);
  return map;
}

}  // namespace

Addition sidecar_container(const PodSettings& settings) {
  const bool native = settings.mode == Mode::kNative;
  Json value = {{"name", kSidecarContainer}, {"image", settings.image}};
  if (native) value["restartPolicy"] = "Always";
  value["command"] = sidecar_command(settings);
  value["env"] = sidecar_environment(settings);
  if (!settings.host_network) {
    value["ports"] =
        Json::array({{{"name", "shmrec-health"}, {"containerPort", settings.health_port}}});
  }
  if (native) {
    value["startupProbe"] =
        with(health_probe(settings),
             {{"periodSeconds", 1}, {"timeoutSeconds", 2}, {"failureThreshold", 60}});
  }
  value["livenessProbe"] =
      with(health_probe(settings),
           {{"periodSeconds", 30}, {"timeoutSeconds", 5}, {"failureThreshold", 4}});
  value["resources"] = resources("10m", "64Mi", "1", "256Mi");
  value["securityContext"] = security_context(settings.user);
  value["volumeMounts"] = {mount(kSpoolVolume, kSpoolPath), mount(kStoreVolume, kStorePath)};
  if (!settings.claim.empty()) value["volumeMounts"].push_back(mount(kSocketVolume, kSocketPath));
  if (!settings.sidecar_config.empty())
    value["volumeMounts"].push_back(mount(kConfigVolume, kConfigPath, true));
  std::string why =
      native ? "the sidecar; starts before and ends after the others (Kubernetes 1.29 or later)"
             : "the sidecar, beside the others";
  if (settings.health_port != kHealthPort)
    why += "; its health is on port " + std::to_string(settings.health_port);
  return {std::string(kSidecarContainer), value, why};
}

Json command_prefix() { return {kLauncher, "run", "--"}; }

Addition spool_variable() {
  return {std::string(kSpoolVariable), variable(kSpoolVariable, kSpoolPath), "where to record to"};
}

Json tools_mount() { return mount(kToolsVolume, kToolsPath, true); }
Json spool_mount() { return mount(kSpoolVolume, kSpoolPath); }
Json policy_mount() { return mount(kPolicyVolume, kPolicyPath, true); }

}  // namespace shmrec::inject
