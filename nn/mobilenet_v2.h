// MobileNetV2 (arXiv 1801.04381) with any list of 35 widths, as the method uses it: swish for
// ReLU6, and a trainable 1×1 convolution on each skip path, so that its two ends may have different
// widths.
// 35 axes: stem; output of the first block; (expansion, output) of 16 inverted-residual blocks;
// head. An output's axis is made by a linear projection and has no chain: its true S is 0, and what
// grows it is a heuristic (Curvature::linear).
#pragma once
#include "nn/network.h"

namespace fission {

class MobileNetV2 : public Network {
 public:
  MobileNetV2(const NetworkConfig& config, Backend& backend, DType dtype, std::uint64_t seed);
  Variable forward(const Variable& x, Trace* trace = nullptr) override;

  static const std::vector<Index>& full_widths();
  static const std::vector<Index>& seed_widths();  // the authors', for ImageNet
  static const std::vector<Index>& max_widths();   // 1.25 × full, stem 32

 private:
  Init init_of(const Stored& s) const override;
  LinearLayer classifier_;
};

}  // namespace fission
