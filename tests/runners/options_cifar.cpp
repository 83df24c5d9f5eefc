// Facts of cifar's options: every one changes what it says, and nothing that it should not.
#include "nn/io/checkpoint.h"
#include "split/energy.h"
#include "tensor/eigen.h"
#include "tests/energy_table.h"
#include "tests/near.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {

struct Grown {
  ProcessResult ended;
  Contents files;
  Json config;
  std::vector<Json> log, train, rq, split, tune;
  std::map<std::string, std::string> metadata;  // of the last checkpoint
  bool printed(const std::string& part) const { return ended.out.find(part) != std::string::npos; }
};

Grown grown(const Arguments& more) {
  Folder folder;
  Grown g;
  g.ended = launch("cifar", tiny_growth(folder / "run", more));
  require_done(g.ended);
  g.files = contents(folder / "run");
  g.config = json_in(g.files.at("config.json"));
  g.log = log_of(folder / "run");
  g.train = of_stage(g.log, "train"), g.rq = of_stage(g.log, "solve"),
  g.split = of_stage(g.log, "split"), g.tune = of_stage(g.log, "tune");
  g.metadata = read_safetensors(folder / "run/checkpoint.safetensors").metadata;
  return g;
}

const Grown& base(const Arguments& besides) {  // without the option
  static std::map<Arguments, Grown> known;
  auto found = known.find(besides);
  if (found == known.end()) found = known.emplace(besides, grown(besides)).first;
  return found->second;
}

using Shows = void (*)(const Grown& without, const Grown& with);

struct Case {
  std::string option, value;  // no value: a flag
  Shows shows;
  Arguments besides = {};  // in both runs
};

// What the seed's training, the descent, the split and the tuning came to
bool same(const std::vector<Json>& a, const std::vector<Json>& b, const char* key) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); i++)
    if (a[i].at(key) != b[i].at(key)) return false;
  return true;
}
void training_differs(const Grown& a, const Grown& b) {
  CHECK_FALSE(same(a.train, b.train, "test_loss"));
}
void descent_differs(const Grown& a, const Grown& b) {
  CHECK(same(a.train, b.train, "test_loss"));
  CHECK_FALSE(same(a.rq, b.rq, "sum_of_negative_lambdas"));
}
void choice_differs(const Grown& a, const Grown& b) {
  CHECK(same(a.rq, b.rq, "sum_of_negative_lambdas"));
  CHECK_FALSE(same(a.split, b.split, "grown"));
}
void budget_differs(const Grown& a, const Grown& b) {
  CHECK(same(a.rq, b.rq, "sum_of_negative_lambdas"));
  CHECK_FALSE(same(a.split, b.split, "budget"));
}
void energy_in(const char* unit, const Grown& a, const Grown& b) {
  budget_differs(a, b);
  CHECK(b.split[0].at("energy_unit") == unit);
  CHECK(b.printed(
      text(" ", unit, " (", b.split[0].at("energy_source").get<std::string>(), "), now ")));
}
void tuning_differs(const Grown& a, const Grown& b) {
  CHECK(same(a.split, b.split, "grown"));
  CHECK(same(a.split, b.split, "test_loss"));
  CHECK_FALSE(same(a.tune, b.tune, "loss"));
}
void tuning_alone_differs(const Grown& a, const Grown& b) {  // the split keeps the function
  CHECK(same(a.rq, b.rq, "sum_of_negative_lambdas"));
  CHECK_FALSE(same(a.tune, b.tune, "loss"));
}
void nothing_differs(const Grown& a, const Grown& b) { CHECK(differing(a.files, b.files) == ""); }

const Arguments narrow("--widths 0.125");  // of any model

// a table of the tiny growth's layers: their products
const std::string& energy_file() {
  static const Folder folder;
  static const std::string path = [] {
    NetworkConfig c;
    c.widths.assign(14, 4), c.size = 32, c.channels = 1;
    std::string table = testing::table_of(
        *make_network(c, open_backend("reference"), DType::f32, 0), {1, 64}, testing::kilo_macs);
    return folder.write("energy.csv", Bytes(table.begin(), table.end()));
  }();
  return path;
}

const Arguments no_rounds("--rounds 0"), one_step("--rounds 0 --first 16");

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"--dataset",
       "cifar100",
       [](const Grown&, const Grown& g) {
         CHECK(g.printed("cifar100: 16 training and 10000 test images"));
       },
       {"--rounds", "0", "--epochs", "0", "--first", "16", "--data", images() / "cifar100"}},
      {"--data", images() / "idx-other", training_differs, no_rounds},
      {"--first", "16",
       [](const Grown&, const Grown& g) {
         CHECK(g.printed("fashion-mnist: 16 training and 32 test images"));
       },
       no_rounds},
      {"--no-augment", "", training_differs, no_rounds},
      {"--widths", "5,4,4,4,4,4,4,4,4,4,4,4,4,6",
       [](const Grown&, const Grown& g) {
         CHECK(g.metadata.at("widths") == "5,4,4,4,4,4,4,4,4,4,4,4,4,6");
         CHECK(g.printed("network: widths 5 4 4 4 4 4 4 4 4 4 4 4 4 6, "));
       },
       no_rounds},
      {"--model", "mobilenet_v2",
       [](const Grown&, const Grown& g) {
         CHECK(g.metadata.at("model") == "mobilenet_v2");
         CHECK(g.metadata.at("stem_stride") == "1");
         CHECK(g.printed("network: widths 4 2 12 3 18 3 18 4 "));
         CHECK(g.split.size() == 1);
       },
       narrow},
      {"--activation", "relu",
       [](const Grown& a, const Grown& g) {
         CHECK(g.metadata.at("activation") == "relu");
         training_differs(a, g);
       },
       no_rounds},
      {"--epochs", "2",
       [](const Grown&, const Grown& g) {
         CHECK(g.train.size() == 2);
         CHECK(g.train[1].at("of") == 2);
         CHECK(g.train[1].at("lr").get<double>() ==
               near(0.1 * 0.1));  // past 50 %; 75 % would be the same epoch
       },
       no_rounds},
      {"--tune-epochs", "2",
       [](const Grown& a, const Grown& g) {
         CHECK(a.tune.size() == 1);
         CHECK(g.tune.size() == 2);
       }},
      {"--recipe", "short",
       [](const Grown& a, const Grown& g) {
         CHECK(g.config.at("anneal") == "last");
         CHECK(g.config.at("fill") == true);
         CHECK(g.config.at("keep-norms") == true);
         CHECK(g.config.at("recalibrate") == true);
         CHECK(g.config.at("solver") == (have_eigen() ? "lanczos" : "rq-sgd"));
         CHECK(g.config.at("rq-epochs") == 2);  // given
         CHECK(g.printed("recipe short: --anneal last --schedule cosine "));
         CHECK_FALSE(a.printed("recipe "));
         CHECK(g.config.at("tune-epochs") == 1);                // given, so not the recipe's
         CHECK(g.tune[0].at("lr").get<double>() == near(0.1));  // the last stage's, by cosine
       }},
      {"--recipe", "paper",
       [](const Grown& a, const Grown& g) {
         for (const char* key : {"matrix", "split-step", "energy", "rounding"}) {
           CHECK(a.config.at(key) != "paper");
           CHECK(g.config.at(key) == "paper");
         }
         descent_differs(a, g);
       }},
      {"--anneal", "last",
       [](const Grown& a, const Grown& g) {
         CHECK(a.train.back().at("lr") < a.train[0].at("lr"));
         CHECK(g.train.back().at("lr") == g.train[0].at("lr"));
         CHECK(g.tune.back().at("lr") < g.tune[0].at("lr"));
       },
       "--epochs 4 --tune-epochs 4"},
      {"--tune-warmup", "1",
       [](const Grown& a, const Grown& g) {
         CHECK(a.tune[0].at("lr") > 0);
         CHECK(g.tune[0].at("lr") == 0);
         CHECK(same(a.train, g.train, "lr"));
       }},
      {"--last-epochs", "2",
       [](const Grown&, const Grown& g) {
         CHECK(of_stage(g.log, "tune").size() == 3);
         CHECK(g.tune[0].at("of") == 1);
         CHECK(g.tune[2].at("of") == 2);
       },
       "--rounds 2"},
      {"--batch", "24", training_differs, no_rounds},
      {"--lr", "0.05", [](const Grown&, const Grown& g) { CHECK(g.train[0].at("lr") == 0.05); },
       no_rounds},
      {"--tune-lr", "0.05",
       [](const Grown& a, const Grown& g) {
         CHECK(a.tune[0].at("lr") == a.train[0].at("lr"));
         CHECK(g.tune[0].at("lr") == 0.05);
         tuning_differs(a, g);
       }},
      {"--schedule", "cosine",
       [](const Grown&, const Grown& g) {
         CHECK(g.train[0].at("lr").get<double>() == near(0.1));
         CHECK(g.train[1].at("lr").get<double>() == near(0.05));
       },
       "--rounds 0 --epochs 2"},
      {"--warmup", "1.5",
       [](const Grown&, const Grown& g) {
         CHECK(g.train[0].at("lr") == 0);
         CHECK(g.train[1].at("lr").get<double>() == near(0.1 / 1.5));
       },
       "--rounds 0 --epochs 2"},
      {"--momentum", "0.5", training_differs, no_rounds},
      {"--nesterov", "", training_differs, no_rounds},
      {"--weight-decay", "0.1", training_differs, no_rounds},
      {"--decay", "weights", training_differs, no_rounds + Arguments("--weight-decay 0.1")},
      {"--gamma-l1", "0.1",
       [](const Grown& a, const Grown& g) {
         CHECK_FALSE(a.config.contains("gamma-l1"));
         training_differs(a, g);
       },
       no_rounds},
      {"--gamma-l1-cost", "macs", training_differs, no_rounds + Arguments("--gamma-l1 0.1")},
      {"--smoothing", "0.2", training_differs, no_rounds},
      {"--bn-batch", "8", training_differs, no_rounds},
      {"--rounds", "2",
       [](const Grown&, const Grown& g) {
         CHECK(g.split.size() == 2);
         CHECK(g.split[1].at("round") == 2);
         CHECK(g.files.count("round-2.safetensors") == 1);
       }},
      {"--grow", "0.6",
       [](const Grown& a, const Grown& g) {
         CHECK(g.split[0].at("budget")[0].get<double>() ==
               near(2 * a.split[0].at("budget")[0].get<double>()));
         CHECK(g.split[0].at("macs") > a.split[0].at("macs"));
       }},
      {"--target-macs", "150000",
       [](const Grown& a, const Grown& g) {
         CHECK(a.split[0].at("macs") > 150000);
         CHECK(g.split[0].at("macs") <= 150000);
         CHECK(g.split[0].at("macs") >
               132000);  // of the 128832 at first: some of what there was to spend
       },
       "--grow 1"},
      {"--selection", "vanilla", choice_differs},
      {"--selection", "vanilla-paper",
       [](const Grown& a, const Grown& g) {
         choice_differs(a, g);
         CHECK(g.split[0].at("neurons") ==
               50);  // ⌊0.9 · 56⌋, those with a splitting index >= 0 among them
       },
       "--grow 0.9"},
      {"--selection", "random",
       [](const Grown& a, const Grown& g) {
         choice_differs(a, g);
         CHECK(g.split[0].at("neurons") == 16);  // ⌊0.3 · 56⌋
       }},
      {"--energy", "paper", [](const Grown& a, const Grown& g) { energy_in("MACs", a, g); }},
      {"--energy", "parameters",
       [](const Grown& a, const Grown& g) { energy_in("parameters", a, g); }},
      {"--energy", "picojoules", [](const Grown& a, const Grown& g) { energy_in("pJ", a, g); }},
      {"--energy", "table:" + energy_file(),
       [](const Grown& a, const Grown& g) {
         energy_in("kMACs", a, g);
         CHECK(same(a.split, g.split, "grown"));  // the same products, in thousands
         CHECK(g.config.at("energy-table").get<std::string>().size() == 16);
         CHECK_FALSE(a.config.contains("energy-table"));
       }},
      {"--energy-scale", "sqrt", [](const Grown& a, const Grown& g) { energy_in("√MACs", a, g); }},
      {"--energy-scale", "log", [](const Grown& a, const Grown& g) { energy_in("ln MACs", a, g); }},
      {"--multiple", "4",
       [](const Grown& a, const Grown& g) {
         choice_differs(a, g);
         Index grew = 0;
         for (Index w : g.split[0].at("widths")) {
           CHECK((w == 7 || w % 4 == 0));
           grew += w > 7;
         }
         CHECK(grew > 0);
       },
       "--widths 7,7,7,7,7,7,7,7,7,7,7,7,7,7"},
      {"--epsilon", "0",
       [](const Grown& a, const Grown& g) {
         CHECK(same(a.split, g.split, "grown"));
         CHECK(g.split[0].at("predicted_loss_change") == 0);
         // halved columns are exact in float32; their sums are rounded: 1e-7 of a loss of about 2
         CHECK(std::abs(g.split[0].at("measured_loss_change").get<double>()) < 2e-6);
         CHECK(g.split[0].at("test_top1") == g.train.back().at("test_top1"));
       }},
      {"--epsilon-relative", "",
       [](const Grown& a, const Grown& g) {
         CHECK(same(a.rq, g.rq, "sum_of_negative_lambdas"));
         CHECK_FALSE(same(a.split, g.split, "predicted_loss_change"));
       }},
      {"--budget", "network",
       [](const Grown& a, const Grown& g) {
         CHECK(a.split[0].at("budget").size() == 2);
         CHECK(g.split[0].at("budget").size() == 1);
         CHECK(g.split[0].at("spent")[0] <= g.split[0].at("budget")[0]);
         choice_differs(a, g);
       }},
      {"--share-spread", "0.5", tuning_alone_differs},
      {"--recalibrate", "",
       [](const Grown& a, const Grown& g) {
         CHECK(same(a.rq, g.rq, "sum_of_negative_lambdas"));
         CHECK_FALSE(same(a.split, g.split, "test_loss"));
         CHECK(same(a.tune, g.tune, "loss"));  // training has the batch's own statistics
       }},
      {"--keep-norms", "", tuning_alone_differs},
      {"--share", "0.3",
       [](const Grown& a, const Grown& g) {
         CHECK(same(a.split, g.split, "predicted_loss_change"));  // E2w
         CHECK_FALSE(same(a.tune, g.tune, "loss"));
       }},
      {"--fill", "",
       [](const Grown& a, const Grown& g) {
         CHECK(a.split[0].at("macs") < g.split[0].at("macs"));
         CHECK(g.split[0].at("macs") <= 150000);
         CHECK(g.split[0].at("macs") > 148000);  // what is left buys no neuron
       },
       "--grow 1 --target-macs 150000"},
      {"--rq-images", "16",
       [](const Grown& a, const Grown& g) {
         descent_differs(a, g);
         CHECK(g.rq[0].at("training_macs") < a.rq[0].at("training_macs"));
       }},
      {"--split-step", "paper",
       [](const Grown& a, const Grown& g) {
         CHECK(same(a.split, g.split, "grown"));
         CHECK_FALSE(same(a.split, g.split, "test_loss"));
       },
       "--epsilon 0.5"},
      {"--carry-momentum", "", tuning_differs},
      {"--matrix", "paper", descent_differs},
      {"--linear-curvature", "zero",
       [](const Grown& a, const Grown& g) {
         descent_differs(a, g);
         Index outputs =
             0;  // made by linear projections: with their true curvature, 0, none is worth a split
         for (std::size_t axis = 1; axis < 34; axis += 2)
           outputs += g.split[0].at("grown")[axis].get<Index>();
         CHECK(outputs == 0);
       },
       narrow + Arguments("--model mobilenet_v2")},
      {"--solver", have_eigen() ? "lanczos" : "rq-sgd",
       [](const Grown& a, const Grown& g) {
         if (!have_eigen()) return;
         descent_differs(a, g);
         for (const Json& pass : g.rq)
           CHECK(pass.at("largest_residual") >= pass.at("median_residual"));
         CHECK(g.rq[1].at("loss") == g.rq[0].at("loss"));  // the same images in each pass
         CHECK(g.ended.out.find(
                   "Lanczos: 2 passes over the same images, augmentation key: seed 7, stage 3") !=
               std::string::npos);
         CHECK(g.ended.out.find("round 1 Lanczos pass 2 of 2: ") != std::string::npos);
       }},
      {"--rq-epochs", "3", [](const Grown&, const Grown& g) { CHECK(g.rq.size() == 3); }},
      {"--rq-batch", "24", descent_differs},
      {"--rq-lr", "0.01",
       [](const Grown& a, const Grown& g) {
         CHECK(g.rq[0].at("lr") == 0.01);
         descent_differs(a, g);
       }},
      {"--rq-loss", "ce", descent_differs, "--smoothing 0.2"},
      {"--relu-beta", "1", descent_differs, "--activation relu"},
      {"--seed", "8",
       [](const Grown& a, const Grown& g) {
         CHECK(g.metadata.at("seed") == "8");
         training_differs(a, g);
       },
       no_rounds},
      {"--check-images", "16",
       [](const Grown& a, const Grown& g) {
         CHECK_FALSE(same(a.split, g.split, "loss"));
         CHECK(same(a.split, g.split, "test_loss"));
         CHECK(same(a.tune, g.tune, "loss"));
       }},
      {"--loader-threads", "2", nothing_differs},
      {"--checkpoint-minutes", "0", nothing_differs},  // how often: among the facts of resuming
      {"--threads", "2",
       [](const Grown&, const Grown& g) { CHECK(g.printed(text(", ", two_threads(), " thread"))); },
       one_step},
      {"--device", "reference",
       [](const Grown& a, const Grown& g) {
         CHECK(g.printed("reference, 1 thread (--threads)\n"));
         // float32 sums in another order, over one step: the loss agrees to 1e-4 of itself
         CHECK(g.train[0].at("test_loss").get<double>() ==
               near(a.train[0].at("test_loss").get<double>()).epsilon(1e-4));
       },
       one_step},
  };
  return all;
}

bool has_check() { return device_list().find("cpu") != std::string::npos; }

}  // namespace

TEST_CASE(
    "options: each of cifar's shows its effect, and stands in config.json where the result depends "
    "on it") {
  if (instrumented()) {  // what they do is judged elsewhere; here their code is entered
    const Arguments run("--rounds 2 --tune-lr 0.05 --last-epochs 2"),
        training(
            "--activation relu --schedule cosine --warmup 1 --nesterov --decay weights+depthwise "
            "--gamma-l1 0.1 --gamma-l1-cost macs --smoothing 0.2 --bn-batch 8 --no-augment "
            "--loader-threads 2"),
        split(
            "--grow 1 --target-macs 150000,180000 --fill --energy-scale log --rounding paper "
            "--epsilon-relative --share 0.4 --share-spread 0.5 --keep-norms --recalibrate "
            "--carry-momentum --split-step paper"),
        solver("--matrix paper --rq-loss ce --rq-images 32 --anneal last"),
        v2("--model mobilenet_v2 --linear-curvature zero");
    grown(run + training + split + solver);
    grown(narrow + v2 + Arguments("--energy picojoules --budget network"));
    grown({"--energy", "table:" + energy_file(), "--multiple", "4", "--grow", "1"});
    grown("--selection random --recipe short --threads 2");
    grown("--selection vanilla-paper --recipe paper");
    return;
  }
  const std::set<std::string> not_in_config{"--loader-threads", "--checkpoint-minutes", "--threads",
                                            "--device"};
  for (const Case& c : cases()) {
    CAPTURE(c.option);
    CAPTURE(c.value);
    Arguments option = c.value.empty() ? Arguments{c.option} : Arguments{c.option, c.value},
              without = c.besides;
    if (c.option == "--rounds" || c.option == "--dataset")
      without = {};  // they stand among the others themselves
    Arguments with = option;
    for (std::size_t i = 0; i + 1 < c.besides.size(); i += 2)
      if (c.besides[i] != c.option) with = with + Arguments{c.besides[i], c.besides[i + 1]};
    Grown g = grown(with);
    c.shows(base(without), g);
    CHECK(g.config.contains(c.option.substr(2)) == (not_in_config.count(c.option) == 0));
    if (g.config.contains(c.option.substr(2)) && c.option != "--widths") {
      const Json& said = g.config.at(c.option.substr(2));
      if (said.is_boolean()) CHECK(said == true);
      else if (said.is_string()) CHECK(said == c.value);
      else if (said.is_object()) CHECK(said.contains("train"));  // whose images
      else if (said.is_array()) CHECK(said.at(0) == std::stod(c.value));
      else CHECK(said == std::stod(c.value));
    }
  }
}

TEST_CASE("options: --rounding paper keeps the neuron that fits to 0.99 of it, and drop does not") {
  // Budgets of 0.995 of one channel, of each of the first group's layers in turn: at one of them
  // the group's best neuron is the cut one.
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "run", "--rounds 0")));
  auto network =
      load_network(read_safetensors(folder / "run/round-0.safetensors"), open_backend("reference"));
  std::vector<double> e = marginal_energies(*network, parse_energy("exact"));
  double sum = 0;
  for (int a = 0; a < 4; a++) sum += e[a] * double(network->axes()[a].width);
  Index kept = 0;
  for (int a = 0; a < 4; a++) {
    std::ostringstream grow;
    grow.precision(12);
    grow << 0.995 * e[a] / sum;
    for (const char* round : {"drop", "paper"}) {
      Grown g = grown({"--grow", grow.str(), "--rounding", round});
      if (!g.split[0].contains("spent")) continue;  // nothing to split
      double spent = g.split[0].at("spent")[0], budget = g.split[0].at("budget")[0];
      if (std::string(round) == "drop") CHECK(spent <= budget);
      CHECK(spent <= budget / 0.99);
      kept += spent > budget;
    }
  }
  CHECK(kept >= 1);
}

TEST_CASE(
    "options: an energy table that lacks a layer, or is another file than the run's, ends with a "
    "line that says so") {
  Folder folder;
  const std::string whole = read_file(energy_file()),
                    small = whole.substr(0, whole.rfind("linear,"));
  auto with = [&](const std::string& table) {
    folder.write("energy.csv", Bytes(table.begin(), table.end()));
    return launch("cifar",
                  tiny_growth(folder / "run", {"--energy", "table:" + (folder / "energy.csv")}));
  };
  check_refused(with(small.substr(0, small.rfind("linear,"))),
                {"energy.csv: needed: linear 1x1",
                 "4 channels in, 10 out; the file has dense 1x1, stride 1, side 2; "});
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
  ProcessResult done = with(whole);
  require_done(done);
  CHECK(done.err.find("warning: the cost table") == std::string::npos);
  check_refused(with(whole + "# more\n"), {"holds another run: the hash of --energy's table was "});
  NetworkConfig c;  // widths of 4 and one more are priced, of 8 not
  c.widths.assign(14, 4), c.size = 32, c.channels = 1;
  const std::string narrow = testing::table_of(
      *make_network(c, open_backend("reference"), DType::f32, 0), {1, 5}, testing::kilo_macs);
  const std::string path = folder.write("narrow.csv", Bytes(narrow.begin(), narrow.end()));
  ProcessResult warned =
      launch("cifar", tiny_growth(folder / "warned",
                                  {"--energy", "table:" + path, "--grow", "0.1", "--rounds", "1"}));
  require_done(warned);
  CHECK(warned.err.find(
            "warning: the cost table ends before the widths that --rounds 1 could reach") !=
        std::string::npos);
}

TEST_CASE("options: a budget that buys nobody ends the growth in order, and says so") {
  Grown g = grown("--grow 0.001 --rounds 3");
  REQUIRE(g.split.size() == 1);
  CHECK(g.split[0].at("neurons") == 0);
  CHECK(g.printed("round 1: nothing to split: group 0: the budget of "));
  CHECK(g.printed(" MACs buys none: the first neuron costs "));
  CHECK(g.files.count("round-0.safetensors") == 1);
  Folder folder;  // and the same command again finds it done
  const Arguments command = tiny_growth(folder / "run", "--grow 0.001 --rounds 3");
  require_done(launch("cifar", command));
  const Contents before = contents(folder / "run");
  require_done(launch("cifar", command));
  CHECK(contents(folder / "run") == before);
}

TEST_CASE(
    "options: --target-macs takes one number a round, and the last one for all later rounds") {
  Grown g = grown("--rounds 3 --grow 1 --target-macs 150000,180000");
  REQUIRE(g.split.size() == 3);
  CHECK(g.split[0].at("macs") <= 150000);
  CHECK(g.split[1].at("macs") > 170000);
  CHECK(g.split[1].at("macs") <= 180000);
  CHECK(g.split[2].at("macs") <= 180000);
  Folder folder;
  check_refused(
      launch("cifar", tiny_growth(folder / "run", "--rounds 2 --target-macs 180000,150000")),
      {"--target-macs 150000", "180000"});
  check_refused(
      launch("cifar", tiny_growth(folder / "run", "--rounds 1 --target-macs 150000,180000")),
      {"--target-macs: 2 numbers", "--rounds 1"});
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

TEST_CASE("options: --start grows a trained network on, as the run that trained it would have") {
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "seed", "--rounds 0")));
  auto start = [&](const Arguments& more) {
    Arguments a = tiny_growth(folder / "grown", more);
    auto widths = std::find(a.begin(), a.end(), "--widths");
    a.erase(widths, widths + 2);
    return launch("cifar", a + Arguments{"--start", folder / "seed/round-0.safetensors"});
  };
  const ProcessResult first = start("--tune-lr 0.1 --tune-warmup 0 --warmup 0");
  require_done(first);
  CHECK(first.err == "warning: --epochs, --warmup have no effect: --start, no seed is trained\n");
  Contents on = contents(folder / "grown"), whole = grown({}).files;
  CHECK(on.at("round-1.safetensors") == whole.at("round-1.safetensors"));
  CHECK(on.at("results.csv") == whole.at("results.csv"));
  require_done(start("--tune-lr 0.1 --tune-warmup 0"));  // once more: it is done
  CHECK(contents(folder / "grown") == on);
  std::filesystem::remove_all(folder / "grown");
  check_refused(start({"--dataset", "cifar10", "--data", images() / "cifar10"}),
                {"round-0.safetensors", "32x32x1", "32x32x3"});
  check_refused(launch("cifar", tiny_growth(folder / "grown", {"--start", folder / "none"})),
                {"--widths"});
  check_refused(
      start("--activation relu"),
      {"round-0.safetensors: metadata 'activation': 'swish', but --activation is 'relu'"});
  CHECK_FALSE(std::filesystem::exists(folder / "grown"));
}

TEST_CASE(
    "options: whole training, RQ-SGD and a split pass under --device check, each operation "
    "compared with reference") {
  if (!has_check()) return;  // a build without oneDNN
  for (const char* model : {"mobilenet_v1", "mobilenet_v2"}) {
    Grown g = grown({"--device", "check", "--first", "32", "--rq-epochs", "1", "--model", model,
                     "--widths", "0.125"});
    CHECK(g.split.size() == 1);
    CHECK(g.printed("check"));
  }
}

TEST_CASE("options: CIFAR-10 is read, trained on and grown") {
  // each look at the published number of test images takes seconds in a slow build: there one
  // must do
  const bool slow = instrumented() || !has_check();
  const Arguments whole("--rq-epochs 1 --tune-epochs 0"), least("--epochs 0 --rounds 0");
  Grown g =
      grown(Arguments{"--dataset", "cifar10", "--data", images() / "cifar10", "--first", "32"} +
            (slow ? least : whole));
  CHECK(g.printed("cifar10: 32 training and 10000 test images"));
  CHECK(g.split.size() == (slow ? 0 : 1));
}

TEST_CASE("options: without --out a run goes to runs/ and the data set's name") {
  Folder folder;
  Arguments arguments = tiny_growth("", "--rounds 0 --epochs 0");
  arguments.resize(arguments.size() - 2);  // --out stands last
  Launch l{"cifar", arguments};
  l.directory = folder.str();
  require_done(launch(l));
  CHECK(std::filesystem::exists(folder / "runs/fashion-mnist/round-0.safetensors"));
}

TEST_CASE("options: every option that cifar --help lists has a case") {
  std::set<std::string> covered{"--out", "--rounding", "--start"};  // above
  for (const Case& c : cases()) covered.insert(c.option);
  check_all_covered("cifar", covered);
}

TEST_CASE(
    "help: cifar shows each option's default, and beside those of the method the paper's value") {
  check_defaults_shown("cifar");
  const std::set<std::string> method{"Network:", "Training:", "Growth:", "Solver:"};
  std::set<std::string> groups;
  for (const Listed& option : listed_options("cifar")) {
    groups.insert(option.group);
    if (!method.count(option.group)) continue;
    CAPTURE(option.text);
    CHECK((option.text.find("paper") != std::string::npos ||
           option.text.find("authors") != std::string::npos));
  }
  for (const std::string& group : method) CHECK(groups.count(group) == 1);
}
