// DWARF types as blame asks about them: sizes, members with their places, what pointers and arrays
// lead to, and how a value is read.
//
// Owner: a Type borrows from the file that it is of (symbols.h). Threads: one at a time.
// Trust: the debug information is foreign; what recurses is bounded.
#pragma once

#include <elfutils/libdw.h>

#include <cstdint>
#include <optional>
#include <string>

#include "recording/blame/value_type.h"

namespace shmrec::recording {

// A DWARF type seen through typedefs and qualifiers.
class Type {
 public:
  struct Member;
  Type() = default;
  explicit Type(Dwarf_Die die);

  bool known() const { return known_; }
  uint64_t size() const;  // 0 if unknown
  bool is_pointer() const;
  bool is_array() const;
  bool is_aggregate() const;            // struct, class or union
  std::optional<Type> target() const;   // of a pointer; none for void*
  std::optional<Type> element() const;  // of an array, outermost dimension first
  // How a value of it is read; kUnknown for what is made of several.
  ValueType value_type() const;
  // The pointer that a smart pointer (unique_ptr, shared_ptr and their like) holds.
  std::optional<Member> held_pointer() const;
  // The distance to its target that an offset_ptr of Boost.Interprocess holds, counted from its own
  // address (1: it is null), and what it points to.
  struct Relative;
  std::optional<Relative> relative_pointer() const;
  // The array that a std::array is.
  std::optional<Member> held_array() const;
  // A member, also one inside unnamed members, and the bytes it lies in.
  std::optional<Member> member(const std::string& name) const;

 private:
  int tag() const;
  uint64_t size_at_depth(int depth) const;
  std::optional<Member> member_at_depth(const std::string& name, int depth) const;
  std::optional<Member> held_pointer_at_depth(int depth) const;
  template <typename Visit>
  std::optional<Member> first_member(int depth, const Visit& visit) const;
  mutable Dwarf_Die die_{};
  bool known_ = false;
  unsigned dimensions_used_ = 0;
};

// Of a bit field: the bytes that hold a bit of it, which can be fewer than its type has.
struct Type::Member {
  uint64_t offset = 0;
  uint64_t size = 0;  // 0 if unknown
  Type type;
};

// The type that an entry says it is of.
std::optional<Type> type_of(Dwarf_Die* entry);

struct Type::Relative {
  Member distance;
  Type target;
};

// What libdw gives for a name: null if there is none.
inline std::string string_or_empty(const char* chars) { return chars != nullptr ? chars : ""; }

// An attribute that is a number; none if it is absent or of another kind.
std::optional<uint64_t> number_attribute(Dwarf_Die* die, unsigned name);

}  // namespace shmrec::recording
