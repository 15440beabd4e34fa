// A log as a bundle with an index, opened by it: for tests that compare what it answers.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "recording/blame/blame.h"
#include "recording/blame/blame_print.h"
#include "recording/bundle/bundle.h"
#include "recording/run/run_files.h"

namespace shmrec::testing {

class IndexedCopy {
 public:
  explicit IndexedCopy(const std::vector<uint8_t>& log) {
    std::string name = (std::filesystem::temp_directory_path() / "shmrec-index-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "no temporary directory";
    root_ = name;
    const std::filesystem::path run = root_ / "run-1";
    std::filesystem::create_directories(run);
    std::ofstream(run / "run.shmlog", std::ios::binary)
        .write(reinterpret_cast<const char*>(log.data()), static_cast<std::streamsize>(log.size()));
    recording::CreateBundleOptions options;
    options.output = root_ / "it.shmrec.tar.zst";
    options.least_indexed_bytes = 0;
    const auto made = recording::create_bundle(run, options);
    if (!made) ADD_FAILURE() << made.error().message;
  }
  ~IndexedCopy() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  IndexedCopy(const IndexedCopy&) = delete;
  IndexedCopy& operator=(const IndexedCopy&) = delete;

  std::filesystem::path bundle() const { return root_ / "it.shmrec.tar.zst"; }

 private:
  std::filesystem::path root_;
};

// What blame says as JSON, or its error.
inline std::string text_of(const Result<recording::BlameAnswer>& answer) {
  if (!answer) return answer.error().message;
  using nlohmann::detail::error_handler_t;
  return recording::blame_json(*answer).dump(1, ' ', false, error_handler_t::replace);
}

// An answer, and what was found wrong with the index on the way to it.
struct AnswerByIndex {
  std::string text;
  std::string trouble;
  bool whole = false;  // the index was not used from the beginning
};
inline AnswerByIndex ask_bundle(
    const std::filesystem::path& bundle, const recording::BlameQuery& query,
    recording::RunFiles::Read read = recording::RunFiles::Read::kParts) {
  const auto files = recording::RunFiles::open(bundle, read);
  if (!files) return {"cannot be opened: " + files.error().message, "", true};
  const auto index = (*files)->access_index();
  const recording::Timeline timeline = (*files)->timeline();
  recording::Symbols symbols([](const std::string& path) { return path; });
  const auto answer = recording::Blame(*index, timeline, symbols).ask(query);
  return {text_of(answer), (*files)->index_trouble(), (*files)->is_whole()};
}

}  // namespace shmrec::testing
