#include "recording/blame/expression.h"

#include <cctype>
#include <charconv>
#include <cstring>

namespace shmrec::recording {
namespace {

constexpr int kMaxDepth = 64;

bool name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool name_part(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

class Evaluator {
 public:
  Evaluator(const std::string& text, const ExpressionContext& context)
      : text_(text), context_(context) {}

  Result<EvaluatedPlace> run() {
    Result<EvaluatedPlace> place = expression(0);
    if (place && !at_end()) return fail("expected '[', '.', '->' or the end");
    return place;
  }

 private:
  using Place = EvaluatedPlace;

  Result<Place> expression(int depth) {
    if (depth > kMaxDepth) return fail("nested too deeply");
    if (take("&")) {
      Result<Place> place = expression(depth + 1);
      if (place && place->is_address) return fail("'&' needs something with an address");
      if (place) place->is_address = true;
      return place;
    }
    if (take("*")) {
      const size_t begin = at_;
      const Result<Place> place = expression(depth + 1);
      return place ? dereference(*place, begin) : place;
    }
    return postfix(depth);
  }

  Result<Place> postfix(int depth) {
    skip_spaces();
    const size_t begin = at_;
    Result<Place> place = primary(depth);
    while (place) {
      if (take("[")) {
        place = index(*place, begin);
      } else if (take("->")) {
        const Result<Place> target = dereference(*place, begin);
        place = target ? member(*target) : target;
      } else if (take(".")) {
        place = member(*place);
      } else {
        break;
      }
    }
    return place;
  }

  Result<Place> primary(int depth) {
    if (take("(")) {
      Result<Place> place = expression(depth + 1);
      if (place && !take(")")) return fail("expected ')'");
      return place;
    }
    const std::string name = qualified_name();
    if (name.empty()) return fail("expected the name of a global variable, '&', '*' or '('");
    const Result<Variable> variable = context_.find_variable(name);
    if (!variable) return variable.error();
    return Place{variable->address, variable->size, false, variable->type, variable->lacking};
  }

  // What `place` points to, or the first element of an array.
  Result<Place> dereference(const Place& place, size_t begin) {
    if (place.is_address) return Place{place.address, place.size, false, place.type, place.lacking};
    if (place.type.is_array()) return element(place, 0);
    if (!place.type.known()) return unknown_type(place);
    if (const auto held = place.type.held_pointer())
      return dereference({place.address + held->offset, held->size, false, held->type, ""}, begin);
    if (const auto relative = place.type.relative_pointer())
      return step_over(place, *relative, begin);
    if (!place.type.is_pointer()) return fail("this is not a pointer");
    const Result<uint64_t> value =
        context_.read_pointer(place.address, text_.substr(begin, at_ - begin));
    if (!value) return value.error();
    const std::optional<Type> target = place.type.target();
    return Place{*value, target ? target->size() : 0, false, target.value_or(Type()), ""};
  }

  Result<Place> step_over(const Place& place, const Type::Relative& relative, size_t begin) {
    constexpr uint64_t kNull = 1;
    const Result<uint64_t> distance = context_.read_pointer(
        place.address + relative.distance.offset, text_.substr(begin, at_ - begin));
    if (!distance) return distance.error();
    if (*distance == kNull) return fail("this pointer is null");
    return Place{place.address + *distance, relative.target.size(), false, relative.target, ""};
  }

  Result<Place> index(const Place& place, size_t begin) {
    skip_spaces();
    int64_t number = 0;
    const char* from = text_.data() + at_;
    const auto [stop, error] = std::from_chars(from, text_.data() + text_.size(), number);
    if (error != std::errc() || stop == from) return fail("expected a number as index");
    const size_t name_end = at_ - 1;
    at_ += static_cast<size_t>(stop - from);
    if (!take("]")) return fail("expected ']'");
    if (place.type.is_array() && !place.is_address) return element(place, number);
    const auto array = place.is_address ? std::nullopt : place.type.held_array();
    if (array)
      return element({place.address + array->offset, array->size, false, array->type, ""}, number);
    const size_t after = at_;
    at_ = name_end;
    Result<Place> first = dereference(place, begin);
    if (!first) return first;
    at_ = after;
    return step(*first, number);
  }

  Result<Place> element(const Place& array, int64_t number) {
    const Type item = array.type.element().value_or(Type());
    return step(Place{array.address, item.size(), false, item, ""}, number);
  }

  Result<Place> step(Place place, int64_t number) {
    int64_t distance = 0;
    if (place.size == 0) return fail("the size of its elements is not known");
    if (__builtin_mul_overflow(number, static_cast<int64_t>(place.size), &distance))
      return fail("index too large");
    place.address += static_cast<uint64_t>(distance);
    return place;
  }

  Result<Place> member(const Place& place) {
    const std::string name = simple_name();
    if (name.empty()) return fail("expected the name of a member");
    if (!place.is_address && !place.lacking.empty()) return unknown_type(place);
    if (place.is_address || !place.type.is_aggregate())
      return fail("what precedes is not a struct or union");
    const auto found = place.type.member(name);
    if (!found) return fail("no member '" + name + "'");
    return Place{place.address + found->offset, found->size, false, found->type, ""};
  }

  std::string simple_name() {
    skip_spaces();
    const size_t begin = at_;
    if (at_ < text_.size() && name_start(text_[at_])) {
      while (at_ < text_.size() && name_part(text_[at_])) ++at_;
    }
    return text_.substr(begin, at_ - begin);
  }

  std::string qualified_name() {
    std::string name = simple_name();
    while (!name.empty() && text_.compare(at_, 2, "::") == 0) {
      at_ += 2;
      const std::string part = simple_name();
      if (part.empty()) return "";
      name += "::" + part;
    }
    return name;
  }

  void skip_spaces() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool at_end() {
    skip_spaces();
    return at_ == text_.size();
  }
  bool take(const char* token) {
    skip_spaces();
    if (text_.compare(at_, std::strlen(token), token) != 0) return false;
    at_ += std::strlen(token);
    return true;
  }
  Error unknown_type(const Place& place) const {
    return fail("its type is not known" + (place.lacking.empty() ? "" : ": " + place.lacking));
  }
  Error fail(const std::string& what) const {
    return Error{text_ + ": column " + std::to_string(at_ + 1) + ": " + what};
  }

  const std::string& text_;
  const ExpressionContext& context_;
  size_t at_ = 0;
};

}  // namespace

Result<EvaluatedPlace> evaluate_expression(const std::string& expression,
                                           const ExpressionContext& context) {
  return Evaluator(expression, context).run();
}

}  // namespace shmrec::recording
