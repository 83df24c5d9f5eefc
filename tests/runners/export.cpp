// Facts of export's options and of its files. What the graph computes is tested in
// tests/nn/onnx.cpp, and by other runtimes in tests/export.sh, which takes the samples of the first
// case from the folder that FISSION_EXPORT_SAMPLES names.
#include <cstdlib>

#include "data/dataset.h"
#include "nn/io/checkpoint.h"
#include "tests/near.h"
#include "tests/onnx_model.h"
#include "tests/runners/options.h"
#include "tests/small_network.h"

using namespace fission;
using namespace fission::test;
using testing::OnnxModel, testing::OnnxTensor;

namespace {

const std::string& trained() {
  static const std::string path = learned() + "/round-1.safetensors";
  return path;
}

struct Exported {
  Json json;
  OnnxModel model;
};
Exported exported(const std::string& checkpoint, const Arguments& more = {}) {
  Folder folder;
  ProcessResult e =
      launch("export", Arguments{checkpoint, "--json", "--out", folder / "x.onnx"} + more);
  require_done(e);
  CHECK(is_one_line(e.out));
  const std::string bytes = read_file(folder / "x.onnx");
  Json json = json_in(e.out);
  CHECK(json.at("bytes") == bytes.size());
  CHECK(json.at("out") == folder / "x.onnx");
  return {json, OnnxModel(bytes)};
}

// export refuses, and leaves no file where it was to write
void check_export_refused(const std::string& checkpoint, const Arguments& more,
                          const Arguments& parts) {
  Folder folder;
  ProcessResult e = launch("export", Arguments{checkpoint, "--out", folder / "x.onnx"} + more);
  check_refused(e, parts);
  CHECK(e.out == "");
  CHECK(std::filesystem::is_empty(folder.str()));
}

// A network of odd widths, split once, whose batch norms have seen the images
std::unique_ptr<Network> grown(const std::vector<Index>& widths, Activation activation, Index size,
                               const Tensor& x) {
  NetworkConfig c;
  if (widths.size() == testing::small_v2.size()) c.model = "mobilenet_v2";
  c.widths = widths, c.classes = 7, c.size = size, c.activation = activation;
  auto seed = make_network(c, x.backend(), DType::f32, 7);
  testing::randomise_norms(*seed);
  auto network = split_network(*seed, testing::random_masks(*seed, 3),
                               testing::random_flat(*seed, 5), {0.1, SplitStep::exact});
  GradientMode none(Gradients::none);
  network->set_training(true);
  for (int i = 0; i < 20; i++) network->forward(Variable(x));
  return network;
}

template <class T>
void write(const std::string& path, const std::vector<double>& values) {
  const std::vector<T> v(values.begin(), values.end());
  write_file_atomically(path,
                        std::string(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(T)));
}

}  // namespace

TEST_CASE(
    "export: samples for other runtimes: checkpoint, ONNX file, images, and the logits of the "
    "network in f64") {
  const char* wanted = std::getenv("FISSION_EXPORT_SAMPLES");
  Folder temporary;
  const std::string place = wanted ? wanted : temporary.str();
  for (const auto& widths : testing::small_models)
    for (Activation activation : {Activation::swish, Activation::relu})
      for (Index size : {32, 64}) {
        if (!wanted && size == 64) continue;  // for the runtimes alone
        const Index n = 3, plane = size * size;
        std::vector<double> pixels(std::size_t(n * plane * 3)), planes(pixels.size());
        Random random(13, random_purpose::test);
        for (std::size_t i = 0; i < pixels.size(); i++) pixels[i] = float(random.normal(i));
        for (Index b = 0; b < n; b++)
          for (Index p = 0; p < plane; p++)
            for (Index l = 0; l < 3; l++)
              planes[std::size_t((b * 3 + l) * plane + p)] =
                  pixels[std::size_t((b * plane + p) * 3 + l)];
        const Shape shape{n, size, size, 3};
        auto network = grown(widths, activation, size,
                             make_real(open_backend("auto"), shape, pixels, DType::f32));

        const std::string stem =
            text(place, "/", network->config().model, "-", name_of(activation), "-", size);
        TensorFile file;
        file.metadata["dataset"] = "cifar10";
        store_network(file, *network);
        write_safetensors(stem + ".safetensors", file);
        require_done(launch("export", {stem + ".safetensors"}));
        Backend& reference = open_backend("reference");
        auto exact = load_network(read_safetensors(stem + ".safetensors"), reference, DType::f64);
        exact->set_training(false);
        GradientMode none(Gradients::none);
        const std::vector<double> logits =
            exact->forward(Variable(make_real(reference, shape, pixels, DType::f64)))
                .value()
                .to_host();
        CHECK(largest(logits) > 0.1);  // else a comparison would say little
        write<float>(stem + ".images", planes);
        write<double>(stem + ".logits", logits);
        if (wanted) continue;
        OnnxTensor own = OnnxModel(read_file(stem + ".onnx")).run({{n, 3, size, size}, planes});
        CHECK(testing::relative(own.values, logits) <= 1e-9);  // as in tests/nn/onnx.cpp
      }
}

TEST_CASE(
    "data: what normalises a data set's images is known without its files, and is what loading "
    "them says") {
  const std::vector<Arguments> all{{"cifar10", "cifar10"},
                                   {"cifar100", "cifar100"},
                                   {"cifar100-own", "cifar100"},
                                   {"fashion-mnist", "idx"},
                                   {"mnist", "idx"}};
  for (const Arguments& set : all) {
    data::Dataset loaded = data::load_dataset(set[0], images() / set[1], data::Split::test, 1);
    CHECK(data::normalisation_of(set[0]).mean == loaded.mean);
    CHECK(data::normalisation_of(set[0]).std == loaded.std);
    CHECK(loaded.name == set[0]);
  }
  CHECK(data::normalisation_of("cifar100").mean == data::normalisation_of("cifar10").mean);
  CHECK(data::normalisation_of("cifar100-own").mean == std::vector<double>{.5071, .4865, .4409});
  CHECK(data::normalisation_of("cifar100-own").std == std::vector<double>{.2673, .2564, .2762});
}

TEST_CASE(
    "export: by default the file stands beside the checkpoint, takes any number of normalised "
    "images, and says its opset") {
  Folder folder;
  std::filesystem::copy(trained(), folder / "some.round.safetensors");
  ProcessResult e = launch("export", {folder / "some.round.safetensors"});
  require_done(e);
  CHECK(is_one_line(e.out));
  Json inspected = json_in(launch("inspect", {trained(), "--json"}).out);
  for (const std::string& part :
       {folder / "some.round.onnx: opset 13; ",
        std::string("input (N,1,32,32) = (byte/255 - mean)/std, mean 0.219, "),
        std::string("std 0.3318 (fashion-mnist); logits (N,10); "),
        std::string(" MACs per image")}) {
    CAPTURE(part);
    CHECK(e.out.find(part) != std::string::npos);
  }
  OnnxModel model(read_file(folder / "some.round.onnx"));
  CHECK(model.inputs[0].dims == Arguments{"N", "1", "32", "32"});
  CHECK(model.metadata.at("macs") == text(inspected.at("macs").get<Index>()));
  CHECK(model.metadata.at("dataset") == "fashion-mnist");
  CHECK(model.metadata.at("mean") == "0.219");
  CHECK(model.metadata.at("std") == "0.3318");
  CHECK(model.metadata.at("input") == "(byte/255 - mean)/std");
  CHECK(model.metadata.at("seed") == "7");
  CHECK(model.metadata.at("round") == "1");
}

TEST_CASE(
    "export: the same checkpoint gives the same bytes, and a file that stood there is replaced") {
  Folder folder;
  require_done(launch("export", {trained(), "--out", folder / "a.onnx"}));
  std::filesystem::copy(folder / "a.onnx", folder / "b.onnx");
  std::filesystem::resize_file(folder / "b.onnx", 100);
  require_done(launch("export", {trained(), "--out", folder / "b.onnx"}));
  CHECK(read_file(folder / "a.onnx") == read_file(folder / "b.onnx"));
}

TEST_CASE("options: every option of export has its effect") {
  Exported base = exported(trained());
  CHECK(base.json.at("opset") == 13);
  CHECK(base.json.at("batch") == "dynamic");
  CHECK(base.json.at("input").at("shape") == Json({"N", 1, 32, 32}));
  CHECK(base.model.initialisers.count("mean") == 0);

  Exported five = exported(trained(), "--batch 5");
  CHECK(five.json.at("input").at("shape") == Json({"5", 1, 32, 32}));
  CHECK(five.model.inputs[0].dims[0] == "5");
  CHECK(five.model.outputs[0].dims[0] == "5");

  Exported raw = exported(trained(), {"--raw"});
  CHECK(raw.model.metadata.at("input") == "byte/255");
  CHECK(raw.model.initialisers.at("mean").values[0] == near(0.219).epsilon(1e-7));  // f32
  CHECK(raw.model.initialisers.at("std").values[0] == near(0.3318).epsilon(1e-7));
  OnnxTensor bytes{{1, 1, 32, 32}, std::vector<double>(1024)}, normalised = bytes;
  for (std::size_t i = 0; i < 1024; i++) {
    bytes.values[i] = double(i % 256) / 255;
    normalised.values[i] = (bytes.values[i] - double(0.219f)) / double(0.3318f);
  }
  CHECK(testing::relative(raw.model.run(bytes).values, base.model.run(normalised).values) <=
        1e-12);  // the same sums in the same order

  Exported other = exported(trained(), "--raw --dataset mnist");
  CHECK(other.json.at("dataset") == "mnist");
  CHECK(other.model.initialisers.at("mean").values[0] == near(0.1).epsilon(1e-7));
  check_all_covered("export", {"--out", "--batch", "--raw", "--dataset", "--json", "--model",
                               "--widths", "--activation", "--size"} /* in nonsense.cpp */);
  check_defaults_shown("export");
}

TEST_CASE("bad input: export refuses in one line and writes nothing") {
  for (const char* batch : {"0", "-1", "65537", "2x", "1.5"})
    check_export_refused(
        trained(), {"--batch", batch},
        {text("--batch '", batch, "': expected a number of images from 1 to 65536, or 'dynamic'")});
  check_export_refused(trained(), "--dataset cifar10",
                       {"round-1.safetensors: a network for images of 1 colour; cifar10 has 3"});
  check_export_refused(trained(), "--dataset imagenette",
                       {"no data set \"imagenette\"; expected one of "});
  check_export_refused(trained(), "--opset 9", {"--opset", "--help shows the options"});
  check_export_refused("/no/such.safetensors", {}, {"/no/such.safetensors: file: can't be opened"});
  Folder folder;
  check_export_refused(folder.write("text.safetensors", Bytes(200, 'x')), {},
                       {"text.safetensors", "expected"});
  TensorFile file = read_safetensors(trained());
  file.metadata.erase("dataset");
  write_safetensors(folder / "whose.safetensors", file);
  check_export_refused(folder / "whose.safetensors", {},
                       {"whose.safetensors", "dataset", "--dataset says it"});
  exported(folder / "whose.safetensors", "--dataset fashion-mnist");
}

TEST_CASE(
    "bad output: a folder that is not there, a full disk, or the checkpoint itself: one line, and "
    "what stood there stays") {
  check_refused(launch("export", {trained(), "--out", "/no/such/folder/x.onnx"}),
                {"/no/such/folder/x.onnx"});
  Folder folder;
  const std::string old =
      "\x08\x07\x12\x07"
      "fission, old";
  folder.write("x.onnx", Bytes(old.begin(), old.end()));
  Launch full{"export", {trained(), "--out", folder / "x.onnx"}};
  full.largest_file = 1000;
  check_refused(launch(full), {folder / "x.onnx"});
  CHECK(read_file(folder / "x.onnx") == old);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.str()), {}) == 1);

  std::filesystem::copy(trained(), folder / "c.safetensors");
  std::filesystem::create_symlink(folder / "c.safetensors", folder / "link");
  for (const char* name : {"c.safetensors", "link"})
    check_refused(launch("export", {folder / "c.safetensors", "--out", folder / name}),
                  {"another kind of file stands there, expected a new name"});
  CHECK(read_file(folder / "c.safetensors") == read_file(trained()));
}
