// Facts of the toy, which a reader runs first, and of the study, which nobody runs twice.
#include <cmath>

#include "tensor/backend.h"
#include "tests/near.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {
struct Row {
  double neurons, loss, lambda, predicted, real;
};
std::vector<Row> toy(const Arguments& arguments) {
  Ended e = launch("toy", arguments);
  require_done(e);
  std::istringstream lines(e.out);
  std::string line;
  std::getline(lines, line);
  std::vector<Row> rows;
  while (std::getline(lines, line)) {
    Row r{NAN, NAN, NAN, NAN, NAN};
    std::istringstream(line) >> r.neurons >> r.loss >> r.lambda >> r.predicted >> r.real;
    rows.push_back(r);
  }
  return rows;
}
}  // namespace

TEST_CASE("toy: each split changes the loss as E2 predicts, and frees a training that was stuck") {
  std::vector<Row> rows = toy({});
  REQUIRE(rows.size() == 3);
  for (std::size_t i = 0; i + 1 < rows.size(); i++) {
    CHECK(rows[i].lambda < 0);
    CHECK(rows[i].real ==
          near(rows[i].predicted).epsilon(2e-3));  // O(ε⁴) beside ε² = 1e-6; printed to four digits
    CHECK(rows[i + 1].loss < rows[i].loss + rows[i].real);
  }
  CHECK(rows.back().lambda > 0);  // splitting stable (E3): the true λ_min, not min(λ_min, 0)
}
TEST_CASE("options: every option of toy has its effect") {
  CHECK(toy({"--splits", "1"}).size() == 2);
  CHECK(toy({"--splits", "1", "--epsilon", "2e-3"})[0].predicted ==
        near(4 * toy({"--splits", "1"})[0].predicted).epsilon(1e-5));
  CHECK(toy({"--splits", "0", "--seed", "1"})[0].loss != toy({"--splits", "0"})[0].loss);
  check_refused(launch("toy", {"--splits", "many"}), {"--splits"});
  check_all_covered("toy", {"--splits", "--epsilon", "--seed"});
  check_defaults_shown("toy");
}

TEST_CASE(
    "study: every arm runs, a second call goes on, and the contrasts are paired by seed network") {
  if (instrumented() || device_list().find("cpu") == std::string::npos)
    return;  // eleven growths of the seed network: minutes in a slow build
  Folder folder;
  const std::string build = std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
  auto study = [&](const std::string& more, const std::string& out = "study") {
    std::string command =
        "SEEDS=2 FEW=1 EPOCHS=1 TUNE=1 RQ=1 TARGETS=600000,700000 SCALED=0.1 OUT=" +
        (folder / out) + " ROWS=" + (folder / "rows.csv") + " DATA=" + (pictures() / "idx") +
        " FLAGS='--dataset fashion-mnist --batch 16 --rq-batch 16 --check-pictures 32' BUILD=" +
        build + " bash runners/study.sh " + more;
    return launch("/bin/bash", {"-c", command});
  };
  Ended first = study("");
  require_done(first);
  for (const char* done :
       {"seed, seed 2", "energy, seed 2", "vanilla, seed 1", "paper-matrix, seed 2",
        "random, seed 1", "paper-energy, seed 1", "scaled, seed 1"})
    CHECK_MESSAGE(first.out.find("study: " + std::string(done) + ": done") != std::string::npos,
                  done);
  for (const char* row : {"| seed | 0 | 2 |", "| energy | 2 | 2 |", "| scaled | 2 | 1 |",
                          "| energy − vanilla | 2 | 2 |", "| energy − paper-matrix | 1 | 2 |"})
    CHECK_MESSAGE(first.out.find(row) != std::string::npos, row, " in ", first.out);
  Ended table = study("table");
  require_done(table);
  CHECK(first.out.find(table.out) != std::string::npos);
  // rows that were finished elsewhere are kept, and their arms not run again; the seeds are: an arm
  // may need them
  std::istringstream written(read_file(folder / "study/rows.csv"));
  std::string kept;
  for (std::string line; std::getline(written, line);)
    if (line.rfind("vanilla,2,", 0) != 0) kept += line + "\n";
  folder.write("rows.csv", Bytes(kept.begin(), kept.end()));
  Ended on = study("", "on");
  require_done(on);
  CHECK(on.out.find("study: vanilla, seed 2: done") != std::string::npos);
  CHECK(on.out.find("study: vanilla, seed 1") == std::string::npos);
  CHECK(on.out.find(table.out) != std::string::npos);
  CHECK(read_file(folder / "on/rows.csv") == read_file(folder / "study/rows.csv"));
  // by hand: differences d₁, d₂ have mean m and the interval m ± 12.706 |d₁ − d₂|/2
  std::map<std::string, double> top1;
  std::istringstream rows(read_file(folder / "study/rows.csv"));
  for (std::string line; std::getline(rows, line);)
    top1[line.substr(0, line.find(',', line.find(',', line.find(',') + 1) + 1))] =
        100 * std::stod(line.substr(line.rfind(',') + 1));
  double d1 = top1.at("energy,1,2") - top1.at("vanilla,1,2"),
         d2 = top1.at("energy,2,2") - top1.at("vanilla,2,2"), m = (d1 + d2) / 2;
  char expected[200];
  std::snprintf(expected, sizeof expected, "| energy − vanilla | 2 | 2 | %+.2f | %+.2f … %+.2f |",
                m, m - 6.353 * std::abs(d1 - d2), m + 6.353 * std::abs(d1 - d2));
  CHECK_MESSAGE(table.out.find(expected) != std::string::npos, expected, " in ", table.out);
}
