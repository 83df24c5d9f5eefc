// Facts of the options of eval, inspect and bench, and of what these programs say.
#include <algorithm>
#include <cmath>

#include "data/decode.h"
#include "nn/io/checkpoint.h"
#include "tensor/backend.h"
#include "tensor/eigen.h"
#include "tests/image_tree.h"
#include "tests/near.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {

Json json_of(const ProcessResult& e) {
  require_done(e);
  CHECK(is_one_line(e.out));
  return json_in(e.out);
}

Arguments eval_arguments(const Arguments& more = {}) {
  Arguments a = Arguments{learned() + "/round-1.safetensors", "--threads", "1"} + more;
  return std::find(more.begin(), more.end(), "--data") == more.end()
             ? a + Arguments{"--data", images() / "idx-more"}
             : a;
}
Json eval_json(const Arguments& more = {}) {
  return json_of(launch("eval", eval_arguments(more + Arguments{"--json"})));
}

// one job of one small network, twice
Arguments bench_arguments(const Arguments& more) {
  const std::vector<Arguments> all{"--widths 0.125", "--jobs eval", "--batch 2", "--repeat 1",
                                   "--threads 1"};
  Arguments a = more;
  for (const Arguments& option : all)
    if (std::find(more.begin(), more.end(), option[0]) == more.end()) a = a + option;
  return a;
}
Json bench_json(const Arguments& more) {
  return json_of(launch("bench", bench_arguments(more + Arguments{"--json"})));
}

}  // namespace

TEST_CASE(
    "growth: the tests' network learns the tests' images, so that what follows is about more "
    "than chance") {
  Json last = of_stage(log_of(learned()), "tune").back();
  CHECK(last.at("test_top1") > 0.2);  // chance is 0.1; measured over seeds and devices: 0.5 to 0.9
}

TEST_CASE("growth: the split of a trained network changes the loss as E4 predicts") {
  Json split = of_stage(log_of(learned()), "split")[0];
  double predicted = split.at("predicted_loss_change"), measured = split.at("measured_loss_change");
  CHECK(predicted < 0);
  // O(ε⁴) beside ε², and float32 losses of about 2 whose mean over 64 images is good to some
  // 1e-7, of 1e-4
  CHECK(measured == near(predicted).epsilon(0.05));
}

TEST_CASE(
    "growth: round-1-neurons.csv has every neuron's λ̂ and whether it was split, as the log sums "
    "them up") {
  Json split = of_stage(log_of(learned()), "split")[0],
       rq = of_stage(log_of(learned()), "solve").back();
  std::istringstream lines(read_file(learned() + "/round-1-neurons.csv"));
  std::string line, last;
  std::getline(lines, line);
  CHECK(line == "axis,neuron,lambda,residual,products,split");
  std::vector<Index> grown;
  double least = 0, sum = 0;
  while (std::getline(lines, line)) {
    std::vector<std::string> fields;
    std::istringstream in(line);
    for (std::string field; std::getline(in, field, ',');) fields.push_back(field);
    REQUIRE(fields.size() == 6);
    if (fields[0] != last) grown.push_back(0), last = fields[0];
    double lambda = std::stod(fields[2]);
    least = std::min(least, lambda), sum += std::min(lambda, 0.0);
    CHECK(std::stod(fields[3]) > 0);  // RQ-SGD's, on the check images
    CHECK(fields[4] == "15");         // steps of an epoch: 240 images, 16 a step
    grown.back() += fields[5] == "1";
    if (fields[5] == "1") CHECK(lambda < 0);
  }
  CHECK(grown == split.at("grown").get<std::vector<Index>>());
  CHECK(least == near(rq.at("least_lambda").get<double>()).epsilon(1e-8));
  CHECK(sum == near(rq.at("sum_of_negative_lambdas").get<double>()).epsilon(1e-7));
}

TEST_CASE(
    "eval: top-1, top-5 and loss of a checkpoint are the last log line's, to the bit in the same "
    "batches") {
  Json last = of_stage(log_of(learned()), "tune").back(), e = eval_json("--batch 16");
  CHECK(e.at("top1") == last.at("test_top1"));
  CHECK(e.at("top5") == last.at("test_top5"));
  CHECK(e.at("loss") == last.at("test_loss"));
  CHECK(e.at("images") == 80);
  CHECK(e.at("macs") == of_stage(log_of(learned()), "split")[0].at("macs"));
}

TEST_CASE(
    "eval: checkpoints of every stage load: the seed, the split, the tuned, and the one to go on "
    "from") {
  std::vector<Json> log = log_of(learned());
  auto loss = [&](const std::string& name) {
    const Arguments how{"--data", images() / "idx-more", "--batch", "16", "--threads", "1",
                        "--json"};
    return json_of(launch("eval", Arguments{learned() + "/" + name} + how)).at("loss");
  };
  CHECK(loss("round-0.safetensors") == of_stage(log, "train").back().at("test_loss"));
  CHECK(loss("round-1-split.safetensors") == of_stage(log, "split").back().at("test_loss"));
  CHECK(loss("round-1.safetensors") == of_stage(log, "tune").back().at("test_loss"));
  CHECK(loss("checkpoint.safetensors") == of_stage(log, "tune").back().at("test_loss"));
}

TEST_CASE("eval: in prose it says the same as in JSON") {
  ProcessResult e = launch("eval", eval_arguments());
  require_done(e);
  CHECK(is_one_line(e.out));
  CHECK(e.out.find("round-1.safetensors on fashion-mnist (test, 80 images): loss ") !=
        std::string::npos);
}

namespace {
std::vector<std::vector<std::string>> rows_of(const std::string& file) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) {
    rows.emplace_back();
    std::istringstream fields(line);
    for (std::string field; std::getline(fields, field, ',');) rows.back().push_back(field);
  }
  return rows;
}
}  // namespace

TEST_CASE(
    "outputs: an older file of the kind is replaced, any other is refused and stays as it is") {
  Folder folder;
  std::filesystem::copy(learned(), folder / "run");
  const std::string network = folder / "run/round-0.safetensors", bytes = read_file(network);
  const Arguments brief("--few 1 --batches 1 --batch 8 --neurons 1 --passes 1");
  const std::vector<std::pair<std::string, Arguments>> all{
      {"eval", {network, "--data", images() / "idx", "--predictions"}},
      {"audit", brief + Arguments{network, "--data", images() / "idx", "--findings"}},
      {"report", {folder / "run", "--out"}}};
  for (const auto& [program, arguments] : all) {
    CAPTURE(program);
    check_refused(launch(program, arguments + Arguments{network}),
                  {arguments.back() + " " + network + ": another kind of file stands there"});
    CHECK(read_file(network) == bytes);
    if (!instrumented() && (program != "audit" || have_eigen()))
      for (int again = 0; again < 2; again++)
        CHECK(launch(program, arguments + Arguments{folder / program}).status == 0);
  }
}
TEST_CASE(
    "eval: --predictions has every image, its label and its five likeliest classes, and they add "
    "up "
    "to the score") {
  Folder folder;
  const Json e = eval_json({"--predictions", folder / "p.csv"});
  CHECK(e.at("predictions") == folder / "p.csv");
  CHECK(e.at("top1") == eval_json().at("top1"));
  const auto rows = rows_of(folder / "p.csv");
  REQUIRE(rows.size() == 81);
  CHECK(rows[0] == std::vector<std::string>{"image", "label", "class1", "probability1", "class2",
                                            "probability2", "class3", "probability3", "class4",
                                            "probability4", "class5", "probability5"});
  double first = 0, any = 0, loss = 0;
  Index seen = 0;
  for (std::size_t i = 1; i < rows.size(); i++) {
    const auto& r = rows[i];
    REQUIRE(r.size() == 12);
    CHECK(r[0] == std::to_string(i - 1));
    double sum = 0, before = 1;
    for (std::size_t k = 0; k < 5; k++) {
      const double p = std::stod(r[3 + 2 * k]);
      CHECK(p <= before);
      sum += before = p;
      if (r[2 + 2 * k] != r[1]) continue;
      (k == 0 ? first : any)++, loss -= std::log(p), seen++;
    }
    CHECK((sum > 0.5 && sum < 1 + 1e-5));
  }
  CHECK(first / 80 == near(e.at("top1").get<double>()).epsilon(1e-9));
  CHECK((first + any) / 80 == near(e.at("top5").get<double>()).epsilon(1e-9));
  CHECK(rows[1][1] == "T-shirt/top");  // image 0 is of class 0
  if (seen == 80) CHECK(loss / 80 == near(e.at("loss").get<double>()).epsilon(1e-4));
  check_refused(launch("eval", eval_arguments({"--predictions", folder / "none/p.csv"})),
                {"none/p.csv"});
}

TEST_CASE("eval: --images takes a folder without labels: the same image gets the same prediction") {
  if (!data::have_decoder(data::Decoder::stb)) {
    MESSAGE("skipped: this build reads no PNG");
    return;
  }
  Folder folder;
  const int side = 28, inner = 24, edge = (side - inner) / 2;
  Bytes images = big_endian(0x803) + big_endian(2) + big_endian(28) + big_endian(28),
        labels = big_endian(0x801) + big_endian(2) + Bytes{3, 4};
  for (int n = 0; n < 2; n++) {
    BlockImage p{inner / 8, inner / 8, {}};
    for (int b = 0; b < p.across * p.down; b++) {
      const std::uint8_t grey = std::uint8_t(20 + 25 * b * (n + 1) % 230);
      p.colour.push_back({grey, grey, grey});
    }
    folder.write(n ? "images/sub/b.png" : "images/a, first.jpg",  // a name says nothing
                 encode(p, FileKind::png));
    for (int y = -edge; y < inner + edge; y++)
      for (int x = -edge; x < inner + edge; x++) {
        const bool in = y >= 0 && x >= 0 && y < inner && x < inner;
        images.push_back(in ? p.colour[std::size_t(y / 8 * p.across + x / 8)][0] : std::uint8_t(0));
      }
  }
  for (const char* left : {".DS_Store", "Thumbs.db", "@eaDir/a.png", ".git/x"})
    folder.write(text("images/", left), {1, 2});
  for (const char* part : {"train", "t10k"}) {
    folder.write(text("idx/", part, "-images-idx3-ubyte"), images);
    folder.write(text("idx/", part, "-labels-idx1-ubyte"), labels);
  }
  auto loose = [&](const Arguments& more) {
    return launch("eval", Arguments{learned() + "/round-1.safetensors", "--threads", "1",
                                    "--images", folder / "images"} +
                              more);
  };
  const ProcessResult prose = loose({"--predictions", folder / "loose.csv"});
  require_done(prose);
  CHECK(is_one_line(prose.out));
  CHECK(prose.out.find(" on 2 images of ") != std::string::npos);
  CHECK(prose.out.find("top-1") == std::string::npos);
  eval_json({"--data", folder / "idx", "--predictions", folder / "labelled.csv"});
  auto mine = rows_of(folder / "loose.csv"), theirs = rows_of(folder / "labelled.csv");
  REQUIRE(mine.size() == 3);
  REQUIRE(theirs.size() == 3);
  CHECK(theirs[1][1] == "Dress");
  CHECK(read_file(folder / "loose.csv").find("\"" + (folder / "images/a, first.jpg") + "\",,") !=
        std::string::npos);
  mine[1].erase(mine[1].begin());  // the comma in its name
  for (std::size_t i : {1, 2})
    for (std::size_t k = 2; k < 12; k++) CHECK(mine[i][k] == theirs[i][k]);
  CHECK(mine[2][0] == folder / "images/sub/b.png");
  CHECK(mine[2][1] == "");
  const Json j = json_of(loose({"--predictions", folder / "loose.csv", "--json"}));
  CHECK(j.at("images") == 2);
  CHECK_FALSE(j.contains("top1"));
  check_refused(loose({}), {"--predictions"});
  check_refused(loose({"--predictions", folder / "p", "--data", folder / "idx"}), {"--data"});
  folder.write("images/broken.png", {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0});
  check_refused(loose({"--predictions", folder / "p"}),
                {"images/broken.png: ", "; expected a whole JPEG or PNG"});
  CHECK_FALSE(std::filesystem::exists(folder / "p"));
  std::filesystem::remove_all(folder / "images");
  check_refused(loose({"--predictions", folder / "p"}),
                {"images: ", "expected a folder of images"});
  std::filesystem::create_directory(folder / "images");
  check_refused(loose({"--predictions", folder / "p"}), {"images: no file there"});
}

TEST_CASE("options: every option of eval has its effect") {
  Json base = eval_json();
  // another order of float32 sums: 1e-5 of the loss
  CHECK(eval_json("--batch 7").at("loss").get<double>() ==
        near(base.at("loss").get<double>()).epsilon(1e-5));
  CHECK(eval_json("--batch 7").at("top1") == base.at("top1"));
  CHECK(eval_json("--split train").at("images") == 240);
  CHECK(eval_json({"--data", images() / "idx-other"}).at("images") == 32);
  CHECK(eval_json("--dataset mnist").at("loss") !=
        base.at("loss"));  // the same files under mnist's mean and deviation
  CHECK(eval_json("--dataset mnist").at("dataset") == "mnist");
  CHECK(eval_json("--device reference").at("loss").get<double>() ==
        near(base.at("loss").get<double>()).epsilon(1e-4));
  Arguments two = eval_arguments({"--json"});
  two[2] = "2";
  CHECK(json_of(launch("eval", two)).at("top1") == base.at("top1"));
  check_refused(launch("eval", {learned() + "/round-1.safetensors", "--threads", "5000"}),
                {"--threads"});
  // the labels' options are among imagenet's facts, the network's among those of state_dicts
  check_all_covered("eval", {"--dataset", "--data", "--val-labels", "--devkit-mapping", "--split",
                             "--predictions", "--images", "--batch", "--json", "--device",
                             "--threads", "--model", "--widths", "--activation", "--size"});
  check_defaults_shown("eval");
}

TEST_CASE("eval: a data set that the network doesn't fit is refused, and says what both are") {
  check_refused(launch("eval", {learned() + "/round-1.safetensors", "--dataset", "cifar10",
                                "--data", images() / "cifar10"}),
                {"round-1.safetensors: a network for 32x32x1 images of 10 classes; cifar10 has "
                 "32x32x3 of 10"});
  check_refused(launch("eval", {learned() + "/round-1.safetensors", "--val-labels", "x"}),
                {"--val-labels x: of imagenet alone"});
}

TEST_CASE("inspect: JSON says the network, its MACs, parameters and history as the log does") {
  std::string path = learned() + "/round-1.safetensors";
  Json j = json_of(launch("inspect", {path, "--json"})),
       split = of_stage(log_of(learned()), "split")[0];
  CHECK(j.at("model") == "mobilenet_v1");
  CHECK(j.at("widths") == split.at("widths"));
  CHECK(j.at("macs") == split.at("macs"));
  CHECK(j.at("parameters") == split.at("parameters"));
  CHECK(j.at("activation") == "swish");
  CHECK(j.at("classes") == 10);
  CHECK(j.at("dataset") == "fashion-mnist");
  CHECK(j.at("seed") == "7");
  CHECK(j.at("history").size() == 2);
  CHECK(j.at("history")[1].at("predicted") == split.at("predicted_loss_change"));
  CHECK(j.at("history")[1].at("tuned").at("top1") ==
        of_stage(log_of(learned()), "tune").back().at("test_top1"));
}

TEST_CASE(
    "inspect: prose has the widths of every axis, MACs with their convention, parameters, and the "
    "table of growth") {
  ProcessResult e = launch("inspect", {learned() + "/checkpoint.safetensors"});
  require_done(e);
  Json split = of_stage(log_of(learned()), "split")[0];
  const std::string macs = text("MACs per image: ", split.at("macs").get<Index>(),
                                " (products of all convolutions and of the classifier;");
  const std::string parameters = text("parameters: ", split.at("parameters").get<Index>(), "\n");
  for (const std::string& part :
       Arguments{macs, parameters, " L00  ", "  layers.0.conv2d  ",
                 " L13  layers.13.sp_conv.conv2d  ", "round: 1\n", "stage: train\n"}) {
    CAPTURE(part);
    CHECK(e.out.find(part) != std::string::npos);
  }
  CHECK(table_of(e.out) == read_file(learned() + "/../table"));
}

TEST_CASE("options: every option of inspect has its effect") {
  const std::string path = learned() + "/round-1.safetensors";
  Json exact = json_of(launch("inspect", {path, "--json"})),
       pj = json_of(launch("inspect", {path, "--json", "--energy", "picojoules"}));
  CHECK(exact.at("energy").at("cost") == exact.at("macs"));
  CHECK(exact.at("energy").at("one_more_channel").size() == 14);
  CHECK(pj.at("energy").at("unit") == "pJ");
  CHECK(pj.at("energy").at("cost").get<double>() > 4.6 * exact.at("macs").get<double>());
  CHECK_FALSE(json_of(launch("inspect", {path, "--json", "--energy", "paper"}))
                  .at("energy")
                  .contains("cost"));  // a marginal only
  CHECK(launch("inspect", {path, "--energy", "paper"})
            .out.find("energy of one more channel: the authors' count of arXiv 1910.03103") !=
        std::string::npos);
  ProcessResult prose = launch("inspect", {path, "--energy", "picojoules"});
  CHECK(prose.out.find(" pJ (Horowitz 2014, 45 nm") != std::string::npos);
  CHECK(prose.out.find("pJ that one more channel adds") != std::string::npos);
  check_refused(launch("inspect", {path, "--energy", "joule"}), {"'joule'"});
  check_all_covered("inspect", {"--json", "--energy", "--model", "--widths", "--activation",
                                "--size"} /* these: among the facts of state_dicts */);
  check_defaults_shown("inspect");
}

TEST_CASE(
    "bench: an RQ-SGD step takes at most 1.3 times a training step's memory, of tensors and of the "
    "process, by either matrix") {
  if (instrumented() || device_list().find("cpu") == std::string::npos)
    return;  // there no memory is kept, or all is slower by far
  ProcessResult jobs =
      launch("bench", "--json --widths 0.5 --jobs train,rq-paper,rq-chain --repeat 1");
  require_done(jobs);
  std::istringstream lines(jobs.out);
  std::vector<Json> all;
  for (std::string line; std::getline(lines, line);) all.push_back(json_in(line));
  REQUIRE(all.size() == 3);
  for (const Json& j : {all[1], all[2]})
    for (const char* memory : {"tensor_mib", "peak_mib"}) {
      INFO(j.at("matrix"), " ", memory, ": ", double(j.at(memory)),
           ", of training: ", double(all[0].at(memory)));
      CHECK(double(j.at(memory)) <= 1.3 * double(all[0].at(memory)));
    }
  CHECK(double(all[0].at("peak_mib")) <=
        double(all[0].at("tensor_mib")) +
            40);  // the program itself with its libraries, and what lies free
}

TEST_CASE("options: every option of bench has its effect") {
  Json base = bench_json({});
  CHECK(base.at("job") == "eval");
  CHECK(base.at("ms") > 0);
  CHECK(base.at("images_per_second").get<double>() ==
        near(2000 / base.at("mean_ms").get<double>()));
  CHECK(base.at("batch") == 2);
  CHECK(base.at("threads") == 1);
  CHECK(base.at("size") == 32);
  CHECK(bench_json("--batch 3").at("batch") == 3);
  CHECK(bench_json("--size 16").at("macs_per_image") < base.at("macs_per_image"));
  CHECK(bench_json("--classes 20").at("macs_per_image").get<double>() ==
        base.at("macs_per_image").get<double>() + 10 * 128);
  CHECK(bench_json("--widths 0.125+1").at("macs_per_image") > base.at("macs_per_image"));
  CHECK(base.at("model") == "mobilenet_v1");
  CHECK(bench_json("--model mobilenet_v2").at("model") == "mobilenet_v2");
  CHECK(bench_json("--threads 2").at("threads") == two_threads());
  CHECK(bench_json("--device reference").at("macs_per_image") == base.at("macs_per_image"));
  ProcessResult jobs =
      launch("bench", bench_arguments("--json --jobs train,rq-paper,rq-chain,loader"));
  require_done(jobs);
  std::istringstream lines(jobs.out);
  std::string order;
  for (std::string line; std::getline(lines, line);) {
    Json j = json_in(line);
    order += j.at("job").get<std::string>() +
             (j.contains("matrix") ? "-" + j.at("matrix").get<std::string>() : "") + " ";
  }
  CHECK(order == "train rq-paper rq-chain loader ");
  if (data::have_decoder(data::Decoder::stb)) {  // which has the encoder
    Json decode = bench_json("--jobs decode"), loader = bench_json("--jobs loader --size 65");
    for (data::Decoder d : {data::Decoder::stb, data::Decoder::libjpeg})
      if (data::have_decoder(d))
        CHECK((decode.at(data::name_of(d)).at("decode_a_second") > 10 &&
               decode.at(data::name_of(d)).at("crop_a_second") > 10));
    CHECK((decode.at("kib") > 100 && decode.at("kib") < 120));  // as ImageNet's files
    CHECK((loader.at("waiting") > 0 && loader.at("waiting") < 1));
  }
  const Json profile = bench_json({"--profile"});
  double macs = 0, ms = 0, depthwise = 0, regions = 0;
  for (const Json& o : profile.at("operations")) {
    macs += o.at("gmac").get<double>() * 1e9, ms += o.at("ms").get<double>();
    CHECK(o.at("gbyte") > 0);
    if (o.at("name") == "depthwise") depthwise = o.at("calls");
    regions += o.at("regions").get<double>();
  }
  CHECK(macs == near(2 * profile.at("macs_per_image").get<double>()));
  CHECK(depthwise == 13);
  if (profile.at("device") == "reference") CHECK(regions == 0);
  const Json two = bench_json("--profile --device auto --threads 2 --batch 128");
  regions = 0;
  for (const Json& o : two.at("operations")) regions += o.at("regions").get<double>();
  CHECK((regions > 10) == (two.at("device") == "cpu" && two.at("threads") == 2));
  CHECK((ms > 0 && ms <= profile.at("mean_ms").get<double>()));
  CHECK_FALSE(base.contains("operations"));
  // both gradients of a training step, but of the first convolution's images none
  const Json training = bench_json("--profile --jobs train");
  macs = 0;
  for (const Json& o : training.at("operations")) macs += o.at("gmac").get<double>() * 1e9;
  const double classifier = 3 * 2 * 10 * 128;
  CHECK(macs == near(training.at("gmac").get<double>() * 1e9 + classifier));
  ProcessResult prose = launch("bench", bench_arguments("--repeat 3 --profile"));
  require_done(prose);
  CHECK(prose.out.find("eval of 0.125, operation by operation:") != std::string::npos);
  CHECK(prose.out.find("medians of 3 steps") != std::string::npos);
  check_refused(launch("bench", bench_arguments("--jobs sleep")),
                {"--jobs 'sleep': expected some of limits, decode, train"});
  check_all_covered("bench", {"--model", "--batch", "--size", "--classes", "--widths", "--jobs",
                              "--repeat", "--json", "--profile", "--device", "--threads"});
  check_defaults_shown("bench");
}
