// Facts of prune: a pruned network is a run like any other, each option shows its effect, and what
// makes no sense is refused in one line.
#include "nn/prune.h"

#include <signal.h>

#include "nn/io/checkpoint.h"
#include "nn/training.h"
#include "tests/near.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {

// A network that has learned something, with a penalty on γ great enough that some are dead
const std::string& trained() {
  static const Folder folder;
  static const std::string file = [] {
    require_done(launch(
        "cifar",
        tiny_growth(folder / "run", {"--widths", "0.125", "--rounds", "0", "--epochs", "8",
                                     "--data", images() / "idx-more", "--gamma-l1", "0.02"})));
    return folder / "run/round-0.safetensors";
  }();
  return file;
}
std::unique_ptr<Network> network_of(const std::string& file) {
  return load_network(read_safetensors(file), open_backend("reference"));
}

Arguments tiny_pruning(const std::string& out, const Arguments& more = {},
                       const std::string& checkpoint = trained()) {
  return Arguments{checkpoint} + merged({"--dataset fashion-mnist",
                                         {"--data", images() / "idx"},
                                         "--target-macs 400000",
                                         "--epochs 2",
                                         "--batch 16",
                                         "--threads 1",
                                         "--seed 7",
                                         {"--out", out}},
                                        more);
}

struct Pruned {
  ProcessResult ended;
  Contents files;
  Json config, pruning;
  std::vector<Json> train;
  std::vector<Index> widths;
  double macs, training_macs;
};
Pruned pruned(const Arguments& more) {
  Folder folder;
  Pruned p;
  p.ended = launch("prune", tiny_pruning(folder / "run", more));
  require_done(p.ended);
  p.files = contents(folder / "run");
  p.config = json_in(p.files.at("config.json"));
  p.pruning = of_stage(log_of(folder / "run"), "prune").at(0);
  p.train = of_stage(log_of(folder / "run"), "train");
  auto network = network_of(folder / "run/round-0.safetensors");
  p.widths = network->widths(), p.macs = network->macs(), p.training_macs = training_macs(*network);
  return p;
}

}  // namespace

TEST_CASE("prune: each method writes a run's files, with the network that its plan says") {
  for (const char* method : {"l1", "slimming", "morphnet"}) {
    CAPTURE(std::string(method));
    const Pruned p = pruned({"--method", method});
    CHECK(names(p.files) ==
          "checkpoint.safetensors config.json log.jsonl results.csv round-0.safetensors ");
    auto before = network_of(trained());
    const PruneSettings settings{method == std::string("l1")         ? Pruning::l1
                                 : method == std::string("slimming") ? Pruning::slimming
                                                                     : Pruning::morphnet,
                                 400000, living_gamma};
    const PruningPlan plan = plan_pruning(*before, settings);
    CHECK(p.widths == plan.widths);
    CHECK(p.macs <= 400000);
    CHECK(p.macs > 395000);  // the cheapest channels cost a few thousand
    CHECK(p.pruning.at("widths").get<std::vector<Index>>() == plan.widths);
    CHECK(p.pruning.at("macs") == p.macs);
    CHECK(p.pruning.at("macs_before") == before->macs());
    CHECK(p.config.at("method") == method);
    CHECK(p.train.size() == 2);
    // what the training cost: the checkpoint's, and two epochs of 48 images
    const double spent = std::stod(read_safetensors(trained()).metadata_at("training_macs"));
    CHECK(spent > 0);
    CHECK(p.train[1].at("training_macs") == spent + 96 * p.training_macs);
    CHECK(p.ended.out.find("axis  channels  kept  new  ") != std::string::npos);
    CHECK(p.ended.out.find("pruned to ") != std::string::npos);
    CHECK(p.ended.out.find("top-1 after pruning ") != std::string::npos);
    // as the papers: kept weights are trained on, MorphNet's network is a new one
    CHECK(p.config.at("weights") == (method == std::string("morphnet") ? "fresh" : "kept"));
  }
}

TEST_CASE("prune: killed after every third file, a run ends with the bits of one left alone") {
  for (const char* method : {"slimming", "morphnet"}) {
    Folder folder;
    auto command = [&](const char* name) {
      return tiny_pruning(folder / name, {"--method", method, "--checkpoint-minutes", "0"});
    };
    require_done(launch("prune", command("whole")));
    Index kills = 0;
    ProcessResult e =
        launch(Launch{"prune", command("killed"), "after-log:1"});  // nothing trained yet
    for (; kills < 20 && e.signal == SIGKILL; kills++)
      require_done(launch("report", {folder / "killed", "--out", folder / "page"})),
          e = launch(Launch{"prune", command("killed"), "after-rename:3"});
    require_done(e);
    CHECK(kills >= 3);
    CHECK(differing(contents(folder / "killed"), contents(folder / "whole")) == "");
    // and the finished run, run again, changes nothing
    const Contents before = contents(folder / "whole");
    require_done(launch("prune", command("whole")));
    CHECK(differing(contents(folder / "whole"), before) == "");
  }
}

TEST_CASE("prune: each of its own options shows its effect") {
  const Pruned base = pruned("--method morphnet");
  const Pruned threshold = pruned("--method morphnet --gamma-threshold 0.2");
  CHECK(threshold.config.at("gamma-threshold") == 0.2);
  CHECK(threshold.widths != base.widths);
  CHECK(pruned("--method l1 --gamma-threshold 0.2 --lr 0").ended.err ==
        "warning: --lr 0: training changes no weight\n"
        "warning: --gamma-threshold has no effect: --method l1\n");
  const Pruned kept = pruned("--method morphnet --weights kept");
  CHECK(kept.widths == base.widths);
  CHECK(kept.pruning.at("test_loss") != base.pruning.at("test_loss"));
  const Pruned smaller = pruned("--method morphnet --target-macs 300000");
  CHECK(smaller.macs <= 300000);
  CHECK(smaller.macs > 296000);
  const Pruned other = pruned("--method morphnet --seed 8");
  CHECK(other.pruning.at("test_loss") != base.pruning.at("test_loss"));  // other fresh weights
}

TEST_CASE("prune: each training option that it shares with cifar stands in config.json") {
  const std::vector<Arguments> shared{"--first 32",          {"--no-augment"},  "--epochs 1",
                                      "--batch 24",          "--lr 0.01",       "--schedule cosine",
                                      "--warmup 1",          "--momentum 0.5",  {"--nesterov"},
                                      "--weight-decay 0.01", "--decay weights", "--gamma-l1 0.5",
                                      "--smoothing 0.2",     "--bn-batch 8"};
  const Pruned base = pruned({});
  for (const Arguments& option : shared) {
    CAPTURE(option[0]);
    const Pruned p = pruned(option);
    const Json& said = p.config.at(option[0].substr(2));
    if (option.size() == 1) CHECK(said == true);
    else if (said.is_string()) CHECK(said == option[1]);
    else CHECK(said == std::stod(option[1]));
    CHECK(p.widths == base.widths);
    CHECK(p.train.back().at("test_loss") != base.train.back().at("test_loss"));
  }
  const Arguments l1("--gamma-l1 0.5");
  const Pruned macs = pruned(l1 + Arguments("--gamma-l1-cost macs")), plain = pruned(l1);
  CHECK(macs.config.at("gamma-l1-cost") == "macs");
  CHECK(macs.train.back().at("test_loss") != plain.train.back().at("test_loss"));
  CHECK_FALSE(base.config.contains("gamma-l1"));
  for (const Arguments& option :
       {Arguments("--loader-threads 2"), Arguments("--checkpoint-minutes 0")})
    CHECK(differing(pruned(option).files, base.files) == "");
  CHECK(pruned("--device reference --first 16 --epochs 1").ended.out.rfind("reference, ", 0) == 0);
  CHECK(pruned("--threads 2 --first 16 --epochs 1")
            .ended.out.find(text(", ", two_threads(), " thread")) != std::string::npos);
}

TEST_CASE("prune: a pruned network can be evaluated, and be grown again") {
  Folder folder;
  require_done(launch("prune", tiny_pruning(folder / "run")));
  const std::string file = folder / "run/round-0.safetensors";
  require_done(launch("eval", {file, "--data", images() / "idx", "--threads", "1"}));
  Arguments grow = tiny_growth(folder / "grown");
  auto widths = std::find(grow.begin(), grow.end(), "--widths");
  grow.erase(widths, widths + 2);
  require_done(launch("cifar", grow + Arguments{"--start", file}));
}

TEST_CASE("prune: without --out a run goes to runs/, named by data set and method") {
  Folder folder;
  Arguments arguments = tiny_pruning("", "--epochs 0 --method slimming");
  arguments.resize(arguments.size() - 2);
  Launch l{"prune", arguments};
  l.directory = folder.str();
  arguments = l.arguments;
  l.arguments.clear();
  for (std::size_t i = 0; i < arguments.size(); i++)
    if (arguments[i] == "--out") i++;
    else l.arguments.push_back(arguments[i]);
  require_done(launch(l));
  CHECK(std::filesystem::exists(folder / "runs/fashion-mnist-prune-slimming/round-0.safetensors"));
}

TEST_CASE("prune: what makes no sense is refused in one line, and nothing is left") {
  Folder folder;
  auto refused = [&](const Arguments& more, const Arguments& parts,
                     const std::string& checkpoint = trained()) {
    CAPTURE(more[0]);
    check_refused(launch("prune", tiny_pruning(folder / "run", more, checkpoint)), parts);
    CHECK_FALSE(std::filesystem::exists(folder / "run"));
  };
  auto network = network_of(trained());
  refused("--target-macs 9000000", {"--target-macs 9000000", "expected at most the ",
                                    text(Index(network->macs()), " MACs of the network")});
  refused("--target-macs 10",
          {"--target-macs 10: expected at least the ", " MACs of one channel on each axis"});
  refused("--target-macs 0", {"--target-macs"});
  refused("--method magic", "--method magic slimming");
  refused("--weights some", "--weights some kept");
  refused("--gamma-threshold -1", {"--gamma-threshold"});
  refused("--gamma-l1 -1", "--gamma-l1 -1");
  refused("--gamma-l1-cost macs", {"--gamma-l1-cost macs", "--gamma-l1 above 0"});
  refused("--dataset cifar10",
          {trained(), "trained on fashion-mnist, expected cifar10, as --dataset says"});
  refused("--epochs 1", {folder / "none"}, folder / "none");
  check_refused(launch("prune", {trained()}), {"--target-macs"});
  check_refused(launch("prune", "--target-macs 400000"), {"checkpoint"});
  for (const char* option : {"--widths", "--rounds", "--rq-epochs", "--tune-epochs", "--start"})
    refused({option, "1"}, {option});
  // γ that rank nobody: of no training, or without dead channels
  Folder seed;
  require_done(launch("cifar", tiny_growth(seed / "run", "--rounds 0 --epochs 0")));
  require_done(launch("cifar", tiny_growth(seed / "short", "--rounds 0")));
  refused("--method slimming --target-macs 100000",
          {seed / "run/round-0.safetensors", "every |γ| is 1: no γ to rank", "--gamma-l1"},
          seed / "run/round-0.safetensors");
  refused("--method morphnet --target-macs 100000",
          {"no |γ| is below 0.01, the least is ", "--gamma-threshold"},
          seed / "short/round-0.safetensors");
}

TEST_CASE("prune: another pruning, or another network under the same name, is refused in its run") {
  Folder folder;
  std::filesystem::copy_file(trained(), folder / "network.safetensors");
  auto again = [&](const Arguments& more) {
    return launch("prune", tiny_pruning(folder / "run", more, folder / "network.safetensors"));
  };
  require_done(again({}));
  check_refused(again("--method slimming"),
                {"holds another run: ", "--method was \"l1\", now \"slimming\""});
  check_refused(again("--target-macs 300000"), {"--target-macs was 400000"});
  TensorFile file = read_safetensors(folder / "network.safetensors");
  file.tensors.at("linear.bias") =
      StoredTensor::of({10}, std::vector<float>(10, 0.25f));  // the widths stay
  write_safetensors(folder / "network.safetensors", file);
  check_refused(again({}), {"the hash of the checkpoint's weights was "});
}

TEST_CASE("prune: every option that --help lists has a case, and shows its default") {
  check_all_covered(
      "prune",
      {"--dataset",         "--data",         "--first",    "--no-augment", "--epochs",
       "--batch",           "--lr",           "--schedule", "--warmup",     "--momentum",
       "--nesterov",        "--weight-decay", "--decay",    "--gamma-l1",   "--gamma-l1-cost",
       "--smoothing",       "--bn-batch",     "--seed",     "--out",        "--checkpoint-minutes",
       "--loader-threads",  "--device",       "--threads",  "--method",     "--target-macs",
       "--gamma-threshold", "--weights"});
  check_defaults_shown("prune");
}
