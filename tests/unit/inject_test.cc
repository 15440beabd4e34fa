#include "deploy/inject/inject.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "deploy/inject/yaml_edit.h"
#include "deploy/inject/yaml_source.h"

namespace shmrec::inject {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kPod[] = R"(apiVersion: v1
kind: Pod
metadata:
  name: p
spec:
  securityContext: {runAsUser: 1000}
  containers:
  - name: app
    image: i
    command: [a]
)";

Options options() {
  Options out;
  out.image = "registry/sidecar:1";
  out.version = "1.2.3";
  return out;
}

Injection injected(const std::string& text, const Options& with = options()) {
  const Result<Injection> result = inject(text, "f.yaml", with);
  EXPECT_TRUE(result.ok()) << result.error().message;
  if (!result) return {};
  EXPECT_THAT(result->errors, testing::IsEmpty());
  return *result;
}

// What was said of a text that could not be changed, which is then as it was or left out.
std::string refused(const std::string& text, const Options& with = options()) {
  const Result<Injection> result = inject(text, "f.yaml", with);
  if (!result) {
    EXPECT_TRUE(result.error().bad_input);
    return result.error().message;
  }
  EXPECT_TRUE(result->yaml == text || result->yaml.empty()) << result->yaml;
  EXPECT_FALSE(result->errors.empty()) << result->yaml;
  return testing::PrintToString(result->errors);
}

// The lines of `after` that are not, in order, those of `before`; fails if some of `before` are
// gone.
std::vector<std::string> added_lines(const std::string& before, const std::string& after) {
  std::istringstream a(before), b(after);
  std::string expected, line;
  std::vector<std::string> out;
  bool more = static_cast<bool>(std::getline(a, expected));
  while (std::getline(b, line)) {
    if (more && line == expected) {
      more = static_cast<bool>(std::getline(a, expected));
    } else {
      out.push_back(line);
    }
  }
  EXPECT_FALSE(more) << "lost: " << expected;
  return out;
}

std::string with(std::string text, const std::string& what, const std::string& by) {
  const size_t at = text.find(what);
  EXPECT_NE(at, text.npos) << what;
  return at == text.npos ? text : text.replace(at, what.size(), by);
}

std::string taken_back(const std::string& text) {
  const Result<Injection> result = uninject(text, "f.yaml");
  EXPECT_TRUE(result.ok()) << result.error().message;
  if (!result) return "";
  EXPECT_THAT(result->errors, testing::IsEmpty());
  return result->yaml;
}

void expect_stable(const std::string& text, const Options& with = options()) {
  const std::string once = injected(text, with).yaml;
  EXPECT_NE(once, text);
  const Injection twice = injected(once, with);
  EXPECT_EQ(twice.yaml, once);
  EXPECT_TRUE(twice.workloads.empty());
  Options none = options();
  none.image.reset();
  none.default_image = "other";
  EXPECT_EQ(injected(once, none).yaml, once);                     // what is not given stays
  const bool ends = text.ends_with('\n') || text.find('{') <= 4;  // a last line may get an end
  EXPECT_EQ(taken_back(once), ends ? text : text + "\n");
}

TEST(Inject, PrefixesTheCommandAndKeepsArguments) {
  const std::string yaml =
      injected(with(kPod, "command: [a]", "command: [a]\n    args: ['b']")).yaml;
  EXPECT_THAT(yaml,
              HasSubstr("command: [\"/shmrec/shmrec\", \"run\", \"--\", a]\n    args: ['b']\n"));
}

TEST(Inject, PrefixesACommandWrittenInLines) {
  const std::string yaml = injected(with(kPod, "[a]", "\n    - a  # program\n    - 'b'")).yaml;
  EXPECT_THAT(
      yaml,
      HasSubstr("    - /shmrec/shmrec\n    - run\n    - \"--\"\n    - a  # program\n    - 'b'\n"));
}

TEST(Inject, KeepsEveryLineOfTheInput) {
  const std::string text =
      with(kPod, "command: [a]",
           "command:\n    - a\n    env:\n    - {name: A, value: \"1\"} # c\n"
           "    - name: B\n      value: |+\n        # text\n\n\n  # of the node\n  nodeName: n");
  EXPECT_THAT(added_lines(text, injected(text).yaml), testing::Not(testing::IsEmpty()));
}

TEST(Inject, ANewFieldStandsBeforeTheCommentOfWhatFollows) {
  const std::string yaml =
      injected(with(kPod, "[a]\n", "[a]\n  # of the node\n  nodeName: n\n")).yaml;
  EXPECT_THAT(
      yaml,
      HasSubstr("mountPath: /var/spool/shmrec\n  # of the node\n  nodeName: n\n  initContainers:"));
}

TEST(Inject, AddsToWhatThePodHas) {
  const std::string text =
      std::string(kPod) + "  initContainers:\n  - name: mine\n  volumes:\n    - name: data\n";
  const std::string yaml = injected(text).yaml;
  EXPECT_LT(yaml.find("name: shmrec-sidecar"), yaml.find("name: mine"));
  EXPECT_THAT(yaml, HasSubstr("    - name: data\n    - name: shmrec-tools\n      emptyDir:\n"));
}

TEST(Inject, AddsBehindAListThatIsNotIndented) {
  const std::string text = std::string(kPod) +
                           "    volumeMounts:\n    - name: data\n"
                           "  volumes:\n  - name: data\n";
  expect_stable(text);
  Options classic = options();
  classic.mode = Mode::kClassic;
  expect_stable(text, classic);
}

TEST(Inject, GivesAnEmptyFieldItsValue) {
  for (const char* empty : {"", " ~", " null", " []"}) {
    const std::string text = std::string(kPod) + "  volumes:" + empty + "\n  hostname: h\n";
    const std::string yaml = injected(text).yaml;
    EXPECT_THAT(yaml, HasSubstr("  volumes: [{\"name\": \"shmrec-tools\"")) << empty;
    EXPECT_THAT(yaml, HasSubstr("]\n  hostname: h\n")) << empty;
  }
}

TEST(Inject, IsIdempotent) {
  expect_stable(kPod);
  Options classic = options();
  classic.mode = Mode::kClassic;
  classic.policy_configmap = "policy";
  classic.containers = {"app"};
  expect_stable(kPod, classic);
  expect_stable(std::string("---\n") + kPod + "---\n" + kPod + "...\n");
}

TEST(Inject, ChangesJson) {
  const std::string text =
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[)"
      R"({"name":"app","image":"i ] # } no comment","command":["a"]}]}})";
  expect_stable(text);
  Options classic = options();
  classic.mode = Mode::kClassic;
  const Injection injection = injected(text, classic);
  const Json pod = Json::parse(injection.yaml);
  ASSERT_EQ(pod["spec"]["containers"].size(), 2u);
  EXPECT_EQ(pod["spec"]["containers"][0]["name"], "app");
  EXPECT_EQ(pod["spec"]["containers"][1]["name"], "shmrec-sidecar");
  EXPECT_EQ(pod["metadata"]["annotations"]["shmrec.dev/injected"], "1");
}

TEST(Inject, FindsThePodOfEachKind) {
  const std::string spec = "containers: [{name: app, command: [a]}]";
  const std::pair<const char*, std::string> kinds[] = {
      {"v1\nkind: Pod", "{" + spec + "}"},
      {"apps/v1\nkind: Deployment", "{template: {spec: {" + spec + "}}}"},
      {"apps/v1\nkind: StatefulSet", "{template: {spec: {" + spec + "}}}"},
      {"apps/v1\nkind: DaemonSet", "{template: {spec: {" + spec + "}}}"},
      {"v1\nkind: ReplicationController", "{template: {spec: {" + spec + "}}}"},
      {"apps/v1\nkind: ReplicaSet", "{template: {spec: {" + spec + "}}}"},
      {"batch/v1\nkind: Job", "{template: {spec: {" + spec + "}}}"},
      {"batch/v1\nkind: CronJob", "{jobTemplate: {spec: {template: {spec: {" + spec + "}}}}}"},
  };
  for (const auto& [head, body] : kinds) {
    const std::string text =
        std::string("apiVersion: ") + head + "\nmetadata: {name: n}\nspec: " + body + "\n";
    EXPECT_EQ(injected(text).workloads.size(), 1u) << text;
    expect_stable(text);
  }
}

TEST(Inject, FindsThePodOfAPodTemplateAndOfATypedList) {
  const std::string pod = "{spec: {containers: [{name: a, command: [a]}]}}\n";
  const std::string text = "apiVersion: v1\nkind: PodTemplate\ntemplate: " + pod;
  EXPECT_EQ(injected(text).workloads.size(), 1u);
  expect_stable(text);
  const std::string list =
      "apiVersion: apps/v1\nkind: DeploymentList\nitems:\n- spec: {template: " +
      pod.substr(0, pod.size() - 1) + "}\n- kind: Secret\n  apiVersion: v1\n";
  EXPECT_EQ(injected(list).workloads.size(), 1u);
  expect_stable(list);
}

TEST(Inject, FindsPodsInLists) {
  std::string text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n- ";
  std::istringstream lines(kPod);
  for (std::string line; std::getline(lines, line);) text += line + "\n  ";
  EXPECT_EQ(injected(text).workloads.size(), 1u);
  expect_stable(text);
}

TEST(Inject, LeavesOtherKindsAndOtherGroupsAlone) {
  for (const char* text :
       {"", "# only a comment\n", "a: [1, 2\n]",
        "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nspec: 3\n",
        "apiVersion: apps.kruise.io/v1\nkind: StatefulSet\nspec: {template: {spec: {}}}\n",
        "- a\n- b\n", "text"}) {
    const Injection injection = injected(text);
    EXPECT_EQ(injection.yaml, text);
    EXPECT_TRUE(injection.workloads.empty());
  }
}

TEST(Inject, RecordsOnlyTheContainersAskedFor) {
  Options one = options();
  one.containers = {"b"};
  const std::string text = std::string(kPod) + "  - name: b\n    command: [x]\n";
  const std::string yaml = injected(text, one).yaml;
  EXPECT_THAT(yaml, HasSubstr("command: [a]"));
  EXPECT_THAT(yaml, HasSubstr("command: [\"/shmrec/shmrec\", \"run\", \"--\", x]"));
  one.containers = {"ap"};
  const Injection none = injected(text, one);
  EXPECT_EQ(none.yaml, text);
  const auto error = find_unknown_name(one, none.containers);
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->message,
            "no container 'ap' (did you mean 'app'?); expected app or b; correct --container");
  one.containers = {"b"};
  one.entrypoints["c"] = {"x"};
  EXPECT_THAT(find_unknown_name(one, none.containers)->message, HasSubstr("correct --entrypoint"));
}

std::string only_note(const Injection& injection) {
  EXPECT_EQ(injection.notes.size(), 1u) << testing::PrintToString(injection.notes);
  return injection.notes.empty() ? "" : injection.notes[0];
}

TEST(Inject, AContainerWithoutCommandIsLeftAndNamed) {
  const std::string other = std::string(kPod) + "  - name: bare\n    image: i\n";
  const Injection injection = injected(other);
  EXPECT_THAT(only_note(injection),
              HasSubstr("f.yaml:11:5: Pod/p: container 'bare' has no command"));
  EXPECT_THAT(injection.notes[0], HasSubstr("--entrypoint bare='[\"/program\", ...]'"));
  EXPECT_THAT(injection.yaml, HasSubstr("  - name: bare\n    image: i\n  initContainers:\n"));
  EXPECT_EQ(injection.workloads.size(), 1u);
  for (const char* none : {"", "    command: []\n", "    command:\n"}) {
    const std::string text = with(kPod, "    command: [a]\n", none);
    const Injection left = injected(text);
    EXPECT_EQ(left.yaml, text);
    ASSERT_EQ(left.notes.size(), 2u);
    EXPECT_THAT(left.notes[1], HasSubstr("gets no sidecar"));
  }
}

TEST(Inject, TakesAnEntrypoint) {
  Options given = options();
  given.entrypoints["app"] = {"/x", "y z"};
  for (const char* none : {"", "    command: []\n", "    command:\n", "    command: null\n"}) {
    const std::string text = with(kPod, "    command: [a]\n", none);
    const Injection injection = injected(text, given);
    EXPECT_THAT(injection.yaml,
                HasSubstr("command: [\"/shmrec/shmrec\", \"run\", \"--\", \"/x\", \"y z\"]\n"));
    EXPECT_TRUE(injection.notes.empty());
    expect_stable(text, given);
    EXPECT_EQ(injected(injection.yaml).yaml, injection.yaml);  // stays when it is not given again
  }
  const Injection unused = injected(kPod, given);  // it has a command
  EXPECT_THAT(unused.yaml, Not(HasSubstr("y z")));
  EXPECT_THAT(only_note(unused), HasSubstr("--entrypoint is not used for it"));
}

TEST(Inject, TakesAnEntrypointFromAnAnnotation) {
  std::string text = with(kPod, "    command: [a]\n", "");
  text = with(text, "  name: p\n",
              "  name: p\n  annotations:\n    shmrec.dev/entrypoint.app: '[\"/x\"]'\n");
  EXPECT_THAT(injected(text).yaml,
              HasSubstr("command: [\"/shmrec/shmrec\", \"run\", \"--\", \"/x\"]\n"));
  expect_stable(text);
  for (const char* bad : {"/x", "[]", "[1]", "[\"a\"", "{}"}) {
    EXPECT_THAT(refused(with(text, "[\"/x\"]", bad)), HasSubstr("expected a JSON list of words"));
  }
}

TEST(Inject, IsNotWrappedTwice) {
  for (const char* program : {"shmrec", "/shmrec/shmrec", "/opt/bin/shmrec"}) {
    const std::string text =
        with(kPod, "[a]", std::string("[") + program + ", run, -o, /x, --, a]") +
        "  - name: b\n    command: [x]\n";
    const Injection injection = injected(text);
    EXPECT_THAT(only_note(injection), HasSubstr("container 'app' runs under shmrec already"));
    EXPECT_THAT(injection.yaml, HasSubstr("\"--\", x]"));
    EXPECT_THAT(injection.yaml, HasSubstr(std::string("[") + program + ", run, -o"));
    EXPECT_EQ(taken_back(injection.yaml), text);
  }
  EXPECT_EQ(injected(with(kPod, "[a]", "[shmrec, doctor]")).workloads.size(), 1u);
}

TEST(Inject, WhoOptsOutIsLeft) {
  for (const char* value : {"\"false\"", "false"}) {
    const std::string annotation =
        "  annotations:\n    shmrec.dev/inject: " + std::string(value) + "\n";
    const std::string text = with(kPod, "  name: p\n", "  name: p\n" + annotation);
    const Injection injection = injected(text);
    EXPECT_EQ(injection.yaml, text);
    EXPECT_THAT(only_note(injection), HasSubstr("Pod/p says shmrec.dev/inject: \"false\""));
    EXPECT_TRUE(injection.containers.contains("app"));
  }
  const std::string deployment =
      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {annotations: {shmrec.dev/inject: "
      "\"false\"}}\nspec: {template: {spec: {containers: [{name: a, command: [a]}]}}}\n";
  EXPECT_EQ(injected(deployment).yaml, deployment);
  EXPECT_EQ(injected(with(deployment, "\"false\"", "\"true\"")).workloads.size(), 1u);
  const std::string once = injected(kPod).yaml;
  const std::string out =
      with(once, "  annotations:\n", "  annotations:\n    shmrec.dev/inject: \"false\"\n");
  EXPECT_EQ(injected(out).yaml, out);
}

TEST(Inject, RenewsWithWhatIsGiven) {
  Options first = options();
  first.policy_configmap = "old";
  first.claim = "bundles";
  first.sidecar_config = "config";
  const std::string once = injected(kPod, first).yaml;
  Options newer = options();
  newer.image = "registry/sidecar:2";
  newer.policy_configmap = "new";
  newer.version = "2";
  const Injection again = injected(once, newer);
  EXPECT_EQ(again.workloads.size(), 1u);
  Options whole = newer;
  whole.claim = "bundles";
  whole.sidecar_config = "config";
  EXPECT_EQ(again.yaml, injected(kPod, whole).yaml);
  // "" is none.
  whole.claim = whole.sidecar_config = whole.policy_configmap = "";
  EXPECT_EQ(injected(again.yaml, whole).yaml, injected(kPod,
                                                       [&] {
                                                         Options plain = options();
                                                         plain.image = "registry/sidecar:2";
                                                         plain.version = "2";
                                                         return plain;
                                                       }())
                                                  .yaml);
  // Another mode, and back.
  Options classic = newer;
  classic.mode = Mode::kClassic;
  const std::string other = injected(again.yaml, classic).yaml;
  EXPECT_NE(other, again.yaml);
  EXPECT_EQ(injected(other, newer).yaml, other);
  classic.mode = Mode::kNative;
  EXPECT_EQ(injected(other, classic).yaml, again.yaml);
}

TEST(Inject, NamesPlacesOfTheTextThatIsRenewed) {
  std::string text = injected(kPod).yaml + "---\n" + kPod + "  - name: bare\n";
  const size_t bare = text.find("name: bare");
  const auto line = std::count(text.begin(), text.begin() + bare, '\n') + 1;
  EXPECT_THAT(only_note(injected(text)), HasSubstr("f.yaml:" + std::to_string(line) + ":5: "));
  text = injected(kPod).yaml;
  text = with(text, "  initContainers:", "  - name: bare\n  initContainers:");
  const auto second = std::count(text.begin(), text.begin() + text.find("name: bare"), '\n') + 1;
  EXPECT_THAT(only_note(injected(text)), HasSubstr("f.yaml:" + std::to_string(second) + ":5: "));
}

TEST(Inject, OneBadDocumentStopsNoOther) {
  const std::string merge = with(kPod, "    image: i", "    <<: {}");
  const std::string text =
      std::string(kPod) + "---\n" + merge + "---\nx: [\n---\nk: {{ v }}\n---\n" + kPod;
  const Result<Injection> result = inject(text, "f.yaml", options());
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->workloads.size(), 2u);
  ASSERT_EQ(result->errors.size(), 3u) << testing::PrintToString(result->errors);
  EXPECT_THAT(result->errors[0], testing::StartsWith("f.yaml:20:5: "));
  EXPECT_THAT(result->errors[1], testing::StartsWith("f.yaml:24:1: end of"));
  EXPECT_THAT(result->errors[2], HasSubstr("f.yaml:25:4: this is a template"));
  const std::string one = injected(kPod).yaml;
  EXPECT_EQ(result->yaml, one + "---\n" + merge + "---\n" + one);
}

TEST(Inject, OneBadPodOfAListStopsNoOther) {
  const std::string pod =
      "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, command: [a]}]}}";
  const std::string bad =
      "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, command: a}]}}";
  const std::string text = "kind: List\nitems:\n- " + pod + "\n- " + bad + "\n- " + pod + "\n";
  const Result<Injection> result = inject(text, "f.yaml", options());
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->workloads.size(), 2u);
  EXPECT_EQ(result->errors.size(), 1u);
  EXPECT_THAT(result->yaml, HasSubstr("\n- " + bad + "\n"));
  EXPECT_EQ(taken_back(result->yaml), text);
}

TEST(Inject, RefusesTemplatesThatAreNotRendered) {
  const char* templates[] = {
      "apiVersion: v1\nkind: Pod\nspec:\n  replicas: {{ .Values.replicas }}\n",
      "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ include \"a.b\" . }}-x\n",
      "{{- if .Values.x }}\napiVersion: v1\n{{- end }}\n",
      "metadata:\n  labels:\n    {{- toYaml . | nindent 4 }}\n",
      "apiVersion: v1\nkind: Service\nmetadata:\n  name: '{{ .Release.Name }}'\n",
      "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: \"{{ .Values.image "
      "}}\"}]}\n",
  };
  for (const char* text : templates) {
    const Result<Injection> result = inject(text, "f.yaml", options());
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->yaml, "");
    ASSERT_EQ(result->errors.size(), 1u) << text;
    EXPECT_THAT(result->errors[0], HasSubstr("this is a template that is not rendered")) << text;
    EXPECT_THAT(result->errors[0], HasSubstr("helm template")) << text;
  }
  EXPECT_THAT(refused(templates[0]), HasSubstr("f.yaml:4:13: "));
}

TEST(Inject, ValuesWithoutEndAreRefused) {
  EXPECT_THAT(refused("# my apt$  a\n   env:\n    \n  ,- - e: V\n"),
              HasSubstr("values without end"));
}

TEST(Inject, WhatOnlyLooksLikeATemplateIsNone) {
  const std::string rules =
      "kind: ConfigMap\ndata:\n  a: \"{{ $labels.pod }}\"\n  b: |\n    {{ range }}\n  # {{ c }}\n";
  EXPECT_EQ(injected(rules).yaml, rules);
  const std::string text = with(kPod, "[a]", "[a, '--format={{.Name}}', '${X}']");
  EXPECT_EQ(injected(text).workloads.size(), 1u);
}

TEST(Inject, TheHealthPortIsNotOneThatThePodUses) {
  EXPECT_THAT(injected(kPod).yaml, HasSubstr("containerPort: 7071\n"));
  for (const char* use :
       {"    ports: [{containerPort: 7071}]\n", "    readinessProbe: {httpGet: {port: 7071}}\n",
        "    args: ['--listen=0.0.0.0:7071']\n", "    env: [{name: PORT, value: \"7071\"}]\n"}) {
    const std::string yaml = injected(std::string(kPod) + use).yaml;
    EXPECT_THAT(yaml, HasSubstr("containerPort: 7072\n")) << use;
    EXPECT_THAT(yaml, HasSubstr("[\"/usr/bin/shmrec-sidecar\", \"--health-listen\", "
                                "\"0.0.0.0:7072\"]"));
    const std::string probe =
        "command: [\"/usr/bin/shmrec-sidecar\", \"health\", "
        "\"127.0.0.1:7072\"]";
    const size_t first = yaml.find(probe);
    ASSERT_NE(first, yaml.npos);
    EXPECT_NE(yaml.find(probe, first + 1), yaml.npos);  // startup and liveness
    expect_stable(std::string(kPod) + use);
  }
  const std::string near = std::string(kPod) + "    args: ['17071', '70710']\n";
  EXPECT_THAT(injected(near).yaml, HasSubstr("containerPort: 7071\n"));
}

TEST(Inject, InTheNodesNetworkWorkloadsHaveOtherPorts) {
  const std::string host = std::string(kPod) + "  hostNetwork: true\n";
  const std::string yaml = injected(host).yaml;
  EXPECT_THAT(yaml, Not(HasSubstr("7071")));
  EXPECT_THAT(yaml, Not(HasSubstr("containerPort")));  // it would be a port of the node
  EXPECT_THAT(yaml, HasSubstr("--health-listen"));
  EXPECT_NE(injected(with(host, "name: p\n", "name: q\n")).yaml,
            with(yaml, "name: p\n", "name: q\n"));
  expect_stable(host);
}

TEST(Inject, AJobIsToldThatItsBundlesGo) {
  const std::string job =
      "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: "
      "{securityContext: {runAsUser: 7, fsGroup: 7}, containers: [{name: a, command: [a]}]}}}\n";
  EXPECT_THAT(only_note(injected(job)), HasSubstr("Job/j ends, and its bundles go"));
  Options out = options();
  out.claim = "kept";
  const Injection kept = injected(job, out);
  EXPECT_TRUE(kept.notes.empty());
  EXPECT_THAT(kept.yaml, HasSubstr("\"persistentVolumeClaim\": {\"claimName\": \"kept\"}"));
  EXPECT_THAT(kept.yaml, HasSubstr("/var/lib/shmrec/$(SHMREC_POD_NAME)"));
  expect_stable(job, out);
  EXPECT_THAT(only_note(injected(with(job, ", fsGroup: 7", ""), out)), HasSubstr("fsGroup"));
  out = options();
  out.sidecar_config = "send";
  EXPECT_TRUE(injected(job, out).notes.empty());
  expect_stable(job, out);
}

TEST(Inject, ANamedInitContainerIsRecorded) {
  Options one = options();
  one.containers = {"warm"};
  const std::string text = std::string(kPod) +
                           "  initContainers:\n  - name: warm\n    restartPolicy: Always\n"
                           "    command: [w]\n  - name: cold\n    command: [c]\n";
  const std::string yaml = injected(text, one).yaml;
  EXPECT_THAT(yaml, HasSubstr("command: [\"/shmrec/shmrec\", \"run\", \"--\", w]"));
  EXPECT_THAT(yaml, HasSubstr("    command: [c]\n"));
  EXPECT_THAT(yaml, HasSubstr("    command: [a]\n"));
  expect_stable(text, one);
}

TEST(Inject, JsonInLinesStaysSo) {
  const Json pod = Json::parse(
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","annotations":null},"spec":{)"
      R"("volumes":[],"containers":[{"name":"app","command":["a","\ud83d\ude00"]},)"
      R"({"name":"b","command":["b"],"env":[{"name":"E","value":"e"}]}]}})");
  for (const std::string& text : {pod.dump(2), pod.dump(4) + "\n", pod.dump(1, '\t'),
                                  "---\n" + pod.dump(2), pod.dump(2, ' ', true)}) {
    expect_stable(text);
    const std::string yaml = injected(text).yaml;
    const Json out = Json::parse(yaml.substr(yaml.find('{')));
    EXPECT_EQ(out["spec"]["containers"][1]["env"].size(), 2u);
    EXPECT_EQ(out["spec"]["initContainers"].size(), 2u);
    std::istringstream lines(yaml);
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LT(line.size(), 120u);
      EXPECT_EQ(line.find_last_not_of(" \t"), line.size() - 1);
    }
  }
}

TEST(Uninject, TakesBackWhatAClusterHasWrittenAnew) {
  // As kubectl get -o yaml gives it: sorted, in blocks, with defaults.
  const std::string text =
      "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    shmrec.dev/injected: \"1\"\n"
      "    shmrec.dev/state: '{\"entrypoints\":{\"b\":[\"x\"]}}'\n    shmrec.dev/version: 0.1.0\n"
      "  name: p\nspec:\n  containers:\n"
      "  - command:\n    - /shmrec/shmrec\n    - run\n    - --\n    - a\n    env:\n"
      "    - name: A\n    - name: SHMREC_SPOOL\n      value: /var/spool/shmrec\n    name: app\n"
      "    volumeMounts:\n    - mountPath: /shmrec\n      name: shmrec-tools\n      readOnly: "
      "true\n"
      "    - mountPath: /var/spool/shmrec\n      name: shmrec-spool\n    - mountPath: /d\n"
      "      name: d\n"
      "  - command:\n    - /shmrec/shmrec\n    - run\n    - --\n    - x\n    name: b\n"
      "  initContainers:\n  - image: i\n    name: shmrec-install\n  - image: i\n"
      "    name: shmrec-sidecar\n  nodeName: n\n  volumes:\n  - emptyDir: {}\n    name: d\n"
      "  - emptyDir: {}\n    name: shmrec-store\n  - emptyDir: {}\n    name: shmrec-spool\n";
  EXPECT_EQ(taken_back(text),
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n"
            "  - command:\n    - a\n    env:\n    - name: A\n    name: app\n    volumeMounts:\n"
            "    - mountPath: /d\n      name: d\n  - name: b\n  nodeName: n\n  volumes:\n"
            "  - emptyDir: {}\n    name: d\n");
}

TEST(Uninject, LeavesWhatWasNotInjected) {
  for (const std::string& text :
       {std::string(kPod), std::string("# nothing\n"), std::string("a: b\n---\n- c"),
        with(kPod, "[a]", "[/shmrec/shmrec, run, --, a]"),
        with(kPod, "  name: p\n",  // by Kustomize
             "  name: p\n  annotations: {shmrec.dev/injected: \"1\"}\n")}) {
    EXPECT_EQ(taken_back(text), text);
  }
}

TEST(Uninject, AStateThatMakesNoSenseIsNone) {
  const std::string once = injected(kPod).yaml;
  for (const char* state :
       {"x", "[]", "{\"empty\": 3}", "{\"entrypoints\": {\"app\": [1]}}",
        "{\"empty\": {\"spec.volumes\": \": x\"}}", "{\"containers\": \"a\"}"}) {
    const std::string text =
        with(once, "    shmrec.dev/version",
             "    shmrec.dev/state: '" + std::string(state) + "'\n    shmrec.dev/version");
    EXPECT_EQ(taken_back(text), kPod) << state;
  }
}

TEST(Inject, RefusesWhatItWouldHaveToGuess) {
  EXPECT_THAT(refused(with(kPod, "    image: i", "    <<: {}")), HasSubstr("f.yaml:9:5: "));
  EXPECT_THAT(refused(with(kPod, "    image: i", "    name: i")), HasSubstr("given twice"));
  EXPECT_THAT(refused(with(kPod, "containers:", "containers: 3\n  x:")),
              HasSubstr("expected a list"));
  EXPECT_THAT(refused(with(kPod, "spec:", "spec: 3\nx:")), HasSubstr("expected a map"));
}

TEST(Inject, RefusesToChangeWhatAnAliasShares) {
  const std::string text = with(kPod, "[a]", "&c [a]\n  - {name: b, command: *c}");
  EXPECT_THAT(refused(text),
              HasSubstr("f.yaml:10:14: spec.containers[app].command is to be changed"));
  const std::string pods =
      "kind: List\nitems:\n- &p\n  apiVersion: v1\n  kind: Pod\n  spec: {containers: [{name: a, "
      "command: [a]}]}\n- *p\n";
  EXPECT_THAT(refused(pods), HasSubstr("alias"));
}

TEST(Inject, WhatItOnlyReadsMayBeShared) {
  const std::string text = with(kPod, "{runAsUser: 1000}", "&user {runAsUser: 1000}") +
                           "    securityContext: *user\n    env: [&e {name: E}]\n"
                           "  - &o {name: other, command: [b], env: [*e], volumeMounts: []}\n"
                           "  initContainers: [*o]\n";
  Options one = options();
  one.containers = {"app"};
  const Injection injection = injected(text, one);
  EXPECT_TRUE(injection.notes.empty());
  EXPECT_THAT(injection.yaml, HasSubstr("env: [{\"name\": \"SHMREC_SPOOL\", \"value\": "
                                        "\"/var/spool/shmrec\"}, &e {name: E}]"));
  EXPECT_THAT(refused(text), HasSubstr("spec.containers[other] is to be changed"));
}

TEST(Inject, RefusesItsOwnNames) {
  EXPECT_THAT(refused(std::string(kPod) + "  volumes: [{name: shmrec-spool}]\n"),
              HasSubstr("f.yaml:11:13: spec.volumes has 'shmrec-spool' already"));
  EXPECT_THAT(refused(std::string(kPod) + "    env: [{name: SHMREC_SPOOL}]\n"),
              HasSubstr("SHMREC_SPOOL"));
  EXPECT_THAT(refused(std::string(kPod) + "    volumeMounts: [{name: v, mountPath: /shmrec/}]\n"),
              HasSubstr("volumeMounts has '/shmrec' already"));
}

TEST(Inject, AJobBesideAClassicSidecarWouldNeverEnd) {
  Options classic = options();
  classic.mode = Mode::kClassic;
  const std::string job =
      "apiVersion: batch/v1\nkind: Job\nspec: {template: {spec: {containers: [{name: a, command: "
      "[a]}]}}}\n";
  EXPECT_THAT(refused(job, classic), HasSubstr("would never end"));
}

TEST(Inject, TheSidecarRunsAsTheUserThatIsRecorded) {
  EXPECT_THAT(injected(kPod).yaml, HasSubstr("runAsUser: 1000\n      runAsNonRoot: true"));
  EXPECT_TRUE(injected(kPod).notes.empty());
  for (const char* other : {"{}", "{runAsUser: 0}", "{runAsUser: x}"}) {
    const Injection injection = injected(with(kPod, "{runAsUser: 1000}", other));
    EXPECT_THAT(injection.yaml, Not(HasSubstr("      runAsUser:"))) << other;
    ASSERT_EQ(injection.notes.size(), 1u);
    EXPECT_THAT(injection.notes[0], HasSubstr("set securityContext.runAsUser"));
  }
  // The volume's group is common to all users.
  EXPECT_TRUE(injected(with(kPod, "{runAsUser: 1000}", "{fsGroup: 7}")).notes.empty());
}

TEST(Inject, TellsOfContainersInKindsThatItDoesNotKnow) {
  const char* kSpecs[] = {"{containers: [{name: a}]}", "{template: {spec: {containers: [{}]}}}",
                          "{jobTemplate: {spec: {template: {spec: {containers: []}}}}}"};
  for (const char* spec : kSpecs) {
    const std::string text =
        std::string("kind: Rollout\napiVersion: argoproj.io/v1alpha1\nspec: ") + spec + "\n";
    const Injection injection = injected(text);
    EXPECT_EQ(injection.yaml, text);
    ASSERT_EQ(injection.notes.size(), 1u) << spec;
    EXPECT_THAT(injection.notes[0], HasSubstr("Rollout of 'argoproj.io/v1alpha1' has containers"));
  }
  for (const char* spec : {"{containers: 3}", "{template: {spec: }}", "[]", "x"}) {
    EXPECT_TRUE(injected(std::string("kind: Other\nspec: ") + spec + "\n").notes.empty()) << spec;
  }
}

TEST(Inject, LeavesPodsOfOtherMachinesAlone) {
  for (const char* field : {"os: {name: windows}", "nodeSelector: {kubernetes.io/os: windows}",
                            "nodeSelector: {disk: ssd, kubernetes.io/arch: arm64}"}) {
    const std::string text = std::string(kPod) + "  " + field + "\n";
    const Injection injection = injected(text);
    EXPECT_EQ(injection.yaml, text);
    ASSERT_EQ(injection.notes.size(), 1u) << field;
    EXPECT_THAT(injection.notes[0], HasSubstr("only Linux on x86-64 records"));
  }
  for (const char* field : {"os: {name: linux}", "nodeSelector: {kubernetes.io/arch: amd64}",
                            "nodeSelector:", "os: linux"}) {
    EXPECT_EQ(injected(std::string(kPod) + "  " + field + "\n").workloads.size(), 1u) << field;
  }
}

TEST(Inject, TellsOfAStorageLimitThatTheSpoolCountsAgainst) {
  const std::string limits = "    resources: {limits: {ephemeral-storage: 2Gi, cpu: 1}}\n";
  const Injection injection = injected(std::string(kPod) + limits);
  ASSERT_EQ(injection.notes.size(), 1u);
  EXPECT_THAT(injection.notes[0], HasSubstr("limits ephemeral-storage in container 'app'"));
  EXPECT_TRUE(injected(std::string(kPod) + "    resources: {limits: {cpu: 1}}\n").notes.empty());
  EXPECT_TRUE(injected(std::string(kPod) + "    resources: {limits: }\n").notes.empty());
}

TEST(Inject, MentionsThePolicyOnlyIfThereIsOne) {
  EXPECT_THAT(injected(kPod).yaml, Not(HasSubstr("configMap")));
  Options with_policy = options();
  with_policy.policy_configmap = "my-policy";
  const Injection injection = injected(kPod, with_policy);
  EXPECT_THAT(injection.yaml, HasSubstr("configMap:\n      name: my-policy\n"));
  EXPECT_THAT(explain(injection.workloads),
              HasSubstr("spec.containers[app].volumeMounts[shmrec-policy]"));
}

TEST(Inject, ExplainsEachChangeAndThatNoPermissionIsAdded) {
  const std::string text = explain(injected(kPod).workloads);
  EXPECT_THAT(text, HasSubstr("Pod/p\n  + spec.containers[app].command: begins with"));
  EXPECT_THAT(text, HasSubstr("  + metadata.annotations.shmrec.dev/injected: 1\n"));
  EXPECT_THAT(text, HasSubstr("permissions added: none"));
  EXPECT_THAT(explain(injected("a: b").workloads), HasSubstr("nothing is added\n"));
}

TEST(Inject, KeepsTheLineEndsOfTheInput) {
  std::string text;
  for (const char* c = kPod; *c != 0; ++c)
    text += *c == '\n' ? std::string("\r\n") : std::string(1, *c);
  const std::string yaml = injected(text).yaml;
  for (size_t at = yaml.find('\n'); at != yaml.npos; at = yaml.find('\n', at + 1)) {
    ASSERT_EQ(yaml[at - 1], '\r') << at;
  }
}

TEST(Inject, AFileWithoutALastLineEndIsChanged) {
  const std::string text(kPod, sizeof kPod - 2);
  EXPECT_EQ(injected(text).yaml, injected(kPod).yaml);
}

TEST(Inject, NeverDamagesAText) {
  // The literal has no line end at the end of the text; a line added behind it would give it one.
  const std::string text =
      std::string(kPod) + "    env:\n    - name: A\n      value: |-\n        x";
  EXPECT_THAT(injected(text).yaml, HasSubstr("        x\n    volumeMounts:\n"));
}

TEST(Inject, RefusesBombs) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int j = 0; j < 8; ++j) bomb += ", " + before;
    bomb += "]\n";
  }
  EXPECT_THAT(refused(bomb), HasSubstr("with aliases followed, too large"));
  EXPECT_THAT(refused(std::string(100, '[') + std::string(100, ']')), HasSubstr("too deep"));
  EXPECT_THAT(refused("&a [*a]"),
              HasSubstr("f.yaml:1:5: an alias stands inside of its own anchor"));
  EXPECT_THAT(refused(std::string(kMaxSourceBytes + 1, ' ')), HasSubstr("bytes"));
  EXPECT_THAT(refused("a: \x04 b"), HasSubstr("f.yaml:1:4: a byte that is not text"));
  EXPECT_THAT(refused("\xEF\xBB\xBF"
                      "a: b"),
              HasSubstr("byte order mark"));
  EXPECT_THAT(refused("a: [b"), HasSubstr("f.yaml:1:1: "));
  EXPECT_THAT(refused("a:\n\tb: c\n"), HasSubstr("a tab stands in the indentation"));
}

TEST(Inject, RefusesOptionsThatAreNoNames) {
  Options bad = options();
  bad.image = "a b";
  EXPECT_THAT(refused(kPod, bad), HasSubstr("--image 'a b'"));
  bad.image = "";
  EXPECT_THAT(refused(kPod, bad), HasSubstr("--image is empty"));
  bad = options();
  bad.policy_configmap = "\xFF";
  EXPECT_THAT(refused(kPod, bad), HasSubstr("--policy-configmap"));
}

TEST(Contains, MissesWhatIsGone) {
  const auto of = [](const char* text) {
    Result<YamlStream> source = read_source(text, "f");
    EXPECT_TRUE(source.ok());
    return std::move(source).value();
  };
  const auto holds = [&](const char* whole, const char* part) {
    const YamlStream a = of(whole), b = of(part);
    return contains(*a.documents[0], *b.documents[0]);
  };
  EXPECT_TRUE(holds("{a: [0, 1, 2], b: c, d: e}", "{a: [1, 2], d: e}"));
  EXPECT_FALSE(holds("{a: [2, 1]}", "{a: [1, 2]}"));
  EXPECT_FALSE(holds("{d: e, a: b}", "{a: b, d: e}"));
  EXPECT_FALSE(holds("{a: \"1\"}", "{a: 1}"));
  EXPECT_FALSE(holds("{a: b}", "{a: [b]}"));
}

}  // namespace
}  // namespace shmrec::inject
