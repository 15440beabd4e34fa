#include "deploy/inject/health_port.h"

#include <cctype>
#include <string>

#include "deploy/inject/additions.h"

namespace shmrec::inject {
namespace {

constexpr int kOtherPorts = 128;  // behind the usual one

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

// As a number of its own: "0.0.0.0:7071", "--port=7071", 7071.
bool has_number(std::string_view text, std::string_view digits) {
  for (size_t at = text.find(digits); at != text.npos; at = text.find(digits, at + 1)) {
    const size_t end = at + digits.size();
    const bool begins = at == 0 || !is_digit(text[at - 1]);
    if (begins && (end == text.size() || !is_digit(text[end]))) return true;
  }
  return false;
}

// In ports, probes, arguments, the environment: wherever it may stand.
bool mentions(const YamlNode& node, std::string_view digits) {
  if (node.is_scalar()) return has_number(node.text, digits);
  for (const YamlNode* item : node.items) {
    if (mentions(*item, digits)) return true;
  }
  for (const YamlNode::Entry& entry : node.entries) {
    if (mentions(*entry.value, digits)) return true;
  }
  return false;
}

bool is_used(const PodTemplate& pod, int port) {
  const std::string digits = std::to_string(port);
  for (const std::string_view list : {"initContainers", "containers"}) {
    const YamlNode* containers = find_value(pod.spec.node(), list);
    if (containers != nullptr && mentions(*containers, digits)) return true;
  }
  return false;
}

// FNV-1a, so that workloads that share a node differ mostly.
uint32_t hash_of(std::string_view text) {
  uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

}  // namespace

bool is_in_host_network(const PodTemplate& pod) {
  const YamlNode* value = find_value(pod.spec.node(), "hostNetwork");
  return value != nullptr && value->type == YamlNode::Type::kBool &&
         (value->text[0] == 't' || value->text[0] == 'T');
}

int choose_health_port(const PodTemplate& pod) {
  const bool host = is_in_host_network(pod);
  if (!host && !is_used(pod, kHealthPort)) return kHealthPort;
  const uint32_t first = host ? hash_of(pod.kind + "/" + pod.name) : 0;
  for (uint32_t i = 0; i < kOtherPorts; ++i) {
    const int port = kHealthPort + 1 + static_cast<int>((first + i) % kOtherPorts);
    if (!is_used(pod, port)) return port;
  }
  return kHealthPort;  // it says then that another program has it, and collects
}

}  // namespace shmrec::inject
