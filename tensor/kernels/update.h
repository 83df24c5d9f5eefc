// Optimisers' formulas over one parameter (backend.h: sgd, rmsprop; sections 5 and 8 of METHOD.md).
#pragma once
#include <cmath>

#include "tensor/kernels/portable.h"

namespace fission::kernels {

// g' = g + wd·p; b ← μ b + g'; p ← p − lr·b, with Nesterov p ← p − lr (g' + μ b). g stays as it is.
struct Sgd {
  float lr, momentum, decay;
  bool nesterov;
  FISSION_FORMULA void operator()(float& p, float g, float& b) const {
    g = g + decay * p;
    b = momentum * b + g;
    p = p - lr * (nesterov ? g + momentum * b : b);
  }
};

// s ← α s + (1−α) g²; b ← μ b + g/(√s + eps); p ← p − lr·b
struct RmsProp {
  float lr, alpha, momentum, eps;
  FISSION_FORMULA void operator()(float& p, float g, float& s, float& b) const {
    s = alpha * s + (1.0f - alpha) * (g * g);
    b = momentum * b + g / (sqrtf(s) + eps);
    p = p - lr * b;
  }
};

}  // namespace fission::kernels
