// Figures (docs/sidecar.md, Measured): the sidecar makes one bundle at a time; what is resident
// then is mostly the mapped log, which the kernel takes back under a limit. The spool's limit
// leaves room for several logs of the default size (limits.logSize, 256MiB); kubelet evicts a pod
// whose emptyDir grows beyond its limit.
#include "deploy/inject/additions.h"

namespace shmrec::inject {
namespace {

constexpr std::string_view kSidecarProgram = "/usr/bin/shmrec-sidecar";
constexpr std::string_view kLauncherInImage = "/usr/bin/shmrec";
constexpr int kHealthPort = 7071;

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

Addition store_volume() {
  return {std::string(kStoreVolume), volume(kStoreVolume, "4Gi"),
          "emptyDir; the bundles, for the sidecar alone"};
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

Addition sidecar_container(const PodSettings& settings) {
  const bool native = settings.mode == Mode::kNative;
  Json value = {{"name", kSidecarContainer}, {"image", settings.image}};
  if (native) value["restartPolicy"] = "Always";
  value["command"] = Json::array({kSidecarProgram});
  // The socket is in the store, which no other container mounts: who reaches it needs no token.
  value["env"] = {variable("SHMREC_SPOOL", kSpoolPath), variable("SHMREC_STORE", kStorePath),
                  variable("SHMREC_LISTEN", "unix:" + std::string(kStorePath) + "/api.sock"),
                  variable("SHMREC_NO_AUTH", "1")};
  value["ports"] = Json::array({{{"name", "shmrec-health"}, {"containerPort", kHealthPort}}});
  if (native) {
    value["startupProbe"] = {{"exec", {{"command", {kSidecarProgram, "health"}}}},
                             {"periodSeconds", 1},
                             {"timeoutSeconds", 2},
                             {"failureThreshold", 60}};
  }
  value["livenessProbe"] = {{"exec", {{"command", {kSidecarProgram, "health"}}}},
                            {"periodSeconds", 30},
                            {"timeoutSeconds", 5},
                            {"failureThreshold", 4}};
  value["resources"] = resources("10m", "64Mi", "1", "256Mi");
  value["securityContext"] = security_context(settings.user);
  value["volumeMounts"] = {mount(kSpoolVolume, kSpoolPath), mount(kStoreVolume, kStorePath)};
  return {std::string(kSidecarContainer), value,
          native ? "the sidecar; starts before and ends after the others (Kubernetes 1.29 or later)"
                 : "the sidecar, beside the others"};
}

Json command_prefix() { return {kLauncher, "run", "--"}; }

Addition spool_variable() {
  return {"SHMREC_SPOOL", variable("SHMREC_SPOOL", kSpoolPath), "where to record to"};
}

Json tools_mount() { return mount(kToolsVolume, kToolsPath, true); }
Json spool_mount() { return mount(kSpoolVolume, kSpoolPath); }
Json policy_mount() { return mount(kPolicyVolume, kPolicyPath, true); }

}  // namespace shmrec::inject
