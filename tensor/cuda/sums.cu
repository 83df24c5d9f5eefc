// Sums over pixels for each channel, in two launches: of each block's rows, then of all blocks,
// always in the same order.
#include "tensor/cuda/columns.cuh"
#include "tensor/cuda/cuda_backend.h"

namespace fission::cuda {
namespace {

constexpr Index reducing_blocks =
    1024;  // each leaves partial sums behind: enough to fill a GPU, and no more

template <int N>
struct Inputs {
  const float* at[N];
};

// Sums over the rows of a block: partials (G, blocks, sums, C). op.add(channel, inputs, sums) adds
// one value to a thread's sums, op.result(channel, sums, n) makes of those of n values what is
// stored.
template <int V, class Op>
__global__ void __launch_bounds__(block_threads)
    block_sums(Columns k, Inputs<Op::inputs> s, Op op, float* partials) {
  constexpr int rows = rows_at_once<V, Op::inputs>;
  Walk w = my_rows<V>(k);
  const bool idle = w.channel >= k.channels;
  typename Op::Channel channel[V] = {};
  float sums[V][Op::sums] = {};
  const Index first = blockIdx.y * k.rows_per_block, left = k.rows - first,
              n = left < k.rows_per_block ? left : k.rows_per_block;
  FISSION_UNROLL
  for (int v = 0; v < V && !idle; v++)
    channel[v] = op.channel(blockIdx.z, k.channels, w.channel + v,
                            (blockIdx.z * k.rows + first) * k.channels);
  while (w.i < w.end) {
    Pack<float, V> in[rows][Op::inputs];
    FISSION_UNROLL
    for (int r = 0; r < rows; r++) FISSION_UNROLL
    for (int j = 0; j < Op::inputs; j++)
      if (w.i + r * w.step < w.end) in[r][j] = load<float, V>(s.at[j] + w.i + r * w.step);
    FISSION_UNROLL
    for (int r = 0; r < rows; r++)
      if (w.i + r * w.step < w.end) FISSION_UNROLL
    for (int v = 0; v < V; v++) {
      float x[Op::inputs];
      FISSION_UNROLL
      for (int j = 0; j < Op::inputs; j++) x[j] = in[r][j].at[v];
      op.add(channel[v], x, sums[v]);
    }
    w.i += rows * w.step;
  }
  FISSION_UNROLL
  for (int v = 0; v < V; v++) {
    FISSION_UNROLL
    for (int j = 0; j < Op::sums; j++) sums[v][j] = column_sum(sums[v][j]);
    if (threadIdx.y || idle) continue;
    op.result(channel[v], sums[v], float(n));
    FISSION_UNROLL
    for (int j = 0; j < Op::sums; j++)
      partials[((Index(blockIdx.z) * gridDim.y + blockIdx.y) * Op::sums + j) * k.channels +
               w.channel + v] = sums[v][j];
  }
}

template <class Op>
Partials block_sums_of(Index pixels, Index groups, Index channels, const Inputs<Op::inputs>& s,
                       const Op& op, Scratch& scratch, cudaStream_t stream) {
  const bool vectors = channels % 4 == 0 && all_packed(s.at);
  const Cut c = cut(pixels / groups, groups, channels, vectors ? 4 : 1, 8, reducing_blocks);
  float* partials = scratch.take<float>(groups * c.grid.y * Op::sums * channels);
  if (vectors) launch(block_sums<4, Op>, c.grid, c.block, stream, c.columns, s, op, partials);
  else launch(block_sums<1, Op>, c.grid, c.block, stream, c.columns, s, op, partials);
  return {partials, c};
}

// Every block's mean, and Σ (y − mean)² about it: what Chan, Golub and LeVeque's formula merges.
// The block's first value of a channel is subtracted first, so that nothing large cancels.
struct Moments {
  static constexpr int inputs = 1, sums = 2;
  const float* y;
  using Channel = float;
  __device__ float channel(int, int, int c, Index first) const { return y[first + c]; }
  __device__ void add(float shift, const float* x, float* sums) const {
    const float d = x[0] - shift;
    sums[0] += d, sums[1] += d * d;
  }
  __device__ void result(float shift, float* sums, float n) const {
    const float mean = sums[0] / n;
    sums[1] = sums[1] - sums[0] * mean;
    sums[0] = shift + mean;
  }
};

struct SumRows {
  static constexpr int inputs = 1, sums = 1;
  struct Channel {};
  __device__ Channel channel(int, int, int, Index) const { return {}; }
  __device__ void add(Channel, const float* x, float* sums) const { sums[0] += x[0]; }
  __device__ void result(Channel, float*, float) const {}
};

// Σ dz and Σ dz (y − mean), dz = da φ'(z)
template <class Phi>
struct NormSums {
  static constexpr int inputs = 2, sums = 2;
  Affine norm;
  using Channel = cuda::Channel;
  __device__ Channel channel(int g, int channels, int c, Index) const {
    return channel_of(norm, g, channels, c);
  }
  __device__ void add(const Channel& k, const float* x, float* sums) const {
    const float dz = x[1] * Phi::slope(k.z(x[0]));
    sums[0] += dz, sums[1] += dz * (x[0] - k.mean);
  }
  __device__ void result(const Channel&, float*, float) const {}
};

constexpr int finish_x = 8,
              finish_y = block_threads / finish_x;  // 8 floats side by side are a sector of memory

// M2 = Σ M2_b + Σ n_b (mean_b − mean)², by way of the first block's mean, in double
__global__ void __launch_bounds__(block_threads)
    merge_moments(const float* partials, int blocks, Columns k, float* mean, float* var) {
  const int c = blockIdx.x * finish_x + threadIdx.x, group = blockIdx.y;
  const float* from = partials + Index(group) * blocks * 2 * k.channels + c;
  double sum = 0, squares = 0, shift = c < k.channels ? double(from[0]) : 0;
  for (int b = threadIdx.y; b < blocks && c < k.channels; b += finish_y) {
    const Index left = k.rows - b * k.rows_per_block;
    const double n = double(left < k.rows_per_block ? left : k.rows_per_block),
                 d = from[Index(2 * b) * k.channels] - shift;
    sum += n * d;
    squares += from[Index(2 * b + 1) * k.channels] + n * d * d;
  }
  sum = column_sum(sum), squares = column_sum(squares);
  if (threadIdx.y || c >= k.channels) return;
  const double first = sum / double(k.rows), second = squares / double(k.rows) - first * first;
  mean[Index(group) * k.channels + c] = float(shift + first);
  var[Index(group) * k.channels + c] = second < 0 ? 0.0f : float(second);  // a NaN stays
}

__global__ void __launch_bounds__(block_threads) add_partials(Sums s) {
  const int c = blockIdx.x * finish_x + threadIdx.x, sum = blockIdx.y;
  const bool mine = c < s.channels, normed = s.norm_sums && sum < 2;
  if (normed && !s.means && !(sum ? s.dgamma : s.dbeta)) return;
  double all = 0;
  for (int g = 0; g < s.groups; g++) {
    const float* from = s.partials + (Index(g) * s.blocks * s.sums + sum) * s.channels + c;
    double total = 0;
    for (int b = threadIdx.y; b < s.blocks && mine; b += finish_y)
      total += from[Index(b) * s.sums * s.channels];
    total = column_sum(total);
    if (threadIdx.y || !mine) continue;
    double istd = normed && sum == 1
                      ? 1 / sqrt(double(s.norm.var[Index(g) * s.channels + c]) + s.norm.eps)
                      : 1;
    all += total * istd;
    if (normed && s.means)
      s.means[(Index(g) * 2 + sum) * s.channels + c] =
          s.training ? float(total * istd * istd / s.count) : 0.0f;
  }
  if (threadIdx.y || !mine) return;
  float* out = !normed ? s.rest + Index(sum - 2 * s.norm_sums) * s.channels
               : sum   ? s.dgamma
                       : s.dbeta;
  if (out) out[c] = float(all);
}

}  // namespace

void finish(const Sums& s, cudaStream_t stream) {
  launch(add_partials, dim3(unsigned(blocks_for(s.channels, finish_x)), s.sums),
         dim3(finish_x, finish_y), stream, s);
}

Partials norm_sums(View y, View da, const Norm& norm, Scratch& scratch, cudaStream_t stream) {
  const Index groups = norm.mean.shape[0], channels = norm.mean.shape[1];
  const Inputs<2> in{{y.as<float>(), da.as<float>()}};
  Partials p;
  with_activation(norm.activation, [&](auto phi) {
    p = block_sums_of(y.numel() / channels, groups, channels, in,
                      NormSums<decltype(phi)>{affine_of(&norm)}, scratch, stream);
  });
  return p;
}

void CudaBackend::moments(View y, View mean, View var) {
  Scratch scratch(memory_);
  const Index groups = mean.shape[0], channels = mean.shape[1];
  const Moments op{y.as<float>()};
  const Partials p = block_sums_of(y.numel() / channels, groups, channels,
                                   Inputs<1>{{y.as<float>()}}, op, scratch, compute_);
  launch(merge_moments, dim3(unsigned(blocks_for(channels, finish_x)), unsigned(groups)),
         dim3(finish_x, finish_y), compute_, p.values, p.cut.grid.y, p.cut.columns,
         mean.as<float>(), var.as<float>());
}

void CudaBackend::sum_rows(View y, View out) {
  Scratch scratch(memory_);
  const Index channels = out.numel();
  const Partials p = block_sums_of(y.numel() / channels, 1, channels, Inputs<1>{{y.as<float>()}},
                                   SumRows{}, scratch, compute_);
  Sums s{p.values, int(p.cut.grid.y), 1, 1, int(channels)};
  s.rest = out.as<float>();
  finish(s, compute_);
}

}  // namespace fission::cuda
