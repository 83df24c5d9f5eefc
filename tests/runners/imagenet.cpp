// Facts of imagenet: the recipe, its own options, the table, and what it refuses. The whole of it, killed and resumed: tests/imagenet.sh.
// What it shares with cifar (GrowthOptions, Run, grow) is tested there; here, that each option arrives.
#include "runners/common/imagenet.h"

#include <signal.h>

#include "data/image_folder.h"
#include "nn/checkpoint.h"
#include "tensor/eigen.h"
#include "tests/image_tree.h"
#include "tests/near.h"
#include "tests/onnx_model.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {

// 6 classes of 8 and 4 pictures: val/ in folders, or flat
const std::string& tree(bool flat = false) {
  static const Folder folder;
  static const std::string paths[] = {folder / "folders", folder / "flat"};
  static const bool written = [] {
    for (bool f : {false, true}) write_image_tree(paths[f], {6, 8, 4, f, 0});
    return true;
  }();
  (void)written;
  return paths[flat];
}

Arguments tiny(const std::string& out, const Arguments& more = {}) {
  return merged({{"--data", tree()}, {"--size", "48"}, {"--widths", four_wide}, {"--epochs", "1"}, {"--tune-epochs", "1"}, {"--rounds", "1"},
                 {"--rq-epochs", "1"}, {"--batch", "16"}, {"--bn-batch", "8"}, {"--rq-batch", "16"}, {"--check-pictures", "16"}, {"--grow", "0.3"},
                 {"--baselines", "none"}, {"--threads", "1"}, {"--loader-threads", "1"}, {"--seed", "7"}, {"--out", out}}, more);
}

// What a run would be: it is killed as soon as it has said so
Json config_of(const Arguments& arguments, const std::string& out) {
  Ended e = launch(Launch{"imagenet", arguments, "after-rename:1"});
  INFO("stderr: ", e.err);
  REQUIRE(e.signal == SIGKILL);
  return Json::parse(read_file(out + "/config.json"));
}

struct Shared {
  std::string option, value;  // no value: a flag
  Arguments besides = {};
};
const std::vector<Shared>& shared_options() {
  static const std::vector<Shared> all{
      {"--no-augment", ""}, {"--widths", "8,8,8,8,8,8,8,8,8,8,8,8,8,8"}, {"--activation", "relu"}, {"--epochs", "3"}, {"--tune-epochs", "2"},
      {"--batch", "24"}, {"--lr", "0.3"}, {"--tune-lr", "0.2"}, {"--schedule", "step"}, {"--warmup", "2"}, {"--momentum-factor", "0.5"},
      {"--nesterov=false", ""}, {"--weight-decay", "0.01"}, {"--decay", "all"}, {"--smoothing", "0.2"}, {"--bn-batch", "16"}, {"--rounds", "2"}, {"--grow", "0.5"},
      {"--target-macs", "5000000"}, {"--selection", "vanilla"}, {"--energy", "paper"}, {"--energy-scale", "log"}, {"--round", "paper"},
      {"--multiple", "4"}, {"--epsilon", "0.02"}, {"--split-step", "paper"}, {"--momentum", "split"}, {"--curvature", "paper"},
      {"--linear-curvature", "zero"}, {"--solver", "rq-sgd"}, {"--rq-epochs", "3"}, {"--rq-batch", "8"}, {"--rq-lr", "0.01"}, {"--rq-loss", "ce"},
      {"--relu-beta", "2"}, {"--seed", "9"}, {"--check-pictures", "24"}};
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
    Json config = config_of(tiny(folder / "run", s.value.empty() ? Arguments{s.option} : Arguments{s.option, s.value}), folder / "run");
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
    Json c = config_of({"--data", tree(), "--model", model, "--out", folder / "run"}, folder / "run");
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
    CHECK(c.at("momentum-factor") == 0.9);
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

TEST_CASE("imagenet: a step's learning rate is --lr times --batch / 256, that of RQ-SGD falls by 0.2 each epoch after the first") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "run", {"--lr", "0.8", "--tune-lr", "0.4", "--warmup", "0", "--rq-epochs", "3"})));
  std::vector<Json> log = log_of(folder / "run");
  CHECK(of_stage(log, "train")[0].at("lr").get<double>() == near(0.8 * 16 / 256));
  CHECK(of_stage(log, "tune")[0].at("lr").get<double>() == near(0.4 * 16 / 256));
  for (std::size_t epoch = 0; epoch < 3; epoch++) CHECK(of_stage(log, "rq").at(epoch).at("lr").get<double>() == near(1e-3 * std::pow(0.2, double(epoch))));
}

TEST_CASE("imagenet: weights decay, batch norms and biases do not, depthwise convolutions' scales as --decay says") {
  // lr·wd = ½, on a cosine over three steps: (1 − ½)(1 − ⅜)(1 − ⅛) = 0.27 of what decays is left; no momentum; steps of 1e-4 of a gradient
  for (const bool depthwise : {false, true}) {
    Folder folder;
    const Arguments strong{"--rounds", "0", "--weight-decay", "5000", "--lr", "0.0016", "--warmup", "0", "--momentum-factor", "0"};
    require_done(launch("imagenet", tiny(folder / "run", strong + (depthwise ? Arguments{"--decay", "weights+depthwise"} : Arguments{}))));
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
    for (const char* name : {"layers.5.sp_conv.conv2d.weight", "layers.5.conv1.weight", "linear.weight"})
      CHECK(largest(name) == near(0.273 * began(name)).epsilon(0.05));
    for (const char* name : {"layers.5.sp_conv.bn.weight", "linear.bias"}) CHECK(largest(name) == near(began(name)).epsilon(0.05));
    CHECK(largest("layers.5.bn1.weight") == near((depthwise ? 0.273 : 1) * began("layers.5.bn1.weight")).epsilon(0.05));
  }
}

TEST_CASE("imagenet: a flat val/ with labels, by synset, index or the devkit's number, is the val/ of folders") {
  Folder folder;
  auto losses = [&](const std::string& name, const Arguments& more) {
    require_done(launch("imagenet", tiny(folder / name, Arguments{"--rounds", "0"} + more)));
    return log_of(folder / name).back().at("test_loss").get<double>();
  };
  std::string indices, devkit, mapping;
  for (int label = 0; label < 6; label++) {
    mapping += text(synset(label), " ", 6 - label, "\n");
    for (int i = 0; i < 4; i++) indices += text(label, "\n"), devkit += text(6 - label, "\n");
  }
  auto file = [&](const std::string& name, const std::string& s) { return folder.write(name, Bytes(s.begin(), s.end())); };
  const double expected = losses("folders", {});
  CHECK(losses("synsets", {"--data", tree(true), "--val-labels", tree(true) + "/val-labels.txt"}) == expected);
  CHECK(losses("indices", {"--data", tree(true), "--val-labels", file("indices.txt", indices)}) == expected);
  CHECK(losses("devkit", {"--data", tree(true), "--val-labels", file("devkit.txt", devkit), "--devkit-mapping", file("mapping.txt", mapping)}) == expected);
}

TEST_CASE("eval: an ImageNet checkpoint has the log's score, in folders and flat") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "run", {"--rounds", "0"})));
  Json last = log_of(folder / "run").back();
  for (bool flat : {false, true}) {
    Arguments how{folder / "run/round-0.safetensors", "--data", tree(flat), "--batch", "16", "--threads", "1", "--json"};
    if (flat) how = how + Arguments{"--val-labels", tree(true) + "/val-labels.txt"};
    Ended e = launch("eval", how);
    require_done(e);
    Json j = Json::parse(e.out);
    CHECK(j.at("loss") == last.at("test_loss"));
    CHECK(j.at("top1") == last.at("test_top1"));
    CHECK(j.at("pictures") == 24);
  }
}

TEST_CASE("export and audit: an ImageNet checkpoint has ImageNet's mean and std") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "run", {"--rounds", "0"})));
  const std::string checkpoint = folder / "run/round-0.safetensors";
  for (bool raw : {false, true}) {
    Ended e = launch("export", Arguments{checkpoint, "--json", "--out", folder / "x.onnx"} + (raw ? Arguments{"--raw"} : Arguments{}));
    require_done(e);
    Json j = Json::parse(e.out);
    CHECK(j.at("dataset") == "imagenet");
    CHECK(j.at("mean") == Json{0.485, 0.456, 0.406});
    CHECK(j.at("std") == Json{0.229, 0.224, 0.225});
    CHECK(j.at("input").at("shape") == Json({"N", 3, 48, 48}));
    const auto initialisers = testing::OnnxModel(read_file(folder / "x.onnx")).initialisers;
    CHECK(initialisers.count("mean") == raw);
    if (raw) CHECK(initialisers.at("std").values[2] == near(0.225).epsilon(1e-7));  // f32
  }
  const Arguments few{checkpoint, "--data", tree(), "--few", "3", "--batches", "3", "--batch", "8", "--passes", "3", "--rq-batch", "8",
                      "--neurons", "2", "--threads", "1"};
  Ended e = launch("audit", few);
  if (!have_eigen()) return check_refused(e, {"Eigen"});
  require_done(e);
  CHECK(e.out.find("on 24 training pictures of imagenet") != std::string::npos);
}

TEST_CASE("imagenet: --size is the side of the pictures and of the network's input") {
  Folder folder;
  Ended e = launch("imagenet", tiny(folder / "run", {"--size", "64", "--rounds", "0"}));
  require_done(e);
  CHECK(e.out.find("48 training and 24 validation pictures of 6 classes, 64x64; ") != std::string::npos);
  CHECK(read_safetensors(folder / "run/round-0.safetensors").metadata_at("size") == "64");
  CHECK(read_safetensors(folder / "run/round-0.safetensors").metadata_at("stem_stride") == "2");
}

TEST_CASE("imagenet: --model v2 grows MobileNetV2") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "run", {"--model", "v2", "--widths", "0.125"})));
  CHECK(read_safetensors(folder / "run/round-1.safetensors").metadata_at("model") == "mobilenet_v2");
  CHECK(row(read_file(folder / "run/table.txt"), "Splitting-1").find("95 M published") != std::string::npos);
}

TEST_CASE("imagenet: --check-data lists every file that can't be decoded, status 2, and says so where all can") {
  Folder folder;
  write_image_tree(folder / "tree", {3, 8, 2, false, 2});
  folder.write("tree/val/" + synset(2) + "/empty.JPEG", {});
  Ended e = launch("imagenet", tiny(folder / "run", {"--check-data", "--data", folder / "tree"}));
  check_refused(e, {folder / "tree: 3 of 33 files can't be decoded, as listed"});
  for (const char* name : {"_bad0.JPEG: ", "_bad1.JPEG: ", "/empty.JPEG: "}) CHECK_MESSAGE(e.out.find(name) != std::string::npos, e.out);
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
  Ended clean = launch("imagenet", tiny(folder / "run", {"--check-data"}));
  require_done(clean);
  CHECK(clean.out == tree() + ": all 72 files can be decoded\n");
}

TEST_CASE("imagenet: a broken file is skipped and named within --most-broken, and refused beyond it") {
  Folder folder;
  write_image_tree(folder / "tree", {6, 8, 4, false, 1});
  const Arguments bad{"--data", folder / "tree", "--rounds", "0"};
  check_refused(launch("imagenet", tiny(folder / "run", bad)), {"_bad0.JPEG: ", "1 of 49 pictures can't be decoded so far; expected at most 0.1 %", "--check-data"});
  Ended e = launch("imagenet", tiny(folder / "run", bad + Arguments{"--most-broken", "0.03"}));  // which the run that stopped may be given
  require_done(e);
  CHECK(is_one_line(e.err));
  CHECK(e.err.find("_bad0.JPEG: ") != std::string::npos);
  CHECK(log_of(folder / "run").at(0).at("skipped_files") == 1);
  CHECK(e.out.find(" pictures/s; 1 broken files skipped since the start\n") != std::string::npos);
}

TEST_CASE("imagenet: a run goes on with a broken file fetched again, and not with other names or labels in the same number") {
  Folder folder;
  write_image_tree(folder / "tree", {6, 8, 4, true, 1});
  const std::string labels = folder / "tree/val-labels.txt", out = folder / "run";
  const Arguments a = tiny(out, {"--data", folder / "tree", "--val-labels", labels, "--rounds", "0", "--most-broken", "0.03"});
  require_done(launch("imagenet", a));
  auto train = [&](const char* name) { return folder / ("tree/train/" + synset(0) + "/" + synset(0) + name); };
  const std::vector<std::uint8_t> whole = encode(draw_picture(0, 0), FileKind::colour);
  folder.write(train("_bad0.JPEG").substr(folder.str().size() + 1), whole);
  Ended on = launch("imagenet", a);
  require_done(on);
  CHECK(on.out.find("going on from ") != std::string::npos);

  auto refused = [&] { check_refused(launch("imagenet", a), {out + " holds another run: --data was ", "names' hash", ", now "}); };
  std::filesystem::rename(train("_bad0.JPEG"), train("_other.JPEG"));
  refused();
  std::filesystem::rename(train("_other.JPEG"), train("_bad0.JPEG"));
  require_done(launch("imagenet", a));
  std::string text = read_file(labels);
  text.replace(0, synset(1).size(), synset(1));
  folder.write("tree/val-labels.txt", {text.begin(), text.end()});
  refused();
}

TEST_CASE("imagenet: baselines are trained in folders of their own, which another growth does not touch") {
  Folder folder;
  const Arguments with{"--baselines", "0.125,0.0625"};
  Ended e = launch("imagenet", tiny(folder / "run", with));
  require_done(e);
  for (const char* name : {"run-baseline-0.125", "run-baseline-0.0625"}) {
    Json config = Json::parse(read_file(folder / name + "/config.json"));
    CHECK(config.at("epochs") == 1);
    CHECK_FALSE(config.contains("grow"));
    CHECK(names(contents(folder / name)) == "checkpoint.safetensors config.json log.jsonl results.csv round-0.safetensors ");
  }
  CHECK(row(e.out.substr(e.out.rfind("network ")), "MobileNetV1 0.125").find("M measured – ") != std::string::npos);
  CHECK(e.out.find(read_file(folder / "run/table.txt")) != std::string::npos);

  Contents before = contents(folder / "run-baseline-0.125");
  require_done(launch("imagenet", tiny(folder / "run", with)));
  CHECK(differing(contents(folder / "run-baseline-0.125"), before) == "");
  check_refused(launch("imagenet", tiny(folder / "run", with + Arguments{"--grow", "0.4"})), {"holds another run: --grow was 0.3, now 0.4"});
  require_done(launch("imagenet", tiny(folder / "run//", with)));  // the same folders
  CHECK(names(contents(folder / "run")).find("-baseline") == std::string::npos);
  for (const char* wrong : {"wide", "0", "0.5,none", "-1"})
    check_refused(launch("imagenet", tiny(folder / "other", {std::string("--baselines=") + wrong})), {"--baselines '", "or none"});
}

TEST_CASE("imagenet: --start grows a trained network on; its model and size are the file's") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "seed", {"--rounds", "0", "--model", "v2", "--widths", "0.125"})));
  Arguments a = tiny(folder / "grown", {"--start", folder / "seed/round-0.safetensors"});
  auto widths = std::find(a.begin(), a.end(), "--widths");
  a.erase(widths, widths + 2);
  require_done(launch("imagenet", a));
  const std::string table = read_file(folder / "grown/table.txt");
  CHECK(row(table, "start").find("M measured – ") != std::string::npos);
  CHECK(row(table, "start, split 1").find("M measured – ") != std::string::npos);
  CHECK(row(table, "Splitting-1").find("Splitting-1 not run 95 M published") == 0);
  Json config = Json::parse(read_file(folder / "grown/config.json"));
  CHECK(config.at("model") == "mobilenet_v2");
  CHECK(config.at("epsilon") == 0.1);
  *(std::find(a.begin(), a.end(), "--size") + 1) = "64";
  a.back() = folder / "other";
  check_refused(launch("imagenet", a), {"round-0.safetensors: a network for 48x48x3 pictures of 6 classes; expected 64x64x3 and 6"});
}

TEST_CASE("imagenet: --loader-threads changes no bit; --threads, --device and --checkpoint-minutes are no part of the configuration") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "a")));
  require_done(launch("imagenet", tiny(folder / "b", {"--loader-threads", "3", "--checkpoint-minutes", "0"})));
  CHECK(differing(contents(folder / "a"), contents(folder / "b")) == "");
  Ended e = launch("imagenet", tiny(folder / "c", {"--rounds", "0", "--epochs", "0", "--threads", "2", "--device", "reference"}));
  require_done(e);
  CHECK(e.out.find(text("; reference, ", two_threads(), " threads\n")) != std::string::npos);
}

TEST_CASE("imagenet: by default its loader's threads are those of a process, shared by the machine's processes; cifar's is one") {
  for (Pictures kind : {Pictures::imagenet, Pictures::small}) {
    GrowthOptions options(kind);
    options.run.network.model = "mobilenet_v1";
    options.settle();
    CHECK(options.run.loader_threads == (kind == Pictures::imagenet ? threads_a_process(1) : 1));
  }
}

// A ring's pictures are the memory of a loader; its labels, and what blocks are rounded up to, are a few bytes a picture of 48x48x3.
TEST_CASE("imagenet: the loaders of a run at 224x224 and batch 256, and the listing of ImageNet's training files, are under 300 MB") {
  Folder folder;
  ImagenetOptions o;
  o.growth.data = tree(), o.growth.run.directory = folder / "run", o.size = 48;
  o.growth.run.batch = o.growth.run.rq_batch = o.growth.bn_batch = 16, o.growth.run.loader_threads = 1;
  o.growth.run.network.model = "mobilenet_v1";
  o.growth.settle();
  if (!data::have_decoder(data::Decoder::best)) return;
  const data::PictureSets pictures = open_pictures(o);
  Backend& backend = open_backend("reference");
  Run run(o.growth.run, o.growth.how, o.growth.config(), pictures, backend);
  Arena& arena = backend.arena(Memory::device);
  arena.reset_peak();
  const std::size_t before = arena.statistics().in_use;
  for (int round : {0, 1}) {  // every kind of source, each left with batches prepared ahead
    run.training(round, Stage::train).next(0, 0);
    run.test().next(0, 0);
    run.training(round, Stage::rayleigh).next(0, 0);
    run.check().next(0, 0);
    run.test().next(0, 0);
  }
  const double a_byte = double(arena.statistics().peak - before) / double(16 * 48 * 48 * 3);
  CHECK(a_byte >= 4);  // the ring's four batches
  // 21 letters and a 0, where each begins, a label: image_folder's fact counts them
  CHECK(a_byte * 256 * 224 * 224 * 3 + 1281167.0 * (22 + 4 + 4) < 300e6);
}

TEST_CASE("imagenet: every option has a case, and shows its default") {
  std::set<std::string> covered{"--data", "--val-labels", "--devkit-mapping", "--size", "--check-data", "--most-broken", "--model", "--baselines",
                                "--start", "--out", "--checkpoint-minutes", "--loader-threads", "--device", "--threads"};
  for (const Shared& s : shared_options()) covered.insert(s.option.substr(0, s.option.find('=')));
  check_all_covered("imagenet", covered);
  check_defaults_shown("imagenet");
}

TEST_CASE("imagenet: --help names the paper's value where it has one, and says whose the seed is") {
  Ended help = launch("imagenet", {"--help"});
  CHECK(help.out.find("imagenet-seed is this project's choice") != std::string::npos);
  for (const Listed& option : listed_options("imagenet"))
    if (option.group == "Training:" || option.group == "RQ-SGD:") {
      CAPTURE(option.text);
      bool named = option.text.find("the paper: ") != std::string::npos || option.text.find("paper") != std::string::npos;
      CHECK((named || option.text.find("as the authors") != std::string::npos));
    }
}

TEST_CASE("imagenet: without --data it says what to fetch, the layout, the disk and an epoch's time here, status 2") {
  Folder folder;
  Launch l{"imagenet", {"--size", "33", "--threads", "1"}};
  l.directory = folder.str();
  Ended e = launch(l);
  check_refused(e, {"--data: no folder given"});
  for (const char* part : {"DIR/train/n01440764/*.JPEG", "DIR/val/", "--val-labels", "image-net.org", "GB", "An epoch of training here (", " h at the seed's widths, "})
    CHECK_MESSAGE(e.out.find(part) != std::string::npos, part);
  CHECK(std::count(e.out.begin(), e.out.end(), '\n') <= 10);
  CHECK(std::filesystem::is_empty(folder.str()));
}

TEST_CASE("imagenet: each cell of the table is measured, published or not run") {
  ImagenetOptions options;
  options.growth.run.network.classes = 1000;
  options.growth.run.network.widths = parse_widths("mobilenet_v1", "imagenet-seed");
  std::string table = imagenet_table(options, {record(59.2e6, 0.5931, 0.8), record(81.9e6, 0.641, 0.853)}, {{"0.50", record(149e6, 0.64, 0.85)}});
  CHECK(row(table, "Splitting-0") == "Splitting-0 (seed) 59.200 M measured 59 M published 59.31 % measured 59.20 % published 80.00 % measured –");
  CHECK(row(table, "Splitting-1") == "Splitting-1 81.900 M measured 82 M published 64.10 % measured 64.06 % published 85.30 % measured 85.30 % published");
  CHECK(row(table, "Splitting-4") == "Splitting-4 not run 561 M published not run 73.96 % published not run 91.49 % published");
  CHECK(row(table, "MobileNetV1 0.5") == "MobileNetV1 0.5 149.0 M measured 149 M published 64.00 % measured 63.30 % published 85.00 % measured 84.90 % published");
  CHECK(row(table, "MobileNetV1 AMC") == "MobileNetV1 AMC not run 285 M published not run 70.50 % published not run 89.30 % published");
  CHECK(row(table, "MobileNetV1 0.50").find("no row") == 0);  // it is the 0.5 above
  CHECK(table.find("is this project's choice") != std::string::npos);
  CHECK(table.find("no comparison") == std::string::npos);
  options.model = "v2";
  CHECK(row(imagenet_table(options, {}, {}), "Splitting-3") == "Splitting-3 not run 298 M published not run 72.84 % published not run 90.83 % published");
  options.growth.run.network.size = 64;
  CHECK(imagenet_table(options, {}, {}).find("These pictures are 64x64 of 1000 classes: no comparison.") != std::string::npos);
}

TEST_CASE("imagenet: bad data and options end with one line, and nothing is written") {
  Folder folder;
  auto refused = [&](const Arguments& wrong, const Arguments& parts) {
    CAPTURE(wrong[0]);
    check_refused(launch("imagenet", tiny(folder / "run", wrong)), Arguments{"imagenet: "} + parts);
    CHECK_FALSE(std::filesystem::exists(folder / "run"));
  };
  refused({"--data", "/no/such/folder"}, {"/no/such/folder"});
  refused({"--model", "v3"}, {"--model 'v3'", "v1 (MobileNetV1) or v2"});
  refused({"--size", "32"}, {"--size"});
  refused({"--most-broken", "2"}, {"--most-broken"});
  refused({"--devkit-mapping", "file"}, {"--val-labels"});
  refused({"--rounds", "-1"}, {"--rounds"});
  refused({"--target-macs", "1000"}, {"--target-macs 1000", "MACs of the network before"});
  folder.write("labels.txt", {'0', '\n'});
  refused({"--data", tree(true), "--val-labels", folder / "labels.txt"}, {"labels.txt", "expected"});
  write_image_tree(folder / "tree", {3, 2, 1});
  std::filesystem::create_directory(folder / "tree/train/n00000001");
  refused({"--data", folder / "tree"}, {"train/n00000001", "expected"});
}

TEST_CASE("imagenet: --target-macs 0 is no target") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "run", {"--target-macs", "0", "--grow", "1"})));
  CHECK(Json::parse(read_file(folder / "run/config.json")).at("target-macs").empty());
}

TEST_CASE("image tree: every odd kind of file is what it says it is, and decodes to what was drawn") {
  BlockPicture drawn = draw_picture(2, 5);
  for (FileKind kind : {FileKind::colour, FileKind::grey, FileKind::cmyk, FileKind::ycck, FileKind::progressive, FileKind::broken_exif, FileKind::png}) {
    CAPTURE(int(kind));
    std::vector<std::uint8_t> file = encode(drawn, kind);
    data::Decoded d;
    if (!data::have_decoder(data::Decoder::best)) return;
    data::decode(file.data(), file.size(), [](Index height, Index width) -> data::Wanted { return {{0, 0, height, width}}; }, d);
    CHECK(d.full_height == drawn.down * 8);
    CHECK(d.full_width == drawn.across * 8);
    int worst = 0;  // over all pixels and colours
    for (Index y = 0; y < d.full_height; y++)
      for (Index x = 0; x < d.full_width; x++) {
        const std::array<std::uint8_t, 3>& c = drawn.colour[std::size_t(y / 8 * drawn.across + x / 8)];
        const int grey = int(std::lround(0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]));
        for (int k = 0; k < 3; k++)
          worst = std::max(worst, std::abs(int(d.view.first[4 * (y * d.view.stride + x) + k]) - (kind == FileKind::grey ? grey : int(c[k]))));
      }
    CHECK(worst <= (kind == FileKind::png ? 0 : 3));  // luma and two colour differences rounded, times up to 1.772 on the way back
  }
}
