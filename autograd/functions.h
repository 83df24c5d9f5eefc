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

// A batch norm's activation and what it is made of, for the functions that compute it on their way
// and never write it to memory. Any other variable stands alone: norm is null.
struct NormAct : Variable {
  explicit NormAct(Variable a) : Variable(std::move(a)) {}
  Variable y, gamma, beta;
  std::shared_ptr<const NormTensors> norm;
};

Variable conv2d(const Variable& x, const Variable& w,
                const Conv2dGeometry& g);  // (N,H,W,I), (O,K,K,I) → (N,H',W',O)
NormAct batch_norm_act(const Variable& y, const Variable& gamma, const Variable& beta,
                       BatchNormState& state, Activation activation);
//   (N,H,W,C), (C), (C) → (N,H,W,C): φ(γ (y − mean)/√(var + eps) + β)
Variable depthwise_conv2d(const NormAct& x, const Variable& w,
                          const Conv2dGeometry& g);  // (N,H,W,C), (K,K,C) → (N,H',W',C)
// The same numbers. Its backward rule is the batch norm's too, in one pass: x has no gradient of
// its own, so a rule in the place of x's would not be called.
Variable norm_act_depthwise(const NormAct& x, const Variable& w, const Conv2dGeometry& g);
Variable linear(const Variable& x, const Variable& w,
                const Variable& b);                               // (N,I), (O,I), (O) → (N,O)
Variable average_pool(const Variable& x, const PoolGeometry& g);  // (N,H,W,C) → (N,H',W',C)
Variable reshape(const Variable& x, const Shape& shape);
Variable add(const Variable& a, const Variable& b);  // a + b, same shapes
Loss cross_entropy(const Variable& logits, const Tensor& labels,
                   double smoothing);  // (N,C), (N) i32 → (1), mean over N

}  // namespace fission
