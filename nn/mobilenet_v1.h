// MobileNetV1 (arXiv 1704.04861) with any list of 14 widths, swish by default, as the method uses
// it: 3×3 convolution; 13 × [depthwise 3×3 + batch norm + swish, pointwise 1×1 + batch norm +
// swish]; global average pool; linear. 14 axes; the axis of layer i is made by its dense
// convolution and chained through the next depthwise one.
#pragma once
#include "nn/network.h"

namespace fission {

class MobileNetV1 : public Network {
 public:
  MobileNetV1(const NetworkConfig& config, Backend& backend, DType dtype, std::uint64_t seed);
  Variable forward(const Variable& x, Trace* trace = nullptr) override;

  static const std::vector<Index>& full_widths();
  static const std::vector<Index>& cifar_seed_widths();
  static const std::vector<Index>&
  imagenet_seed_widths();  // this project's choice: the paper's is not published
  static const std::vector<Index>& max_widths();

 private:
  LinearLayer classifier_;
};

}  // namespace fission
