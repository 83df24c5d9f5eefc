#include "nn/mobilenet_v1.h"

namespace fission {
namespace {
constexpr int layers = 14;
bool halves_resolution(int layer) { return layer == 2 || layer == 4 || layer == 6 || layer == 12; }
}  // namespace

const std::vector<Index>& MobileNetV1::full_widths() {
  static const std::vector<Index> w{32,  64,  128, 128, 256, 256,  512,
                                    512, 512, 512, 512, 512, 1024, 1024};
  return w;
}
const std::vector<Index>& MobileNetV1::cifar_seed_widths() {
  static const std::vector<Index> w{8, 8, 8, 8, 16, 16, 24, 24, 24, 24, 24, 24, 32, 32};
  return w;
}
const std::vector<Index>& MobileNetV1::imagenet_seed_widths() {
  static const std::vector<Index> w{12, 20, 40, 40, 76, 76, 152, 152, 152, 152, 152, 152, 308, 308};
  return w;
}
const std::vector<Index>& MobileNetV1::max_widths() {
  static const std::vector<Index> w{32,  64,  128, 128, 320, 320,  640,
                                    640, 640, 640, 640, 640, 1280, 1280};
  return w;
}

MobileNetV1::MobileNetV1(const NetworkConfig& config, Backend& backend, DType dtype,
                         std::uint64_t seed)
    : Network(config, backend, dtype) {
  FISSION_CHECK(config.widths.size() == layers, "[mobilenet_v1] ", config.widths.size(),
                " widths, not ", layers);
  Index side = config.size;
  Activation act = config.activation;
  for (int i = 0; i < layers; i++) {
    std::string name = "layers." + std::to_string(i);
    int axis = add_axis("L" + std::string(i < 10 ? "0" : "") + std::to_string(i), max_widths()[i],
                        i < 4 ? 0 : 1);
    if (i == 0) {
      add_block(name + ".conv2d", name + ".bn", -1, axis, false, {3, config.stem_stride, 1}, act,
                side);
    } else {
      add_block(name + ".conv1", name + ".bn1", axis - 1, axis - 1, true,
                {3, halves_resolution(i) ? 2 : 1, 1}, act, side);
      add_block(name + ".sp_conv.conv2d", name + ".sp_conv.bn", axis - 1, axis, false, {1, 1, 0},
                act, side);
    }
  }
  classifier_ = add_linear("linear", layers - 1, config.classes);
  allocate();
  bind(classifier_);
  initialise(seed);
}

Variable MobileNetV1::forward(const Variable& x, Trace* trace) {
  NormAct a(x);
  for (ConvBlock& block : blocks_) a = block(a, trace);
  Variable mean = average_pool(a, {a.shape()[1], 1});  // global
  return classifier_(reshape(mean, {mean.shape()[0], mean.shape()[3]}));
}

}  // namespace fission
