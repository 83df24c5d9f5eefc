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

TEST_CASE("study: arms run, a second call goes on, and contrasts are paired by seed") {
  if (instrumented() || device_list().find("cpu") == std::string::npos)
    return;  // growths of the seed network: minutes in a slow build
  Folder folder;
  const std::string build = std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
  auto study = [&](const std::string& more, const std::string& out = "study") {
    std::string command =
        "DATASET=fashion-mnist SEEDS='1 2' ARMS='energy vanilla scaled-cost' COST_EPOCHS=2 "
        "TARGETS=600000,700000 SCALED=0.1 OUT=" +
        (folder / out) + " ROWS=" + (folder / "rows.csv") + " DATA=" + (pictures() / "idx") +
        " FLAGS='--batch 16 --rq-epochs 1 --rq-batch 16 --check-pictures 32' BUILD=" + build +
        " bash runners/study.sh " + more;
    return launch("/bin/bash", {"-c", command});
  };
  Ended first = study("");
  require_done(first);
  for (const char* done : {"energy, seed 2", "vanilla, seed 1", "scaled-cost, seed 1"})
    CHECK_MESSAGE(first.out.find("short, " + std::string(done) + ": done") != std::string::npos,
                  done);
  for (const char* row : {"| energy | 0 | 2 |", "| vanilla | 2 | 2 |", "| scaled-cost | 2 | 2 |",
                          "| energy − vanilla | 2 |", "| energy − scaled-cost | 2 |"})
    CHECK_MESSAGE(first.out.find(row) != std::string::npos, row, " in ", first.out);
  Ended table = study("table");
  require_done(table);
  CHECK(first.out.find(table.out) != std::string::npos);
  // rows that were finished elsewhere are kept, and their arms not run again
  const std::string rows = read_file(folder / "study/rows.csv");
  CHECK(rows.rfind("dataset,recipe,arm,seed,round,macs,parameters,training_macs,top1\n", 0) == 0);
  std::istringstream written(rows);
  std::string kept;
  for (std::string line; std::getline(written, line);)
    if (line.find(",vanilla,2,") == std::string::npos) kept += line + "\n";
  folder.write("rows.csv", Bytes(kept.begin(), kept.end()));
  Ended on = study("", "on");
  require_done(on);
  CHECK(on.out.find("vanilla, seed 2: done") != std::string::npos);
  CHECK(on.out.find("seed 1: done") == std::string::npos);
  CHECK(read_file(folder / "on/rows.csv") == rows);
  // other settings in the same folder are refused
  Ended other = launch(
      "/bin/bash", {"-c", "SEEDS=1 ARMS=energy DATASET=fashion-mnist TARGETS=600000,710000 OUT=" +
                              (folder / "study") + " ROWS= DATA=" + (pictures() / "idx") +
                              " BUILD=" + build + " bash runners/study.sh"});
  CHECK(other.status == 2);
  CHECK(other.err.find("study: energy, seed 1: cifar: ") != std::string::npos);
  CHECK(other.err.find("holds another run") != std::string::npos);
}
TEST_CASE("study: means, paired intervals and Holm's p by hand") {
  Folder folder;
  std::string rows = "dataset,recipe,arm,seed,round,macs,parameters,training_macs,top1\n";
  auto add = [&](const char* arm, int seed, const char* top1) {
    rows += text("d,r,", arm, ",", seed, ",1,1.85e6,5e4,1e13,", top1, "\n");
  };
  add("energy", 1, "0.457"), add("energy", 2, "0.459"), add("energy", 3, "0.462");
  add("other", 1, "0.450"), add("other", 2, "0.448"), add("other", 3, "0.459");
  add("worse", 1, "0.440"), add("worse", 2, "0.443"), add("worse", 3, "0.445");
  folder.write("rows.csv", Bytes(rows.begin(), rows.end()));
  Ended table = launch("/bin/bash", {"-c", "awk -f runners/study.awk " + (folder / "rows.csv")});
  require_done(table);
  // differences 0.7, 1.1, 0.3: mean 0.7, s.e. 0.2309, t(2) = 4.3027; p = 0.0935
  CHECK(table.out.find("| energy − other | 3 | +0.70 | -0.29 … +1.69 | 0.094 | not resolved |") !=
        std::string::npos);
  // 1.7, 1.6, 1.7: mean 1.6667, s.e. 0.0333; t = 50, p = 0.0004, twice that by Holm
  CHECK(table.out.find("| energy − worse | 3 | +1.67 | +1.52 … +1.81 | 0.001 | resolved |") !=
        std::string::npos);
  CHECK(table.out.find("| energy | 1 | 3 | 1.850 | 50000 | 10.00 | 45.93 ± 0.15 |") !=
        std::string::npos);
}
