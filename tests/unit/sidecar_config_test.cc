// The sidecar's configuration: what is documented is accepted, what is wrong is named with its
// place.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "sidecar/config.h"

namespace shmrec::sidecar {
namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(std::string(SHMREC_SOURCE_DIR) + "/" + path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

const std::string kHead = "apiVersion: shmrec/v1\nkind: Sidecar\n";

Result<Config> parsed(const std::string& rest) { return parse_config(kHead + rest, "s.yaml"); }

std::string mistake(const std::string& rest) {
  const Result<Config> config = parsed(rest);
  return config ? "accepted" : config.error().message;
}

TEST(SidecarConfig, TheDocumentedExampleIsAccepted) {
  const std::string document = text_of("docs/sidecar.md");
  const size_t begin = document.find("```yaml\n") + 8;
  const Result<Config> config =
      parse_config(document.substr(begin, document.find("```", begin) - begin), "d");
  ASSERT_TRUE(config.ok()) << config.error().message;
  ASSERT_EQ(config->rules.size(), 3u);
  EXPECT_TRUE(config->rules[0].trigger.any_process);
  EXPECT_EQ(config->rules[0].limit.window_s, 3600);
  EXPECT_EQ(config->rules[1].filter.command, "server *");
  EXPECT_EQ(config->retention.age_s, 30u * 86400);
  EXPECT_EQ(config->destinations[1].termination_message, "/dev/termination-log");
}

TEST(SidecarConfig, TheDeployedExampleIsAccepted) {
  const Result<Config> config = parse_config(text_of("deploy/sidecar.yaml"), "d");
  EXPECT_TRUE(config.ok()) << config.error().message;
}

TEST(SidecarConfig, NothingGivenIsTheDefaults) {
  const Result<Config> config = parsed("");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->rules.size(), Config::default_rules().size());
  EXPECT_EQ(config->artefact_listen, "127.0.0.1:7070");
  EXPECT_TRUE(config->join);
}

TEST(SidecarConfig, ABundleHasALimitUnlessItIsTakenAway) {
  EXPECT_EQ(parsed("")->bundle_bytes, uint64_t{1} << 30);
  EXPECT_EQ(parsed("bundle: {maxBytes: 64MiB}\n")->bundle_bytes, uint64_t{64} << 20);
  EXPECT_EQ(parsed("bundle: {maxBytes: 0}\n")->bundle_bytes, 0u);
  EXPECT_NE(mistake("bundle: {maxBytes: big}\n").find("s.yaml:3:20: "), std::string::npos);
}

TEST(SidecarConfig, SignalsAreNamesOrNumbers) {
  const Result<Config> config =
      parsed("rules:\n- {name: a, trigger: {signal: [SIGSEGV, ABRT, 7]}}\n");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->rules[0].trigger.signals, (std::vector<int>{11, 6, 7}));
}

TEST(SidecarConfig, MistakesAreNamedWithPlaceAndFix) {
  EXPECT_EQ(
      mistake("retentoin: {}\n").substr(0, 60),
      std::string("s.yaml:3:1: unknown key 'retentoin' in sidecar configuration, did you mean "
                  "'retention'?")
          .substr(0, 60));
  EXPECT_NE(mistake("rules:\n- {name: a, trigger: {signal: [SIGNOTHING]}}\n").find("s.yaml:4:32: "),
            std::string::npos);
  EXPECT_NE(mistake("rules:\n- {name: a, trigger: {request: true}, egress: [nowhere]}\n")
                .find("which is no destination"),
            std::string::npos);
  EXPECT_NE(mistake("destinations:\n- {name: a, directory: /a, terminationMessage: /b}\n")
                .find("s.yaml:4:3: a destination with 2 ways"),
            std::string::npos);
  EXPECT_NE(mistake("store: relative\n").find("expected an absolute path"), std::string::npos);
  EXPECT_NE(mistake("rules: 7\n").find("s.yaml:3:8: 'rules' is a number"), std::string::npos);
  EXPECT_NE(mistake("retention: {count: -1}\n").find("a whole number from 0"), std::string::npos);
}

LoadedConfig loaded(const std::string& text, const char* const* environment = nullptr) {
  const std::string file = testing::TempDir() + "/with_mistakes.yaml";
  std::ofstream(file) << text;
  return load_config_anyway(file, environment);
}

TEST(SidecarConfig, AKeyWithAMistakeIsAsIfItWereNotThere) {
  const LoadedConfig config =
      loaded(std::string(kHead) +
             "spool: /a\nstore: b\n"
             "retention: {count: 7, bytes: many}\nhealth: {listen: none}\n"
             "join: false\nretentoin: {}\nhttp: {noAuth: true, listen: 7}\n");
  EXPECT_EQ(config.mistakes.size(), 4u);
  EXPECT_EQ(config.config.spool, "/a");
  EXPECT_EQ(config.config.store, "/var/lib/shmrec");
  EXPECT_EQ(config.config.retention.count, 50u);
  EXPECT_EQ(config.config.health_listen, "");
  EXPECT_FALSE(config.config.join);
  EXPECT_FALSE(config.config.no_auth);
  EXPECT_FALSE(config.config.failure_closed);
}

TEST(SidecarConfig, RulesAndDestinationsHoldTogetherOrNotAtAll) {
  const std::string rule = "rules: [{name: a, trigger: {request: true}, egress: [b]}]\n";
  const std::string destination = "destinations: [{name: b, directory: /b}]\n";
  const LoadedConfig sound = loaded(kHead + destination + rule + "retentoin: {}\n");
  EXPECT_EQ(sound.config.rules.size(), 1u);
  EXPECT_EQ(sound.config.destinations.size(), 1u);
  const std::string wrong[] = {
      destination + "rules: [{name: a, trigger: {request: true}, egress: [c]}]\n",
      destination + "rules: [{name: a, trigger: {signal: [SIGNOTHING]}}]\n",
      destination + "retentoin: {}\nrules: [{name: a, trigger: {}}]\n",
      "destinations: [{name: b, directory: b}]\n" + rule,
  };
  for (const std::string& text : wrong) {
    const LoadedConfig config = loaded(kHead + text);
    EXPECT_FALSE(config.mistakes.empty()) << text;
    EXPECT_EQ(config.config.rules.size(), 3u) << text;
    EXPECT_TRUE(config.config.destinations.empty()) << text;
  }
}

TEST(SidecarConfig, OfWhatIsNoConfigurationNothingHoldsButTheEnvironment) {
  const char* const environment[] = {"SHMREC_SPOOL=/a", "SHMREC_STORE=b", "SHMREC_NO_AUTH=2",
                                     nullptr};
  for (const char* text : {"spool: [", "", "apiVersion: shmrec/v1\nkind: Policy\nspool: /x\n"}) {
    const LoadedConfig config = loaded(text, environment);
    EXPECT_EQ(config.mistakes.size(), 3u) << text;
    EXPECT_EQ(config.config.spool, "/a");
    EXPECT_EQ(config.config.store, "/var/lib/shmrec");
    EXPECT_FALSE(config.config.no_auth);
  }
  EXPECT_EQ(load_config_anyway("/nowhere.yaml", nullptr).mistakes.size(), 1u);
}

TEST(SidecarConfig, WhoWantsARefusalSaysSo) {
  EXPECT_TRUE(loaded(std::string(kHead) + "failurePolicy: closed\n").config.failure_closed);
  EXPECT_TRUE(loaded(std::string(kHead) + "failurePolicy: closed\nx: 1\n").config.failure_closed);
  EXPECT_TRUE(loaded("spool: [\nfailurePolicy: closed\n").config.failure_closed);
  EXPECT_FALSE(loaded("spool: [\n# failurePolicy: closed\n").config.failure_closed);
  const char* const closed[] = {"SHMREC_FAILURE_POLICY=closed", nullptr};
  const char* const misspelled[] = {"SHMREC_FAILURE_POLICY=close", nullptr};
  const char* const open[] = {"SHMREC_FAILURE_POLICY=open", nullptr};
  EXPECT_TRUE(loaded(kHead, closed).config.failure_closed);
  EXPECT_TRUE(loaded(kHead, misspelled).config.failure_closed);
  EXPECT_FALSE(loaded(std::string(kHead) + "failurePolicy: closed\n", open).config.failure_closed);
}

TEST(SidecarConfig, TheTerminationMessageComesFromTheEnvironment) {
  const char* const environment[] = {"SHMREC_TERMINATION_MESSAGE=/dev/termination-log", nullptr};
  const Result<Config> config = load_config("", environment);
  ASSERT_TRUE(config.ok()) << config.error().message;
  ASSERT_EQ(config->destinations.size(), 1u);
  EXPECT_EQ(config->destinations[0].name, "termination-message");
  EXPECT_EQ(config->destinations[0].termination_message, "/dev/termination-log");
  const char* const relative[] = {"SHMREC_TERMINATION_MESSAGE=log", nullptr};
  EXPECT_FALSE(load_config("", relative).ok());
}

TEST(SidecarConfig, TheFilesTerminationMessageIsTheOnlyOne) {
  const std::string file = testing::TempDir() + "/termination.yaml";
  std::ofstream(file) << "apiVersion: shmrec/v1\nkind: Sidecar\n"
                         "destinations: [{name: line, terminationMessage: /line}]\n";
  const char* const environment[] = {"SHMREC_TERMINATION_MESSAGE=/dev/termination-log", nullptr};
  const Result<Config> config = load_config(file, environment);
  ASSERT_TRUE(config.ok()) << config.error().message;
  ASSERT_EQ(config->destinations.size(), 1u);
  EXPECT_EQ(config->destinations[0].termination_message, "/line");
}

TEST(SidecarConfig, TheEnvironmentOverrides) {
  const char* const environment[] = {"SHMREC_SPOOL=/a", "SHMREC_LISTEN=none", "SHMREC_NO_AUTH=1",
                                     nullptr};
  const Result<Config> config = load_config(std::nullopt, environment);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->spool, "/a");
  EXPECT_EQ(config->artefact_listen, "");
  EXPECT_TRUE(config->no_auth);
  const char* const wrong[] = {"SHMREC_NO_AUTH=yes", nullptr};
  EXPECT_FALSE(load_config(std::nullopt, wrong).ok());
}

}  // namespace
}  // namespace shmrec::sidecar
