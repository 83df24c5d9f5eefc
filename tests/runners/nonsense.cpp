// Facts of what is accepted and makes no sense, or was refused for the wrong reason: numbers that
// are none, files that ask for more than they hold, metadata that no run wrote, PyTorch's own
// files.
#include <cmath>
#include <functional>

#include "tensor/eigen.h"
#include "tests/near.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {

Bytes bytes_of(const std::string& s) { return Bytes(s.begin(), s.end()); }

std::string round_1() { return learned() + "/round-1.safetensors"; }

// learned()'s network as PyTorch's save_file(model.state_dict(), …, {"format": "pt"}) writes it
std::string state_dict(const Folder& folder, const std::function<void(TensorFile&)>& edit = {}) {
  TensorFile file = read_safetensors(round_1());
  file.metadata = {{"format", "pt"}};
  for (const char* bn : {"layers.0.bn", "layers.1.bn1", "layers.1.sp_conv.bn"})
    file.tensors[std::string(bn) + ".num_batches_tracked"] =
        StoredTensor::of({}, std::vector<std::int64_t>{1234});
  if (edit) edit(file);
  const std::string path = folder / "state_dict.safetensors";
  write_safetensors(path, file);
  return path;
}
Arguments on_more(const std::string& file, const Arguments& more = {}) {
  return Arguments{file, "--data", images() / "idx-more", "--threads", "1", "--json"} + more;
}
Json json_of_eval(const Arguments& arguments) {
  ProcessResult e = launch("eval", arguments);
  require_done(e);
  return json_in(e.out);
}

// A run that was killed in a stage, with one thing in its checkpoint's metadata changed
struct Stopped : Folder {
  std::string run = *this / "run", checkpoint = run + "/checkpoint.safetensors";
  explicit Stopped(const std::string& crash_at) {
    REQUIRE(launch(Launch{"cifar", command(), crash_at}).signal != 0);
  }
  Arguments command(const Arguments& more = {}) const {
    return tiny_growth(run, more + Arguments("--checkpoint-minutes 0"));
  }
  void check_refused_with(const std::string& key, const std::string& value,
                          const Arguments& parts = {}) const {
    CAPTURE(text(key, " = ", value.substr(0, 60)));
    const std::string before = read_file(checkpoint);
    TensorFile file = read_safetensors(checkpoint);
    file.metadata[key] = value;
    write_safetensors(checkpoint, file);
    check_refused(launch("cifar", command()),
                  Arguments{checkpoint + ": metadata '" + key + "'", "expected"} + parts);
    write_file_atomically(checkpoint, before);
  }
};

}  // namespace

TEST_CASE(
    "numbers: NaN and infinity are refused by every option that takes a number, by its name") {
  Folder folder;
  for (const std::string program : {"cifar", "imagenet"}) {
    int numbers = 0;
    for (const Listed& option : listed_options(program)) {
      if (option.name == "--loader-threads" || option.name == "--memory-limit") continue;  // whole
      std::istringstream words(option.text.substr(option.name.size()));
      std::string type;
      words >> type;
      type = type.substr(0, type.find('='));  // with its default, as CLI11 2.2 shows it
      if (type != "FLOAT" && type != "INT" && type != "UINT") continue;
      // one validator reads them all: the others in turn, for each program's start takes time
      if (instrumented() && numbers++ % 4 != 0) continue;
      const Arguments others{"-nan", "inf", "-inf", "1e999", "NaN"};
      for (const std::string& value : {std::string("nan"), others[numbers % 5]}) {
        CAPTURE(text(program, " ", option.name, " ", value));
        check_refused(launch(program, {option.name + "=" + value, "--out", folder / "run"}),
                      {option.name});
      }
      if (!instrumented()) numbers++;
    }
    CHECK(numbers > 15);
  }
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
  for (const Arguments& wrong : std::vector<Arguments>{{"toy", "--epsilon", "nan"},
                                                       {"audit", "--grow", "nan"},
                                                       {"audit", "--epsilon", "nan"},
                                                       {"audit", "--relu-beta", "nan"},
                                                       {"audit", "--work", "nan"},
                                                       {"audit", "--memory", "nan"},
                                                       {"bench", "--widths", "0.5+"},
                                                       {"bench", "--widths", "0.5+-3"},
                                                       {"bench", "--widths", "nan"},
                                                       {"cifar", "--multiple", ""},
                                                       {"cifar", "--epochs", "010"},
                                                       {"cifar", "--lr", "0x10"},
                                                       {"cifar", "--data", ""},
                                                       {"cifar", "--out", ""},
                                                       {"toy", "--seed", ""},
                                                       {"toy", "--seed", "-5"},
                                                       {"audit", "--seed", "-5"}})
    check_refused(launch(wrong[0], Arguments(wrong.begin() + 1, wrong.end())), {wrong[1]});
  check_refused(launch("eval", {""}), {"checkpoint: '': expected a text"});
  for (const char* batch : {"1e3", "1.0", "0x10", "2k", "+", "-"})
    check_refused(launch("cifar", {text("--batch=", batch)}),
                  {text("--batch: '", batch, "': expected a whole number")});
}

TEST_CASE("warnings: an option that changes nothing beside another one is named, with that one") {
  struct Case {
    Arguments options, unused;
    std::string why;
  };
  const std::string images = "there are 48 training images, all are taken";
  std::vector<Case> cases{
      {"--rounds 0 --grow 0.3 --fill --tune-epochs 1 --tune-lr 0.1 --tune-warmup 0 --last-epochs 1 "
       "--anneal last --rq-lr 0.1 --rq-epochs 1 --check-images 9",
       {"--grow", "--fill", "--tune-epochs", "--tune-lr", "--tune-warmup", "--last-epochs",
        "--anneal", "--rq-lr", "--rq-epochs", "--check-images"},
       "--rounds 0, nothing is split"},
      {"--momentum 0 --nesterov --carry-momentum", "--nesterov --carry-momentum", "--momentum 0"},
      {"--weight-decay 0 --decay weights", {"--decay"}, "--weight-decay 0"},
      {"--rounds 1 --last-epochs 1 --tune-epochs 1",
       {"--tune-epochs"},
       "--rounds 1, the only split is the last"},
      {"--schedule constant --anneal last", {"--anneal"}, "--schedule constant"},
      {"--smoothing 0 --rq-loss ce", {"--rq-loss"}, "--smoothing 0"},
      {{"--fill"}, {"--fill"}, "no --target-macs"},
      {"--selection random --energy paper --energy-scale log --rounding paper --budget network",
       {"--energy", "--energy-scale", "--rounding", "--budget"},
       "--selection has no use for energy"},
      {"--relu-beta 2", {"--relu-beta"}, "no ReLU in the network"},
      {"--linear-curvature zero", {"--linear-curvature"}, "MobileNetV1 has no linear"},
      {"--rq-images 49", {"--rq-images"}, images},
      {"--check-images 49", {"--check-images"}, images},
      {"--device reference --tf32 --memory-limit 1G --conv cudnn",
       {"--tf32", "--memory-limit", "--conv"},
       "reference is no GPU"}};
  if (have_eigen())
    cases.push_back({"--solver lanczos --rq-lr 0.1", {"--rq-lr"}, "--solver lanczos"});
  for (const Case& c : cases) {
    CAPTURE(c.why);
    Folder folder;
    ProcessResult e =
        launch(Launch{"cifar", tiny_growth(folder / "run", c.options), "before-write:3"});
    INFO("stderr: ", e.err);
    const std::string warning = "warning: ", effect = " no effect: ";
    const std::size_t from = e.err.find(warning), to = e.err.find(effect);
    REQUIRE(to != std::string::npos);
    CHECK(e.err.find(effect, to + 1) == std::string::npos);
    CHECK(e.err.compare(to + effect.size(), c.why.size(), c.why) == 0);
    std::istringstream words(e.err.substr(from + warning.size(), to - from - warning.size()));
    std::set<std::string> named, expected(c.unused.begin(), c.unused.end());
    for (std::string word; words >> word;) named.insert(word.substr(0, word.find(',')));
    expected.insert(expected.size() == 1 ? "has" : "have");
    CHECK(named == expected);
  }
}

TEST_CASE("warnings: what is allowed and hardly meant is said in a line each") {
  struct Case {
    Arguments options;
    std::string said;
  };
  for (const Case& c :
       std::vector<Case>{{"--lr 0", "--lr 0: training changes no weight"},
                         {"--tune-lr 0", "--tune-lr 0: fine-tuning changes no weight"},
                         {"--rq-lr 0", "--rq-lr 0"},
                         {"--smoothing 1", "--smoothing 1: every label says the same"},
                         {"--warmup 1", "--warmup 1 is not over in --epochs 1"},
                         {"--momentum 1", "--momentum 1"},
                         {"--epsilon 0", "--epsilon 0: the copies of a neuron are alike"},
                         {"--activation relu --relu-beta 0", "--relu-beta 0"},
                         {"--epochs 0", "--epochs 0: the network is not trained"},
                         {"--tune-epochs 0", "--tune-epochs 0"},
                         {"--batch 49", "--batch 49: the data set has 48 training images"},
                         {"--rq-batch 49", "--rq-batch 49: the data set has 48 training images"}}) {
    CAPTURE(c.said);
    Folder folder;
    // the run is ended when it writes its first network, or earlier: the warnings stand before
    ProcessResult e =
        launch(Launch{"cifar", tiny_growth(folder / "run", c.options), "before-write:3"});
    INFO("stderr: ", e.err);
    CHECK(e.err.find("warning: " + c.said) != std::string::npos);
  }
  Folder folder;
  ProcessResult silent = launch(Launch{"cifar", tiny_growth(folder / "run"), "before-write:3"});
  CHECK(silent.err == "");
}

TEST_CASE("warnings: images of one colour, and labels of one class") {
  Folder folder;
  const Bytes header = big_endian(48) + big_endian(28) + big_endian(28);
  for (const std::string stem : {"train", "t10k"}) {
    folder.write(stem + "-images.idx3-ubyte", big_endian(0x803) + header + Bytes(48 * 784));
    folder.write(stem + "-labels.idx1-ubyte", big_endian(0x801) + big_endian(48) + Bytes(48, 3));
  }
  ProcessResult e = launch(
      Launch{"cifar", tiny_growth(folder / "run", {"--data", folder.str()}), "before-write:3"});
  for (const char* part : {"warning: fashion-mnist: all 48 train images are of one colour, 0\n",
                           "warning: fashion-mnist: all 48 train images are of class 3\n",
                           "warning: fashion-mnist: all 48 test images are of one colour, 0\n"}) {
    CAPTURE(part);
    CHECK(e.err.find(part) != std::string::npos);
  }
}

TEST_CASE("loss: a split that overflows is blamed on --epsilon, fine-tuning on --tune-lr") {
  Folder folder;
  check_refused(launch("cifar", tiny_growth(folder / "run", "--epsilon 1e15")),
                {"round 1", "--epsilon"});
}

TEST_CASE("config: what is no configuration of a run is refused by its name") {
  Folder folder;
  std::string deep(200000, '['), objects;
  for (int i = 0; i < 100000; i++) objects += "{\"a\":";
  for (const std::string& json :
       {std::string("[]"), std::string("3"), std::string("null"), deep,
        deep + std::string(200000, ']'), objects, std::string("{\"lr\":\"\xff\"}"), std::string(""),
        std::string("{}\0x", 4)}) {
    CAPTURE(json.substr(0, 20));
    folder.write("run/config.json", bytes_of(json));
    check_refused(launch("cifar", tiny_growth(folder / "run")),
                  {folder / "run/config.json", "expected the configuration of a run"});
    CHECK(read_file(folder / "run/config.json") == json);
  }
}

TEST_CASE("resume: positions that no run comes to are refused with file, key and value") {
  Stopped descent("after-log:2");  // amid RQ-SGD
  REQUIRE(read_safetensors(descent.checkpoint).metadata_at("stage") == "solve");
  for (const char* round : {"0", "2", "100", "99999999999999", "-1", "1.5", ""})
    descent.check_refused_with("round", round);
  for (const char* epoch : {"3", "1000000", "99999999999999999999"})
    descent.check_refused_with("epoch", epoch);
  for (const char* step : {"4", "1000000"}) descent.check_refused_with("step", step);
  for (const char* steps : {"0", "4", "99999999"})
    descent.check_refused_with("solver_steps_in_mean", steps);
  descent.check_refused_with("macs", "12");
  descent.check_refused_with("done", "yes");
  descent.check_refused_with("dataset", "elsewhere");
  descent.check_refused_with("seed", "seven");
  descent.check_refused_with("images_metered", "");
  descent.check_refused_with("images_metered", "9999999");
  const std::string history = read_safetensors(descent.checkpoint).metadata_at("history");
  auto with = [&](const char* key, const Json& value) {
    Json rounds = json_in(history);
    rounds[0][key] = value;
    descent.check_refused_with("history", rounds.dump(), {key});
  };
  with("macs", -1), with("macs", "many"), with("macs", nullptr), with("round", 1);
  with("round", 1e300), with("neurons_split", -3), with("neurons_split", 0.5);
  with("widths", Json::array()), with("widths", {4, 4}), with("widths", 7);
  with("predicted", nullptr), with("tuned", 3), with("split", Json::object());
  for (const std::string& json :
       {std::string("{}"), std::string("[]"), std::string("[1]"), std::string(200000, '[')})
    descent.check_refused_with("history", json);
  require_done(launch("cifar", descent.command()));  // the checkpoint is as it was
  Folder other;
  require_done(launch("cifar", tiny_growth(other / "run")));
  CHECK(read_file(other / "run/round-1.safetensors") ==
        read_file(descent.run + "/round-1.safetensors"));
}

TEST_CASE("resume: a growth does not go on with other images of the same size") {
  Folder folder;
  REQUIRE(launch(Launch{"cifar", tiny_growth(folder / "run"), "after-log:2"}).signal != 0);
  Contents before = contents(folder / "run");
  check_refused(launch("cifar", tiny_growth(folder / "run", {"--data", images() / "idx-other"})),
                {folder / "run", "holds another run: --data was", "hash"});
  CHECK(differing(contents(folder / "run"), before) == "");
  // a run of a version that kept nothing of the data goes on
  Json config = json_in(read_file(folder / "run/config.json"));
  config.erase("data");
  write_file_atomically(folder / "run/config.json", config.dump(2) + "\n");
  require_done(launch("cifar", tiny_growth(folder / "run")));
}

TEST_CASE("checkpoint: metadata out of range are refused by every program that reads them") {
  Folder folder;
  const std::string path = folder / "edited.safetensors";
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"round", "-1"},
                                                        {"seed", "many"},
                                                        {"macs", "5"},
                                                        {"dataset", "somewhere"},
                                                        {"history", std::string(200000, '[')},
                                                        {"history", "[{\"round\":0}]"}})
    for (const char* program : {"eval", "inspect", "export", "audit"}) {
      CAPTURE(text(program, " ", key));
      TensorFile file = read_safetensors(round_1());
      file.metadata[key] = value;
      write_safetensors(path, file);
      check_refused(launch(program, {path}), {path, "metadata '" + key + "'", "expected"});
    }
}

TEST_CASE("checkpoint: a small file that asks for much is refused, and takes no memory for it") {
  Folder folder;
  const std::string path = folder / "edited.safetensors";
  auto check = [&](const std::function<void(TensorFile&)>& edit) {
    TensorFile file = read_safetensors(round_1());
    edit(file);
    write_safetensors(path, file);
    ProcessResult e = launch("inspect", {path});
    check_refused(e, {path, "expected"});
    CHECK(e.seconds < 20);
  };
  check([](TensorFile& f) {
    f.metadata["classes"] = "1000000", f.metadata["widths"] = "1,1,1,1,1,1,1,1,1,1,1,1,1,9000";
  });
  check([](TensorFile& f) {
    f.metadata["channels"] = "4096", f.metadata["widths"] = "9000,1,1,1,1,1,1,1,1,1,1,1,1,1";
  });
  check([](TensorFile& f) {  // skips of MobileNetV2 reach over an axis
    f.metadata["model"] = "mobilenet_v2";
    std::string widths = "1";
    for (int i = 1; i < 35; i++) widths += i % 2 ? ",60000" : ",1";
    f.metadata["widths"] = widths;
  });
}

TEST_CASE(
    "checkpoint: a negative variance is refused, and a loss that is not finite is no result") {
  Folder folder;
  const std::string path = folder / "edited.safetensors";
  auto write = [&](const std::string& name, float value) {
    TensorFile file = read_safetensors(round_1());
    StoredTensor& t = file.tensors.at(name);
    t = StoredTensor::of(t.shape, std::vector<float>(std::size_t(t.numel()), value));
    write_safetensors(path, file);
  };
  write("layers.3.sp_conv.bn.running_var", -1);
  for (const char* program : {"eval", "inspect", "export"}) {
    CAPTURE(program);
    Arguments a{path};
    if (std::string(program) == "eval") a = a + Arguments{"--data", images() / "idx-more"};
    check_refused(launch(program, a),
                  {path, "layers.3.sp_conv.bn.running_var", "-1", "expected variances"});
  }
  write("linear.weight", 3e38f);
  check_refused(launch("eval", {path, "--data", images() / "idx-more"}),
                {path, "the loss", "expected a finite one"});
}

TEST_CASE("state_dict: PyTorch's file of a network is evaluated, inspected, exported and grown") {
  Folder folder;
  const std::string file = state_dict(folder);
  const Arguments how("--dataset fashion-mnist --activation swish");
  const Json ours = json_of_eval(on_more(round_1())), theirs = json_of_eval(on_more(file, how));
  CHECK(theirs.at("loss") == ours.at("loss"));
  CHECK(theirs.at("macs") == ours.at("macs"));
  check_refused(launch("eval", on_more(file, "--activation swish")),
                {file, "metadata 'size' is missing", "--size"});
  check_refused(launch("eval", on_more(file, "--activation swish --size 32")),
                {file, "metadata 'dataset' is missing", "--dataset"});
  check_refused(launch("eval", on_more(file, "--dataset fashion-mnist")),
                {file, "metadata 'activation' is missing", "--activation"});
  check_refused(launch("eval", on_more(round_1(), "--activation relu")),
                {"metadata 'activation': 'swish', but --activation is 'relu'"});
  check_refused(launch("eval", on_more(file, how + Arguments("--widths 1.0"))), {file});
  check_refused(launch("eval", on_more(file, how + Arguments("--model mobilenet_v2"))), {file});

  ProcessResult inspected = launch("inspect", {file, "--json", "--activation", "swish", "--size",
                                               "32", "--model", "mobilenet_v1"});
  require_done(inspected);
  Json j = json_in(inspected.out);
  CHECK(j.at("macs") == ours.at("macs"));
  CHECK(j.at("widths").dump() ==
        json_in(read_safetensors(round_1()).metadata_at("history")).back().at("widths").dump());
  CHECK(json_of_eval(on_more(file, "--dataset fashion-mnist --activation relu")).at("loss") !=
        ours.at("loss"));
  require_done(launch("export", Arguments{file, "--out", folder / "x.onnx"} + how));
  Arguments grow = tiny_growth(
      folder / "run", {"--data", images() / "idx", "--start", file, "--activation", "swish"});
  grow.erase(std::find(grow.begin(), grow.end(), "--widths"),
             std::find(grow.begin(), grow.end(), "--widths") + 2);
  require_done(launch("cifar", grow));

  check_refused(launch("inspect", {state_dict(folder, [](TensorFile& f) { f.tensors.clear(); })}),
                {file, "metadata 'model' is missing"});
}

TEST_CASE("idx: files whose names have a dot are found, beside folders of the other names") {
  Folder folder;
  std::filesystem::copy(images() / "idx", folder / "idx");
  for (const std::string stem : {"train", "t10k"})
    for (const std::string kind : {"images-idx3-ubyte", "labels-idx1-ubyte"}) {
      std::string dotted = kind;
      dotted[6] = '.';
      std::filesystem::rename(folder / ("idx/" + stem + "-" + kind),
                              folder / ("idx/" + stem + "-" + dotted));
      // and, as an archive unpacks, folders that have the files' names
      std::filesystem::create_directory(folder / ("idx/" + stem + "-" + kind));
    }
  require_done(
      launch("cifar", tiny_growth(folder / "run", {"--data", folder / "idx", "--rounds", "0"})));
}

TEST_CASE("memory: what there is not enough of is said in a line, by every program") {
  if (instrumented()) return;  // the sanitizers themselves take more
  Folder folder;
  // from too little to enough, by two threads
  for (std::uint64_t megabytes = 100; megabytes < 700; megabytes += megabytes / 8) {
    CAPTURE(megabytes);
    Launch small{"cifar",
                 tiny_growth(folder / "run", "--widths 2.0 --batch 48 --rounds 0 --threads 2")};
    small.most_memory = megabytes << 20;
    const ProcessResult e = launch(small);
    if (e.status != 0) check_refused(e, {"expected"});
  }
}
