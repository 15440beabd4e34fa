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
  return result ? *result : Injection{};
}

std::string refused(const std::string& text, const Options& with = options()) {
  const Result<Injection> result = inject(text, "f.yaml", with);
  EXPECT_FALSE(result.ok()) << result->yaml;
  if (result) return "";
  EXPECT_TRUE(result.error().bad_input);
  return result.error().message;
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

void expect_stable(const std::string& text, const Options& with = options()) {
  const std::string once = injected(text, with).yaml;
  EXPECT_NE(once, text);
  const Injection twice = injected(once, with);
  EXPECT_EQ(twice.yaml, once);
  EXPECT_TRUE(twice.workloads.empty());
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
  EXPECT_THAT(refused(text, one), HasSubstr("f.yaml:1:1: no container 'ap' (did you mean 'app'?)"));
}

TEST(Inject, ACommandIsNeeded) {
  const std::string message = refused(with(kPod, "    command: [a]\n", ""));
  EXPECT_THAT(message, HasSubstr("f.yaml:8:5: container 'app' has no command"));
  EXPECT_THAT(message, HasSubstr("--container"));
  refused(with(kPod, "[a]", "[]"));
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
  EXPECT_THAT(refused(with(kPod, "[a]", "[/shmrec/shmrec, run, a]")),
              HasSubstr("under shmrec already"));
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
}

TEST(Inject, TellsOfAnOlderInjection) {
  Options newer = options();
  newer.version = "2";
  const std::string once = injected(kPod).yaml;
  const Injection again = injected(once, newer);
  EXPECT_EQ(again.yaml, once);
  ASSERT_EQ(again.notes.size(), 1u);
  EXPECT_THAT(again.notes[0], HasSubstr("injected by shmrec '1.2.3'"));
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
  EXPECT_THAT(explain(injection), HasSubstr("spec.containers[app].volumeMounts[shmrec-policy]"));
}

TEST(Inject, ExplainsEachChangeAndThatNoPermissionIsAdded) {
  const std::string text = explain(injected(kPod));
  EXPECT_THAT(text, HasSubstr("Pod/p\n  + spec.containers[app].command: begins with"));
  EXPECT_THAT(text, HasSubstr("  + metadata.annotations.shmrec.dev/injected: 1\n"));
  EXPECT_THAT(text, HasSubstr("permissions added: none"));
  EXPECT_THAT(explain(injected("a: b")), HasSubstr("nothing is added\n"));
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
  EXPECT_THAT(refused("a: [b"), testing::StartsWith("f.yaml:"));
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
