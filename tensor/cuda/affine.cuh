// What kernels over pixels × channels share: batch norm's coefficients of a channel, the sum over a
// block's rows, the choice of an activation, and the second half of every sum over pixels: partial
// sums, added in a fixed order. A block is (channels or vectors of them) × (places in the image),
// at most 256 threads.
#pragma once
#include <algorithm>

#include "tensor/cuda/launch.h"
#include "tensor/cuda/runtime.h"
#include "tensor/kernels/activation.h"

#if defined(__CUDACC__)
#define FISSION_UNROLL _Pragma("unroll")  // what is indexed lies in registers
#else
#define FISSION_UNROLL
#endif

namespace fission::cuda {

constexpr int block_threads = 256;
constexpr Index most_blocks = 65535;  // along y and z of a grid

// Norm as a kernel sees it; all null: y itself
struct Affine {
  const float *mean = nullptr, *var = nullptr, *gamma = nullptr, *beta = nullptr;
  double eps = 0;
};
inline Affine affine_of(const Norm* n) {
  if (!n) return {};
  return {n->mean.as<float>(), n->var.as<float>(), n->gamma.as<float>(), n->beta.as<float>(),
          n->eps};
}
inline Index groups_of(const Norm* n) { return n ? n->mean.shape[0] : 1; }

// E5 of one channel, centred: z = c (y − mean) + β loses no digits where the mean is large
struct Channel {
  float mean = 0, scale = 1, beta = 0;
  __device__ float z(float y) const { return scale * (y - mean) + beta; }
};
__device__ inline Channel channel_of(const Affine& n, int group, int channels, int c) {
  Channel out;
  if (!n.mean) return out;
  const Index at = Index(group) * channels + c;
  out.mean = n.mean[at], out.beta = n.beta[c],
  out.scale = n.gamma[c] / sqrtf(n.var[at] + float(n.eps));
  return out;
}

// Σ over a block's threads of one threadIdx.x, always in the same order; to be used where
// threadIdx.y is 0. All threads call it.
template <class T>
__device__ inline T column_sum(T value) {
  __shared__ T tile[block_threads];
  const int at = threadIdx.y * blockDim.x + threadIdx.x;
  __syncthreads();  // some may still read what the call before left
  tile[at] = value;
  for (int rows = blockDim.y; rows > 1;) {
    const int half = (rows + 1) / 2;
    __syncthreads();
    if (int(threadIdx.y) + half < rows) tile[at] += tile[at + half * blockDim.x];
    rows = half;
  }
  return tile[at];
}

// (x, y) threads for `columns` side by side: few idle, and at most `most` of them in x. chunks: how
// many blocks cover the columns.
struct BlockShape {
  int x, y, chunks;
};
inline BlockShape block_shape(int columns, int most) {
  const int chunks = int(blocks_for(columns, most)), x = int(blocks_for(columns, chunks));
  return {x, block_threads / x, chunks};
}

// What became of Σ over pixels: partials (G, blocks, sums, C). The first two sums are Σ dz and Σ dz
// (y − mean) if `norm_sums`; all others are (sums, C) of `rest`, over all groups. Null: not wanted.
// means (G,2,C): mean(dz) and mean(dz x̂)/√(var + eps), 0 unless training.
struct Sums {
  const float* partials;
  int blocks, groups, sums, channels;
  int norm_sums = false, training = false;
  double count = 1;  // values a group and channel
  Affine norm = {};
  float *dbeta = nullptr, *dgamma = nullptr, *means = nullptr, *rest = nullptr;
};
void finish(const Sums& s, cudaStream_t stream);  // one launch; sums.cu

// calls f with the functor of an activation
template <class F>
void with_activation(Activation a, F f) {
  switch (a) {
    case Activation::swish: return f(kernels::Swish());
    case Activation::relu: return f(kernels::Relu());
    case Activation::none: return f(kernels::Linear());
  }
}

}  // namespace fission::cuda
