#include "debugger/frame_place.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "debugger/core_session.h"
#include "debugger/scripts.h"

namespace shmrec::debugger {
namespace {

using nlohmann::json;
using recording::Recording;
using recording::RunFiles;
using recording::ValueType;

constexpr size_t kMaxExpression = 4096;
constexpr std::string_view kSpaces = " \t\n";

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
}

// The first ':' that is none of a '::'.
size_t single_colon(const std::string& text) {
  for (size_t at = text.find(':'); at != std::string::npos; at = text.find(':', at)) {
    const size_t end = std::min(text.find_first_not_of(':', at), text.size());
    if (end - at == 1) return at;
    at = end;
  }
  return std::string::npos;
}

std::optional<unsigned> frame_number(const std::string& text) {
  constexpr std::string_view kFrame = "frame";
  if (!text.starts_with(kFrame)) return std::nullopt;
  const std::string digits = trimmed(text.substr(kFrame.size()));
  unsigned number = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number);
  return error == std::errc() && stop == end ? std::optional(number) : std::nullopt;
}

// Also of C++ and Rust; the names of segments and files that have a ':' begin otherwise.
bool can_be_function(const std::string& text) {
  constexpr const char* kOthers = "_:<>(){}#~$, *&";
  const auto fits = [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::strchr(kOthers, c) != nullptr;
  };
  return !text.empty() && !std::isdigit(static_cast<unsigned char>(text[0])) && text[0] != '*' &&
         text[0] != '&' && text != "memfd" && text != "sysv" &&
         std::all_of(text.begin(), text.end(), fits);
}

// ---- gdb's answer -------------------------------------------------------------------------------

struct KindName {
  const char* name;
  ValueType::Kind kind;
};
constexpr KindName kKinds[] = {
    {"hex", ValueType::Kind::kHex},     {"text", ValueType::Kind::kText},
    {"float", ValueType::Kind::kFloat}, {"bool", ValueType::Kind::kBool},
    {"enum", ValueType::Kind::kEnum},   {"unsigned", ValueType::Kind::kUnsigned}};

ValueType type_of(const json& answer) {
  const std::string name = answer.at("kind");
  const auto* row = std::find_if(std::begin(kKinds), std::end(kKinds),
                                 [&](const KindName& kind) { return kind.name == name; });
  if (row == std::end(kKinds)) return {};
  ValueType type{row->kind, answer.at("size"), {}};
  for (const json& pair : answer.at("names"))
    type.names.emplace(pair.at(0).get<int64_t>(), pair.at(1).get<std::string>());
  return type;
}

Error error_of(const json& answer, const std::string& where) {
  constexpr size_t kListed = 30;
  std::string message = where + ": " + printable(answer.at("error").get<std::string>());
  const json& frames = answer.at("frames");
  for (size_t i = 0; i < frames.size() && i < kListed; ++i)
    message += "\n  " + printable(frames[i].get<std::string>());
  if (frames.size() > kListed) message += "\n  ... see shmrec backtrace";
  return Error{message};
}

Result<FramePlace> read_answer(const json& answer, const std::string& where) {
  try {
    if (answer.contains("error")) return error_of(answer, where);
    return FramePlace{nullptr, answer.at("address"), answer.at("length"), type_of(answer),
                      printable(answer.at("frame").get<std::string>())};
  } catch (const json::exception& error) {
    return Error{where + ": gdb's answer is not understood: " + error.what(), false};
  }
}

// What gdb printed that left no answer: its last lines.
std::string last_words(const std::filesystem::path& output) {
  constexpr size_t kMost = 400;
  std::ifstream file(output, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.size() > kMost) text.erase(0, text.size() - kMost);
  return printable(trimmed(text));
}

json document_of(const FrameQuestion& question) {
  json frame;
  std::visit([&](const auto& value) { frame = value; }, question.frame);
  return {{"frame", frame}, {"expression", question.expression}};
}

std::string text_of(const FrameQuestion& question) {
  const auto* number = std::get_if<unsigned>(&question.frame);
  return (number ? "frame " + std::to_string(*number) : std::get<std::string>(question.frame)) +
         ":" + question.expression;
}

Result<> check(const FrameQuestion& question, const std::string& where) {
  const std::string& expression = question.expression;
  if (expression.empty()) return Error{where + " expected an expression behind ':'"};
  if (expression.size() > kMaxExpression)
    return Error{"WHERE: an expression of " + std::to_string(expression.size()) +
                 " characters; expected at most " + std::to_string(kMaxExpression)};
  if (expression.find("$_") != std::string::npos)
    return Error{where + ": gdb's own functions and variables ($_...) are not for this"};
  return Unit{};
}

}  // namespace

std::optional<FrameQuestion> frame_question(const std::string& where) {
  const size_t colon = single_colon(where);
  if (colon == std::string::npos) return std::nullopt;
  const std::string frame = trimmed(where.substr(0, colon));
  const std::string expression = trimmed(where.substr(colon + 1));
  if (const auto number = frame_number(frame)) return FrameQuestion{*number, expression};
  if (!can_be_function(frame)) return std::nullopt;
  return FrameQuestion{frame, expression};
}

Result<FramePlace> find_in_frame(const RunFiles& files, const recording::Timeline& timeline,
                                 const std::string& bundle, const std::string& wanted,
                                 const FrameQuestion& question) {
  const std::string where = printable(text_of(question));
  if (const Result<> checked = check(question, where); !checked) return checked.error();
  const Result<const Recording*> chosen =
      choose_recording(bundle, wanted, files, timeline.recordings());
  if (!chosen) return chosen.error();
  if (files.core((*chosen)->id).empty())
    return Error{where + ": " + (*chosen)->id + " (" + (*chosen)->name +
                 ") left no core, so its frames are not known; say an address, SEGMENT+OFFSET or a "
                 "global variable"};
  const Result<CoreSession> session = CoreSession::make(files, **chosen);
  if (!session) return session.error();
  const std::string asked =
      document_of(question).dump(-1, ' ', false, json::error_handler_t::replace);
  for (const auto& [name, content] :
       {std::pair<const char*, std::string_view>{"question.json", asked},
        {"places.py", places_script()},
        {"evaluate.py", evaluate_script()}})
    if (const Result<> written = session->add_file(name, content); !written) return written.error();
  const std::filesystem::path& folder = session->folder();
  const std::filesystem::path output = folder / "output";
  const Result<int> ended = run_to_end(
      session->command_line("", {"-nx", "-batch", "-x", (folder / "evaluate.py").string()}),
      output.string());
  if (!ended)
    return Error{where + ": gdb evaluates what names a frame: " + ended.error().message +
                 "; say an address, SEGMENT+OFFSET or a global variable"};
  std::ifstream file(folder / "answer.json");
  const json answer = json::parse(file, nullptr, false);
  if (!answer.is_object())
    return Error{
        where + ": gdb gave no answer (a gdb with Python is needed): " + last_words(output), false};
  Result<FramePlace> place = read_answer(answer, where);
  if (place) place->recording = *chosen;
  return place;
}

}  // namespace shmrec::debugger
