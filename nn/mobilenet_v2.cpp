#include "nn/mobilenet_v2.h"

#include <cmath>

namespace fission {
namespace {
constexpr int layers = 35;
// The 16 inverted-residual blocks: the depthwise convolution's stride, and whether a skip path runs
// beside.
constexpr struct Residual {
  int stride;
  bool skip;
} residuals[] = {{2, false}, {1, true}, {2, false}, {1, true},  {1, true}, {2, false},
                 {1, true},  {1, true}, {1, true},  {1, false}, {1, true}, {1, true},
                 {2, false}, {1, true}, {1, true},  {1, false}};
}  // namespace

const std::vector<Index>& MobileNetV2::full_widths() {
  static const std::vector<Index> w{32,  16, 96,  24,  144, 24,  144, 32,  192, 32,  192, 32,
                                    192, 64, 384, 64,  384, 64,  384, 64,  384, 96,  576, 96,
                                    576, 96, 576, 160, 960, 160, 960, 160, 960, 320, 1280};
  return w;
}
const std::vector<Index>& MobileNetV2::seed_widths() {
  static const std::vector<Index> w{11,  6,  30,  8,  40,  8,  40,  11, 55,  11,  55,  11,
                                    55,  22, 110, 22, 110, 22, 100, 22, 110, 33,  165, 33,
                                    165, 33, 165, 56, 280, 56, 280, 56, 280, 112, 448};
  return w;
}
const std::vector<Index>& MobileNetV2::max_widths() {
  static const std::vector<Index> w = [] {
    std::vector<Index> most = full_widths();
    for (std::size_t i = 1; i < most.size(); i++) most[i] += most[i] / 4;
    return most;
  }();
  return w;
}

MobileNetV2::MobileNetV2(const NetworkConfig& config, Backend& backend, DType dtype,
                         std::uint64_t seed)
    : Network(config, backend, dtype) {
  FISSION_CHECK(config.widths.size() == layers, "[mobilenet_v2] ", config.widths.size(),
                " widths, not ", layers);
  Index side = config.size;
  Activation act = config.activation;
  std::string name;            // of the block at hand
  int features = 0, axis = 0;  // blocks so far; the axis at hand
  auto block = [&] { name = "features." + std::to_string(features++); };
  enum Group {
    outputs,
    expansions
  };  // of the budget: the stem is with the expansions, the head with the outputs
  auto next_axis = [&](Group group) {
    std::size_t i = axes().size();
    axis =
        add_axis("L" + std::string(i < 10 ? "0" : "") + std::to_string(i), max_widths()[i], group);
  };
  auto depthwise = [&](int stride) {
    add_block(name + ".dw_conv", name + ".dw_bn", axis, axis, true, {3, stride, 1}, act, side);
  };
  auto pointwise = [&](const char* layer, Group group, Activation activation) {
    next_axis(group);
    add_block(name + layer + ".conv2d", name + layer + ".bn", axis - 1, axis, false, {1, 1, 0},
              activation, side);
  };

  block();
  next_axis(expansions);
  add_block(name + ".sp_conv.conv2d", name + ".sp_conv.bn", -1, axis, false,
            {3, config.stem_stride, 1}, act, side);
  block();  // no expansion
  depthwise(1);
  pointwise(".b_pw_conv", outputs, Activation::none);
  for (const Residual& r : residuals) {
    block();
    int in = axis;
    pointwise(".t_pw_conv", expansions, act);
    depthwise(r.stride);
    pointwise(".b_pw_conv", outputs, Activation::none);
    if (r.skip) add_skip(name + ".residual", in, axis, side);
  }
  block();
  pointwise(".sp_conv", outputs, act);
  classifier_ = add_linear("classifier", axis, config.classes);
  allocate();
  bind(classifier_);
  initialise(seed);
}

Variable MobileNetV2::forward(const Variable& x, Trace* trace) {
  auto block = blocks_.begin();
  auto skip = skips_.begin();
  auto next = [&](const NormAct& in) { return (*block++)(in, trace); };
  NormAct a = next(NormAct(x));  // stem
  a = next(next(a));             // depthwise, project
  for (const Residual& r : residuals) {
    NormAct out = next(next(next(a)));                   // expand, depthwise, project
    a = r.skip ? NormAct(add(out, (*skip++)(a))) : out;  // no activation after the sum
  }
  a = next(a);                                         // head
  Variable mean = average_pool(a, {a.shape()[1], 1});  // global
  return classifier_(reshape(mean, {mean.shape()[0], mean.shape()[3]}));
}

// Section 8 of METHOD.md, MobileNetV2: every convolution normal, std √(2 / (k·k·C_out));
// classifier normal 0.01, its bias 0
Network::Init MobileNetV2::init_of(const Stored& s) const {
  switch (s.kind) {
    case Stored::dense:
      return {true, std::sqrt(2.0 / double(s.shape[1] * s.shape[2] * s.shape[0]))};
    case Stored::depthwise:
      return {true, std::sqrt(2.0 / double(s.shape.numel()))};  // (K,K,C): C is its C_out
    case Stored::matrix: return {true, 0.01};
    case Stored::vector: return {true, 0};
  }
  return {true, 0};
}

}  // namespace fission
