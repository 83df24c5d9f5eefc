// Facts of the toy, which a reader runs first, and of the study, which nobody runs twice.
#include <cmath>

#include "tensor/backend.h"
#include "tensor/eigen.h"
#include "tests/near.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {
struct Neuron {
  double index, exact;  // exact: NaN in a build without Eigen
};
struct Round {
  double loss = NAN, split = NAN, predicted = NAN, measured = NAN;
  std::vector<Neuron> neurons;
};
struct Toy {
  std::vector<Round> rounds;
  bool stable = false;
};
Toy toy(const Arguments& arguments) {
  ProcessResult e = launch("toy", arguments);
  require_done(e);
  std::istringstream lines(e.out);
  Toy toy;
  for (std::string line; std::getline(lines, line);) {
    double a, b, c;
    if (std::sscanf(line.c_str(), "neurons %lf, stuck at loss %lf", &a, &b) == 2) {
      toy.rounds.emplace_back(), toy.rounds.back().loss = b;
      CHECK(a == double(toy.rounds.size()));  // one more a split
    } else if (int n = std::sscanf(line.c_str(), "  neuron %lf: splitting index %lf, exact %lf", &a,
                                   &b, &c);
               n >= 2) {
      toy.rounds.back().neurons.push_back({b, n == 3 ? c : NAN});
    } else if (std::sscanf(line.c_str(),
                           "split neuron %lf: loss change predicted %lf, measured %lf", &a, &b,
                           &c) == 3) {
      toy.rounds.back().split = a, toy.rounds.back().predicted = b, toy.rounds.back().measured = c;
    } else {
      CHECK(line == "every neuron is splitting stable (E3)");
      toy.stable = true;
    }
  }
  return toy;
}
}  // namespace

TEST_CASE("toy: each split changes the loss as E2 predicts, and frees a training that was stuck") {
  const Toy t = toy({});
  REQUIRE(t.rounds.size() == 3);
  CHECK(t.stable);
  for (std::size_t i = 0; i < t.rounds.size(); i++) {
    const Round& r = t.rounds[i];
    REQUIRE(r.neurons.size() == i + 1);
    double least = INFINITY;
    for (const Neuron& n : r.neurons) {
      least = std::min(least, n.index);
      if (have_eigen()) CHECK(n.index == near(n.exact).epsilon(1e-3));
    }
    if (i + 1 == t.rounds.size()) {
      CHECK(least > 0);  // the true λ_min, not min(λ_min, 0)
      continue;
    }
    CHECK(least < 0);
    CHECK(r.neurons[std::size_t(r.split) - 1].index == least);
    CHECK(r.predicted == near(1e-6 / 2 * least).epsilon(1e-3));  // printed to four digits
    CHECK(r.measured == near(r.predicted).epsilon(2e-3));        // O(ε⁴) beside ε² = 1e-6
    CHECK(t.rounds[i + 1].loss < r.loss + r.measured);
  }
}
TEST_CASE("options: every option of toy has its effect") {
  const Toy one = toy("--splits 1");
  CHECK(one.rounds.size() == 2);
  CHECK(toy("--splits 1 --epsilon 2e-3").rounds[0].predicted ==
        near(4 * one.rounds[0].predicted).epsilon(1e-3));
  CHECK(toy("--splits 0 --seed 1").rounds[0].loss != one.rounds[0].loss);
  check_refused(launch("toy", "--splits many"), {"--splits"});
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
        "DATASET=fashion-mnist SEEDS='1 2' ARMS='scratch-cost energy vanilla scaled-cost prune-l1' "
        "COST_EPOCHS=2 WIDE=0.125 WIDE_EPOCHS=2 PRUNED_EPOCHS=1 "
        "TARGETS=600000,700000 SCALED=0.1 OUT=" +
        (folder / out) + " ROWS=" + (folder / "rows.csv") + " DATA=" + (images() / "idx") +
        " FLAGS='--batch 16' GROWTH='--rq-epochs 1 --rq-batch 16 --check-images 32' BUILD=" +
        build + " bash runners/study.sh " + more;
    return launch("/bin/bash", {"-c", command});
  };
  ProcessResult first = study("");
  require_done(first);
  for (const char* done : {"energy, seed 2", "vanilla, seed 1", "scaled-cost, seed 1",
                           "prune-l1, seed 2", "scratch-cost, seed 2"})
    CHECK_MESSAGE(first.out.find("short, " + std::string(done) + ": done") != std::string::npos,
                  done);
  for (const char* row : {"| energy | 0 | 2 |", "| vanilla | 2 | 2 |", "| scaled-cost | 2 | 2 |",
                          "| scratch-cost | 2 | 2 |", "| energy − vanilla | 2 |",
                          "| energy − scaled-cost | 2 |", "| prune-l1 | 2 | 2 |"})
    CHECK_MESSAGE(first.out.find(row) != std::string::npos, row, " in ", first.out);
  // where each of the ten runs put its channels: 14 widths
  const std::string widths = read_file(folder / "study/widths.csv");
  CHECK(std::count(widths.begin(), widths.end(), '\n') == 11);
  CHECK(widths.find("fashion-mnist,short,prune-l1,2,") != std::string::npos);
  CHECK(std::count(widths.begin(), widths.end(), ' ') == 10 * 13);
  if (first.out.find("plots: ") != std::string::npos)  // gnuplot is there
    for (const char* plot : {"macs", "cost", "channels"})
      CHECK(read_file(folder / text("study/fashion-mnist-short-", plot, ".svg")).size() > 5000);
  ProcessResult table = study("table");
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
  ProcessResult on = study("", "on");
  require_done(on);
  CHECK(on.out.find("vanilla, seed 2: done") != std::string::npos);
  CHECK(on.out.find("seed 1: done") == std::string::npos);
  CHECK(read_file(folder / "on/rows.csv") == rows);
  // a recipe with options of its growths alone: the other arms' are not given twice
  require_done(launch(
      "/bin/bash", {"-c",
                    "SEEDS=1 ARMS=scaled-cost RECIPE=short-third COST_EPOCHS=1 SCALED=0.1 DATASET="
                    "fashion-mnist FLAGS='--batch 16' OUT=" +
                        (folder / "third") + " ROWS= DATA=" + (images() / "idx") +
                        " BUILD=" + build + " bash runners/study.sh"}));
  // the grown widths from scratch: those of the same seed, which must be there
  auto widths_of = [&](const std::string& run) {
    const std::size_t at = widths.find("fashion-mnist,short," + run + ",") + 21 + run.size();
    return widths.substr(at, widths.find('\n', at) - at);
  };
  for (const char* seed : {"1", "2"})
    CHECK(widths_of(text("scratch-cost,", seed)) == widths_of(text("energy,", seed)));
  const ProcessResult missing =
      launch("/bin/bash", {"-c", "SEEDS=3 ARMS=scratch-cost DATASET=fashion-mnist OUT=" +
                                     (folder / "study") + " ROWS= DATA=" + (images() / "idx") +
                                     " BUILD=" + build + " bash runners/study.sh"});
  CHECK(missing.status == 2);
  CHECK(missing.err.find("scratch-cost, seed 3: expected the energy arm") != std::string::npos);
  // other settings in the same folder are refused
  ProcessResult other = launch(
      "/bin/bash", {"-c", "SEEDS=1 ARMS=energy DATASET=fashion-mnist TARGETS=600000,710000 OUT=" +
                              (folder / "study") + " ROWS= DATA=" + (images() / "idx") +
                              " BUILD=" + build + " bash runners/study.sh"});
  CHECK(other.status == 2);
  CHECK(other.err.find("study: energy, seed 1: cifar: ") != std::string::npos);
  CHECK(other.err.find("holds another run") != std::string::npos);
}
TEST_CASE("zoo: each network is held to the accuracy that stands beside it") {
  if (instrumented() || device_list().find("cpu") == std::string::npos)
    return;  // evaluations of the published number of images: minutes in a slow build
  Folder folder;
  const std::string build = std::filesystem::read_symlink("/proc/self/exe").parent_path().string(),
                    data = images() / "cifar10";
  require_done(launch(
      "cifar", {"--dataset", "cifar10", "--data", data, "--first", "32", "--widths", four_wide,
                "--epochs", "1", "--rounds", "0", "--batch", "16", "--out", folder / "run"}));
  std::filesystem::copy(folder / "run/round-0.safetensors", folder / "small.safetensors");
  ProcessResult e = launch("eval", {folder / "small.safetensors", "--data", data, "--json"});
  require_done(e);
  const Json said = json_in(e.out);
  auto zoo = [&](const std::string& top1, const std::string& place = images() / "cifar10") {
    const std::string row = "network,dataset,macs,parameters,top1\nsmall,cifar10," +
                            std::to_string(Index(said["macs"])) + ",1," + top1 + "\n";
    folder.write("networks.csv", Bytes(row.begin(), row.end()));
    return launch("/bin/bash", {"-c", "ZOO=" + folder.str() + " DATA=" + place + " BUILD=" + build +
                                          " bash runners/zoo/eval.sh"});
  };
  ProcessResult right = zoo(said["top1"].dump());
  require_done(right);
  CHECK(right.out.find("✓ small: ") != std::string::npos);
  ProcessResult wrong = zoo("0.9999");
  CHECK(wrong.status == 1);
  CHECK(wrong.out.find("✗ small: ") != std::string::npos);
  CHECK(zoo("0.9999", images() / "cifar100").status == 2);
  CHECK(zoo("0.9999", images() / "idx").status == 2);
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
  ProcessResult table =
      launch("/bin/bash", {"-c", "awk -f runners/study.awk " + (folder / "rows.csv")});
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
