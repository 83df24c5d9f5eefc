// The differentiable functions: each with its formula, its forward line and its backward rule
// (functions.cpp).
// Shapes: legend in tensor/tensor.h. Wrong shapes end in the text of tensor/ops.h.
#pragma once
#include "autograd/variable.h"

namespace fission {

// Running statistics of one batch norm, and how it is to normalise now.
struct BatchNormState {
  Tensor running_mean, running_var;  // (C)
  double eps = 1e-5, momentum = 0.1;
  Index groups = 1;  // training: the batch falls into this many groups with statistics of their own
  bool training = false;  // batch statistics, and the running ones follow; else the running ones
};

Variable conv2d(const Variable& x, const Variable& w,
                const Conv2dGeometry& g);  // (N,H,W,I), (O,K,K,I) → (N,H',W',O)
Variable depthwise_conv2d(const Variable& x, const Variable& w,
                          const Conv2dGeometry& g);  // (N,H,W,C), (K,K,C) → (N,H',W',C)
Variable batch_norm_act(const Variable& y, const Variable& gamma, const Variable& beta,
                        BatchNormState& state, Activation activation);
//   (N,H,W,C), (C), (C) → (N,H,W,C): φ(γ (y − mean)/√(var + eps) + β)
Variable linear(const Variable& x, const Variable& w,
                const Variable& b);                               // (N,I), (O,I), (O) → (N,O)
Variable average_pool(const Variable& x, const PoolGeometry& g);  // (N,H,W,C) → (N,H',W',C)
Variable reshape(const Variable& x, const Shape& shape);
Variable add(const Variable& a, const Variable& b);  // a + b, same shapes
Variable cross_entropy(const Variable& logits, const Tensor& labels,
                       double smoothing);  // (N,C), (N) i32 → (1), mean over N

}  // namespace fission
