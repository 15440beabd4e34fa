#include "sidecar/http/prometheus.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace shmrec::sidecar {
namespace {

bool is_name(const std::string& text) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !text.empty() && !(text[0] >= '0' && text[0] <= '9') &&
         std::all_of(text.begin(), text.end(), good);
}

std::string escaped(const std::string& text, bool quote_too) {
  std::string made;
  for (const char c : text) {
    if (c == '\n') {
      made += "\\n";
      continue;
    }
    if (c == '\\' || (c == '"' && quote_too)) made += '\\';
    made += c;
  }
  return made;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

void append(const Metric& metric, std::string& text) {
  text += "# HELP " + metric.name + " " + escaped(metric.help, false) + "\n";
  text += "# TYPE " + metric.name + (metric.counter ? " counter\n" : " gauge\n");
  for (const auto& [label, value] : metric.values) {
    text += metric.name;
    if (!metric.label.empty()) text += "{" + metric.label + "=\"" + escaped(label, true) + "\"}";
    text += " " + number(value) + "\n";
  }
}

}  // namespace

std::string prometheus_text(const std::vector<Metric>& metrics) {
  std::string text;
  for (const Metric& metric : metrics)
    if (!metric.values.empty() && is_name(metric.name) &&
        (metric.label.empty() || is_name(metric.label)))
      append(metric, text);
  return text;
}

}  // namespace shmrec::sidecar
