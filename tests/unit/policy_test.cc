// The policy: globs, the parser and its messages, layering, rules, redaction; and schema.json held
// against the parser, both ways.
#include "policy/policy.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "policy/glob.h"
#include "policy/loaded_policy.h"
#include "policy/match.h"
#include "policy/redact.h"
#include "policy/suggest.h"
#include "policy/words.h"
#include "policy/yaml_tree.h"
#include "recording/log/shmlog_create.h"

namespace shmrec {
namespace {

using Json = nlohmann::json;

const std::string kHead = "apiVersion: shmrec/v1\nkind: Policy\n";

bool glob(std::string_view pattern, std::string_view text, uint32_t flags = 0) {
  return glob_match(pattern.data(), pattern.size(), text.data(), text.size(), flags);
}

// The message for a document behind kHead (which is two lines), or "" if it parses.
std::string mistake(const std::string& body) {
  const Result<Policy> policy = parse_policy(kHead + body, "p.yaml");
  return policy ? "" : policy.error().message;
}

Policy parsed(const std::string& body) {
  Result<Policy> policy = parse_policy(kHead + body, "p.yaml");
  EXPECT_TRUE(policy.ok()) << policy.error().message;
  return policy ? *policy : Policy{};
}

// ---- Globs --------------------------------------------------------------------------------------

TEST(Glob, LiteralsMatchThemselvesOnly) {
  EXPECT_TRUE(glob("", ""));
  EXPECT_FALSE(glob("", "a"));
  EXPECT_FALSE(glob("a", ""));
  EXPECT_TRUE(glob("/dev/shm/a", "/dev/shm/a"));
  EXPECT_FALSE(glob("/dev/shm/a", "/dev/shm/ab"));
  EXPECT_FALSE(glob("/dev/shm/ab", "/dev/shm/a"));
}

TEST(Glob, StarStopsAtSlashDoubleStarDoesNot) {
  EXPECT_TRUE(glob("/a/*", "/a/"));
  EXPECT_TRUE(glob("/a/*", "/a/b"));
  EXPECT_FALSE(glob("/a/*", "/a/b/c"));
  EXPECT_TRUE(glob("/a/**", "/a/b/c"));
  EXPECT_TRUE(glob("**/c", "/a/b/c"));
  EXPECT_FALSE(glob("*/c", "/a/b/c"));
  EXPECT_TRUE(glob("***", "/a/b"));
  EXPECT_TRUE(glob("/a/*/d*", "/a/b/def"));
  EXPECT_FALSE(glob("/a/*/d*", "/a/b/c/def"));
  EXPECT_TRUE(glob("/a/**/d*x", "/a/b/c/d/d1x"));
}

TEST(Glob, DoubleStarBacktracksWhereStarIsStuckAtASlash) {
  EXPECT_TRUE(glob("**a*b", "a/ab"));
  EXPECT_TRUE(glob("**x*y/z", "x1/x2y/z"));
  EXPECT_FALSE(glob("**a*b", "a/b"));
}

TEST(Glob, QuestionMarkIsOneCharacterButSlash) {
  EXPECT_TRUE(glob("a?c", "abc"));
  EXPECT_FALSE(glob("a?c", "a/c"));
  EXPECT_FALSE(glob("a?c", "ac"));
}

TEST(Glob, SetsHoldCharactersRangesAndNegations) {
  EXPECT_TRUE(glob("[abc]", "b"));
  EXPECT_FALSE(glob("[abc]", "d"));
  EXPECT_TRUE(glob("x[a-f0-9]y", "x7y"));
  EXPECT_FALSE(glob("x[a-f0-9]y", "xgy"));
  EXPECT_TRUE(glob("[!a]", "b"));
  EXPECT_FALSE(glob("[!a]", "a"));
  EXPECT_FALSE(glob("[!a]", "/"));
  EXPECT_FALSE(glob("[/]", "/"));
  EXPECT_TRUE(glob("[]a]", "]"));
  EXPECT_TRUE(glob("[!]a]", "b"));
  EXPECT_FALSE(glob("[!]a]", "]"));
  EXPECT_TRUE(glob("[a-]", "-"));
  EXPECT_TRUE(glob("[-a]", "-"));
  EXPECT_TRUE(glob("[\\]]", "]"));
  EXPECT_TRUE(glob("[a\\-z]", "-"));
  EXPECT_FALSE(glob("[a\\-z]", "m"));
  EXPECT_TRUE(glob("[\xc3-\xc4]", "\xc3"));
}

TEST(Glob, BackslashQuotes) {
  EXPECT_TRUE(glob("\\*", "*"));
  EXPECT_FALSE(glob("\\*", "a"));
  EXPECT_TRUE(glob("\\[a]", "[a]"));
  EXPECT_TRUE(glob("a\\\\", "a\\"));
}

TEST(Glob, FlagsFoldCaseAndCrossSlashes) {
  EXPECT_TRUE(glob("*Key*", "API_KEY_FILE", kGlobFoldCase));
  EXPECT_TRUE(glob("[A-C]x", "bX", kGlobFoldCase));
  EXPECT_FALSE(glob("*Key*", "API_KEY_FILE"));
  EXPECT_TRUE(glob("a*c", "a/c", kGlobCrossSlashes));
}

TEST(Glob, ErrorsAreFoundWithTheirPlace) {
  auto error = [](std::string_view pattern) {
    size_t at = 0;
    const char* what = glob_error(pattern.data(), pattern.size(), at);
    return what == nullptr ? "" : std::to_string(at) + " " + what;
  };
  EXPECT_EQ(error("/a/*[x]\\[**"), "");
  EXPECT_EQ(error("ab[c"), "2 '[' has no ']'");
  EXPECT_EQ(error("ab\\"), "2 a backslash quotes nothing");
  EXPECT_EQ(error("[^a]"), "0 sets are negated by '!', not '^'");
}

// A matcher that tries all ways, for short texts.
bool slow_match(std::string_view p, std::string_view t) {
  if (p.empty()) return t.empty();
  const bool twice = p.starts_with("**");
  if (p[0] == '*') {
    for (size_t n = 0; n <= t.size(); ++n) {
      if (!twice && t.substr(0, n).find('/') != t.npos) return false;
      if (slow_match(p.substr(twice ? 2 : 1), t.substr(n))) return true;
    }
    return false;
  }
  if (t.empty()) return false;
  return (p[0] == '?' ? t[0] != '/' : p[0] == t[0]) && slow_match(p.substr(1), t.substr(1));
}

TEST(Glob, AgreesWithAMatcherThatTriesAllWays) {
  const std::string pattern_letters = "*?ab/", text_letters = "ab/";
  std::srand(7);
  int matched = 0;
  for (int i = 0; i < 200000; ++i) {
    std::string pattern, text;
    for (int n = std::rand() % 8; n > 0; --n) pattern += pattern_letters[std::rand() % 5];
    for (int n = std::rand() % 8; n > 0; --n) text += text_letters[std::rand() % 3];
    const bool expected = slow_match(pattern, text);
    matched += expected;
    ASSERT_EQ(glob(pattern, text), expected) << pattern << " on " << text;
  }
  EXPECT_GT(matched, 1000);
}

TEST(Glob, HostilePatternsTakeBoundedTime) {
  std::string pattern;
  while (pattern.size() + 4 < kMaxGlobBytes) pattern += "**a*";
  const std::string text(4096, 'a');
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(glob(pattern + "b", text));
  EXPECT_TRUE(glob(pattern, text));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  EXPECT_FALSE(glob(std::string(kMaxGlobBytes + 1, '*'), "a"));
}

// ---- Parsing ------------------------------------------------------------------------------------

TEST(PolicyParse, HeadAloneGivesTheDefaults) {
  const Policy policy = parsed("");
  EXPECT_EQ(policy, Policy{});
  EXPECT_EQ(policy.default_mode, SegmentMode::kTrace);
  EXPECT_EQ(policy.default_order, Order::kExact);
  EXPECT_EQ(policy.default_accesses, Accesses::kAll);
  EXPECT_EQ(policy.limits.log_bytes, uint64_t{256} << 20);
}

const char kEverything[] = R"(segments:
  - name: results
    match: {posix: results*, executable: /usr/bin/python3*}
    mode: trace
    order: relaxed
    accesses: all
  - match: {path: "/var/lib/app/**"}
    mode: ignore
  - match: {memfd: "wayland-*"}
    mode: deny
  - match: {sysv: 0x8052e2c1}
  - match: {sysv: "*"}
    mode: ignore
  - match: {anonymous: true}
  - name: dconf
    match:
      path: /run/user/*/dconf/user
    mode: shadow
    direction: in
    peers: [/usr/libexec/dconf-service]
  - match: {executable: "**/node"}
    mode: ignore
level: replay
defaults: {mode: ignore, order: relaxed, accesses: writes}
limits: {logSize: 64Mi, spoolSize: 2GiB, recordingSize: 104857600, maxSlowdown: 1.25}
collect:
  {binaries: false, libraries: false, environment: false, launcherLog: false,
   core: {on: [exit, request], memory: private, limit: 8MiB}}
redaction:
  environment: ["*PIN*"]
  arguments: []
failurePolicy: closed
onLauncherDeath: kill
spoolDirectory: "/spool \"x\" \\"
)";

TEST(PolicyParse, EveryKeyIsRead) {
  const Policy policy = parsed(kEverything);
  ASSERT_EQ(policy.segments.size(), 8u);
  const SegmentRule& first = policy.segments[0];
  EXPECT_EQ(first.name, "results");
  EXPECT_EQ(first.match.kind, SegmentKind::kPosixShm);
  EXPECT_EQ(first.match.name, "/results*");
  EXPECT_EQ(first.match.executable, "/usr/bin/python3*");
  EXPECT_EQ(first.order, Order::kRelaxed);
  EXPECT_EQ(first.accesses, Accesses::kAll);
  EXPECT_EQ(first.where.line, 4);
  EXPECT_EQ(first.where.column, 5);
  EXPECT_EQ(policy.segments[1].match.kind, SegmentKind::kFile);
  EXPECT_EQ(policy.segments[1].mode, SegmentMode::kIgnore);
  EXPECT_EQ(policy.segments[2].match.kind, SegmentKind::kMemfd);
  EXPECT_EQ(policy.segments[2].mode, SegmentMode::kDeny);
  EXPECT_EQ(policy.segments[3].match.sysv_key, static_cast<int32_t>(0x8052e2c1u));
  EXPECT_EQ(policy.segments[4].match.kind, SegmentKind::kSysV);
  EXPECT_EQ(policy.segments[4].match.sysv_key, std::nullopt);
  EXPECT_EQ(policy.segments[5].match.kind, SegmentKind::kAnonymous);
  EXPECT_EQ(policy.segments[6].direction, Direction::kIn);
  EXPECT_EQ(policy.segments[6].peers, std::vector<std::string>{"/usr/libexec/dconf-service"});
  EXPECT_EQ(policy.segments[7].match.kind, std::nullopt);
  EXPECT_EQ(policy.default_mode, SegmentMode::kIgnore);
  EXPECT_EQ(policy.default_order, Order::kRelaxed);
  EXPECT_EQ(policy.default_accesses, Accesses::kWrites);
  EXPECT_EQ(policy.level, RecordLevel::kReplay);
  EXPECT_EQ(policy.limits, (Limits{64u << 20, uint64_t{2} << 30, 100u << 20, 1250}));
  EXPECT_EQ(policy.collect,
            (Collect{false,
                     false,
                     false,
                     false,
                     {false, true, true, CoreMemoryChoice::kPrivate, uint64_t{8} << 20}}));
  EXPECT_EQ(policy.redaction.environment, std::vector<std::string>{"*PIN*"});
  EXPECT_TRUE(policy.redaction.arguments.empty());
  EXPECT_EQ(policy.failure_policy, FailurePolicy::kClosed);
  EXPECT_EQ(policy.on_launcher_death, LauncherDeath::kKill);
  EXPECT_EQ(policy.spool_directory, "/spool \"x\" \\");
}

TEST(PolicyParse, PrintedPolicyReadsBackTheSame) {
  for (const std::string& body : {std::string(), std::string(kEverything)}) {
    const Policy policy = parsed(body);
    const std::string yaml = to_yaml(policy);
    const Result<Policy> again = parse_policy(yaml, "again.yaml");
    ASSERT_TRUE(again.ok()) << again.error().message << yaml;
    EXPECT_EQ(*again, policy) << yaml;
    EXPECT_EQ(to_yaml(*again), yaml);
  }
}

struct Mistaken {
  const char* body;
  const char* message;
};

class PolicyMistake : public testing::TestWithParam<Mistaken> {};

TEST_P(PolicyMistake, IsNamedWithPlaceAndFix) {
  EXPECT_EQ(mistake(GetParam().body), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, PolicyMistake,
    testing::Values(
        Mistaken{
            "segmets: []\n",
            "p.yaml:3:1: unknown key 'segmets' in policy (did you mean 'segments'?); expected "
            "apiVersion, kind, level, segments, defaults, limits, collect, redaction, sidecar, "
            "failurePolicy, "
            "onLauncherDeath or spoolDirectory; write segments"},
        Mistaken{"limits:\n  logSize: 64MiB\n  color: red\n",
                 "p.yaml:5:3: unknown key 'color' in limits; expected logSize, spoolSize, "
                 "recordingSize or maxSlowdown; remove it"},
        Mistaken{"limits: {maxSlowdown: 0.9}\n",
                 "p.yaml:3:23: 'maxSlowdown': '0.9' is out of range; expected 1.0 to 1000.0; write "
                 "a number in between"},
        Mistaken{"limits: {maxSlowdown: .inf}\n",
                 "p.yaml:3:23: 'maxSlowdown': '.inf' is no slowdown; expected a number, recorded "
                 "time by time alone; write for example 2.0"},
        Mistaken{"limits: {maxSlowdown: fast}\n",
                 "p.yaml:3:23: 'maxSlowdown' is a string; expected a number; write for example "
                 "2.0"},
        Mistaken{"defaults: {mode: trac}\n",
                 "p.yaml:3:18: 'mode' is 'trac' (did you mean 'trace'?); expected trace, ignore or "
                 "deny; write trace"},
        Mistaken{"defaults: {mode: shadow}\n",
                 "p.yaml:3:18: 'mode' is 'shadow'; expected trace, ignore or deny; write trace"},
        Mistaken{
            "defaults: [mode]\n",
            "p.yaml:3:11: 'defaults' is a list; expected a map; write its keys indented below"},
        Mistaken{"segments: {}\n",
                 "p.yaml:3:11: 'segments' is a map; expected a list; write [A, B] or lines that "
                 "begin with '-'"},
        Mistaken{"segments:\nlimits: {}\n",
                 "p.yaml:3:1: 'segments' is nothing; expected a list; write [A, B] or lines that "
                 "begin with '-'"},
        Mistaken{"kind: Policy\n",
                 "p.yaml:3:1: key 'kind' is given twice in policy; expected it once; remove one"},
        Mistaken{"collect: {binaries: yes}\n",
                 "p.yaml:3:21: 'binaries' is a string; expected true or false; write true or false "
                 "without quotes"},
        Mistaken{"limits: {logSize: 256m}\n",
                 "p.yaml:3:19: 'logSize': '256m' is no size; expected a whole number with a unit "
                 "(Ki, Mi, Gi, Ti, k, M, G, T); write for example 256MiB"},
        Mistaken{"limits: {logSize: 1KiB}\n",
                 "p.yaml:3:19: 'logSize': '1KiB' is out of range; expected 8MiB to 64GiB; write a "
                 "size in between"},
        Mistaken{"limits: {logSize: 8GiB, spoolSize: 1GiB}\n",
                 "p.yaml:3:10: logSize (8GiB) is larger than spoolSize (1GiB), which has to hold "
                 "it; expected at most spoolSize; raise spoolSize or lower logSize"},
        Mistaken{"limits: {spoolSize: 100MiB}\n",
                 "p.yaml:3:10: logSize (256MiB) is larger than spoolSize (100MiB), which has to "
                 "hold it; expected at most spoolSize; raise spoolSize or lower logSize"},
        Mistaken{
            "collect: {core: {on: [crash]}}\n",
            "p.yaml:3:23: 'on' is 'crash'; expected signal, exit, request or none; write signal"},
        Mistaken{"spoolDirectory: spool\n",
                 "p.yaml:3:17: 'spoolDirectory': 'spool' is no spool directory; expected an "
                 "absolute path of at most 1024 bytes; write it from '/' on"},
        Mistaken{"segments: [{match: {path: /a, posix: b}}]\n",
                 "p.yaml:3:31: 'path' and 'posix' exclude each other: a segment is of one kind; "
                 "expected one of them; write two rules"},
        Mistaken{
            "segments: [{mode: trace}]\n",
            "p.yaml:3:12: a rule without 'match'; expected match: {...}; name the segments, or "
            "use 'defaults' for all of them"},
        Mistaken{"segments: [{match: {}}]\n",
                 "p.yaml:3:20: 'match' is empty; expected path, posix, memfd, sysv, anonymous or "
                 "executable; name the segments, or use 'defaults' for all of them"},
        Mistaken{
            "segments:\n  - match: {posix: a}\n    direction: in\n",
            "p.yaml:5:5: 'direction' says nothing about a segment with mode trace; expected it "
            "with mode shadow only; remove it or change the mode"},
        Mistaken{"segments:\n  - match: {posix: a}\n    mode: ignore\n    peers: [/x]\n",
                 "p.yaml:6:5: 'peers' says nothing about a segment with mode ignore; expected it "
                 "with mode shadow only; remove it or change the mode"},
        Mistaken{
            "segments:\n  - match: {posix: a}\n    mode: deny\n    order: exact\n",
            "p.yaml:6:5: 'order' says nothing about a segment with mode deny; expected it with "
            "mode trace or shadow only; remove it or change the mode"},
        Mistaken{
            "segments:\n  - match: {posix: a}\n    mode: ignore\n    accesses: writes\n",
            "p.yaml:6:5: 'accesses' says nothing about a segment with mode ignore; expected it "
            "with mode trace or shadow only; remove it or change the mode"},
        Mistaken{"segments:\n  - match: {posix: a}\n    accesses: wrties\n",
                 "p.yaml:5:15: 'accesses' is 'wrties' (did you mean 'writes'?); expected all or "
                 "writes; write writes"},
        Mistaken{"defaults: {accesses: reads}\n",
                 "p.yaml:3:22: 'accesses' is 'reads'; expected all or writes; write all"},
        Mistaken{"segments:\n  - match: {posix: a}\n    mode: shadow\n",
                 "p.yaml:5:5: mode shadow without 'direction'; expected in, out or both; write "
                 "'direction: both' if you do not know who writes"},
        Mistaken{"segments:\n  - {name: one, match: {posix: a}}\n  - match: {posix: /a}\n",
                 "p.yaml:5:5: this rule never matches, because rule 'one' at line 4 matches all "
                 "that it would; expected narrower rules first; move it up or remove it"},
        Mistaken{
            "segments:\n  - match: {path: \"/a/*\"}\n  - match: {path: /a/b, executable: /x}\n",
            "p.yaml:5:5: this rule never matches, because the rule at line 4 matches all that "
            "it would; expected narrower rules first; move it up or remove it"},
        Mistaken{"segments:\n  - {name: n, match: {posix: a}}\n  - {name: n, match: {posix: b}}\n",
                 "p.yaml:5:5: a second rule has the name 'n' of rule 'n' at line 4; expected "
                 "different names; rename one"},
        Mistaken{
            "segments: [{match: {path: shm/a}}]\n",
            "p.yaml:3:27: 'path' is 'shm/a', which no absolute path matches; expected a pattern "
            "that begins with '/' or '**'; write '**/shm/a'"},
        Mistaken{
            "segments: [{match: {posix: //}}]\n",
            "p.yaml:3:28: 'posix' is '//', which names nothing; expected /NAME; write the name "
            "that shm_open gets"},
        Mistaken{
            "segments: [{match: {path: /dev/shm/a*}}]\n",
            "p.yaml:3:27: 'path' is '/dev/shm/a*', but what lies there is POSIX shared memory, "
            "not a file; expected another path; write 'posix: /a*'"},
        Mistaken{
            "segments: [{match: {memfd: 'a[b'}}]\n",
            "p.yaml:3:28: pattern 'a[b' is wrong at byte 2: '[' has no ']'; expected *, **, ?, "
            "[abc], [a-z], [!a] or \\c; quote a character that stands for itself by a backslash"},
        Mistaken{"segments: [{match: {posix: 17}}]\n",
                 "p.yaml:3:28: 'posix' is a number; expected a string; put it into quotes: \"17\""},
        Mistaken{
            "segments: [{match: {sysv: '0x17'}}]\n",
            "p.yaml:3:27: 'sysv' is a string; expected a 32-bit key or \"*\" for any; write the "
            "key as ipcs shows it, for example 0x0052e2c1, without quotes"},
        Mistaken{
            "segments: [{match: {sysv: 4294967296}}]\n",
            "p.yaml:3:27: 'sysv' is a number; expected a 32-bit key or \"*\" for any; write the "
            "key as ipcs shows it, for example 0x0052e2c1, without quotes"},
        Mistaken{"segments: [{match: {anonymous: false}}]\n",
                 "p.yaml:3:32: 'anonymous' is false, which matches nothing; expected true; remove "
                 "the key"},
        Mistaken{
            "redaction: {environment: ['']}\n",
            "p.yaml:3:27: 'environment' is empty; expected 1 to 255 bytes of text; write it or "
            "remove the key"},
        Mistaken{"limits: &l {logSize: 64MiB}\ncollect: {<<: *l}\n",
                 "p.yaml:4:11: merge keys are not supported; expected keys written out; copy them "
                 "here, or use an alias for a whole value"},
        Mistaken{
            "spoolDirectory: !!str /a\n",
            "p.yaml:3:17: tag 'tag:yaml.org,2002:str'; expected a plain value; remove the tag"},
        Mistaken{"{a: b}: c\n",
                 "p.yaml:3:1: a key is not a word; expected KEY: VALUE; write the key's name"},
        Mistaken{"---\nkind: Policy\n",
                 "p.yaml:3:1: a second document starts; expected one per file; remove it or put "
                 "it into a file of its own"},
        Mistaken{"a: [\n",
                 "p.yaml:4:1: end of sequence flow not found; expected YAML; check indentation, "
                 "quotes and brackets"},
        Mistaken{"x: \x01\n",
                 "p.yaml:3:4: a byte that is not text; expected UTF-8 without control characters; "
                 "remove it"}));

TEST(PolicyParse, AllMistakesAreReportedAtOnce) {
  EXPECT_EQ(
      mistake("failurePolicy: opne\nonLauncherDeath: die\n"),
      "p.yaml:3:16: 'failurePolicy' is 'opne' (did you mean 'open'?); expected open or closed; "
      "write open\n"
      "p.yaml:4:18: 'onLauncherDeath' is 'die'; expected continue or kill; write continue");
  std::string many;
  for (int i = 0; i < 25; ++i) many += "x" + std::to_string(i) + ": 1\n";
  EXPECT_TRUE(mistake(many).ends_with("p.yaml: 5 more"));
}

TEST(PolicyParse, ForeignTextIsShownWithoutControlCharactersAndCut) {
  EXPECT_EQ(
      mistake("\"\\e[31m\\n\": 1\n").find("p.yaml:3:1: unknown key '\\x1b[31m\\x0a' in policy"),
      0u);
  EXPECT_LT(mistake(std::string(900, 'k') + ": 1\n").size(), 400u);
}

TEST(PolicyParse, HeadIsNeeded) {
  EXPECT_EQ(parse_policy("", "p").error().message,
            "p:1:1: the file is empty; expected 'kind: Policy'; start with 'apiVersion: "
            "shmrec/v1' and 'kind: Policy'");
  EXPECT_EQ(parse_policy("kind: Policy", "p").error().message,
            "p:1:1: no 'apiVersion'; expected apiVersion: shmrec/v1; add that line");
  EXPECT_EQ(parse_policy("apiVersion: v2\nkind: Policy", "p").error().message,
            "p:1:13: 'apiVersion' is 'v2'; expected shmrec/v1; write shmrec/v1");
  EXPECT_EQ(parse_policy("- a", "p").error().message,
            "p:1:1: the document is a list; expected a map; start with 'apiVersion: shmrec/v1'");
}

TEST(PolicyParse, PatternsThatDoNotFitTheRuleTableAreRefused) {
  const std::string fits(sizeof(shmlog::PolicyRule::name) - 2, 'a');  // and the slash
  EXPECT_EQ(mistake("segments: [{match: {posix: " + fits + "}}]\n"), "");
  EXPECT_EQ(mistake("segments: [{match: {posix: " + fits + "a}}]\n"),
            "p.yaml:3:28: 'posix' has 232 bytes; expected at most 231; shorten it, for example by "
            "'**'");
  const std::string path(sizeof(shmlog::PolicyRule::executable) - 2, 'a');
  EXPECT_EQ(mistake("segments: [{match: {executable: /" + path + "}}]\n"), "");
  EXPECT_NE(mistake("segments: [{match: {executable: /a" + path + "}}]\n"), "");
}

TEST(PolicyParse, AnAliasStandsForItsAnchorsValue) {
  const Policy policy = parsed(
      "segments:\n  - {match: {posix: &n a}, mode: ignore}\n  - {match: {memfd: *n}, mode: "
      "deny}\n");
  EXPECT_EQ(policy.segments.at(1).match.name, "a");
}

TEST(PolicyParse, HugeDeepAndMultiplyingDocumentsAreRefused) {
  EXPECT_NE(mistake("x: " + std::string(kMaxPolicyBytes, 'a')).find("more than 262144 bytes"),
            std::string::npos);
  EXPECT_NE(mistake("x: " + std::string(100000, '[')).find("too deep"), std::string::npos);
  EXPECT_NE(mistake("x: " + std::string(100000, '{')).find("too deep"), std::string::npos);
  std::string dashes;
  for (int i = 0; i < 20000; ++i) dashes += "- ";
  EXPECT_NE(parse_policy(dashes, "p").error().message.find("too deep"), std::string::npos);
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before + "," + before +
              "," + before + "," + before + "," + before + "," + before + "]\n";
  }
  EXPECT_NE(mistake(laughs).find("with aliases followed, too large"), std::string::npos);
  EXPECT_NE(mistake("x: &x [*x]\n").find("inside of its own anchor"), std::string::npos);
}

TEST(PolicyParse, TooManyRulesAreRefused) {
  auto rules = [](size_t count) {
    std::string body = "segments:\n";
    for (size_t i = 0; i < count; ++i) body += "  - match: {memfd: m" + std::to_string(i) + "}\n";
    return body;
  };
  EXPECT_EQ(mistake(rules(kMaxRules)), "");
  EXPECT_NE(mistake(rules(kMaxRules + 1)).find("has 257 items; expected at most 256"),
            std::string::npos);
}

TEST(PolicyParse, TheSmallestLogHoldsTheLargestPolicy) {
  recording::CreateOptions options;
  options.log_bytes = kLimitWords[0].least;
  options.rules.resize(kMaxRules);
  shmlog::Header header;
  const Result<> layout = recording::plan_layout(options, header);
  EXPECT_TRUE(layout.ok()) << layout.error().message;
}

TEST(PolicySize, UnitsAreBinaryOrDecimal) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("1Ki"), 1024u);
  EXPECT_EQ(parse_size("3MiB"), 3u << 20);
  EXPECT_EQ(parse_size("2G"), 2000000000u);
  EXPECT_EQ(parse_size("2GB"), 2000000000u);
  EXPECT_EQ(parse_size("7B"), 7u);
  for (const char* wrong : {"", "B", "1.5Gi", "-1", "+1", " 1", "1 Mi", "1Mb", "1mi", "1MiBB",
                            "99999999999999999999", "18446744073709551615k"}) {
    EXPECT_EQ(parse_size(wrong), std::nullopt) << wrong;
  }
  EXPECT_EQ(format_size(256u << 20), "256MiB");
  EXPECT_EQ(format_size(1536u << 20), "1536MiB");
  EXPECT_EQ(format_size(1000), "1000");
  EXPECT_EQ(format_size(0), "0");
}

TEST(PolicyDuration, IsAWholeNumberWithAUnit) {
  EXPECT_EQ(parse_duration("500ms"), 500u);
  EXPECT_EQ(parse_duration("5s"), 5000u);
  EXPECT_EQ(parse_duration("1m"), 60000u);
  EXPECT_EQ(parse_duration("2h"), 7200000u);
  EXPECT_EQ(parse_duration("7d"), 604800000u);
  EXPECT_EQ(parse_duration("0s"), 0u);
  for (const char* wrong : {"", "5", "s", "-1s", "+1s", " 1s", "1 s", "1.5s", "1w", "1S", "1m30s",
                            "99999999999999999999s", "18446744073709551615m"}) {
    EXPECT_EQ(parse_duration(wrong), std::nullopt) << wrong;
  }
  for (const uint64_t ms : {0u, 1u, 999u, 1000u, 1500u, 59000u, 60000u, 600000u})
    EXPECT_EQ(parse_duration(format_duration(ms)), ms);
  EXPECT_EQ(format_duration(90000), "90s");
  EXPECT_EQ(parsed("sidecar: {wait: 250ms, required: true}\n").sidecar, (SidecarUse{250, true}));
}

// ---- Layers -------------------------------------------------------------------------------------

class PolicyLoad : public testing::Test {
 protected:
  PolicyLoad() {
    char name[] = "/tmp/policy_test.XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~PolicyLoad() override {
    for (const std::string& file : files_) unlink(file.c_str());
    rmdir(directory_.c_str());
  }

  std::string write(const std::string& name, const std::string& text) {
    files_.push_back(directory_ + "/" + name);
    std::ofstream(files_.back()) << text;
    return files_.back();
  }

  Result<Policy> load(std::optional<std::string> path, std::vector<std::string> environment,
                      std::string system_file = "/nonexistent/policy.yaml") {
    std::vector<const char*> pointers;
    for (const std::string& entry : environment) pointers.push_back(entry.c_str());
    pointers.push_back(nullptr);
    return load_policy(path, pointers.data(), system_file);
  }

  LoadedPolicy load_anyway(std::optional<std::string> path, std::vector<std::string> environment) {
    std::vector<const char*> pointers;
    for (const std::string& entry : environment) pointers.push_back(entry.c_str());
    pointers.push_back(nullptr);
    return load_policy_anyway(path, pointers.data(), "/nonexistent/policy.yaml");
  }

  std::string failure(std::vector<std::string> environment) {
    const Result<Policy> policy = load(std::nullopt, std::move(environment));
    return policy ? "" : policy.error().message;
  }

  std::string directory_;
  std::vector<std::string> files_;
};

TEST_F(PolicyLoad, WithoutFilesTheDefaultsHold) {
  const Result<Policy> policy = load(std::nullopt, {"PATH=/bin"});
  ASSERT_TRUE(policy.ok());
  Policy expected;
  expected.spool_directory = "/tmp/shmrec-" + std::to_string(getuid());
  EXPECT_EQ(*policy, expected);
  expected.spool_directory = "/scratch/shmrec-" + std::to_string(getuid());
  EXPECT_EQ(*load(std::nullopt, {"TMPDIR=/scratch"}), expected);
}

TEST_F(PolicyLoad, ArgumentBeatsVariableBeatsSystemFile) {
  const std::string a = write("a", kHead + "limits: {logSize: 10MiB}");
  const std::string b = write("b", kHead + "limits: {logSize: 20MiB}");
  const std::string c = write("c", kHead + "limits: {logSize: 30MiB}");
  EXPECT_EQ(load(a, {"SHMREC_POLICY=" + b}, c)->limits.log_bytes, 10u << 20);
  EXPECT_EQ(load({}, {"SHMREC_POLICY=" + b}, c)->limits.log_bytes, 20u << 20);
  EXPECT_EQ(load({}, {"SHMREC_POLICY="}, c)->limits.log_bytes, 30u << 20);
  EXPECT_EQ(load({}, {"SHMREC_LOG_SIZE=40Mi"}, c)->limits.log_bytes, 40u << 20);
}

TEST_F(PolicyLoad, VariablesOverrideTheFile) {
  const std::string file = write("a", kHead + "failurePolicy: open\nspoolDirectory: /a\n");
  const Result<Policy> policy =
      load(file, {"SHMREC_FAILURE_POLICY=closed", "SHMREC_DEFAULT_MODE=ignore",
                  "SHMREC_ORDER=relaxed", "SHMREC_ACCESSES=writes", "SHMREC_LEVEL=replay",
                  "SHMREC_ON_LAUNCHER_DEATH=kill", "SHMREC_SPOOL=/b", "SHMREC_SPOOL_SIZE=1Gi",
                  "SHMREC_RECORDING_SIZE=2Mi", "SHMREC_MAX_SLOWDOWN=3", "SHMREC_SOCKET=/s",
                  "SHMREC_SIDECAR_WAIT=2m", "SHMREC_SIDECAR_REQUIRED=true"});
  ASSERT_TRUE(policy.ok()) << policy.error().message;
  EXPECT_EQ(policy->failure_policy, FailurePolicy::kClosed);
  EXPECT_EQ(policy->default_mode, SegmentMode::kIgnore);
  EXPECT_EQ(policy->default_order, Order::kRelaxed);
  EXPECT_EQ(policy->default_accesses, Accesses::kWrites);
  EXPECT_EQ(policy->level, RecordLevel::kReplay);
  EXPECT_EQ(policy->on_launcher_death, LauncherDeath::kKill);
  EXPECT_EQ(policy->spool_directory, "/b");
  EXPECT_EQ(policy->limits.spool_bytes, uint64_t{1} << 30);
  EXPECT_EQ(policy->limits.recording_bytes, 2u << 20);
  EXPECT_EQ(policy->limits.max_slowdown, 3000u);
  EXPECT_EQ(policy->sidecar, (SidecarUse{120000, true}));
}

TEST_F(PolicyLoad, WrongVariablesAreNamed) {
  EXPECT_EQ(failure({"SHMREC_ORDER=exakt"}),
            "environment variable SHMREC_ORDER: 'exakt' (did you mean 'exact'?); expected exact or "
            "relaxed; set exact");
  EXPECT_EQ(
      failure({"SHMREC_LOG_SIZE=big"}),
      "environment variable SHMREC_LOG_SIZE: 'big' is no size; expected a whole number with a "
      "unit (Ki, Mi, Gi, Ti, k, M, G, T); write for example 256MiB");
  EXPECT_EQ(failure({"SHMREC_SIDECAR_WAIT=5"}),
            "environment variable SHMREC_SIDECAR_WAIT: '5' is no duration; expected a whole number "
            "with a unit (ms, s, m, h, d); write for example 5s");
  EXPECT_EQ(failure({"SHMREC_SIDECAR_WAIT=11m"}),
            "environment variable SHMREC_SIDECAR_WAIT: '11m' is out of range; expected 0s to 10m; "
            "write a duration in between");
  EXPECT_EQ(
      failure({"SHMREC_SIDECAR_REQUIRED=yes"}),
      "environment variable SHMREC_SIDECAR_REQUIRED: 'yes'; expected true or false; set true");
  EXPECT_EQ(failure({"SHMREC_MAX_SLOWDOWN=none"}),
            "environment variable SHMREC_MAX_SLOWDOWN: 'none' is no slowdown; expected a number, "
            "recorded time by time alone; write for example 2.0");
  EXPECT_EQ(failure({"SHMREC_SPOOL=here"}).find("environment variable SHMREC_SPOOL: 'here'"), 0u);
  EXPECT_EQ(failure({"SHMREC_LOG_SIZE=5Gi", "SHMREC_SPOOL_SIZE=4Gi"}),
            "environment variables SHMREC_LOG_SIZE and SHMREC_SPOOL_SIZE, over the policy: logSize "
            "(5GiB) is larger than spoolSize (4GiB), which has to hold it; expected at most "
            "spoolSize; raise spoolSize or lower logSize");
}

TEST_F(PolicyLoad, UnknownVariablesAreErrorsButServiceLinksAreNot) {
  const std::string message = failure({"SHMREC_LOGSIZE=1Gi"});
  EXPECT_EQ(message.find("environment variable SHMREC_LOGSIZE is not known (did you mean "
                         "'SHMREC_LOG_SIZE'?)"),
            0u);
  EXPECT_NE(failure({"SHMREC_XYZZY"}), "");
  EXPECT_EQ(failure({"SHMREC_SERVICE_HOST=10.0.0.1", "SHMREC_SERVICE_PORT=80",
                     "SHMREC_SIDECAR_SERVICE_PORT_HTTP=80", "SHMREC_PORT=tcp://10.0.0.1:80",
                     "SHMREC_PORT_80_TCP=tcp://10.0.0.1:80", "SHMREC_PORT_80_TCP_ADDR=10.0.0.1"}),
            "");
}

TEST_F(PolicyLoad, OnlyVariablesThatAreSetAreBlamed) {
  EXPECT_EQ(failure({"SHMREC_SPOOL_SIZE=64MiB"})
                .find("environment variable SHMREC_SPOOL_SIZE, over the policy: logSize (256MiB)"),
            0u);
  const std::string file = write("a", kHead + "limits: {spoolSize: 1Gi}");
  EXPECT_EQ(load(file, {"SHMREC_LOG_SIZE=2Gi"})
                .error()
                .message.find("environment variable SHMREC_LOG_SIZE, over the policy: logSize"),
            0u);
}

TEST_F(PolicyLoad, AllMistakesOfTheEnvironmentAreReportedAtOnce) {
  const std::string message = failure({"SHMREC_ORDER=exakt", "SHMREC_LOGSIZE=1Gi"});
  EXPECT_EQ(message.find("environment variable SHMREC_ORDER: 'exakt'"), 0u);
  EXPECT_NE(message.find("\nenvironment variable SHMREC_LOGSIZE is not known"), message.npos);
}

TEST_F(PolicyLoad, WithMistakesTheDefaultsHoldAndWhatIsRightOfTheEnvironment) {
  const std::string file =
      write("a", kHead + "limits: {log: 10MiB}\nonLauncherDeath: kill\nspoolDirectory: /a\n");
  const LoadedPolicy loaded =
      load_anyway(file, {"SHMREC_RECORDING_SIZE=2Mi", "SHMREC_ORDER=exakt", "SHMREC_SPOOL=/b"});
  Policy expected;
  expected.limits.recording_bytes = 2u << 20;
  expected.spool_directory = "/b";
  EXPECT_EQ(loaded.policy, expected);
  EXPECT_EQ(
      loaded.mistakes.find(file + ":3:10: unknown key 'log' in limits (did you mean 'logSize'?)"),
      0u);
  EXPECT_NE(loaded.mistakes.find("\nenvironment variable SHMREC_ORDER: 'exakt'"),
            std::string::npos);
  EXPECT_EQ(load_anyway({}, {"SHMREC_SPOOL_SIZE=64MiB"}).policy.limits, Limits{});
}

TEST_F(PolicyLoad, WithoutMistakesItIsThePolicy) {
  const std::string file = write("a", kHead + "limits: {logSize: 10MiB}\nfailurePolicy: closed\n");
  const LoadedPolicy loaded = load_anyway(file, {"SHMREC_SPOOL=/b"});
  EXPECT_EQ(loaded.mistakes, "");
  EXPECT_EQ(loaded.policy, *load(file, {"SHMREC_SPOOL=/b"}));
}

TEST_F(PolicyLoad, ClosedIsReadWhereTheRestIsWrong) {
  const auto closed = [&](const std::string& text, std::vector<std::string> environment = {}) {
    const LoadedPolicy loaded = load_anyway(write("a", text), std::move(environment));
    EXPECT_NE(loaded.mistakes, "") << text;
    return loaded.policy.failure_policy == FailurePolicy::kClosed;
  };
  for (const char* text :
       {"failurePolicy: closed\nx: 1\n", "x: [\nfailurePolicy: \"closed\" # as agreed\n",
        "{\"failurePolicy\": \"closed\", \"x\": }", "  failurePolicy : 'closed'\r\n\tx\n",
        "failurePolcy: closed\n", "failurePolicy: Closed\n", "\x01\nfailurePolicy: closed"}) {
    EXPECT_TRUE(closed(kHead + text)) << text;
    EXPECT_FALSE(closed(kHead + text, {"SHMREC_FAILURE_POLICY=open"})) << text;
  }
  for (const char* text :
       {"x: 1\n", "failurePolicy: open\nx: 1\n", "# failurePolicy: closed\nx: 1\n",
        "# x, failurePolicy: closed\nx: 1\n", "onLauncherDeath: closed\n", "x: closed\n",
        "failurePolicy:\n", "failurePolicy closed\n", ":::,,:\n,"}) {
    EXPECT_FALSE(closed(kHead + text)) << text;
    EXPECT_TRUE(closed(kHead + text, {"SHMREC_FAILURE_POLICY=closed"})) << text;
    EXPECT_TRUE(closed(kHead + text, {"SHMREC_FAILURE_POLICY=close"})) << text;
    EXPECT_TRUE(closed(kHead + text, {"SHMREC_FAILUREPOLICY=closed"})) << text;
    EXPECT_FALSE(closed(kHead + text, {"SHMREC_FAILUREPOLICY=open"})) << text;
  }
}

TEST_F(PolicyLoad, UnreadableFilesAreNamed) {
  EXPECT_EQ(load("/nonexistent", {}).error().message,
            "policy file /nonexistent: No such file or directory");
  EXPECT_EQ(load(directory_, {}).error().message, "policy file " + directory_ + ": Is a directory");
  EXPECT_NE(load("/dev/zero", {}).error().message.find("more than"), std::string::npos);
  EXPECT_TRUE(load({}, {"SHMREC_POLICY=/nonexistent"})
                  .error()
                  .message.ends_with("(file named by SHMREC_POLICY)"));
}

// ---- Rules --------------------------------------------------------------------------------------

uint32_t asked(const Policy& policy, SegmentKind kind, std::string_view name,
               std::string_view executable = "/bin/x", int32_t key = 0) {
  const auto rules = compile_rules(policy);
  return find_rule(rules.data(), static_cast<uint32_t>(rules.size()),
                   {kind, key, name.data(), name.size(), executable.data(), executable.size()});
}

TEST(PolicyRules, TheFirstRuleThatMatchesHolds) {
  const Policy policy = parsed(kEverything);
  EXPECT_EQ(asked(policy, SegmentKind::kPosixShm, "/results1", "/usr/bin/python3.11"), 1u);
  EXPECT_EQ(asked(policy, SegmentKind::kPosixShm, "/results1"), 0u);
  EXPECT_EQ(asked(policy, SegmentKind::kFile, "/var/lib/app/a/b"), 2u);
  EXPECT_EQ(asked(policy, SegmentKind::kFile, "/var/lib/other"), 0u);
  EXPECT_EQ(asked(policy, SegmentKind::kMemfd, "wayland-0"), 3u);
  EXPECT_EQ(asked(policy, SegmentKind::kSysV, "", "/bin/x", static_cast<int32_t>(0x8052e2c1)), 4u);
  EXPECT_EQ(asked(policy, SegmentKind::kSysV, "", "/bin/x", 17), 5u);
  EXPECT_EQ(asked(policy, SegmentKind::kAnonymous, ""), 6u);
  EXPECT_EQ(asked(policy, SegmentKind::kFile, "/run/user/1000/dconf/user"), 7u);
  EXPECT_EQ(asked(policy, SegmentKind::kMemfd, "other", "/opt/bin/node"), 8u);
}

TEST(PolicyRules, CarryModeOrderAccessesAndLine) {
  const auto rules = compile_rules(parsed(kEverything));
  EXPECT_EQ(rules[0].mode, static_cast<uint32_t>(SegmentMode::kTrace));
  EXPECT_EQ(rules[0].order, static_cast<uint32_t>(Order::kRelaxed));
  EXPECT_EQ(rules[0].accesses, static_cast<uint16_t>(Accesses::kAll));
  EXPECT_EQ(rules[0].line, 4u);
  EXPECT_EQ(rules[1].mode, static_cast<uint32_t>(SegmentMode::kIgnore));
  EXPECT_EQ(rules[3].order, static_cast<uint32_t>(Order::kRelaxed));  // the default
  EXPECT_EQ(rules[3].accesses, static_cast<uint16_t>(Accesses::kWrites));
  EXPECT_EQ(rules[3].has_key, 1u);
  EXPECT_EQ(rules[4].has_key, 0u);
}

TEST(PolicyRules, FieldsWithoutTerminatorAreReadWithinTheirBounds) {
  shmlog::PolicyRule rule = {};
  rule.kinds = ~0u;
  memset(rule.name, 'a', sizeof rule.name);
  memset(rule.executable, '*', sizeof rule.executable);
  const std::string name(sizeof rule.name, 'a');
  EXPECT_FALSE(rule_matches(rule, {SegmentKind::kMemfd, 0, name.data(), name.size(), "/x", 2}));
}

TEST(PolicyRules, ShadowsAreRefusedAtStartWithTheirLine) {
  EXPECT_TRUE(refuse_unsupported(Policy{}).ok());
  const Result<> refused = refuse_unsupported(parsed(kEverything));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(
      refused.error().message.find("p.yaml:17:5: mode shadow cannot run yet: shadows come in a "
                                   "later release"),
      0u)
      << refused.error().message;
}

// ---- Redaction ----------------------------------------------------------------------------------

TEST(PolicyRedaction, HidesValuesOfSecretNames) {
  const Policy policy;
  for (const char* name : {"PGPASSWORD", "MYSQL_PWD", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY",
                           "api_key", "Session_Cookie"}) {
    EXPECT_TRUE(redacted(policy, name)) << name;
  }
  for (const char* name : {"PATH", "PWD", "OLDPWD", "HOME", "LANG"}) {
    EXPECT_FALSE(redacted(policy, name)) << name;
  }
  EXPECT_EQ(redact_environment(policy, {"A=1", "DB_PASSWORD=x=y", "TOKEN", "URL=pg://u:pw@h/d"}),
            (std::vector<std::string>{"A=1", "DB_PASSWORD=<redacted>", "TOKEN",
                                      "URL=pg://u:<redacted>@h/d"}));
}

TEST(PolicyRedaction, OwnListsReplaceTheDefaults) {
  const Policy policy = parsed("redaction: {environment: [PIN], arguments: [pin]}\n");
  EXPECT_FALSE(redacted(policy, "PASSWORD"));
  EXPECT_TRUE(redacted(policy, "pin"));
  EXPECT_EQ(redact_arguments(policy, {"p", "--pin=1", "--password=2"}),
            (std::vector<std::string>{"p", "--pin=<redacted>", "--password=2"}));
}

// *PART* is looked for without the matcher.
TEST(PolicyRedaction, PartsAreFoundAsTheMatcherFindsThem) {
  const char* const globs[] = {"**", "***",  "*a*",   "*A/b*",   "*a",
                               "a*", "*a?*", "*[a]*", R"(*\a*)", "*"};
  for (const std::string glob : globs) {
    Policy policy;
    policy.redaction.environment = {glob};
    for (const std::string name :
         {"", "a", "A", "xAy", "b", "a/B", "xa/bx", "a/", "[a]", "*", "ab"})
      EXPECT_EQ(redacted(policy, name), glob_match(glob.data(), glob.size(), name.data(),
                                                   name.size(), kGlobFoldCase | kGlobCrossSlashes))
          << glob << " " << name;
  }
}

TEST(PolicyRedaction, HidesWhatArgumentsAnnounce) {
  auto one = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "tool");
    std::vector<std::string> out = redact_arguments(Policy{}, arguments);
    EXPECT_EQ(out.front(), "tool");
    out.erase(out.begin());
    return out;
  };
  using List = std::vector<std::string>;
  EXPECT_EQ(one({"--password=abc", "x"}), (List{"--password=<redacted>", "x"}));
  EXPECT_EQ(one({"--password", "abc", "x"}), (List{"--password", "<redacted>", "x"}));
  EXPECT_EQ(one({"--use-token", "--verbose"}), (List{"--use-token", "--verbose"}));
  EXPECT_EQ(one({"-e", "API_KEY=abc"}), (List{"-e", "API_KEY=<redacted>"}));
  EXPECT_EQ(one({"--env=API_KEY=abc"}), (List{"--env=API_KEY=<redacted>"}));
  EXPECT_EQ(one({"-H", "Authorization: Bearer abc"}), (List{"-H", "Authorization: <redacted>"}));
  EXPECT_EQ(one({"-c", "PASSWORD=abc ./run"}), (List{"-c", "PASSWORD=<redacted>"}));
  EXPECT_EQ(one({"-c", "./run --token abc"}), (List{"-c", "./run --token <redacted>"}));
  EXPECT_EQ(one({"jdbc:x;user=u;password=p"}), (List{"jdbc:x;user=u;password=<redacted>"}));
  EXPECT_EQ(one({"redis://:abc@host:1/0", "http://host:80/a@b"}),
            (List{"redis://:<redacted>@host:1/0", "http://host:80/a@b"}));
  EXPECT_EQ(one({"plain", "keyboard", "a=b", ""}), (List{"plain", "keyboard", "a=b", ""}));
  EXPECT_EQ(redact_arguments(Policy{}, {"/opt/keys/tool", "x"}), (List{"/opt/keys/tool", "x"}));
}

TEST(Suggest, NearNamesOnly) {
  const std::vector<std::string> known = {"trace", "shadow", "ignore"};
  EXPECT_EQ(nearest_name("Trase", known), "trace");
  EXPECT_EQ(nearest_name("ignroe", known), "ignore");
  EXPECT_EQ(nearest_name("record", known), "");
  const std::vector<std::string> sizes = {"logSize", "spoolSize", "logAge"};
  EXPECT_EQ(nearest_name("SPOOL", sizes), "spoolSize");  // only that begins so
  EXPECT_EQ(nearest_name("log", sizes), "");
  EXPECT_EQ(nearest_name(std::string(1000, 'a'), known), "");
}

// ---- Schema -------------------------------------------------------------------------------------

// As much of JSON Schema 2020-12 as schema.json uses; any other keyword fails the test.
class Validator {
 public:
  explicit Validator(const Json& root) : root_(root) {}

  bool valid(const Json& schema, const Json& value) const {
    if (schema.is_boolean()) return schema.get<bool>();
    for (const auto& [keyword, argument] : schema.items()) {
      if (!holds(schema, keyword, argument, value)) return false;
    }
    return true;
  }

 private:
  bool holds(const Json& schema, const std::string& keyword, const Json& a, const Json& v) const {
    static const std::set<std::string> kIgnored = {"$schema",     "$id",  "$defs", "title",
                                                   "description", "then", "else"};
    if (kIgnored.contains(keyword)) return true;
    if (keyword == "$ref") {
      return valid(root_.at(Json::json_pointer(a.get<std::string>().substr(1))), v);
    }
    if (keyword == "type") return is_type(a, v);
    if (keyword == "const") return v == a;
    if (keyword == "enum") return std::find(a.begin(), a.end(), v) != a.end();
    if (keyword == "pattern") {
      return !v.is_string() ||
             std::regex_search(v.get<std::string>(), std::regex(a.get<std::string>()));
    }
    if (keyword == "not") return !valid(a, v);
    if (keyword == "minLength") return !v.is_string() || v.get<std::string>().size() >= a;
    if (keyword == "maxLength") return !v.is_string() || v.get<std::string>().size() <= a;
    if (keyword == "minimum") return !v.is_number() || v >= a;
    if (keyword == "maximum") return !v.is_number() || v <= a;
    if (keyword == "maxItems") return !v.is_array() || v.size() <= a;
    if (keyword == "minProperties") return !v.is_object() || v.size() >= a;
    if (keyword == "items") {
      return !v.is_array() ||
             std::all_of(v.begin(), v.end(), [&](const Json& item) { return valid(a, item); });
    }
    if (keyword == "required") {
      return !v.is_object() || std::all_of(a.begin(), a.end(), [&](const Json& name) {
        return v.contains(name.get<std::string>());
      });
    }
    if (keyword == "properties" || keyword == "additionalProperties") {
      return members_hold(schema, keyword, v);
    }
    if (keyword == "oneOf") {
      return std::count_if(a.begin(), a.end(), [&](const Json& s) { return valid(s, v); }) == 1;
    }
    if (keyword == "allOf") {
      return std::all_of(a.begin(), a.end(), [&](const Json& s) { return valid(s, v); });
    }
    if (keyword == "if") {
      const char* branch = valid(a, v) ? "then" : "else";
      return !schema.contains(branch) || valid(schema[branch], v);
    }
    ADD_FAILURE() << "schema.json uses '" << keyword << "', which this test does not know";
    return false;
  }

  bool members_hold(const Json& schema, const std::string& keyword, const Json& v) const {
    if (!v.is_object()) return true;
    for (const auto& [name, member] : v.items()) {
      const bool known = schema["properties"].contains(name);
      if (keyword == "properties" && known && !valid(schema["properties"][name], member))
        return false;
      if (keyword == "additionalProperties" && !known && !valid(schema[keyword], member))
        return false;
    }
    return true;
  }

  static bool is_type(const Json& type, const Json& v) {
    if (type == "object") return v.is_object();
    if (type == "array") return v.is_array();
    if (type == "string") return v.is_string();
    if (type == "number") return v.is_number();
    if (type == "integer") return v.is_number_integer();
    if (type == "boolean") return v.is_boolean();
    ADD_FAILURE() << "schema.json uses type " << type;
    return false;
  }

  const Json& root_;
};

class PolicySchema : public testing::Test {
 protected:
  Json schema_ = Json::parse(policy_schema());
  Validator validator_{schema_};

  std::set<std::string> keys(const Json& object) {
    std::set<std::string> names;
    for (const auto& [name, unused] : object["properties"].items()) names.insert(name);
    return names;
  }

  // Mistakes that only the parser can see.
  static bool beyond_the_schema(const std::string& message) {
    for (const char* phrase : {"out of range", "larger than spoolSize", "never matches",
                               "pattern '", "a second rule has the name", "control character"}) {
      if (message.find(phrase) != std::string::npos) return true;
    }
    return false;
  }

  // JSON is YAML, so that both sides read the same text.
  void expect_same_verdict(const Json& document) {
    const Result<Policy> policy = parse_policy(document.dump(), "p");
    const bool valid = validator_.valid(schema_, document);
    const bool agree = policy.ok() == valid || (valid && beyond_the_schema(policy.error().message));
    EXPECT_TRUE(agree) << document.dump() << "\nschema: " << valid
                       << ", parser: " << (policy ? "valid" : policy.error().message);
    ++(policy.ok() ? accepted_ : refused_);
  }

  int accepted_ = 0;
  int refused_ = 0;
};

TEST_F(PolicySchema, HasTheParsersKeys) {
  NameTable parser = policy_keys();
  auto list = [](const std::set<std::string>& names) {
    return std::vector<std::string>(names.begin(), names.end());
  };
  for (auto& [object, names] : parser) {
    std::sort(names.begin(), names.end());
    const Json& node = object == "policy" ? schema_ : schema_["$defs"][object];
    EXPECT_EQ(list(keys(node)), names) << object;
    EXPECT_EQ(node["additionalProperties"], false) << object;
  }
  for (const auto& [name, definition] : schema_["$defs"].items()) {
    EXPECT_EQ(definition.contains("properties"), parser.contains(name)) << name;
  }
}

TEST_F(PolicySchema, HasTheParsersWords) {
  const NameTable parser = policy_words();
  for (const auto& [name, words] : parser) {
    EXPECT_EQ(schema_["$defs"][name]["enum"].get<std::vector<std::string>>(), words) << name;
  }
  for (const auto& [name, definition] : schema_["$defs"].items()) {
    EXPECT_EQ(definition.contains("enum"), parser.contains(name)) << name;
  }
}

const Json& full_document() {
  static const Json document = Json::parse(R"({
    "apiVersion": "shmrec/v1", "kind": "Policy",
    "segments": [
      {"name": "a", "match": {"path": "/a", "executable": "/x"}, "mode": "trace", "order": "exact", "accesses": "all"},
      {"match": {"posix": "b"}, "mode": "ignore"},
      {"match": {"memfd": "c"}, "mode": "deny"},
      {"match": {"sysv": 17}, "mode": "shadow", "direction": "in", "peers": ["/p"], "order": "exact"},
      {"match": {"anonymous": true}}],
    "defaults": {"mode": "trace", "order": "exact", "accesses": "writes"},
    "limits": {"logSize": "64MiB", "spoolSize": 1073741824, "recordingSize": "64Mi", "maxSlowdown": 2.5},
    "collect": {"binaries": true, "libraries": true, "environment": true, "launcherLog": true,
                "core": {"on": ["signal"], "memory": "all", "limit": "64MiB"}},
    "redaction": {"environment": ["*A*"], "arguments": ["*B*"]},
    "sidecar": {"wait": "5s", "required": false},
    "failurePolicy": "open", "onLauncherDeath": "continue", "spoolDirectory": "/s"})");
  return document;
}

std::vector<Json> probes() {
  std::vector<Json> values = {nullptr,
                              true,
                              false,
                              0,
                              17,
                              -1,
                              1.5,
                              4294967296,
                              67108864,
                              "",
                              "x",
                              "/x",
                              "/a/b",
                              "/dev/shm/x",
                              "**/x",
                              "*",
                              "64MiB",
                              "64MB",
                              "1Gi",
                              "1Xi",
                              "-5",
                              "5s",
                              "500ms",
                              "5h",
                              "true",
                              "shmrec/v1",
                              "Policy",
                              Json::array(),
                              Json::object(),
                              {"x"},
                              {"/x"},
                              {1},
                              {{"x", 1}},
                              std::string(300, '/') + "x",
                              "/" + std::string(240, 'x'),
                              std::string(2000, '/'),
                              Json::array({Json::object()})};
  for (const auto& [name, words] : policy_words())
    values.insert(values.end(), words.begin(), words.end());
  values.push_back(Json(std::vector<std::string>(65, "/x")));
  return values;
}

// All places in `node`, deepest last.
void places(const Json& node, const Json::json_pointer& at, std::vector<Json::json_pointer>& out) {
  out.push_back(at);
  if (node.is_object()) {
    for (const auto& [name, value] : node.items()) places(value, at / name, out);
  } else if (node.is_array()) {
    for (size_t i = 0; i < node.size(); ++i) places(node[i], at / i, out);
  }
}

TEST_F(PolicySchema, AgreesWithTheParserOnEveryValueInEveryPlace) {
  expect_same_verdict(full_document());
  EXPECT_EQ(accepted_, 1);
  std::vector<Json::json_pointer> all;
  places(full_document(), Json::json_pointer(), all);
  for (const auto& place : all) {
    for (const Json& probe : probes()) {
      Json document = full_document();
      document[place] = probe;
      expect_same_verdict(document);
    }
  }
  EXPECT_GT(accepted_, 100);
  EXPECT_GT(refused_, 1000);
}

TEST_F(PolicySchema, AgreesWithTheParserOnMissingAndAddedKeys) {
  std::vector<Json::json_pointer> all;
  places(full_document(), Json::json_pointer(), all);
  std::set<std::string> names;
  for (const auto& [object, keys] : policy_keys()) names.insert(keys.begin(), keys.end());
  for (const auto& place : all) {
    if (place.empty()) continue;
    Json without = full_document();
    if (without[place.parent_pointer()].is_object()) {
      without[place.parent_pointer()].erase(place.back());
      expect_same_verdict(without);
    }
    if (!full_document()[place].is_object()) continue;
    for (const std::string& name : names) {
      for (const Json& value : {Json(true), Json(17), Json("/y"), Json({"/y"}), Json("trace"),
                                Json("exact"), Json("in")}) {
        Json with = full_document();
        with[place][name] = value;
        expect_same_verdict(with);
      }
    }
  }
  EXPECT_GT(accepted_, 50);
  EXPECT_GT(refused_, 500);
}

TEST_F(PolicySchema, ModesAgreeOnWhatMayStandBesideThem) {
  for (const char* mode : {"trace", "shadow", "ignore", "deny"}) {
    for (int bits = 0; bits < 16; ++bits) {
      Json rule = {{"match", {{"posix", "a"}}}, {"mode", mode}};
      if (bits & 1) rule["order"] = "exact";
      if (bits & 2) rule["direction"] = "both";
      if (bits & 4) rule["peers"] = {"/x"};
      if (bits & 8) rule["accesses"] = "writes";
      expect_same_verdict({{"apiVersion", "shmrec/v1"}, {"kind", "Policy"}, {"segments", {rule}}});
    }
  }
  EXPECT_EQ(accepted_, 4 + 8 + 1 + 1);
}

// ---- Documentation and examples -----------------------------------------------------------------

TEST(PolicyDocument, NamesEveryKeyWordVariableAndDefaultPattern) {
  std::ifstream file(std::string(SHMREC_SOURCE_DIR) + "/docs/policy.md");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto has = [&](const std::string& before, const std::string& name) {
    return text.find(before + name + "`") != std::string::npos;
  };
  const auto named = [&](const std::string& name) {
    return has("`", name) || has(".", name) || text.find("`" + name + ".") != std::string::npos;
  };
  for (const NameTable& table : {policy_keys(), policy_words()}) {
    for (const auto& [object, names] : table) {
      for (const std::string& name : names) EXPECT_TRUE(named(name)) << name;
    }
  }
  for (const std::string& name : policy_variables()) EXPECT_TRUE(has("`", name)) << name;
  for (const auto& list : {Redaction::default_environment(), Redaction::default_arguments()}) {
    for (const std::string& pattern : list) EXPECT_TRUE(has("`", pattern)) << pattern;
  }
}

TEST(PolicyExamples, AllOfThemAreValid) {
  int count = 0;
  for (const char* name : {"default", "one-application", "kubernetes", "shadow"}) {
    const std::string path =
        std::string(SHMREC_SOURCE_DIR) + "/examples/policies/" + name + ".yaml";
    const Result<Policy> policy = load_policy(path, nullptr);
    EXPECT_TRUE(policy.ok()) << policy.error().message;
    ++count;
  }
  EXPECT_EQ(count, 4);
}

TEST(PolicyExamples, TheDefaultExampleSaysTheDefaults) {
  const Result<Policy> policy =
      load_policy(std::string(SHMREC_SOURCE_DIR) + "/examples/policies/default.yaml", nullptr);
  const Result<Policy> defaults = load_policy(std::nullopt, nullptr, "/nonexistent");
  ASSERT_TRUE(policy.ok()) << policy.error().message;
  EXPECT_EQ(to_yaml(*policy), to_yaml(*defaults));
}

TEST(Messages, ShowForeignTextEscaped) {
  // Keys, values, anchors and file names, with C1, a bidi override and a character without width.
  for (const char* text : {"a\xc2\x9b\xe2\x80\xae\xe2\x80\x8b: 1\n", "apiVersion: '\xe2\x80\xae'\n",
                           "kind: *\xe2\x80\xae\n",
                           "limits: {logSize: \xc2\x9b"
                           "1}\n",
                           "segments: [{match: {name: 7\xe2\x80\xae}}]\n"}) {
    const Result<Policy> policy = parse_policy(text, "f\x1b\xe2\x80\xae");
    ASSERT_FALSE(policy.ok()) << text;
    const std::string& message = policy.error().message;
    EXPECT_EQ(message.find("\xe2\x80\xae"), message.npos) << message;
    EXPECT_EQ(message.find("\xe2\x80\x8b"), message.npos) << message;
    EXPECT_EQ(message.find("\xc2\x9b"), message.npos) << message;
    EXPECT_EQ(message.find('\x1b'), message.npos) << message;
    EXPECT_NE(message.find("f\\x1b\\u202e:"), message.npos) << message;
  }
  const std::string cut = shmrec::quoted(std::string(79, 'a') +
                                         "\xe2\x82\xac"
                                         "b");
  EXPECT_EQ(cut, "'" + std::string(79, 'a') + "...'");
}

}  // namespace
}  // namespace shmrec
