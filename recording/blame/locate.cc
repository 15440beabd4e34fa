#include "recording/blame/locate.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "recording/blame/expression.h"
#include "recording/log/names.h"
#include "recording/run/pointers_seen.h"
#include "recording/run/segment_history.h"
#include "recording/run/text.h"

namespace shmrec::recording {

using shmlog::SegmentKind;

namespace {

std::optional<uint64_t> parse_number(const std::string& text) {
  const bool is_hex = text.starts_with("0x") || text.starts_with("0X");
  const char* begin = text.data() + (is_hex ? 2 : 0);
  const char* end = text.data() + text.size();
  uint64_t value = 0;
  const auto [stop, error] = std::from_chars(begin, end, value, is_hex ? 16 : 10);
  return error == std::errc() && stop == end && begin != end ? std::optional(value) : std::nullopt;
}

bool is_address(const std::string& where) {
  return where.starts_with("0x") && parse_number(where).has_value();
}

bool is_name_or_its_end(const std::string& own, const std::string& name) {
  return !own.empty() && (own == name || own.substr(own.rfind('/') + 1) == name);
}

// POSIX shared memory by its path, as ls and /proc/PID/maps show it: /dev/shm/ring is /ring.
std::string posix_name(const shmlog::SegmentEntry& segment, const std::string& name) {
  constexpr std::string_view kDirectory = "/dev/shm";
  const bool posix = static_cast<SegmentKind>(segment.kind) == SegmentKind::kPosixShm;
  return posix && name.starts_with(std::string(kDirectory) + "/") ? name.substr(kDirectory.size())
                                                                  : name;
}

bool segment_called(const Timeline& timeline, const Numbered<shmlog::SegmentEntry>& segment,
                    const std::string& asked) {
  const std::string name = posix_name(segment.entry, asked);
  if (std::to_string(segment.index) == name || segment_label(segment.index, &segment.entry) == name)
    return true;
  if (is_name_or_its_end(fixed_text(segment.entry.name), name)) return true;
  const std::vector<std::string> others = timeline.other_names(segment.index);
  return std::any_of(others.begin(), others.end(),
                     [&](const std::string& own) { return is_name_or_its_end(own, name); });
}

std::string list_segments(const ShmlogReader& log) {
  constexpr size_t kListed = 20;
  std::string list;
  for (size_t i = 0; i < log.segments().size() && i < kListed; ++i) {
    const auto& segment = log.segments()[i];
    list += "\n  " + segment_label(segment.index, &segment.entry) + "+OFFSET  (number " +
            std::to_string(segment.index) + ", " + std::to_string(segment.entry.extent_bytes) +
            " bytes)";
  }
  if (log.segments().size() > kListed) list += "\n  ... see shmrec ls";
  return list;
}

// "\n  2+0x10  first mapped as index.tmp at ...; renamed to index at ..." for each.
std::string list_histories(const Timeline& timeline, const std::vector<uint32_t>& segments,
                           uint64_t offset) {
  constexpr size_t kListed = 20;
  std::string list;
  for (size_t i = 0; i < segments.size() && i < kListed; ++i) {
    list += "\n  " + std::to_string(segments[i]) + "+" + hex(offset);
    const char* separator = "  ";
    for (const Happening& happening : segment_history(timeline, segments[i])) {
      list += separator + happening_text(timeline, happening);
      separator = "; ";
    }
  }
  return list + (segments.size() > kListed ? "\n  ... see shmrec ls" : "");
}

// ---- In a recording -----------------------------------------------------------------------------

// One evaluation of WHERE in a recording at a time.
class Locator {
 public:
  Locator(const LocateContext& context, const Recording& recording, uint64_t event)
      : context_(context),
        recording_(recording),
        event_(event),
        space_(context.timeline.address_space(recording, event)) {}

  Result<Location> address(uint64_t address, uint64_t length) {
    const Mapping* mapping = segment_at(address);
    if (mapping == nullptr) return no_segment(address);
    return Location{
        mapping->segment, mapping->offset + (address - mapping->begin), length, notes_, {}};
  }

  // Variables are those of this program or library alone. False if it has none so called mapped.
  bool choose_module(const std::string& name) {
    module_ = name;
    return std::any_of(space_.mappings().begin(), space_.mappings().end(),
                       [&](const auto& mapping) { return is_chosen(mapping.second); });
  }

  Result<Location> expression(const std::string& where) {
    const ExpressionContext callbacks = {
        [this](const std::string& name) { return find_variable(name); },
        [this](uint64_t at, const std::string& text) { return read_pointer(at, text); },
    };
    Result<EvaluatedPlace> place = evaluate_expression(where, callbacks);
    if (!place) return place.error();
    const bool shared = segment_at(place->address) != nullptr;
    // "p", a private pointer: the question is about what it points to.
    if (!shared && !place->is_address && place->type.is_pointer()) {
      const Result<uint64_t> target = read_pointer(place->address, where);
      if (!target) return target.error();
      const std::optional<Type> type = place->type.target();
      return typed(address(*target, type ? type->size() : 0), type.value_or(Type()));
    }
    return typed(address(place->address, place->size), place->type);
  }

 private:
  // What of traced memory is mapped there at that time; or, where a pointer led that was seen when
  // what it points to was still mapped, at the pointer's.
  const Mapping* segment_at(uint64_t address) const {
    for (const AddressSpace* space : {&space_, &earlier_}) {
      const Mapping* mapping = space->find(address);
      if (mapping != nullptr && mapping->segment != 0) return mapping;
    }
    return nullptr;
  }

  static Result<Location> typed(Result<Location> location, const Type& type) {
    if (location && type.known()) location->type = type.value_type();
    return location;
  }

  Error no_segment(uint64_t address) const {
    return Error{hex(address) + " is not in traced shared memory of " + recording_.id + " (" +
                 recording_.name + ") at that time" + mapped_segments()};
  }

  // "; it has mapped:" and each traced piece.
  std::string mapped_segments() const {
    std::string list;
    for (const auto& [begin, mapping] : space_.mappings()) {
      if (mapping.segment == 0) continue;
      list += "\n  " + hex(begin) + "-" + hex(mapping.end) + "  " +
              segment_label(mapping.segment, context_.timeline.reader().segment(mapping.segment)) +
              "+" + hex(mapping.offset);
    }
    return list.empty() ? "; it has no traced segment mapped then" : "; it has mapped:" + list;
  }

  // libfoo.so is libfoo.so.1, too.
  bool is_chosen(const Mapping& mapping) const {
    if (mapping.segment != 0) return false;
    const std::string name = base_name(mapping.path);
    return module_.empty() || name == module_ || name.starts_with(module_ + ".");
  }

  // Symbols of the executable win over those of libraries.
  Result<Variable> find_variable(const std::string& name) {
    bool any_symbols = false;
    for (const bool executable : {true, false}) {
      for (const auto& [begin, mapping] : space_.mappings()) {
        if (!is_chosen(mapping) || (mapping.path == recording_.executable) != executable) continue;
        const ModuleFile* file = context_.symbols.module(mapping.path);
        const auto code = file != nullptr ? file->address_of_offset(mapping.offset) : std::nullopt;
        if (!code) continue;
        any_symbols = true;
        std::optional<Variable> variable = file->variable(name);
        if (!variable) continue;
        variable->address += begin - *code;  // load bias
        return *variable;
      }
    }
    return Error{name + ": no such global variable in " + recording_.id + " (" + recording_.name +
                 ")" + (any_symbols ? "" : "; none of its program files could be read") +
                 "; expected a global variable, an address (0x...) or one of" +
                 list_segments(context_.timeline.reader())};
  }

  Result<uint64_t> read_pointer(uint64_t at, const std::string& text) {
    if (const Mapping* mapping = segment_at(at)) return logged_pointer(*mapping, at, text);
    const auto seen = pointer_seen(context_.timeline, recording_, at, event_);
    if (!seen) {
      return Error{text + ": a private pointer of " + recording_.id + " (" + recording_.name +
                   ") that was not seen leading into traced memory; say SEGMENT+OFFSET or an "
                   "address instead" +
                   mapped_segments()};
    }
    note_when_seen(*seen, text);
    return seen->value;
  }

  void note_when_seen(const PointerSeen& seen, const std::string& text) {
    const bool earlier = !seen.inherited && seen.event > 0 && seen.event < event_;
    if (earlier && space_.find(seen.value) == nullptr) {
      // The look is before what the event, a system call, did.
      earlier_ = context_.timeline.address_space(recording_, seen.event - 1);
      notes_.push_back(text + " led to " + hex(seen.value) + " at event " +
                       with_separators(seen.event) + "; that memory was unmapped later");
    } else if (seen.inherited || seen.led_away || seen.event > event_) {
      notes_.push_back(text + " is a private pointer: " + hex(seen.value) +
                       (seen.inherited ? " in the process that this one was forked from"
                                       : " at event " + with_separators(seen.event)) +
                       (seen.led_away ? "; later it was something else" : ""));
    }
  }

  // The newest value this recording read from or wrote to the pointer; where reads are not
  // recorded, what anybody had written.
  Result<uint64_t> logged_pointer(const Mapping& mapping, uint64_t at, const std::string& text) {
    const shmlog::SegmentEntry* segment = context_.timeline.reader().segment(mapping.segment);
    const bool writes_only = segment != nullptr && has_writes_only(*segment);
    const uint64_t offset = mapping.offset + (at - mapping.begin);
    LineQuery query{.segment = mapping.segment, .begin = offset, .end = offset + 1};
    if (writes_only) {
      query.max_tsc = clock_by(context_, recording_, event_);
      notes_.push_back(text +
                       " is a pointer in a segment that records writes only: the newest by " +
                       "then, by a coarse clock");
    } else {
      query.process = recording_.process;
      query.max_event = event_;
    }
    const std::optional<RecordId> id = context_.index.newest(query)[0];
    const std::optional<Access> access = id ? context_.index.load(*id) : std::nullopt;
    if (access && access->end() >= offset + sizeof(uint64_t)) {
      const std::vector<uint8_t>& bytes = access->writes() ? access->output : access->input;
      uint64_t value;
      std::memcpy(&value, &bytes[offset - access->header.offset], sizeof(value));
      return value;
    }
    return Error{text + ": a pointer in shared memory that " +
                 (writes_only ? "nobody wrote" : recording_.id + " did not access") +
                 " before that time, so its value is not known"};
  }

  const LocateContext& context_;
  const Recording& recording_;
  uint64_t event_;
  AddressSpace space_;
  AddressSpace earlier_;  // empty, or when a pointer was seen
  std::string module_;    // "": all
  std::vector<std::string> notes_;
};

// Of "libfoo.so:expression" the place of the ':'; npos: it has another form.
size_t module_end(const std::string& where) {
  const size_t colon = where.find(':');
  const bool single = colon != std::string::npos && where.compare(colon, 2, "::") != 0;
  return single && where.find('.') < colon ? colon : std::string::npos;
}

}  // namespace

uint64_t clock_by(const LocateContext& context, const Recording& recording, uint64_t event) {
  if (event == UINT64_MAX) return recording.end_tsc != 0 ? recording.end_tsc : UINT64_MAX;
  uint64_t tsc = std::max(recording.start_tsc, context.index.clock_at(recording.process, event));
  for (const JournalItem& item : context.timeline.reader().journal())
    if (item.entry.process == recording.process && item.entry.event <= event)
      tsc = std::max<uint64_t>(tsc, item.entry.tsc);
  return tsc;
}

std::string segment_label(uint32_t index, const shmlog::SegmentEntry* segment) {
  if (segment == nullptr) return "segment#" + std::to_string(index);
  const std::string name = fixed_text(segment->name);
  switch (static_cast<SegmentKind>(segment->kind)) {
    case SegmentKind::kMemfd:
      return "memfd:" + name;
    case SegmentKind::kSysV:
      return segment->sysv_key != 0 ? "sysv:" + hex(static_cast<uint32_t>(segment->sysv_key))
                                    : "sysv#" + std::to_string(index);
    case SegmentKind::kPosixShm:
    case SegmentKind::kFile:
      if (!name.empty()) return name;
      [[fallthrough]];
    default:
      return "anon#" + std::to_string(index);
  }
}

bool names_segment(const std::string& where) {
  const size_t plus = where.rfind('+');
  return plus != std::string::npos && plus > 0 && where.find_first_of("&*[") == std::string::npos;
}

Result<uint32_t> find_segment(const Timeline& timeline, const std::string& name, uint64_t offset) {
  const ShmlogReader& log = timeline.reader();
  std::vector<uint32_t> matches;
  for (const auto& segment : log.segments()) {
    if (segment_called(timeline, segment, name)) matches.push_back(segment.index);
  }
  if (matches.empty())
    return Error{"no segment '" + name + "'; expected one of" + list_segments(log)};
  if (matches.size() > 1) {
    return Error{std::to_string(matches.size()) + " segments had the name '" + name +
                 "'; say which by its number, one of" + list_histories(timeline, matches, offset)};
  }
  return matches[0];
}

Result<Location> locate_in_segments(const LocateContext& context, const std::string& where) {
  const size_t plus = where.rfind('+');
  const std::optional<uint64_t> offset = parse_number(where.substr(plus + 1));
  if (!offset) return Error{where + ": expected a number after '+', decimal or 0x..."};
  const Result<uint32_t> segment = find_segment(context.timeline, where.substr(0, plus), *offset);
  if (!segment) return Error{where + ": " + segment.error().message};
  return Location{*segment, *offset, 0, {}, {}};
}

Result<Location> locate_in_recording(const LocateContext& context, const std::string& where,
                                     const Recording& recording, uint64_t event) {
  Locator locator(context, recording, event);
  if (is_address(where)) return locator.address(*parse_number(where), 0);
  const size_t colon = module_end(where);
  if (colon == std::string::npos) return locator.expression(where);
  const std::string module = where.substr(0, colon);
  if (!locator.choose_module(module))
    return Error{where + ": no library or program '" + module + "' in " + recording.id + " (" +
                 recording.name + ") at that time"};
  return locator.expression(where.substr(colon + 1));
}

}  // namespace shmrec::recording
