#include "recording/blame/dwarf_type.h"

#include <dwarf.h>

#include <algorithm>
#include <iterator>

namespace shmrec::recording {

namespace {

constexpr int kMaxMemberDepth = 16;  // unnamed members inside unnamed members
constexpr int kMaxTypeDepth = 16;    // arrays of arrays, each a type of its own

// Bits of a structure from its start.
struct Bits {
  uint64_t begin = 0;
  uint64_t count = 0;
};

// Where a bit field lies. DWARF 4 and 5 count from the structure's start; DWARF 2 and 3, which
// compilers still write when asked for DWARF 4, count down from the most significant bit of a
// storage unit.
std::optional<Bits> bit_field(Dwarf_Die* member, const Type& type) {
  const auto count = number_attribute(member, DW_AT_bit_size);
  if (!count || *count == 0) return std::nullopt;
  if (const auto begin = number_attribute(member, DW_AT_data_bit_offset))
    return Bits{*begin, *count};
  Dwarf_Attribute attribute;
  Dwarf_Sword from_top = 0;
  if (dwarf_attr_integrate(member, DW_AT_bit_offset, &attribute) == nullptr) return std::nullopt;
  if (dwarf_formsdata(&attribute, &from_top) != 0) return std::nullopt;
  const uint64_t unit = number_attribute(member, DW_AT_byte_size).value_or(type.size());
  const uint64_t location = number_attribute(member, DW_AT_data_member_location).value_or(0);
  return Bits{(location + unit) * 8 - static_cast<uint64_t>(from_top) - *count, *count};
}

// A named or unnamed member or a base class, without its own members.
Type::Member member_place(Dwarf_Die* member, const Type& type) {
  if (const auto bits = bit_field(member, type)) {
    const uint64_t first = bits->begin / 8;
    return {first, (bits->begin + bits->count + 7) / 8 - first, type};
  }
  return {number_attribute(member, DW_AT_data_member_location).value_or(0), type.size(), type};
}

// Element counts of an array's dimensions; 0 for one that is open ("int a[]").
std::vector<uint64_t> array_dimensions(Dwarf_Die* array) {
  std::vector<uint64_t> counts;
  Dwarf_Die child;
  if (dwarf_child(array, &child) != 0) return counts;
  do {
    if (dwarf_tag(&child) != DW_TAG_subrange_type) continue;
    const auto count = number_attribute(&child, DW_AT_count);
    const auto upper = number_attribute(&child, DW_AT_upper_bound);
    counts.push_back(count ? *count : upper ? *upper + 1 : 0);
  } while (dwarf_siblingof(&child, &child) == 0);
  return counts;
}

}  // namespace

std::optional<Type> type_of(Dwarf_Die* die) {
  Dwarf_Attribute attribute;
  Dwarf_Die type;
  if (dwarf_attr_integrate(die, DW_AT_type, &attribute) == nullptr) return std::nullopt;
  if (dwarf_formref_die(&attribute, &type) == nullptr) return std::nullopt;
  return Type(type);
}

std::optional<uint64_t> number_attribute(Dwarf_Die* die, unsigned name) {
  Dwarf_Attribute attribute;
  Dwarf_Word value;
  if (dwarf_attr_integrate(die, name, &attribute) == nullptr) return std::nullopt;
  if (dwarf_formudata(&attribute, &value) != 0) return std::nullopt;
  return value;
}

Type::Type(Dwarf_Die die) {
  Dwarf_Die peeled;
  known_ = dwarf_peel_type(&die, &peeled) == 0;
  if (known_) die_ = peeled;
}

int Type::tag() const { return known_ ? dwarf_tag(&die_) : DW_TAG_invalid; }

bool Type::is_pointer() const {
  return tag() == DW_TAG_pointer_type || tag() == DW_TAG_reference_type ||
         tag() == DW_TAG_rvalue_reference_type;
}
bool Type::is_array() const { return tag() == DW_TAG_array_type; }
bool Type::is_aggregate() const {
  return tag() == DW_TAG_structure_type || tag() == DW_TAG_class_type || tag() == DW_TAG_union_type;
}

uint64_t Type::size() const { return size_at_depth(0); }

uint64_t Type::size_at_depth(int depth) const {
  if (depth > kMaxTypeDepth) return 0;
  if (is_array()) {
    const std::optional<Type> item = type_of(&die_);
    uint64_t bytes = item ? item->size_at_depth(depth + 1) : 0;
    const std::vector<uint64_t> counts = array_dimensions(&die_);
    for (size_t i = dimensions_used_; i < counts.size(); ++i) {
      if (__builtin_mul_overflow(bytes, counts[i], &bytes)) return 0;
    }
    return bytes;
  }
  if (tag() == DW_TAG_pointer_type) return sizeof(uint64_t);
  Dwarf_Word bytes = 0;
  return known_ && dwarf_aggregate_size(&die_, &bytes) == 0 ? bytes : 0;
}

std::optional<Type> Type::target() const { return is_pointer() ? type_of(&die_) : std::nullopt; }

std::optional<Type> Type::element() const {
  if (!is_array()) return std::nullopt;
  if (dimensions_used_ + 1 >= array_dimensions(&die_).size()) return type_of(&die_);
  Type row = *this;
  ++row.dimensions_used_;
  return row;
}

std::optional<Type::Member> Type::member(const std::string& name) const {
  return member_at_depth(name, 0);
}

// The first member or base class for which `visit` (of its entry and its place) gives something.
template <typename Visit>
std::optional<Type::Member> Type::first_member(int depth, const Visit& visit) const {
  Dwarf_Die child;
  if (!is_aggregate() || depth > kMaxMemberDepth || dwarf_child(&die_, &child) != 0)
    return std::nullopt;
  do {
    const int child_tag = dwarf_tag(&child);
    if (child_tag != DW_TAG_member && child_tag != DW_TAG_inheritance) continue;
    const std::optional<Type> type = type_of(&child);
    if (!type) continue;
    if (auto found = visit(child, member_place(&child, *type))) return found;
  } while (dwarf_siblingof(&child, &child) == 0);
  return std::nullopt;
}

namespace {

// A member of a member, counted from the start of the whole.
std::optional<Type::Member> behind(uint64_t offset, std::optional<Type::Member> inner) {
  if (inner) inner->offset += offset;
  return inner;
}

}  // namespace

std::optional<Type::Member> Type::member_at_depth(const std::string& name, int depth) const {
  return first_member(depth, [&](Dwarf_Die& entry, const Member& place) -> std::optional<Member> {
    const std::string own = string_or_empty(dwarf_diename(&entry));
    if (own == name && dwarf_tag(&entry) == DW_TAG_member) return place;
    if (!own.empty()) return std::nullopt;
    return behind(place.offset, place.type.member_at_depth(name, depth + 1));
  });
}

std::optional<Type::Member> Type::held_pointer() const {
  const std::string name = is_aggregate() ? string_or_empty(dwarf_diename(&die_)) : "";
  return name.find("_ptr<") != std::string::npos ? held_pointer_at_depth(0) : std::nullopt;
}

std::optional<Type::Member> Type::held_pointer_at_depth(int depth) const {
  return first_member(depth, [&](Dwarf_Die&, const Member& place) -> std::optional<Member> {
    const std::optional<Type> target = place.type.target();  // none: of a deleter, a function
    if (target && target->tag() != DW_TAG_subroutine_type) return place;
    return behind(place.offset, place.type.held_pointer_at_depth(depth + 1));
  });
}

std::optional<Type::Relative> Type::relative_pointer() const {
  const std::string name = is_aggregate() ? string_or_empty(dwarf_diename(&die_)) : "";
  const auto held = name.starts_with("offset_ptr<") ? member("internal") : std::nullopt;
  const auto distance = held ? held->type.member("m_offset") : std::nullopt;
  Dwarf_Die child;
  if (!distance || dwarf_child(&die_, &child) != 0) return std::nullopt;
  do {
    if (dwarf_tag(&child) != DW_TAG_template_type_parameter) continue;
    const auto target = type_of(&child);
    if (target) return Relative{*behind(held->offset, distance), *target};
  } while (dwarf_siblingof(&child, &child) == 0);
  return std::nullopt;
}

std::optional<Type::Member> Type::held_array() const {
  for (const char* name : {"_M_elems", "__elems_"}) {
    const auto held = member(name);
    if (held && held->type.is_array()) return held;
  }
  return std::nullopt;
}

namespace {

std::map<int64_t, std::string> enumerators(Dwarf_Die* die) {
  std::map<int64_t, std::string> names;
  Dwarf_Die child;
  if (dwarf_child(die, &child) != 0) return names;
  do {
    Dwarf_Attribute attribute;
    Dwarf_Sword value = 0;
    if (dwarf_tag(&child) != DW_TAG_enumerator ||
        dwarf_attr(&child, DW_AT_const_value, &attribute) == nullptr ||
        dwarf_formsdata(&attribute, &value) != 0)
      continue;
    names.emplace(value, string_or_empty(dwarf_diename(&child)));
  } while (dwarf_siblingof(&child, &child) == 0);
  return names;
}

ValueType base_value(Dwarf_Die* die, uint64_t size) {
  using Kind = ValueType::Kind;
  switch (number_attribute(die, DW_AT_encoding).value_or(0)) {
    case DW_ATE_float:
      return size == 4 || size == 8 ? ValueType{Kind::kFloat, size, {}} : ValueType{};
    case DW_ATE_boolean:
      return size == 1 ? ValueType{Kind::kBool, size, {}} : ValueType{};
    case DW_ATE_unsigned:
      return {Kind::kUnsigned, size, {}};
    default:
      return {};
  }
}

}  // namespace

ValueType Type::value_type() const {
  using Kind = ValueType::Kind;
  const uint64_t bytes = size();
  if (is_pointer()) return {Kind::kHex, sizeof(uint64_t), {}};
  if (is_array()) {
    const std::optional<Type> item = element();
    if (!item) return {};
    const auto encoding = item->tag() == DW_TAG_base_type
                              ? number_attribute(&item->die_, DW_AT_encoding)
                              : std::nullopt;
    const bool text =
        encoding && (*encoding == DW_ATE_signed_char || *encoding == DW_ATE_unsigned_char);
    const std::string name = text ? string_or_empty(dwarf_diename(&item->die_)) : "";
    return name == "char" ? ValueType{Kind::kText, 0, {}} : item->value_type();
  }
  if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8) return {};
  if (tag() == DW_TAG_enumeration_type) return {Kind::kEnum, bytes, enumerators(&die_)};
  return tag() == DW_TAG_base_type ? base_value(&die_, bytes) : ValueType{};
}

}  // namespace shmrec::recording
