#include "deploy/inject/inject.h"

#include <algorithm>

#include "base/printable.h"
#include "deploy/inject/documents.h"
#include "deploy/inject/pod_injector.h"
#include "deploy/inject/pod_template.h"
#include "deploy/inject/remove.h"
#include "deploy/inject/yaml_edit.h"
#include "deploy/inject/yaml_source.h"
#include "policy/suggest.h"
#include "policy/yaml_fields.h"

namespace shmrec::inject {
namespace {

constexpr const char* kCannotChange =
    "this YAML is written in a way that cannot be changed in place; expected plain lines; rewrite "
    "it, for example by kubectl get -o yaml";
constexpr const char* kRenderFirst =
    "this is a template that is not rendered; expected manifests; render it first (helm template "
    "CHART | shmrec inject -f -)";

std::vector<PodTemplate> all_pods(Problems& problems, const YamlStream& stream) {
  std::vector<PodTemplate> out;
  for (const YamlNode* document : stream.documents) {
    for (PodTemplate& pod : find_pods(problems, *document).pods) out.push_back(std::move(pod));
  }
  return out;
}

// ---- One document after the other

// A name that a template engine has still to make is one that Kubernetes never takes.
std::optional<Position> find_templated_name(const YamlStream& stream) {
  const auto is_template = [](const YamlNode* value) {
    return value != nullptr && value->is_scalar() && value->text.find("{{") != std::string::npos;
  };
  Problems ignored("");
  for (const YamlNode* document : stream.documents) {
    const YamlNode* metadata = find_value(*document, "metadata");
    const YamlNode* name = metadata != nullptr ? find_value(*metadata, "name") : nullptr;
    if (find_value(*document, "kind") != nullptr && is_template(name)) return name->where;
    for (const PodTemplate& pod : find_pods(ignored, *document).pods) {
      const YamlNode* containers = find_value(pod.spec.node(), "containers");
      if (containers == nullptr) continue;
      for (const YamlNode* container : containers->items) {
        for (const std::string_view field : {"name", "image"}) {
          const YamlNode* value = find_value(*container, field);
          if (is_template(value)) return value->where;
        }
      }
    }
  }
  return std::nullopt;
}

class DocumentReader {
 public:
  DocumentReader(const Document& document, std::string_view file)
      : document_(document), file_(file) {}

  // Of a position in the document, one in the stream.
  Position moved(Position where) const { return {where.line + document_.line - 1, where.column}; }
  std::string error_at(Position where, const std::string& text) const {
    return at_position(file_, moved(where), text);
  }

  // Nothing, and an error, if it is no YAML or a template.
  std::optional<YamlStream> read(Injection& out) const {
    Result<YamlStream> stream = read_source(document_.text, file_, document_.line);
    const auto braces = find_template(document_.text, stream ? &*stream : nullptr);
    const auto where = !braces && stream ? find_templated_name(*stream) : braces;
    // Of a file that is one each document is: it is said once.
    const bool said = std::any_of(out.errors.begin(), out.errors.end(), [](const auto& error) {
      return error.find(kRenderFirst) != std::string::npos;
    });
    if (where && !said) out.errors.push_back(error_at(*where, kRenderFirst));
    if (!where && !stream) out.errors.push_back(stream.error().message);
    if (where || !stream) return std::nullopt;
    return std::move(*stream);
  }

 private:
  const Document& document_;
  std::string_view file_;
};

// A document without what was injected before.
struct Original {
  std::string text;
  YamlStream stream;
  std::vector<std::optional<Former>> formers;  // of each pod; nothing: it was not injected
  std::vector<YamlEditor::Piece> pieces;       // of the text, where they come from
  std::vector<ChangedWorkload> workloads;
};

// REQUIRES: `stream` is of the document. Nothing, and an error, if its YAML cannot be changed.
std::optional<Original> take_back(const Document& document, const DocumentReader& reader,
                                  std::string_view file, YamlStream& stream, bool renew,
                                  Injection& out) {
  Original original;
  const auto moved = [&](Position where) { return reader.moved(where); };
  Problems problems(file, moved);
  Remover remover(document.text, problems);
  Problems seen("");  // the injector reports them
  for (const PodTemplate& pod : all_pods(seen, stream)) {
    original.formers.emplace_back();
    if (!is_injected(pod) || (renew && opts_out(pod))) continue;
    const YamlEditor::Checkpoint before = remover.editor().checkpoint();
    remover.remove_from(pod);
    if (problems.any()) {
      out.errors.push_back(problems.text());
      problems = Problems(file, moved);
      remover.editor().roll_back(before);
      continue;
    }
    original.formers.back() = read_former(pod);
    original.workloads.push_back({name_of(pod), {}});
  }
  if (original.workloads.empty()) {
    original.text = document.text;
    original.stream = std::move(stream);
    return original;
  }
  original.text = remover.editor().apply();
  Result<YamlStream> after = read_source(original.text, file, document.line);
  if (!after || !remover.is_right(stream, *after)) {
    out.errors.push_back(reader.error_at(stream.documents[0]->where, kCannotChange));
    return std::nullopt;
  }
  original.stream = std::move(*after);
  original.pieces = remover.editor().pieces();
  return original;
}

bool all_of_documents(const YamlStream& a, const YamlStream& b,
                      bool (*holds)(const YamlNode&, const YamlNode&)) {
  return a.documents.size() == b.documents.size() &&
         std::equal(a.documents.begin(), a.documents.end(), b.documents.begin(),
                    [&](const YamlNode* x, const YamlNode* y) { return holds(*x, *y); });
}

// Why `text` must not be given out: it is too large to be read again, has not all of the original,
// or uninject would not give that.
std::optional<std::string> find_fault(const std::string& text, const YamlStream& original,
                                      std::string_view file) {
  const Document document{text, 1};
  const DocumentReader reader(document, file);
  Injection ignored;
  Result<YamlStream> stream = read_source(text, file, 1);
  if (!stream) return kCannotChange + std::string(" (") + stream.error().message + ")";
  const bool whole = all_of_documents(*stream, original, contains);
  const auto back = take_back(document, reader, file, *stream, true, ignored);
  const bool right =
      whole && back && ignored.errors.empty() && all_of_documents(back->stream, original, same);
  return right ? std::nullopt : std::optional<std::string>(kCannotChange);
}

void inject_document(const Document& document, std::string_view file, const Options& options,
                     Injection& out) {
  const DocumentReader reader(document, file);
  std::optional<YamlStream> stream = reader.read(out);
  if (!stream) return;
  const auto original = take_back(document, reader, file, *stream, true, out);
  if (!original) {
    out.yaml += document.text;
    return;
  }
  const Moved moved = [&](Position where) {
    if (original->pieces.empty()) return reader.moved(where);
    const size_t at = source_of(original->pieces, offset_of(original->text, where));
    return reader.moved(position_in(document.text, at));
  };
  PodInjector injector(original->text, file, moved, options, original->formers);
  injector.visit(original->stream);
  std::string text = injector.apply();
  Injection result = injector.take_result();
  const auto fault = result.workloads.empty() ? std::optional<std::string>()
                                              : find_fault(text, original->stream, file);
  if (fault) {
    result.errors.push_back(reader.error_at(original->stream.documents[0]->where, *fault));
    text = document.text;
  }
  if (text == document.text) result.workloads.clear();
  out.yaml += text;
  std::move(result.workloads.begin(), result.workloads.end(), std::back_inserter(out.workloads));
  std::move(result.notes.begin(), result.notes.end(), std::back_inserter(out.notes));
  std::move(result.errors.begin(), result.errors.end(), std::back_inserter(out.errors));
  out.containers.merge(result.containers);
}

void uninject_document(const Document& document, std::string_view file, Injection& out) {
  const DocumentReader reader(document, file);
  std::optional<YamlStream> stream = reader.read(out);
  if (!stream) return;
  const auto original = take_back(document, reader, file, *stream, false, out);
  out.yaml += original ? original->text : document.text;
  if (!original) return;
  out.workloads.insert(out.workloads.end(), original->workloads.begin(), original->workloads.end());
}

Result<> check_option(std::string_view name, const std::string& value) {
  const bool blank = value.find_first_of(" \t\r\n") != value.npos;
  if (!blank && value.size() <= 512 && !find_non_text(value)) return Unit{};
  return Error{std::string(name) + " " + shmrec::quoted(value) +
               ": expected a name of at most 512 bytes without "
               "spaces"};
}

Result<> check_options(const Options& options) {
  for (const auto& [name, value] : {std::pair{"--image", options.image},
                                    std::pair{"--policy-configmap", options.policy_configmap},
                                    std::pair{"--sidecar-config", options.sidecar_config},
                                    std::pair{"--claim", options.claim}}) {
    if (const Result<> checked = check_option(name, value.value_or("")); !checked) return checked;
  }
  if (options.image == "") return Error{"--image is empty; expected the sidecar's image"};
  for (const auto& [name, words] : options.entrypoints) {
    for (const std::string& word : words) {
      if (find_non_text(word))
        return Error{"--entrypoint " + shmrec::quoted(name) + ": a word is no text"};
    }
  }
  return Unit{};
}

}  // namespace

Result<Injection> inject(std::string_view text, std::string_view file, const Options& options) {
  if (const Result<> checked = check_options(options); !checked) return checked.error();
  if (const Result<> checked = check_source(text, file); !checked) return checked.error();
  Injection out;
  for (const Document& document : split_documents(text)) {
    inject_document(document, file, options, out);
  }
  return out;
}

Result<Injection> uninject(std::string_view text, std::string_view file) {
  if (const Result<> checked = check_source(text, file); !checked) return checked.error();
  Injection out;
  for (const Document& document : split_documents(text)) uninject_document(document, file, out);
  return out;
}

std::optional<Error> find_unknown_name(const Options& options,
                                       const std::set<std::string, std::less<>>& containers) {
  const std::vector<std::string> known(containers.begin(), containers.end());
  const auto check = [&](const std::string& name, const char* option) -> std::optional<Error> {
    if (containers.contains(name)) return std::nullopt;
    return Error{"no container " + shmrec::quoted(name) + did_you_mean(name, known) +
                 "; expected " + (known.empty() ? "a pod with it" : printable(one_of(known))) +
                 "; correct " + option};
  };
  for (const std::string& name : options.containers) {
    if (auto error = check(name, "--container")) return error;
  }
  for (const auto& [name, words] : options.entrypoints) {
    if (auto error = check(name, "--entrypoint")) return error;
  }
  return std::nullopt;
}

std::string explain(const std::vector<ChangedWorkload>& workloads) {
  std::string out;
  for (const ChangedWorkload& workload : workloads) {
    out += printable(workload.name) + "\n";
    for (const Change& change : workload.changes)
      out += "  + " + printable(change.path) + ": " + printable(change.why) + "\n";
  }
  if (workloads.empty()) out += "nothing is added\n";
  return out +
         "permissions added: none (no capability, no host access, no role, no service account)\n";
}

}  // namespace shmrec::inject
