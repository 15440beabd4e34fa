// The words, sizes and durations that policy files and SHMREC_* variables are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "policy/policy.h"
#include "recording/log/shmlog_create.h"

namespace shmrec {

template <typename T>
struct Word {
  std::string_view text;
  T value;
};

inline constexpr Word<SegmentMode> kModeWords[] = {{"trace", SegmentMode::kTrace},
                                                   {"shadow", SegmentMode::kShadow},
                                                   {"ignore", SegmentMode::kIgnore},
                                                   {"deny", SegmentMode::kDeny}};
// A shadow needs a direction, which only a rule can give.
inline constexpr Word<SegmentMode> kDefaultModeWords[] = {
    {"trace", SegmentMode::kTrace}, {"ignore", SegmentMode::kIgnore}, {"deny", SegmentMode::kDeny}};
inline constexpr Word<Order> kOrderWords[] = {{"exact", Order::kExact},
                                              {"relaxed", Order::kRelaxed}};
inline constexpr Word<Accesses> kAccessesWords[] = {{"all", Accesses::kAll},
                                                    {"writes", Accesses::kWrites}};
inline constexpr Word<RecordLevel> kLevelWords[] = {{"accesses", RecordLevel::kAccesses},
                                                    {"replay", RecordLevel::kReplay}};
inline constexpr Word<Direction> kDirectionWords[] = {
    {"in", Direction::kIn}, {"out", Direction::kOut}, {"both", Direction::kBoth}};
inline constexpr Word<FailurePolicy> kFailurePolicyWords[] = {{"open", FailurePolicy::kOpen},
                                                              {"closed", FailurePolicy::kClosed}};
inline constexpr Word<CoreOccasion> kCoreOccasionWords[] = {{"signal", CoreOccasion::kSignal},
                                                            {"exit", CoreOccasion::kExit},
                                                            {"request", CoreOccasion::kRequest},
                                                            {"none", CoreOccasion::kNone}};
// All but kNone, in the same order.
inline constexpr bool CoreChoice::*kCoreOccasionMembers[] = {
    &CoreChoice::on_signal, &CoreChoice::on_exit, &CoreChoice::on_request};
inline constexpr Word<CoreMemoryChoice> kCoreMemoryWords[] = {
    {"stacks", CoreMemoryChoice::kStacks},
    {"private", CoreMemoryChoice::kPrivate},
    {"all", CoreMemoryChoice::kAll}};
inline constexpr Word<LauncherDeath> kLauncherDeathWords[] = {
    {"continue", LauncherDeath::kContinue}, {"kill", LauncherDeath::kKill}};
// Of variables; in a file they are YAML's own.
inline constexpr Word<bool> kBoolWords[] = {{"true", true}, {"false", false}};

template <typename T, size_t N>
std::optional<T> find_word(const Word<T> (&words)[N], std::string_view text) {
  for (const Word<T>& word : words) {
    if (word.text == text) return word.value;
  }
  return std::nullopt;
}

template <typename T, size_t N>
std::string_view word_of(const Word<T> (&words)[N], T value) {
  for (const Word<T>& word : words) {
    if (word.value == value) return word.text;
  }
  return "";
}

template <typename T, size_t N>
std::vector<std::string> texts_of(const Word<T> (&words)[N]) {
  std::vector<std::string> texts;
  for (const Word<T>& word : words) texts.emplace_back(word.text);
  return texts;
}

// "256MiB", "256Mi", "1G", "4096": a whole number and a binary (Ki, Mi, Gi, Ti) or decimal (k, M,
// G, T) unit, with or without a B. Nothing if it is something else or does not fit.
std::optional<uint64_t> parse_size(std::string_view text);

// The shortest exact form: "256MiB".
std::string format_size(uint64_t bytes);

// The limits: their keys, variables, places and bounds.
struct LimitWord {
  std::string_view key;
  std::string_view variable;
  uint64_t Limits::*bytes;
  uint64_t least;
  uint64_t most;
};
inline constexpr uint64_t kMaxSpoolBytes = uint64_t{1} << 50;
inline constexpr LimitWord kLimitWords[] = {
    {"logSize", "SHMREC_LOG_SIZE", &Limits::log_bytes, recording::kMinLogBytes,
     recording::kMaxLogBytes},
    {"spoolSize", "SHMREC_SPOOL_SIZE", &Limits::spool_bytes, recording::kMinLogBytes,
     kMaxSpoolBytes},
    {"recordingSize", "SHMREC_RECORDING_SIZE", &Limits::recording_bytes, uint64_t{1} << 20,
     kMaxSpoolBytes}};

// collect.core.limit.
struct SizeBounds {
  uint64_t least, most;
};
inline constexpr SizeBounds kCoreLimitBounds = {uint64_t{1} << 20, kMaxSpoolBytes};

// Why `text` is no size within the bounds, with the fix; "" if it is one.
std::string size_problem(const SizeBounds& bounds, std::optional<uint64_t> bytes,
                         std::string_view text);
std::string size_problem(const LimitWord& limit, std::optional<uint64_t> bytes,
                         std::string_view text);

// The limit that contradicts spoolSize, or nullptr.
const LimitWord* conflicting_limit(const Limits& limits);
std::string conflict_message(const LimitWord& limit, const Limits& limits);

// limits.maxSlowdown: "2.0", "1.25" as thousandths. Nothing if it is something else.
inline constexpr std::string_view kMaxSlowdownKey = "maxSlowdown";
inline constexpr std::string_view kMaxSlowdownVariable = "SHMREC_MAX_SLOWDOWN";
std::optional<uint64_t> parse_slowdown(std::string_view text);

// The shortest exact form with a point: "2.0", "1.25".
std::string format_slowdown(uint64_t thousandths);

// Why `text` is no value of maxSlowdown, with the fix; "" if it is one.
std::string slowdown_problem(std::optional<uint64_t> thousandths, std::string_view text);

// "500ms", "5s", "1m", "2h", "7d": a whole number and a unit, as milliseconds. Nothing if it is
// something else or does not fit.
std::optional<uint64_t> parse_duration(std::string_view text);

// The shortest exact form: "5s".
std::string format_duration(uint64_t ms);

// Why `text` is no time to wait for the sidecar, with the fix; "" if it is one.
inline constexpr uint64_t kMaxSidecarWaitMs = 10 * 60 * 1000;
std::string wait_problem(std::optional<uint64_t> ms, std::string_view text);

// What is wrong with a spool directory's path, with the fix; "" if nothing is.
std::string directory_problem(std::string_view path);

}  // namespace shmrec
