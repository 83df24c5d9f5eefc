// How kernels go over (pixels × channels): a thread owns one channel, or four where C % 4 == 0 and
// all is aligned, and walks down rows of pixels with that channel's coefficients in registers. And
// the sums over a norm's pixels, which its backward pass rests on.
#pragma once
#include "tensor/cuda/affine.cuh"
#include "tensor/cuda/pack.h"

namespace fission::cuda {

// How `rows` pixels a group of C channels are cut: block (x: vectors, y: rows), grid (chunks of
// vectors, blocks of rows, groups)
struct Columns {
  Index rows, rows_per_block;
  int channels, vectors;
};
struct Cut {
  Columns columns;
  dim3 grid, block;
};
inline Cut cut(Index rows, Index groups, Index channels, int lanes, Index rows_a_thread,
               Index blocks_wanted) {
  const int vectors = int(channels) / lanes;
  const BlockShape shape = block_shape(vectors, warp);
  const Index most =
      std::max<Index>(1, std::min(most_blocks, blocks_wanted / (shape.chunks * groups)));
  const Index rounds =
      std::max(rows_a_thread,
               blocks_for(rows, shape.y * most));  // all blocks take as many rows, but the last
  const Index rows_per_block = shape.y * rounds;
  return {{rows, rows_per_block, int(channels), vectors},
          dim3(shape.chunks, unsigned(blocks_for(rows, rows_per_block)), unsigned(groups)),
          dim3(shape.x, shape.y)};
}

// The rows of one thread, as the index of its first channel in each
struct Walk {
  int channel;  // C or more: nothing to do
  Index i, end, step;
};
template <int V>
__device__ inline Walk my_rows(const Columns& k) {
  const int vector = blockIdx.x * blockDim.x + threadIdx.x;
  const Index first = blockIdx.y * k.rows_per_block,
              last = first + k.rows_per_block < k.rows ? first + k.rows_per_block : k.rows;
  const Index group = blockIdx.z * k.rows, at = vector < k.vectors ? first + threadIdx.y : last;
  return {vector * V, (group + at) * k.channels + vector * V, (group + last) * k.channels,
          Index(blockDim.y) * k.channels};
}

// Rows loaded at once, so that enough bytes are on their way: loads may not pass the stores of an
// operation in place by themselves
template <int V, int In>
constexpr int rows_at_once = In* V > 8 ? 2 : 4;

// Whether all these may be read and written four at once
template <class T, int N>
bool all_packed(T* const (&pointers)[N]) {
  bool packed = true;
  for (const T* p : pointers) packed = packed && packs_at<4>(p);
  return packed;
}

// Partial sums over the rows of each block, (G, blocks, sums, C), and how they were cut
struct Partials {
  float* values;
  Cut cut;
};
// Σ dz and Σ dz (y − mean), dz = da φ'(z)
Partials norm_sums(View y, View da, const Norm& norm, Scratch& scratch,
                   cudaStream_t stream);  // sums.cu

}  // namespace fission::cuda
