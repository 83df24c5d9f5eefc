// Facts of networks: counts that are known, how the buffers lie, which channels belong together,
// what is refused.
#include "nn/network.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "nn/mobilenet_v1.h"
#include "tensor/random.h"
#include "tests/near.h"
#include "tests/reference_file.h"

using namespace fission;
using namespace fission::testing;

namespace {
std::unique_ptr<Network> v1(const std::string& widths, Index classes = 100, bool imagenet = false,
                            std::uint64_t seed = 1) {
  NetworkConfig c;
  c.widths = parse_widths("mobilenet_v1", widths);
  c.classes = classes, c.size = imagenet ? 224 : 32, c.stem_stride = imagenet ? 2 : 1;
  return make_network(c, open_backend("reference"), DType::f32, seed);
}
std::vector<double> values(const Network& n, int stored) {
  return n.stored()[std::size_t(stored)].value.to_host();
}
}  // namespace

TEST_CASE("network: MobileNetV1's CIFAR-100 seed has 552672 MACs and 12332 parameters") {
  auto n = v1("seed");
  CHECK(n->macs() == 552672);
  CHECK(n->parameter_count() == 12332);
}
TEST_CASE(
    "network: MobileNetV1 at full width on ImageNet has 568740352 MACs and 4231976 parameters") {
  auto n = v1("seed", 1000, true);
  CHECK(n->macs(MobileNetV1::full_widths()) == 568740352);
  CHECK(v1("1.0", 1000, true)->parameter_count() == 4231976);
}
TEST_CASE("network: the ImageNet seed of this project has the published 0.059e9 MACs") {
  double macs = v1("imagenet-seed", 1000, true)->macs();
  CHECK(macs == near(0.0592e9).epsilon(1e-3));
}
TEST_CASE(
    "network: MACs of every width listed in macs.json, and what one more channel costs, are the "
    "reference's") {
  std::ifstream in("tests/reference/macs.json");
  const nlohmann::json all = nlohmann::json::parse(in);
  int lists = 0, marginals = 0;
  for (const char* family : {"mbv1_cifar100", "mbv1_imagenet", "mbv2_imagenet"})
    for (const auto& [name, entry] : all.at(family).items()) {
      const bool v2 = !entry.contains("sp_mbnet");
      if (v2 && !entry.contains("sp_mobilenetv2")) continue;
      INFO(family, " ", name);
      const auto& net = entry.at(v2 ? "sp_mobilenetv2" : "sp_mbnet");
      std::vector<Index> widths = net.at("cfg").get<std::vector<Index>>();
      const bool imagenet = net.at("input") == 224;
      NetworkConfig c;
      if (v2) c.model = "mobilenet_v2";
      c.widths.assign(widths.size(), 8), c.size = net.at("input");
      c.classes = imagenet ? 1000 : 100, c.stem_stride = imagenet ? 2 : 1;
      auto n = make_network(c, open_backend("reference"), DType::f32, 0);
      const double now = n->macs(widths);
      CHECK(now == net.at("pure_macs").at("total").get<double>());
      lists++;
      if (!entry.contains("true_marginal_macs_per_layer")) continue;
      std::vector<double> more;
      for (Index& width : widths) width++, more.push_back(n->macs(widths) - now), width--;
      CHECK(more == entry.at("true_marginal_macs_per_layer").get<std::vector<double>>());
      marginals++;
    }
  CHECK(lists == 17);
  CHECK(marginals == 16);
}
TEST_CASE(
    "network: parameters lie without a gap: weights, depthwise convolutions' scales, all other "
    "vectors") {
  auto n = v1("seed");
  auto turn_of = [&](const Stored& s) {  // by the authors' names: MobileNetV1's depthwise
                                         // convolutions are conv1, normed by bn1
    return s.kind != Stored::vector ? 0 : s.name.find(".bn1.weight") != std::string::npos ? 1 : 2;
  };
  Index next = 0;
  for (int turn : {0, 1, 2}) {
    for (const Stored& s : n->stored()) {
      if (!s.parameter || turn_of(s) != turn) continue;
      CHECK(s.offset == next);
      CHECK(s.value.shares_storage(n->parameters()));
      next += s.shape.numel();
    }
    if (turn == 0) CHECK(next == n->weight_count());
    if (turn == 1) CHECK(next == n->weight_count() + n->depthwise_gamma_count());
  }
  CHECK(n->depthwise_gamma_count() > 0);
  CHECK(next == n->parameter_count());
}
TEST_CASE(
    "network: neuron rows are the rows of the dense convolutions, each once, in the order of "
    "axes") {
  auto n = v1("seed");
  std::vector<double> rows = n->neuron_rows().to_host();
  std::size_t r = 0;
  for (std::size_t l = 0; l < n->axes().size(); l++) {
    const Stored& w = neurons(*n, l);
    Index length = w.shape[1] * w.shape[2] * w.shape[3];
    for (Index o = 0; o < n->axes()[l].width; o++, r += 2) {
      CHECK(rows[r] == double(w.offset + o * length));
      CHECK(rows[r + 1] == double(length));
    }
  }
  CHECK(r == rows.size());
}
TEST_CASE(
    "network: every axis is made by one dense convolution and chained through the next depthwise "
    "one, the last by none") {
  auto n = v1("seed");
  REQUIRE(n->axes().size() == 14);
  for (std::size_t l = 0; l < 14; l++) {
    const Axis& axis = n->axes()[l];
    CHECK(!n->producer(axis).depthwise);
    CHECK(n->producer(axis).out_axis == int(l));
    CHECK(axis.chain.size() == (l < 13 ? 1u : 0u));
    for (int block : axis.chain) {
      CHECK(n->blocks()[block].depthwise);
      CHECK(block == axis.producer + 1);
    }
  }
}
TEST_CASE(
    "network: the first four axes are one budget group, the other ten another, and widths are "
    "capped as published") {
  auto n = v1("seed");
  for (std::size_t l = 0; l < 14; l++) {
    CHECK(n->axes()[l].group == (l < 4 ? 0 : 1));
    CHECK(n->axes()[l].max_width == MobileNetV1::max_widths()[l]);
  }
}
TEST_CASE(
    "network: every channel of an axis is used by somebody: produced once, consumed at least "
    "once") {
  auto n = v1("seed");
  for (int a = 0; a < 14; a++) {
    int produced = 0, consumed = 0;
    for (const Stored& s : n->stored())
      for (const AxisUse& use : {s.first, s.last})
        if (use.axis == a)
          produced += use.use == Use::produced, consumed += use.use == Use::consumed;
    CHECK(produced == 1);
    CHECK(consumed == 1);
  }
}
TEST_CASE(
    "network: initialised as section 8 of METHOD.md says: dense normal, depthwise and classifier "
    "uniform, batch "
    "norm neutral") {
  auto n = v1("0.5", 100);
  for (const ConvBlock& b : n->blocks()) {
    const Stored& w = n->stored()[b.weight];
    std::vector<double> v = values(*n, b.weight);
    double squares = 0;
    for (double x : v) squares += x * x / double(v.size());
    double scale =
        b.depthwise ? 1.0 / 3 : std::sqrt(2.0 / double(w.shape[0] * w.shape[1] * w.shape[2]));
    INFO(w.name);
    if (b.depthwise) CHECK(largest(v) <= scale);
    // a mean square of n numbers is off by about √(2/n) of itself, of uniform ones by less: allow 5
    // times that
    CHECK(squares / (b.depthwise ? scale * scale / 3 : scale * scale) ==
          near(1).epsilon(5 * std::sqrt(2 / double(v.size()))));
    CHECK(values(*n, b.gamma) == std::vector<double>(v1("0.5")->axes()[b.out_axis].width, 1));
    CHECK(largest(values(*n, b.beta)) == 0);
    CHECK(largest(values(*n, b.running_mean)) == 0);
    CHECK(values(*n, b.running_var) == values(*n, b.gamma));
  }
  for (const Stored& s : n->stored())
    if (s.name.rfind("linear", 0) == 0) {
      double bound = largest(s.value.to_host()) * std::sqrt(512.0);
      CHECK(bound <= 1);
      CHECK(bound > 0.9);  // of at least 100 numbers
    }
}
TEST_CASE("network: a seed's parameters are always the same, another seed's are others") {
  std::vector<double> p = v1("seed")->parameters().to_host();
  CHECK(v1("seed")->parameters().to_host() == p);
  CHECK(v1("seed", 100, false, 2)->parameters().to_host() != p);
}
TEST_CASE("network: a batch in two groups is normalised as two batches") {
  NetworkConfig c;
  c.widths.assign(14, 3), c.size = 16, c.classes = 4;
  auto n = make_network(c, open_backend("reference"), DType::f64, 1);
  GradientMode none(Gradients::none);
  std::vector<double> pixels(4 * 16 * 16 * 3);
  Random random(29, random_purpose::test);
  for (std::size_t i = 0; i < pixels.size(); i++) pixels[i] = random.normal(i);
  Tensor all = make_real(n->backend(), {4, 16, 16, 3}, pixels, DType::f64);
  n->set_training(true, 2);
  std::vector<double> together = n->forward(Variable(all)).value().to_host();
  n->set_training(true);
  for (Index half : {0, 1}) {
    Tensor part = all.slice(half * 2 * 16 * 16 * 3, {2, 16, 16, 3});
    std::vector<double> expected(together.begin() + half * 8, together.begin() + (half + 1) * 8);
    CHECK(n->forward(Variable(part)).value().to_host() ==
          expected);  // the same sums in the same order
  }
}

TEST_CASE("network: widths are read as 'seed', as a factor or as a list") {
  CHECK(parse_widths("mobilenet_v1", "seed") == MobileNetV1::cifar_seed_widths());
  CHECK(parse_widths("mobilenet_v1", "imagenet-seed") == MobileNetV1::imagenet_seed_widths());
  CHECK(parse_widths("mobilenet_v1", "0.25") ==
        std::vector<Index>{8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256});
  CHECK(parse_widths("mobilenet_v1", "1,2,3,4,5,6,7,8,9,10,11,12,13,14") ==
        std::vector<Index>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
}
TEST_CASE("network: widths that make no network are refused with what was expected") {
  for (const char* text :
       {"", "0", "-1", "nan", "inf", "1e400", "65", "0.5x", "small", "8,8",
        "8,8,8,8,16,16,24,24,24,24,24,24,32,0", "8,8,8,8,16,16,24,24,24,24,24,24,32,32,",
        "8,8,8,8,16,16,24,24,24,24,24,24,32,32,32", "8,8,8,8,16,16,24,,24,24,24,24,32,32",
        "8,8,8,8,16,16,24,24,24,24,24,24,32,3.5", "8,8,8,8,16,16,24,24,24,24,24,24,32,-3",
        "8,8,8,8,16,16,24,24,24,24,24,24,32,65537"}) {
    INFO(text);
    CHECK_THROWS_WITH_AS(parse_widths("mobilenet_v1", text), doctest::Contains("14 widths such as"),
                         UserError);
  }
}
TEST_CASE("network: unknown models and activations are refused with the known") {
  CHECK_THROWS_WITH_AS(parse_widths("resnet", "seed"),
                       doctest::Contains("mobilenet_v1, mobilenet_v2"), UserError);
  NetworkConfig c;
  c.model = "resnet";
  CHECK_THROWS_WITH_AS(make_network(c, open_backend("reference"), DType::f32, 0),
                       doctest::Contains("'resnet'"), UserError);
  CHECK_THROWS_WITH_AS(parse_activation("gelu"), doctest::Contains("swish, relu, none"), UserError);
  for (Activation a : {Activation::none, Activation::swish, Activation::relu})
    CHECK(parse_activation(name_of(a)) == a);
}
TEST_CASE("network: MACs of a list of another length are refused") {
  CHECK_THROWS_WITH_AS(v1("seed")->macs({1, 2}), doctest::Contains("2 widths, 14 axes"),
                       InvariantError);
}
