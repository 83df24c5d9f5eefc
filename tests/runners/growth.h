// A growth small enough to be run again and again (seconds for hundreds), and what a run leaves
// behind, to compare.
#pragma once
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "nn/files.h"
#include "nn/safetensors.h"
#include "tests/runners/pictures.h"
#include "tests/runners/program.h"

namespace fission {
namespace test {

using Json = nlohmann::ordered_json;
using Contents = std::map<std::string, std::string>;  // file name → what is in it

inline const std::string four_wide = "4,4,4,4,4,4,4,4,4,4,4,4,4,4";

// What `more` says of an option that stands in both, holds.
inline Arguments merged(const std::vector<Arguments>& all, const Arguments& more) {
  Arguments a = more;
  for (const Arguments& option : all)
    if (std::find(more.begin(), more.end(), option[0]) == more.end()) a = a + option;
  return a;
}

// Three steps an epoch, one round
inline Arguments tiny_growth(const std::string& out, const Arguments& more = {}) {
  const std::vector<Arguments> all{{"--dataset", "fashion-mnist"},
                                   {"--data", pictures() / "idx"},
                                   {"--widths", four_wide},
                                   {"--epochs", "1"},
                                   {"--tune-epochs", "1"},
                                   {"--rounds", "1"},
                                   {"--rq-epochs", "2"},
                                   {"--batch", "16"},
                                   {"--rq-batch", "16"},
                                   {"--check-pictures", "32"},
                                   {"--threads", "1"},
                                   {"--seed", "7"},
                                   {"--out", out}};
  return merged(all, more);
}

inline std::vector<Json> log_of(const std::string& folder) {
  std::vector<Json> lines;
  std::istringstream in(read_file(folder + "/log.jsonl"));
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}
inline std::vector<Json> of_stage(const std::vector<Json>& log, const std::string& stage) {
  std::vector<Json> lines;
  for (const Json& line : log)
    if (line.at("stage") == stage) lines.push_back(line);
  return lines;
}

// Every file of a run's folder; of log.jsonl all but times, and what was skipped since the start
inline Contents contents(const std::string& folder) {
  Contents all;
  if (!std::filesystem::exists(folder)) return all;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::string name = entry.path().filename().string();
    if (name != "log.jsonl") {
      all[name] = read_file(entry.path().string());
      continue;
    }
    std::string& lines = all[name];
    for (Json line : log_of(folder)) {
      line.erase("time");
      line.erase("pictures_per_second");
      line.erase("skipped_files");
      lines += line.dump() + "\n";
    }
  }
  return all;
}
inline std::string names(const Contents& c) {
  std::string list;
  for (const auto& file : c) list += file.first + " ";
  return list;
}
// The names of the files that differ, or stand on one side only
inline std::string differing(const Contents& a, const Contents& b) {
  std::set<std::string> wrong;
  for (const auto& f : a)
    if (!b.count(f.first) || b.at(f.first) != f.second) wrong.insert(f.first);
  for (const auto& f : b)
    if (!a.count(f.first)) wrong.insert(f.first);
  std::string list;
  for (const std::string& name : wrong) list += name + " ";
  return list;
}

// The final table, to the end of what was printed
inline std::string table_of(const std::string& out) {
  std::size_t at = out.rfind("\nround  split");
  return at == std::string::npos ? "no table in: " + out : out.substr(at);
}

inline bool is_one_line(const std::string& s) { return !s.empty() && s.find('\n') == s.size() - 1; }

// What the issue asks of every mistake: status 2 and one line, which holds each of `parts`
inline void check_refused(const Ended& e, const Arguments& parts) {
  INFO("stderr: ", e.err);
  CHECK(e.signal == 0);
  CHECK(e.status == 2);
  CHECK(is_one_line(e.err));
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(e.err.find(part) != std::string::npos);
  }
}
inline void require_done(const Ended& e) {
  INFO("stderr: ", e.err, "stdout: ", e.out);
  REQUIRE(e.signal == 0);
  REQUIRE(e.status == 0);
}

// A finished growth of the tests that only look at one: more pictures and epochs, so that it has
// learned something
inline const std::string& learned() {
  static const Folder folder;
  static const std::string out = [] {
    std::string place = folder / "run";
    const Arguments more{"--no-augment",
                         "--widths",
                         "seed",
                         "--data",
                         pictures() / "idx-more",
                         "--lr",
                         "0.05",
                         "--epochs",
                         "8",
                         "--tune-epochs",
                         "2",
                         "--check-pictures",
                         "64"};
    Ended e = launch("cifar", tiny_growth(place, more));
    require_done(e);
    folder.write(
        "table",
        Bytes(e.out.begin() + std::ptrdiff_t(e.out.size() - table_of(e.out).size()), e.out.end()));
    return place;
  }();
  return out;
}

}  // namespace test
}  // namespace fission
