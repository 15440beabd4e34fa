#include "recording/run/flat_json.h"

#include <limits>
#include <nlohmann/json.hpp>

namespace shmrec::recording {
namespace {

using nlohmann::json;

// What nlohmann's parser calls. It keeps no tree; its own depth costs it one bit a level.
class Flattener : public json::json_sax_t {
 public:
  explicit Flattener(FlatJson& into) : into_(into) {}

  bool is_object() const { return is_object_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t value) override { return keep(value); }
  bool number_unsigned(number_unsigned_t value) override {
    return value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
           keep(static_cast<int64_t>(value));
  }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t& value) override { return keep(value); }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return enter(true); }
  bool start_array(size_t) override { return enter(false); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    if (depth_ == 1) outer_ = name.substr(0, kMaxFlatTextBytes);
    if (depth_ == 2) inner_ = name.substr(0, kMaxFlatTextBytes);
    return true;
  }
  bool parse_error(size_t, const std::string&, const json::exception&) override { return false; }

 private:
  bool enter(bool object) {
    if (depth_ == 0) is_object_ = object;
    if (depth_ == 1) inner_is_object_ = object;
    ++depth_;
    return is_object_;  // stops at once if the whole is no object
  }
  bool leave() {
    --depth_;
    return true;
  }

  // False once there is no more room.
  bool name_of_value(std::string& name) const {
    if (depth_ != 1 && depth_ != 2) return false;
    name = depth_ == 2 && inner_is_object_ ? outer_ + "." + inner_ : outer_;
    return true;
  }
  bool take_room(size_t bytes) {
    if (bytes > room_) return false;
    room_ -= bytes;
    return true;
  }
  bool keep(int64_t value) {
    std::string name;
    if (name_of_value(name) && take_room(name.size() + sizeof(value)))
      into_.numbers_untrusted[name] = value;
    return true;
  }
  bool keep(const std::string& value) {
    std::string name, text = value.substr(0, kMaxFlatTextBytes);
    if (!name_of_value(name) || !take_room(name.size() + text.size() + sizeof(text))) return true;
    std::vector<std::string>& texts = into_.texts_untrusted[name];
    // A member that is there twice counts once, as it would in a tree; an array's elements do not.
    const bool element = depth_ == 2 && !inner_is_object_;
    if (!element) texts.clear();
    texts.push_back(std::move(text));
    return true;
  }

  FlatJson& into_;
  bool is_object_ = false;
  bool inner_is_object_ = false;
  size_t depth_ = 0;
  size_t room_ = kMaxFlatBytes;
  std::string outer_, inner_;
};

}  // namespace

std::string FlatJson::text(const std::string& name) const {
  const auto found = texts_untrusted.find(name);
  return found == texts_untrusted.end() || found->second.empty() ? "" : found->second.front();
}

std::optional<int64_t> FlatJson::number(const std::string& name) const {
  const auto found = numbers_untrusted.find(name);
  if (found == numbers_untrusted.end()) return std::nullopt;
  return found->second;
}

std::optional<FlatJson> flatten_json(std::string_view text) {
  FlatJson flat;
  Flattener flattener(flat);
  if (!json::sax_parse(text.begin(), text.end(), &flattener) || !flattener.is_object())
    return std::nullopt;
  return flat;
}

}  // namespace shmrec::recording
