#include "recording/run/pointers_seen.h"

#include <cstring>
#include <map>

namespace shmrec::recording {
namespace {

struct Look {
  uint64_t event = 0;
  std::optional<uint64_t> value;
};

// The looks of a process at one address, by number; those in the journal from `begin` to `end`.
std::map<uint64_t, Look> looks_at(const Timeline& timeline, uint32_t process, uint64_t address,
                                  size_t begin, size_t end) {
  std::map<uint64_t, Look> looks;
  const std::vector<JournalItem>& journal = timeline.reader().journal();
  for (size_t i = begin; i < end && i < journal.size(); ++i) {
    const JournalItem& item = journal[i];
    if (item.entry.process != process ||
        static_cast<shmlog::JournalType>(item.entry.type) != shmlog::JournalType::kPointers)
      continue;
    Look& look = looks[item.entry.a];
    look.event = item.entry.event;
    for (const shmlog::PointerPair& pair : pointer_pairs(item))
      if (pair.address == address) look.value = pair.value;
  }
  return looks;
}

std::optional<PointerSeen> choose(const std::map<uint64_t, Look>& looks, uint64_t event) {
  std::optional<PointerSeen> seen;
  for (const auto& [number, look] : looks) {
    if (look.event > event && seen) break;
    if (look.value) seen = PointerSeen{*look.value, look.event, false, false};
    if (!look.value && seen) seen->led_away = true;
    if (look.event > event && seen) break;
  }
  return seen;
}

}  // namespace

std::vector<shmlog::PointerPair> pointer_pairs(const JournalItem& item) {
  std::vector<shmlog::PointerPair> pairs(item.text.size() / sizeof(shmlog::PointerPair));
  std::memcpy(pairs.data(), item.text.data(), pairs.size() * sizeof(shmlog::PointerPair));
  return pairs;
}

std::optional<PointerSeen> pointer_seen(const Timeline& timeline, const Recording& recording,
                                        uint64_t address, uint64_t event) {
  auto seen = choose(
      looks_at(timeline, recording.process, address, recording.journal_begin, SIZE_MAX), event);
  if (seen) return seen;
  constexpr int kMaxGenerations = 64;
  const Recording* child = &recording;
  for (int i = 0; i < kMaxGenerations && child->start_kind == shmlog::StartKind::kFork; ++i) {
    const Recording* parent = timeline.by_process(child->parent);
    if (parent == nullptr) break;
    const auto looks =
        looks_at(timeline, parent->process, address, parent->journal_begin, child->journal_begin);
    if ((seen = choose(looks, UINT64_MAX))) {
      seen->inherited = true;
      return seen;
    }
    child = parent;
  }
  return std::nullopt;
}

}  // namespace shmrec::recording
