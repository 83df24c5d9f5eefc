// Facts of MobileNetV2: known counts, the authors' names, which channels belong together across
// skip paths, its gradients.
#include "nn/mobilenet_v2.h"

#include <set>

#include "tests/near.h"
#include "tests/small_network.h"

using namespace fission;
using namespace fission::testing;

namespace {
std::unique_ptr<Network> v2(const std::string& widths, bool imagenet = false) {
  NetworkConfig c;
  c.model = "mobilenet_v2", c.widths = parse_widths(c.model, widths);
  c.classes = imagenet ? 1000 : 100, c.size = imagenet ? 224 : 32, c.stem_stride = imagenet ? 2 : 1;
  return make_network(c, open_backend("reference"), DType::f32, 1);
}
bool linear(const Network& n, std::size_t axis) {
  return n.producer(n.axes()[axis]).activation == Activation::none;
}
}  // namespace

TEST_CASE(
    "mobilenet_v2: the ImageNet seed has 39113557 MACs and 710760 parameters, full width 312716160 "
    "and 3589416") {
  auto seed = v2("seed", true);
  CHECK(seed->macs() == 39113557);
  CHECK(seed->parameter_count() == 710760);
  CHECK(seed->macs(MobileNetV2::full_widths()) == 312716160);
  CHECK(v2("1.0", true)->parameter_count() == 3589416);
}
TEST_CASE("mobilenet_v2: its tensors have the authors' names, all of them and no others") {
  TensorFile file = reference_file("mbv2_small");
  auto n = make_network(ReferenceFile(file).config(), open_backend("reference"), DType::f32, 0);
  std::set<std::string> ours, theirs;
  for (const Stored& s : n->stored()) ours.insert("param/" + s.name);
  for (const auto& t : file.tensors)
    if (t.first.rfind("param/", 0) == 0) theirs.insert(t.first);
  CHECK(ours == theirs);
  for (std::size_t l = 0; l < n->axes().size(); l++)
    CHECK(n->producer(n->axes()[l]).name == layer_module("mobilenet_v2", l) + ".conv2d");
}
TEST_CASE(
    "mobilenet_v2: with stride 1 in the stem 32×32 images end as 2×2, with stride 2 224×224 ones "
    "as 7×7") {
  CHECK(v2("0.1")->blocks().back().positions == 2 * 2);
  CHECK(v2("0.1", true)->blocks().back().positions == 7 * 7);
}
TEST_CASE(
    "mobilenet_v2: the axes that linear projections make have no chain, the others the next "
    "depthwise convolution, the head none") {
  auto n = v2("seed");
  REQUIRE(n->axes().size() == 35);
  for (std::size_t l = 0; l < 35; l++) {
    const Axis& axis = n->axes()[l];
    INFO(axis.name);
    CHECK(linear(*n, l) == (l % 2 == 1));
    CHECK(axis.chain.size() == (l % 2 == 1 || l == 34 ? 0u : 1u));
    for (int block : axis.chain)
      CHECK((n->blocks()[block].depthwise && block == axis.producer + 1));
  }
}
TEST_CASE(
    "mobilenet_v2: every axis is produced once; outputs are consumed by the next block, and by its "
    "skip path where it has one") {
  auto n = v2("seed");
  const std::set<int> begins{3, 7, 9, 13, 15, 17, 21, 23, 27, 29},
      ends{5, 9, 11, 15, 17, 19, 23, 25, 29, 31};  // of skip paths
  for (int a = 0; a < 35; a++) {
    INFO(n->axes()[a].name);
    int produced = 0, consumed = 0, copied_rows = 0;
    for (const Stored& s : n->stored()) {
      for (const AxisUse& use : {s.first, s.last})
        if (use.axis == a)
          produced += use.use == Use::produced, consumed += use.use == Use::consumed;
      copied_rows += s.kind == Stored::dense && s.first.axis == a && s.first.use == Use::copied;
    }
    CHECK(produced == 1);
    CHECK(consumed == 1 + int(begins.count(a)));
    CHECK(copied_rows == int(ends.count(a)));
  }
  CHECK(n->skips().size() == 10);
}
TEST_CASE("mobilenet_v2: budget groups and caps are the authors'") {
  TensorFile file = reference_file("select_mbv2");
  auto n = v2("seed");
  for (std::size_t l = 0; l < 35; l++) {
    CHECK(n->axes()[l].group == numbers(file, "seed_g0.25/split_groups")[l]);
    CHECK(double(n->axes()[l].max_width) == numbers(file, "seed_g0.25/max_cfg")[l]);
    CHECK(double(n->axes()[l].width) == numbers(file, "seed_g0.25/cfg")[l]);
  }
}
TEST_CASE(
    "mobilenet_v2: initialised as section 8 of METHOD.md says: all convolutions normal, the "
    "classifier normal "
    "0.01, its bias 0") {
  auto n = v2("1.0");
  for (const Stored& s : n->stored()) {
    if (s.kind == Stored::vector && s.first.use != Use::none)
      continue;  // batch norm: a fact of networks
    INFO(s.name);
    double squares = 0;
    std::vector<double> v = s.value.to_host();
    for (double x : v) squares += x * x / double(v.size());
    Index outputs = s.kind == Stored::depthwise ? s.shape[2] : s.shape[0],
          k2 = s.kind == Stored::dense ? s.shape[1] * s.shape[2] : 9;
    double variance = s.kind == Stored::vector   ? 0
                      : s.kind == Stored::matrix ? 1e-4
                                                 : 2.0 / double(k2 * outputs);
    // a mean square of n numbers is off by about √(2/n) of itself: allow 5 times that
    CHECK(std::abs(squares - variance) <= variance * 5 * std::sqrt(2 / double(v.size())));
  }
}
TEST_CASE(
    "mobilenet_v2: the gradient of a training step's loss, skip paths and all, is the difference "
    "quotient") {
  Small s(machines()[0], Activation::swish, small_v2);
  Network& n = *s.network;
  auto loss = [&] {
    n.set_training(true);
    return cross_entropy(n.forward(Variable(s.x)), s.y, 0);
  };
  n.begin_step();
  backward(loss());
  n.finish_step();
  std::vector<double> g = n.gradients().to_host();
  for (std::uint64_t item : {1, 2, 3}) {
    Tensor direction = random_flat(n, item);
    std::vector<double> d = direction.to_host();
    double slope = 0, h = 1e-7;
    for (std::size_t i = 0; i < g.size(); i++) slope += g[i] * d[i];
    auto at = [&](double step) {
      Tensor p = n.parameters(), before = p.clone();
      ops::add_scaled(p, direction, step);
      double l = loss().value().item();
      p.copy_from(before);
      return l;
    };
    // central: 1e-14 of the third derivative, which batch statistics of three numbers make large;
    // 1e-9 of rounding
    CHECK((at(h) - at(-h)) / (2 * h) == near(slope).epsilon(1e-6));
  }
}
TEST_CASE(
    "mobilenet_v2: widths are read as 'seed', as a factor or as a list of 35; other lists are "
    "refused") {
  CHECK(parse_widths("mobilenet_v2", "seed") == MobileNetV2::seed_widths());
  CHECK(parse_widths("mobilenet_v2", "imagenet-seed") == MobileNetV2::seed_widths());
  CHECK(parse_widths("mobilenet_v2", "1") == MobileNetV2::full_widths());
  std::string ones = "1";
  for (int i = 1; i < 35; i++) ones += ",1";
  CHECK(parse_widths("mobilenet_v2", ones) == std::vector<Index>(35, 1));
  for (const std::string& text :
       {ones + ",1", std::string("8,8,8,8,16,16,24,24,24,24,24,24,32,32"), std::string("small")})
    CHECK_THROWS_WITH_AS(parse_widths("mobilenet_v2", text), doctest::Contains("35 widths such as"),
                         UserError);
}
