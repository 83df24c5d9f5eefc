// Facts of imagenet: the recipe, its own options, the table, and what it refuses. The whole of it,
// killed and resumed: tests/imagenet.sh. What it shares with cifar (GrowthOptions, Run, grow) is
// tested there; here, that each option arrives. Its images: imagenet_data.cpp.
#include "tests/runners/imagenet.h"
#include "tensor/threads.h"

#include "nn/io/checkpoint.h"
#include "tests/near.h"

using namespace fission;
using namespace fission::test;

namespace {

struct Shared {
  std::string option, value;  // no value: a flag
  Arguments besides = {};
};
const std::vector<Shared>& shared_options() {
  static const std::vector<Shared> all{{"--no-augment", ""},
                                       {"--widths", "8,8,8,8,8,8,8,8,8,8,8,8,8,8"},
                                       {"--activation", "relu"},
                                       {"--epochs", "3"},
                                       {"--tune-epochs", "2"},
                                       {"--last-epochs", "4"},
                                       {"--tune-warmup", "1"},
                                       {"--anneal", "last"},
                                       {"--recipe", "short"},
                                       {"--batch", "24"},
                                       {"--lr", "0.3"},
                                       {"--tune-lr", "0.2"},
                                       {"--schedule", "step"},
                                       {"--warmup", "2"},
                                       {"--momentum", "0.5"},
                                       {"--nesterov=false", ""},
                                       {"--weight-decay", "0.01"},
                                       {"--decay", "all"},
                                       {"--gamma-l1", "0.001"},
                                       {"--gamma-l1-cost", "macs", "--gamma-l1 0.001"},
                                       {"--smoothing", "0.2"},
                                       {"--bn-batch", "16"},
                                       {"--rounds", "2"},
                                       {"--grow", "0.5"},
                                       {"--target-macs", "5000000"},
                                       {"--selection", "vanilla"},
                                       {"--energy", "paper"},
                                       {"--energy-scale", "log"},
                                       {"--rounding", "paper"},
                                       {"--multiple", "4"},
                                       {"--epsilon", "0.02"},
                                       {"--epsilon-relative", ""},
                                       {"--share", "0.3"},
                                       {"--share-spread", "0.4"},
                                       {"--keep-norms", ""},
                                       {"--recalibrate", ""},
                                       {"--budget", "network"},
                                       {"--fill", ""},
                                       {"--split-step", "paper"},
                                       {"--carry-momentum", ""},
                                       {"--matrix", "paper"},
                                       {"--linear-curvature", "zero"},
                                       {"--solver", "rq-sgd"},
                                       {"--rq-epochs", "3"},
                                       {"--rq-batch", "8"},
                                       {"--rq-images", "16"},
                                       {"--rq-lr", "0.01"},
                                       {"--rq-loss", "ce"},
                                       {"--relu-beta", "2"},
                                       {"--seed", "9"},
                                       {"--check-images", "24"}};
  return all;
}

RoundRecord record(double macs, double top1, double top5) {
  RoundRecord r;
  r.macs = macs, r.tuned = {0, top1, top5, 50000};
  return r;
}

// The row of a table that begins with this name, its runs of blanks made one
std::string row(const std::string& table, const std::string& name) {
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string all;
    for (std::string word; words >> word;) all += (all.empty() ? "" : " ") + word;
    if (all.rfind(name + " ", 0) == 0) return all;
  }
  return "no row " + name + " in\n" + table;
}

}  // namespace

TEST_CASE("imagenet: each option that it shares with cifar stands in config.json as it was given") {
  for (const Shared& s : shared_options()) {
    CAPTURE(s.option);
    Folder folder;
    const bool off = s.option.find("=false") != std::string::npos;
    Json config = config_of(
        tiny(folder / "run",
             (s.value.empty() ? Arguments{s.option} : Arguments{s.option, s.value}) + s.besides),
        folder / "run");
    const Json& said = config.at(s.option.substr(2, s.option.find('=') - 2));
    if (said.is_boolean()) CHECK(said == !off);
    else if (said.is_string()) CHECK(said == s.value);
    else if (said.is_array()) CHECK(said.at(0) == std::stod(s.value));
    else CHECK(said == std::stod(s.value));
  }
}

TEST_CASE("imagenet: without options the recipe is the authors', for either network") {
  for (const std::string model : {"v1", "v2"}) {
    CAPTURE(model);
    const bool v1 = model == "v1";
    Folder folder;
    Json c =
        config_of({"--data", tree(), "--model", model, "--out", folder / "run"}, folder / "run");
    CHECK(c.at("model") == (v1 ? "mobilenet_v1" : "mobilenet_v2"));
    CHECK(c.at("widths") == parse_widths(c.at("model"), "imagenet-seed"));
    CHECK(c.at("size") == 224);
    CHECK(c.at("epochs") == 120);
    CHECK(c.at("tune-epochs") == 120);
    CHECK(c.at("batch") == 256);
    CHECK(c.at("bn-batch") == 64);
    CHECK(c.at("lr") == 0.1);
    CHECK(c.at("schedule") == "cosine");
    CHECK(c.at("warmup") == 5);
    CHECK(c.at("momentum") == 0.9);
    CHECK(c.at("nesterov") == v1);
    CHECK(c.at("weight-decay") == 1e-4);
    CHECK(c.at("decay") == (v1 ? "weights" : "weights+depthwise"));
    CHECK(c.at("smoothing") == 0.1);
    CHECK(c.at("rounds") == (v1 ? 4 : 3));
    CHECK(c.at("epsilon") == (v1 ? 0.01 : 0.1));
    CHECK(c.at("linear-curvature") == "one");
    CHECK(c.at("rq-epochs") == (v1 ? 4 : 2));
    CHECK(c.at("rq-batch") == 64);
    CHECK(c.at("target-macs") == (v1 ? Json{82e6, 140e6, 292e6, 561e6} : Json{95e6, 208e6, 298e6}));
  }
}

TEST_CASE(
    "imagenet: a step's learning rate is --lr times --batch / 256, that of RQ-SGD falls by 0.2 "
    "each epoch after the first") {
  Folder folder;
  require_done(
      launch("imagenet", tiny(folder / "run", "--lr 0.8 --tune-lr 0.4 --warmup 0 --rq-epochs 3")));
  std::vector<Json> log = log_of(folder / "run");
  CHECK(of_stage(log, "train")[0].at("lr").get<double>() == near(0.8 * 16 / 256));
  CHECK(of_stage(log, "tune")[0].at("lr").get<double>() == near(0.4 * 16 / 256));
  for (std::size_t epoch = 0; epoch < 3; epoch++)
    CHECK(of_stage(log, "solve").at(epoch).at("lr").get<double>() ==
          near(1e-3 * std::pow(0.2, double(epoch))));
}

TEST_CASE(
    "imagenet: weights decay, batch norms and biases do not, depthwise convolutions' scales as "
    "--decay says") {
  // lr·wd = ½, on a cosine over three steps: (1 − ½)(1 − ⅜)(1 − ⅛) = 0.27 of what decays is left;
  // no momentum; steps of 1e-4 of a gradient
  for (const bool depthwise : {false, true}) {
    Folder folder;
    const Arguments strong("--rounds 0 --weight-decay 5000 --lr 0.0016 --warmup 0 --momentum 0");
    require_done(
        launch("imagenet",
               tiny(folder / "run",
                    strong + (depthwise ? Arguments("--decay weights+depthwise") : Arguments{}))));
    TensorFile after = read_safetensors(folder / "run/round-0.safetensors");
    auto largest = [&](const std::string& name) {
      double most = 0;
      for (double x : after.at(name).as_doubles()) most = std::max(most, std::abs(x));
      return most;
    };
    auto before = make_network(read_config(after), open_backend("reference"), DType::f32, 7);
    auto began = [&](const std::string& name) {
      double most = 0;
      for (const Stored& stored : before->stored())
        if (stored.name == name)
          for (double x : stored.value.to_host()) most = std::max(most, std::abs(x));
      return most;
    };
    for (const char* name :
         {"layers.5.sp_conv.conv2d.weight", "layers.5.conv1.weight", "linear.weight"})
      CHECK(largest(name) == near(0.273 * began(name)).epsilon(0.05));
    for (const char* name : {"layers.5.sp_conv.bn.weight", "linear.bias"})
      CHECK(largest(name) == near(began(name)).epsilon(0.05));
    CHECK(largest("layers.5.bn1.weight") ==
          near((depthwise ? 0.273 : 1) * began("layers.5.bn1.weight")).epsilon(0.05));
  }
}

TEST_CASE("imagenet: --model v2 grows MobileNetV2") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "run", "--model v2 --widths 0.125")));
  CHECK(read_safetensors(folder / "run/round-1.safetensors").metadata_at("model") ==
        "mobilenet_v2");
  CHECK(row(read_file(folder / "run/table.txt"), "Splitting-1").find("95 M published") !=
        std::string::npos);
}

TEST_CASE(
    "imagenet: baselines are trained in folders of their own, which another growth does not "
    "touch") {
  Folder folder;
  const Arguments with("--baselines 0.125,0.0625");
  ProcessResult e = launch("imagenet", tiny(folder / "run", with));
  require_done(e);
  for (const char* name : {"run-baseline-0.125", "run-baseline-0.0625"}) {
    Json config = json_in(read_file(folder / name + "/config.json"));
    CHECK(config.at("epochs") == 1);
    CHECK_FALSE(config.contains("grow"));
    CHECK(names(contents(folder / name)) ==
          "checkpoint.safetensors config.json log.jsonl results.csv round-0.safetensors ");
  }
  CHECK(row(e.out.substr(e.out.rfind("network ")), "MobileNetV1 0.125").find("M measured – ") !=
        std::string::npos);
  CHECK(e.out.find(read_file(folder / "run/table.txt")) != std::string::npos);

  Contents before = contents(folder / "run-baseline-0.125");
  require_done(launch("imagenet", tiny(folder / "run", with)));
  CHECK(differing(contents(folder / "run-baseline-0.125"), before) == "");
  check_refused(launch("imagenet", tiny(folder / "run", with + Arguments("--grow 0.4"))),
                {"holds another run: --grow was 0.3, now 0.4"});
  require_done(launch("imagenet", tiny(folder / "run//", with)));  // the same folders
  CHECK(names(contents(folder / "run")).find("-baseline") == std::string::npos);
  for (const char* wrong : {"wide", "0", "0.5,none", "-1"})
    check_refused(launch("imagenet", tiny(folder / "other", {std::string("--baselines=") + wrong})),
                  {"--baselines '", "or none"});
}

TEST_CASE("imagenet: --start grows a trained network on; its model and size are the file's") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "seed", "--rounds 0 --model v2 --widths 0.125")));
  Arguments a = tiny(folder / "grown", {"--start", folder / "seed/round-0.safetensors"});
  auto widths = std::find(a.begin(), a.end(), "--widths");
  a.erase(widths, widths + 2);
  require_done(launch("imagenet", a));
  const std::string table = read_file(folder / "grown/table.txt");
  CHECK(row(table, "start").find("M measured – ") != std::string::npos);
  CHECK(row(table, "start, split 1").find("M measured – ") != std::string::npos);
  CHECK(row(table, "Splitting-1").find("Splitting-1 not run 95 M published") == 0);
  Json config = json_in(read_file(folder / "grown/config.json"));
  CHECK(config.at("model") == "mobilenet_v2");
  CHECK(config.at("epsilon") == 0.1);
  *(std::find(a.begin(), a.end(), "--size") + 1) = "64";
  a.back() = folder / "other";
  check_refused(launch("imagenet", a),
                {"round-0.safetensors: metadata 'size': '48', but --size is '64'"});
}

TEST_CASE(
    "imagenet: --loader-threads changes no bit; --threads, --device and --checkpoint-minutes are "
    "no part of the configuration") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "a")));
  require_done(launch("imagenet", tiny(folder / "b", "--loader-threads 3 --checkpoint-minutes 0")));
  CHECK(differing(contents(folder / "a"), contents(folder / "b")) == "");
  ProcessResult e = launch(
      "imagenet", tiny(folder / "c", "--rounds 0 --epochs 0 --threads 2 --device reference"));
  require_done(e);
  CHECK(e.out.rfind(text("reference, ", two_threads(), " thread"), 0) == 0);
}

TEST_CASE(
    "imagenet: by default its loader's threads are those of a process, shared by the machine's "
    "processes; cifar's is one") {
  for (DataKind kind : {DataKind::imagenet, DataKind::small}) {
    GrowthOptions options(kind);
    options.run.network.model = "mobilenet_v1";
    options.settle();
    CHECK(options.run.loader_threads ==
          (kind == DataKind::imagenet ? threads_allowed().number : 1));
  }
}

TEST_CASE("imagenet: every option has a case, and shows its default") {
  std::set<std::string> covered{"--data",
                                "--val-labels",
                                "--devkit-mapping",
                                "--size",
                                "--check-data",
                                "--most-broken",
                                "--model",
                                "--baselines",
                                "--start",
                                "--out",
                                "--checkpoint-minutes",
                                "--loader-threads",
                                "--device",
                                "--threads"};
  for (const Shared& s : shared_options()) covered.insert(s.option.substr(0, s.option.find('=')));
  check_all_covered("imagenet", covered);
  check_defaults_shown("imagenet");
}

TEST_CASE("imagenet: --help names the paper's value where it has one, and says whose the seed is") {
  ProcessResult help = launch("imagenet", {"--help"});
  CHECK(help.out.find("imagenet-seed is this project's choice") != std::string::npos);
  for (const Listed& option : listed_options("imagenet"))
    if (option.group == "Training:" || option.group == "RQ-SGD:") {
      CAPTURE(option.text);
      bool named = option.text.find("the paper: ") != std::string::npos ||
                   option.text.find("paper") != std::string::npos;
      CHECK((named || option.text.find("as the authors") != std::string::npos));
    }
}

TEST_CASE(
    "imagenet: without --data it says what to fetch, the layout, the disk and an epoch's time "
    "here, status 2") {
  Folder folder;
  Launch l{"imagenet", "--size 33 --threads 1"};
  l.directory = folder.str();
  ProcessResult e = launch(l);
  check_refused(e, {"--data: no folder given"});
  for (const char* part :
       {"DIR/train/n01440764/*.JPEG", "DIR/val/", "--val-labels", "image-net.org", "GB",
        "An epoch of training here (", " h at the seed's widths, "})
    CHECK_MESSAGE(e.out.find(part) != std::string::npos, part);
  CHECK(std::count(e.out.begin(), e.out.end(), '\n') <= 10);
  CHECK(std::filesystem::is_empty(folder.str()));
}

TEST_CASE("imagenet: each cell of the table is measured, published or not run") {
  ImagenetOptions options;
  options.growth.run.network.classes = 1000;
  options.growth.run.network.widths = parse_widths("mobilenet_v1", "imagenet-seed");
  std::string table =
      imagenet_table(options, {record(59.2e6, 0.5931, 0.8), record(81.9e6, 0.641, 0.853)},
                     {{"0.50", record(149e6, 0.64, 0.85)}});
  CHECK(row(table, "Splitting-0") ==
        "Splitting-0 (seed) 59.200 M measured 59 M published 59.31 % measured 59.20 % published "
        "80.00 % measured –");
  CHECK(row(table, "Splitting-1") ==
        "Splitting-1 81.900 M measured 82 M published 64.10 % measured 64.06 % published 85.30 % "
        "measured 85.30 % published");
  CHECK(row(table, "Splitting-4") ==
        "Splitting-4 not run 561 M published not run 73.96 % published not run 91.49 % published");
  CHECK(row(table, "MobileNetV1 0.5") ==
        "MobileNetV1 0.5 149.0 M measured 149 M published 64.00 % measured 63.30 % published 85.00 "
        "% measured 84.90 % published");
  CHECK(row(table, "MobileNetV1 AMC") ==
        "MobileNetV1 AMC not run 285 M published not run 70.50 % published not run 89.30 % "
        "published");
  CHECK(row(table, "MobileNetV1 0.50").find("no row") == 0);  // it is the 0.5 above
  CHECK(table.find("is this project's choice") != std::string::npos);
  CHECK(table.find("no comparison") == std::string::npos);
  options.model = "v2";
  CHECK(row(imagenet_table(options, {}, {}), "Splitting-3") ==
        "Splitting-3 not run 298 M published not run 72.84 % published not run 90.83 % published");
  options.growth.run.network.size = 64;
  CHECK(imagenet_table(options, {}, {})
            .find("These images are 64x64 of 1000 classes: no comparison.") != std::string::npos);
}

TEST_CASE("imagenet: bad data and options end with one line, and nothing is written") {
  Folder folder;
  auto refused = [&](const Arguments& wrong, const Arguments& parts) {
    CAPTURE(wrong[0]);
    check_refused(launch("imagenet", tiny(folder / "run", wrong)), Arguments{"imagenet: "} + parts);
    CHECK_FALSE(std::filesystem::exists(folder / "run"));
  };
  refused("--data /no/such/folder", {"/no/such/folder"});
  refused("--model v3", {"--model 'v3'", "v1 (MobileNetV1) or v2"});
  refused("--size 32", {"--size"});
  refused("--most-broken 2", {"--most-broken"});
  refused("--devkit-mapping file", {"--val-labels"});
  refused("--rounds -1", {"--rounds"});
  refused("--target-macs 1000", {"--target-macs 1000", "MACs of the network before"});
  folder.write("labels.txt", {'0', '\n'});
  refused({"--data", tree(true), "--val-labels", folder / "labels.txt"},
          {"labels.txt", "expected"});
  write_image_tree(folder / "tree", {3, 2, 1});
  std::filesystem::create_directory(folder / "tree/train/n00000001");
  refused({"--data", folder / "tree"}, {"train/n00000001", "expected"});
}

TEST_CASE("imagenet: --target-macs 0 is no target") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "run", "--target-macs 0 --grow 1")));
  CHECK(json_in(read_file(folder / "run/config.json")).at("target-macs").empty());
}
