// Sums and maxima over a warp and over a block, in an order that nothing but the block's size
// decides. Every thread of the warp or block takes part, and every one gets the result.
#pragma once
#include "tensor/cuda/launch.h"

namespace fission::cuda {

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {  // of numbers: a NaN is passed over
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

template <class Combine, class T>
__device__ T over_warp(T mine) {
  for (int distance = warp / 2; distance > 0; distance /= 2)
    mine = Combine()(mine, __shfl_xor_sync(whole_warp, mine, distance));
  return mine;
}

// threads: of the block, all in x
template <int threads, class Combine, class T>
__device__ T over_block(T mine) {
  mine = over_warp<Combine>(mine);
  if (threads == warp) return mine;
  __shared__ T parts[threads / warp];
  if (threadIdx.x % warp == 0) parts[threadIdx.x / warp] = mine;
  __syncthreads();
  T all = parts[0];
  for (int w = 1; w < threads / warp; w++) all = Combine()(all, parts[w]);
  __syncthreads();  // before parts are written again
  return all;
}

}  // namespace fission::cuda
