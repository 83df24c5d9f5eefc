// The probe: S·v of every neuron of every axis in one backward pass (E7–E9, and E6c for chains),
// sections 3 and 4 of METHOD.md. All weights and batch-norm statistics stay fixed
// (evaluation mode); no weight gradient is made.
// It refuses nothing: an axis whose producer has no activation has S = 0 unless Curvature::linear
// says otherwise.
#pragma once
#include "nn/network.h"
#include "split/matrix.h"
#include "tensor/batch.h"
#include "tensor/comm.h"

namespace fission {

struct ProbeSettings {
  Matrix matrix = Matrix::chain;
  Curvature curvature;   // φ'' of ReLU's surrogate and of linear layers
  double smoothing = 0;  // of the loss whose splitting matrix this is
};

// Multiply-accumulates of S·v, for one image: layers that split do four products (forward, u, both
// gradients), others two; the chain's matrix two more of each depthwise convolution. The image
// needs no gradient.
double splitting_macs(const Network& network, Matrix matrix);

// x (N,size,size,channels) normalised; labels (N); v (P): the directions, each in its neuron's row
// (network.neuron_rows()). Writes S·v into s_v (P), at the same places. Returns the batch's loss
// (1). Of several processes each takes its share of the images; S·v is then the mean over all, on
// all of them, and the loss that of the process's own (0 where it has none).
Tensor splitting_products(Network& network, const Tensor& x, const Tensor& labels, const Tensor& v,
                          const ProbeSettings& settings, Tensor& s_v, const BatchShare& share = {});

}  // namespace fission
