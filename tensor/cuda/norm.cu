// Batch norm + activation, forward and backward, the products of E6 and E9, biases, and sums over pixels.
// Every kernel reads each value once from memory and writes it once: z is made again from y where it is needed, in registers.
// A thread owns one channel (or four, where C % 4 == 0 and all is aligned) and walks down rows of pixels with its coefficients.
#include "tensor/cuda/affine.cuh"
#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/pack.h"

namespace fission::cuda {
namespace {

// How `rows` pixels a group of C channels are cut: block (x: vectors, y: rows), grid (chunks of vectors, blocks of rows, groups)
struct Columns {
  Index rows, rows_per_block;
  int channels, vectors;
};
struct Cut {
  Columns columns;
  dim3 grid, block;
};
Cut cut(Index rows, Index groups, Index channels, int lanes, Index rows_a_thread, Index blocks_wanted) {
  const int vectors = int(channels) / lanes;
  const BlockShape shape = block_shape(vectors, warp);
  const Index most = std::max<Index>(1, std::min(most_blocks, blocks_wanted / (shape.chunks * groups)));
  const Index rounds = std::max(rows_a_thread, blocks_for(rows, shape.y * most));  // all blocks take as many rows, but the last
  const Index rows_per_block = shape.y * rounds;
  return {{rows, rows_per_block, int(channels), vectors}, dim3(shape.chunks, unsigned(blocks_for(rows, rows_per_block)), unsigned(groups)), dim3(shape.x, shape.y)};
}
constexpr Index no_limit = most_blocks * most_blocks;
constexpr Index reducing_blocks = 1024;  // each leaves partial sums behind: enough to fill a GPU, and no more

// The rows of one thread, as the index of its first channel in each
struct Walk {
  int channel;  // C or more: nothing to do
  Index i, end, step;
};
template <int V>
__device__ inline Walk my_rows(const Columns& k) {
  const int vector = blockIdx.x * blockDim.x + threadIdx.x;
  const Index first = blockIdx.y * k.rows_per_block, last = first + k.rows_per_block < k.rows ? first + k.rows_per_block : k.rows;
  const Index group = blockIdx.z * k.rows, at = vector < k.vectors ? first + threadIdx.y : last;
  return {vector * V, (group + at) * k.channels + vector * V, (group + last) * k.channels, Index(blockDim.y) * k.channels};
}

template <int Inputs, int Outputs>
struct Streams {
  const float* in[Inputs];  // null: read as zeros
  float* out[Outputs];      // may be an input; null: not written
};

// Rows loaded at once, so that enough bytes are on their way: loads may not pass the stores of an operation in place by themselves
template <int V, int Inputs>
constexpr int rows_at_once = Inputs * V > 8 ? 2 : 4;

template <int Rows, int V, class Op, class Channels>
__device__ inline void rows_of(const Streams<Op::inputs, Op::outputs>& s, const Op& op, const Channels& channel, Index i, Index step) {
  Pack<float, V> in[Rows][Op::inputs];
  FISSION_UNROLL
  for (int r = 0; r < Rows; r++)
    FISSION_UNROLL
    for (int k = 0; k < Op::inputs; k++) in[r][k] = s.in[k] ? load<float, V>(s.in[k] + i + r * step) : Pack<float, V>{};
  FISSION_UNROLL
  for (int r = 0; r < Rows; r++) {
    Pack<float, V> out[Op::outputs];
    FISSION_UNROLL
    for (int v = 0; v < V; v++) {
      float x[Op::inputs], y[Op::outputs];
      FISSION_UNROLL
      for (int k = 0; k < Op::inputs; k++) x[k] = in[r][k].at[v];
      op(channel[v], x, y);
      FISSION_UNROLL
      for (int k = 0; k < Op::outputs; k++) out[k].at[v] = y[k];
    }
    FISSION_UNROLL
    for (int k = 0; k < Op::outputs; k++)
      if (s.out[k]) store(s.out[k] + i + r * step, out[k]);
  }
}

// op(channel, inputs, outputs) for every value of its streams
template <int V, class Op>
__global__ void __launch_bounds__(block_threads) each_value(Columns k, Streams<Op::inputs, Op::outputs> s, Op op) {
  constexpr int rows = rows_at_once<V, Op::inputs>;
  Walk w = my_rows<V>(k);
  if (w.channel >= k.channels) return;
  typename Op::Channel channel[V];
  FISSION_UNROLL
  for (int v = 0; v < V; v++) channel[v] = op.channel(blockIdx.z, k.channels, w.channel + v);
  for (; w.i + (rows - 1) * w.step < w.end; w.i += rows * w.step) rows_of<rows, V>(s, op, channel, w.i, w.step);
  for (; w.i < w.end; w.i += w.step) rows_of<1, V>(s, op, channel, w.i, w.step);
}

template <class Op>
void for_each_value(Index pixels, Index groups, Index channels, const Streams<Op::inputs, Op::outputs>& s, const Op& op, cudaStream_t stream) {
  if (!pixels) return;
  bool vectors = channels % 4 == 0;
  for (const float* p : s.in) vectors = vectors && packs_at<4>(p);
  for (const float* p : s.out) vectors = vectors && packs_at<4>(p);
  const Cut c = cut(pixels / groups, groups, channels, vectors ? 4 : 1, 16, no_limit);
  if (vectors) launch_flat(each_value<4, Op>, c.grid, c.block, stream, c.columns, s, op);
  else launch_flat(each_value<1, Op>, c.grid, c.block, stream, c.columns, s, op);
}
template <class Op>
void for_each_value(View y, const Norm& norm, const Streams<Op::inputs, Op::outputs>& s, const Op& op, cudaStream_t stream) {
  const Index channels = norm.mean.shape[1];
  for_each_value(y.numel() / channels, norm.mean.shape[0], channels, s, op, stream);
}

// Sums over the rows of a block: partials (G, blocks, sums, C). op.add(channel, inputs, sums) adds one value to a thread's sums,
// op.result(channel, sums, n) makes of those of n values what is stored.
template <int V, class Op>
__global__ void __launch_bounds__(block_threads) block_sums(Columns k, Streams<Op::inputs, 1> s, Op op, float* partials) {
  constexpr int rows = rows_at_once<V, Op::inputs>;
  Walk w = my_rows<V>(k);
  const bool idle = w.channel >= k.channels;
  typename Op::Channel channel[V] = {};
  float sums[V][Op::sums] = {};
  const Index first = blockIdx.y * k.rows_per_block, left = k.rows - first, n = left < k.rows_per_block ? left : k.rows_per_block;
  FISSION_UNROLL
  for (int v = 0; v < V && !idle; v++) channel[v] = op.channel(blockIdx.z, k.channels, w.channel + v, (blockIdx.z * k.rows + first) * k.channels);
  while (w.i < w.end) {
    Pack<float, V> in[rows][Op::inputs];
    FISSION_UNROLL
    for (int r = 0; r < rows; r++)
      FISSION_UNROLL
      for (int j = 0; j < Op::inputs; j++)
        if (w.i + r * w.step < w.end) in[r][j] = load<float, V>(s.in[j] + w.i + r * w.step);
    FISSION_UNROLL
    for (int r = 0; r < rows; r++)
      if (w.i + r * w.step < w.end)
        FISSION_UNROLL
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
    for (int j = 0; j < Op::sums; j++) partials[((Index(blockIdx.z) * gridDim.y + blockIdx.y) * Op::sums + j) * k.channels + w.channel + v] = sums[v][j];
  }
}

// partials, and how they were cut
struct Partials {
  float* values;
  Cut cut;
};
template <class Op>
Partials block_sums_of(Index pixels, Index groups, Index channels, const Streams<Op::inputs, 1>& s, const Op& op, Scratch& scratch, cudaStream_t stream) {
  bool vectors = channels % 4 == 0;
  for (const float* p : s.in) vectors = vectors && packs_at<4>(p);
  const Cut c = cut(pixels / groups, groups, channels, vectors ? 4 : 1, 8, reducing_blocks);
  float* partials = scratch.take<float>(groups * c.grid.y * Op::sums * channels);
  if (vectors) launch(block_sums<4, Op>, c.grid, c.block, stream, c.columns, s, op, partials);
  else launch(block_sums<1, Op>, c.grid, c.block, stream, c.columns, s, op, partials);
  return {partials, c};
}

// Every block's mean, and Σ (y − mean)² about it: what Chan, Golub and LeVeque's formula merges. The block's first value of a
// channel is subtracted first, so that nothing large cancels.
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
  __device__ Channel channel(int g, int channels, int c, Index) const { return channel_of(norm, g, channels, c); }
  __device__ void add(const Channel& k, const float* x, float* sums) const {
    const float dz = x[1] * Phi::slope(k.z(x[0]));
    sums[0] += dz, sums[1] += dz * (x[0] - k.mean);
  }
  __device__ void result(const Channel&, float*, float) const {}
};

constexpr int finish_x = 8, finish_y = block_threads / finish_x;  // 8 floats side by side are a sector of memory

// M2 = Σ M2_b + Σ n_b (mean_b − mean)², by way of the first block's mean, in double
__global__ void __launch_bounds__(block_threads) merge_moments(const float* partials, int blocks, Columns k, float* mean, float* var) {
  const int c = blockIdx.x * finish_x + threadIdx.x, group = blockIdx.y;
  const float* from = partials + Index(group) * blocks * 2 * k.channels + c;
  double sum = 0, squares = 0, shift = c < k.channels ? from[0] : 0;
  for (int b = threadIdx.y; b < blocks && c < k.channels; b += finish_y) {
    const Index left = k.rows - b * k.rows_per_block;
    const double n = double(left < k.rows_per_block ? left : k.rows_per_block), d = from[Index(2 * b) * k.channels] - shift;
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
    for (int b = threadIdx.y; b < s.blocks && mine; b += finish_y) total += from[Index(b) * s.sums * s.channels];
    total = column_sum(total);
    if (threadIdx.y || !mine) continue;
    double istd = normed && sum == 1 ? 1 / sqrt(double(s.norm.var[Index(g) * s.channels + c]) + s.norm.eps) : 1;
    all += total * istd;
    if (normed && s.means) s.means[(Index(g) * 2 + sum) * s.channels + c] = s.training ? float(total * istd * istd / s.count) : 0.0f;
  }
  if (threadIdx.y || !mine) return;
  float* out = !normed ? s.rest + Index(sum - 2 * s.norm_sums) * s.channels : sum ? s.dgamma : s.dbeta;
  if (out) out[c] = float(all);
}

__global__ void running_kernel(float* mean_to, float* var_to, const float* mean, const float* var, int groups, int channels, float momentum, float unbiased) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  float m = 0, v = 0;
  for (int g = 0; g < groups; g++) m += mean[g * channels + c], v += var[g * channels + c];
  mean_to[c] = (1 - momentum) * mean_to[c] + momentum * (m / float(groups));
  var_to[c] = (1 - momentum) * var_to[c] + momentum * unbiased * (v / float(groups));
}

// ---- one value each
struct Normed {
  Affine norm;
  using Channel = cuda::Channel;
  __device__ Channel channel(int g, int channels, int c) const { return channel_of(norm, g, channels, c); }
};

template <class Phi>
struct NormAct : Normed {  // y → φ(z)
  static constexpr int inputs = 1, outputs = 1;
  __device__ void operator()(const Channel& k, const float* x, float* out) const { out[0] = Phi::value(k.z(x[0])); }
};

template <class Phi>
struct Tangent : Normed {  // y, u, before → before + φ'(z) c u
  static constexpr int inputs = 3, outputs = 1;
  __device__ void operator()(const Channel& k, const float* x, float* out) const { out[0] = x[2] + Phi::slope(k.z(x[0])) * (k.scale * x[1]); }
};

template <class Phi>
__device__ inline Phi with_parameter(float p) {
  if constexpr (std::is_empty_v<Phi>) return {};
  else return {p};
}
template <class Phi>
struct Probe : Normed {  // y, δ, u, h → δ φ''(z) c² u + φ'(z) c h, φ'(z) c δ
  static constexpr int inputs = 4, outputs = 2;
  double parameter;  // of φ''
  __device__ void operator()(const Channel& k, const float* x, float* out) const {
    const float z = k.z(x[0]), first = Phi::slope(z) * k.scale;
    out[0] = x[1] * with_parameter<Phi>(float(parameter)).curvature(z) * (k.scale * k.scale) * x[2] + first * x[3];
    out[1] = first * x[1];
  }
};

struct BackwardChannel : Channel {
  float mean_dz, mean_dzx;
};
template <class Phi>
struct Backward {  // y, da → c (dz − mean(dz) − x̂ mean(dz x̂))
  static constexpr int inputs = 2, outputs = 1;
  Affine norm;
  const float* means;
  using Channel = BackwardChannel;
  __device__ Channel channel(int g, int channels, int c) const {
    const float* m = means + Index(2 * g) * channels + c;
    return {channel_of(norm, g, channels, c), m[0], m[channels]};
  }
  __device__ void operator()(const Channel& k, const float* x, float* out) const {
    out[0] = k.scale * (x[1] * Phi::slope(k.z(x[0])) - k.mean_dz - (x[0] - k.mean) * k.mean_dzx);
  }
};

struct AddBias {
  static constexpr int inputs = 1, outputs = 1;
  const float* bias;
  using Channel = float;
  __device__ float channel(int, int, int c) const { return bias[c]; }
  __device__ void operator()(float b, const float* x, float* out) const { out[0] = x[0] + b; }
};

}  // namespace

void finish(const Sums& s, cudaStream_t stream) {
  launch(add_partials, dim3(unsigned(blocks_for(s.channels, finish_x)), s.sums), dim3(finish_x, finish_y), stream, s);
}

void CudaBackend::moments(View y, View mean, View var) {
  Scratch scratch(memory_);
  const Index groups = mean.shape[0], channels = mean.shape[1];
  const Moments op{y.as<float>()};
  const Partials p = block_sums_of(y.numel() / channels, groups, channels, Streams<1, 1>{{y.as<float>()}, {}}, op, scratch, compute_);
  launch(merge_moments, dim3(unsigned(blocks_for(channels, finish_x)), unsigned(groups)), dim3(finish_x, finish_y), compute_, p.values, p.cut.grid.y,
         p.cut.columns, mean.as<float>(), var.as<float>());
}

void CudaBackend::update_running(View running_mean, View running_var, View mean, View var, double momentum, Index count) {
  const Index channels = mean.shape[1];
  launch_flat(running_kernel, dim3(unsigned(blocks_for(channels, block_threads))), dim3(block_threads), compute_, running_mean.as<float>(),
              running_var.as<float>(), mean.as<float>(), var.as<float>(), mean.shape[0], channels, momentum, double(count) / double(count - 1));
}

void CudaBackend::norm_act(View y, const Norm& norm, View a) {
  with_activation(norm.activation, [&](auto phi) {
    for_each_value(y, norm, {{y.as<float>()}, {a.as<float>()}}, NormAct<decltype(phi)>{{affine_of(norm)}}, compute_);
  });
}

// dz = da φ'(z);  dβ = Σ dz;  dγ = Σ dz x̂;  training: dy = c (dz − mean(dz) − x̂ mean(dz x̂)), else dy = c dz.
// Two passes that both make dz: 5 values moved for each of y's. With dz stored between them it would be 6.
void CudaBackend::norm_act_backward(View da, View y, const Norm& norm, bool training, View dy, View dgamma, View dbeta) {
  if (!training && !dgamma && !dbeta) return tangent(y, norm, da, false, dy);
  Scratch scratch(memory_);
  const Index groups = norm.mean.shape[0], channels = norm.mean.shape[1], pixels = y.numel() / channels;
  float* means = scratch.take<float>(groups * 2 * channels);
  with_activation(norm.activation, [&](auto phi) {
    using Phi = decltype(phi);
    const Affine affine = affine_of(norm);
    const Partials p = block_sums_of(pixels, groups, channels, Streams<2, 1>{{y.as<float>(), da.as<float>()}, {}}, NormSums<Phi>{affine}, scratch, compute_);
    Sums s{p.values, int(p.cut.grid.y), int(groups), 2, int(channels), true, training, double(pixels / groups), affine};
    s.dbeta = dbeta.as<float>(), s.dgamma = dgamma.as<float>(), s.means = means;
    finish(s, compute_);
    for_each_value(y, norm, {{y.as<float>(), da.as<float>()}, {dy.as<float>()}}, Backward<Phi>{affine, means}, compute_);
  });
}

// E9: δ ⊙ φ''(z) ⊙ c² ⊙ u
void CudaBackend::curvature_product(View delta, View y, const Norm& norm, const Curvature& k, View u, View out) {
  probe_activation(delta, y, norm, k, u, View(), out, View());
}

// the Jacobian of φ(norm(y)) applied to u
void CudaBackend::tangent(View y, const Norm& norm, View u, bool accumulate, View out) {
  with_activation(norm.activation, [&](auto phi) {
    for_each_value(y, norm, {{y.as<float>(), u.as<float>(), accumulate ? out.as<float>() : nullptr}, {out.as<float>()}},
                   Tangent<decltype(phi)>{{affine_of(norm)}}, compute_);
  });
}

void CudaBackend::probe_activation(View delta, View y, const Norm& norm, const Curvature& k, View u, View h, View out, View dy) {
  with_activation(norm.activation, [&](auto phi) {
    for_each_value(y, norm, {{y.as<float>(), delta.as<float>(), u.as<float>(), h.as<float>()}, {out.as<float>(), dy.as<float>()}},
                   Probe<decltype(phi)>{{affine_of(norm)}, norm.activation == Activation::relu ? k.relu_beta : k.linear}, compute_);
  });
}

void CudaBackend::add_bias(View y, View b) {
  const Index channels = b.numel();
  for_each_value(y.numel() / channels, 1, channels, {{y.as<float>()}, {y.as<float>()}}, AddBias{b.as<float>()}, compute_);
}

void CudaBackend::sum_rows(View y, View out) {
  Scratch scratch(memory_);
  const Index channels = out.numel();
  const Partials p = block_sums_of(y.numel() / channels, 1, channels, Streams<1, 1>{{y.as<float>()}, {}}, SumRows{}, scratch, compute_);
  Sums s{p.values, int(p.cut.grid.y), 1, 1, int(channels)};
  s.rest = out.as<float>();
  finish(s, compute_);
}

}  // namespace fission::cuda
