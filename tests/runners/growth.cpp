#include "tests/runners/growth.h"

#include <algorithm>

namespace fission {
namespace test {

Json json_in(const std::string& text) { return Json::parse(text); }

Arguments merged(const std::vector<Arguments>& all, const Arguments& more) {
  const std::set<std::string> of_growing{"--tune-epochs", "--grow", "--rq-epochs", "--rq-batch",
                                         "--check-images"};
  const auto rounds = std::find(more.begin(), more.end(), "--rounds");
  const bool grows = rounds == more.end() || rounds[1] != "0";  // else they would have no effect
  Arguments a = more;
  for (const Arguments& option : all)
    if (std::find(more.begin(), more.end(), option[0]) == more.end() &&
        (grows || !of_growing.count(option[0])))
      a = a + option;
  return a;
}

Arguments tiny_growth(const std::string& out, const Arguments& more) {
  const std::vector<Arguments> all{"--dataset fashion-mnist",
                                   {"--data", images() / "idx"},
                                   {"--widths", four_wide},
                                   "--epochs 1",
                                   "--tune-epochs 1",
                                   "--rounds 1",
                                   "--rq-epochs 2",
                                   "--batch 16",
                                   "--rq-batch 16",
                                   "--check-images 32",
                                   "--threads 1",
                                   "--seed 7",
                                   {"--out", out}};
  return merged(all, more);
}

std::vector<Json> log_of(const std::string& folder) {
  std::vector<Json> lines;
  std::istringstream in(read_file(folder + "/log.jsonl"));
  for (std::string line; std::getline(in, line);) lines.push_back(json_in(line));
  return lines;
}

std::vector<Json> of_stage(const std::vector<Json>& log, const std::string& stage) {
  std::vector<Json> lines;
  for (const Json& line : log)
    if (line.at("stage") == stage) lines.push_back(line);
  return lines;
}

Contents contents(const std::string& folder) {
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
      line.erase("images_per_second");
      line.erase("skipped_files");
      lines += line.dump() + "\n";
    }
  }
  return all;
}

std::string names(const Contents& c) {
  std::string list;
  for (const auto& file : c) list += file.first + " ";
  return list;
}

std::string differing(const Contents& a, const Contents& b) {
  std::set<std::string> wrong;
  for (const auto& f : a)
    if (!b.count(f.first) || b.at(f.first) != f.second) wrong.insert(f.first);
  for (const auto& f : b)
    if (!a.count(f.first)) wrong.insert(f.first);
  std::string list;
  for (const std::string& name : wrong) list += name + " ";
  return list;
}

std::string table_of(const std::string& out) {
  std::size_t at = out.rfind("\nround  split");
  return at == std::string::npos ? "no table in: " + out : out.substr(at);
}

void check_refused(const ProcessResult& e, const std::vector<std::string>& parts) {
  INFO("stderr: ", e.err);
  CHECK(e.signal == 0);
  CHECK(e.status == 2);
  CHECK(is_one_line(e.err));
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(e.err.find(part) != std::string::npos);
  }
}

void require_done(const ProcessResult& e) {
  INFO("stderr: ", e.err, "stdout: ", e.out);
  REQUIRE(e.signal == 0);
  REQUIRE(e.status == 0);
}

const std::string& learned() {
  static const Folder folder;
  static const std::string out = [] {
    std::string place = folder / "run";
    const Arguments more{"--no-augment",
                         "--widths",
                         "seed",
                         "--data",
                         images() / "idx-more",
                         "--lr",
                         "0.05",
                         "--epochs",
                         "8",
                         "--tune-epochs",
                         "2",
                         "--check-images",
                         "64"};
    ProcessResult e = launch("cifar", tiny_growth(place, more));
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
