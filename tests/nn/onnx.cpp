// Facts of networks as ONNX files. The numbers are those of an interpreter of the tests' own, in
// double, against the engine in f64: all that may differ is the order of sums, and ε of the batch
// norms, which a file has in f32 (a relative 1e-5 · 3e-8 of a variance of 1): 1e-9.
#include "nn/io/onnx.h"

#include "tests/nn/scratch.h"
#include "tests/onnx_model.h"
#include "tests/small_network.h"

using namespace fission;
using namespace fission::testing;

namespace {
constexpr double tolerance = 1e-9;

Machine f64() { return machines()[0]; }

// (N,H,W,C) as (N,C,H,W)
OnnxTensor planes(const Tensor& x) {
  const std::int64_t n = x.dim(0), side = x.dim(1), c = x.dim(3), plane = side * side;
  OnnxTensor t{{n, c, side, side}, std::vector<double>(std::size_t(x.numel()))};
  const std::vector<double> from = x.to_host();
  for (std::int64_t b = 0; b < n; b++)
    for (std::int64_t p = 0; p < plane; p++)
      for (std::int64_t l = 0; l < c; l++)
        t.values[std::size_t((b * c + l) * plane + p)] = from[std::size_t((b * plane + p) * c + l)];
  return t;
}
std::map<std::string, int> operations(const OnnxModel& model) {
  std::map<std::string, int> count;
  for (const OnnxNode& n : model.nodes) count[n.operation]++;
  return count;
}
}  // namespace

TEST_CASE(
    "onnx: the file's graph, run in plain loops, gives the network's logits: either network, "
    "grown, every activation") {
  for (const auto& widths : small_models)
    for (Activation activation : {Activation::swish, Activation::relu, Activation::none}) {
      Small s(f64(), activation, widths);
      auto grown =
          split_network(*s.network, s.some(3), random_flat(*s.network, 5), {0.1, SplitStep::exact});
      CAPTURE(grown->config().model);
      CAPTURE(name_of(activation));
      REQUIRE(grown->widths() != widths);
      CHECK(relative(s.logits(*grown), OnnxModel(onnx_of(*grown, {})).run(planes(s.x)).values) <=
            tolerance);
    }
}

TEST_CASE("onnx: mean and std put the normalisation into the graph: the input is byte/255") {
  Small s(f64());
  OnnxSettings settings;
  settings.mean = {0.5, 0.4, 0.3}, settings.std = {0.2, 0.25, 0.3};
  OnnxTensor raw = each(planes(s.x), [&](double v, std::size_t c, std::size_t) {
    return v * settings.std[c] + settings.mean[c];
  });
  CHECK(relative(s.logits(*s.network), OnnxModel(onnx_of(*s.network, settings)).run(raw).values) <=
        tolerance);
}

TEST_CASE(
    "onnx: the export of a network in the midst of training leaves its statistics as they are") {
  Small s(f64());
  const std::string bytes = onnx_of(*s.network, {});
  const std::vector<double> before = s.network->statistics().to_host();
  s.network->set_training(true);
  CHECK(onnx_of(*s.network, {}) == bytes);
  CHECK(s.network->statistics().to_host() == before);
}

TEST_CASE("onnx: the file says opset 13 of the default domain, IR version 7, and who wrote it") {
  Small s(f64());
  OnnxModel model(onnx_of(*s.network, {}));
  CHECK(model.opset == 13);
  CHECK(model.domain == "");
  CHECK(model.ir_version == 7);
  CHECK(model.producer == "fission");
  CHECK(model.name == "mobilenet_v1");
}

TEST_CASE(
    "onnx: input and output have names, types and shapes; the batch is N or the number asked for") {
  for (const Machine& m : machines()) {
    Small s(m);
    for (Index batch : {0, 3, 300}) {
      OnnxSettings settings;
      settings.batch = batch;
      OnnxModel model(onnx_of(*s.network, settings));
      const std::string n = batch ? std::to_string(batch) : "N";
      REQUIRE(model.inputs.size() == 1);
      REQUIRE(model.outputs.size() == 1);
      CHECK(model.inputs[0].name == "input");
      CHECK(model.inputs[0].dims == std::vector<std::string>{n, "3", "16", "16"});
      CHECK(model.outputs[0].name == "logits");
      CHECK(model.outputs[0].dims == std::vector<std::string>{n, "4"});
      for (std::uint64_t type : {model.inputs[0].type, model.outputs[0].type})
        CHECK(type == (m.exact() ? 11 : 1));  // DOUBLE, FLOAT
    }
  }
}

TEST_CASE(
    "onnx: the initialisers are the checkpoint's tensors: every one, with its name, PyTorch's "
    "shape, and its numbers to the bit") {
  for (const auto& widths : small_models) {
    Small s(machines()[1], Activation::swish, widths);
    OnnxModel model(onnx_of(*s.network, {}));
    CHECK(model.initialisers.size() == s.network->stored().size());
    for (const Stored& t : s.network->stored()) {
      CAPTURE(t.name);
      REQUIRE(model.initialisers.count(t.name) == 1);
      CHECK(model.initialisers.at(t.name).dims == pytorch_shape(t));
      CHECK(model.initialisers.at(t.name).values == to_pytorch(t, t.value.to_host()));
    }
  }
}

TEST_CASE(
    "onnx: each convolution, batch norm and activation is a node; swish is x · Sigmoid(x); a skip "
    "path ends in a sum") {
  using Count = std::map<std::string, int>;
  CHECK(operations(OnnxModel(onnx_of(*Small(f64()).network, {}))) ==
        Count{{"Conv", 27},
              {"BatchNormalization", 27},
              {"Sigmoid", 27},
              {"Mul", 27},
              {"GlobalAveragePool", 1},
              {"Flatten", 1},
              {"Gemm", 1}});
  // V2: 52 blocks, of them 17 linear projections, and 10 skip convolutions
  CHECK(operations(OnnxModel(onnx_of(*Small(f64(), Activation::relu, small_v2).network, {}))) ==
        Count{{"Conv", 62},
              {"BatchNormalization", 52},
              {"Relu", 35},
              {"Add", 10},
              {"GlobalAveragePool", 1},
              {"Flatten", 1},
              {"Gemm", 1}});
}

TEST_CASE("onnx: metadata_props have the network's own, and what is given besides") {
  Small s(f64());
  OnnxSettings settings;
  settings.metadata = {{"dataset", "cifar10"}};
  OnnxModel model(onnx_of(*s.network, settings));
  CHECK(model.metadata ==
        std::map<std::string, std::string>{{"activation", "swish"},
                                           {"channels", "3"},
                                           {"classes", "4"},
                                           {"dataset", "cifar10"},
                                           {"macs", text(Index(s.network->macs()))},
                                           {"model", "mobilenet_v1"},
                                           {"size", "16"},
                                           {"stem_stride", "1"},
                                           {"widths", "3,4,3,5,4,3,4,3,3,4,3,3,4,5"}});
}

TEST_CASE("onnx: a network beyond protobuf's limit is refused, in one line") {
  Small s(f64());
  OnnxSettings settings;
  settings.largest = 1 << 20;
  std::string message;
  try {
    onnx_of(*s.network, settings);
  } catch (const UserError& e) {
    message = e.what();
  }
  CHECK(has(message, "protobuf's limit of 1048576: export narrower widths"));
}
