// Batch norm + activation, forward and backward, the products of E6 and E9, and biases: one kernel,
// and a formula for each. Every pass reads each value once from memory and writes it once: z is
// made again from y where it is needed, in registers.
#include "tensor/cuda/columns.cuh"
#include "tensor/cuda/cuda_backend.h"

namespace fission::cuda {
namespace {

constexpr Index no_limit = most_blocks * most_blocks;

template <int In, int Out>
struct Streams {
  const float* in[In];  // null: read as zeros
  float* out[Out];      // may be an input; null: not written
};

template <int Rows, int V, class Op, class Channels>
__device__ inline void rows_of(const Streams<Op::inputs, Op::outputs>& s, const Op& op,
                               const Channels& channel, Index i, Index step) {
  Pack<float, V> in[Rows][Op::inputs];
  FISSION_UNROLL
  for (int r = 0; r < Rows; r++) FISSION_UNROLL
  for (int k = 0; k < Op::inputs; k++)
    in[r][k] = s.in[k] ? load<float, V>(s.in[k] + i + r * step) : Pack<float, V>{};
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
__global__ void __launch_bounds__(block_threads)
    each_value(Columns k, Streams<Op::inputs, Op::outputs> s, Op op) {
  constexpr int rows = rows_at_once<V, Op::inputs>;
  Walk w = my_rows<V>(k);
  if (w.channel >= k.channels) return;
  typename Op::Channel channel[V];
  FISSION_UNROLL
  for (int v = 0; v < V; v++) channel[v] = op.channel(blockIdx.z, k.channels, w.channel + v);
  for (; w.i + (rows - 1) * w.step < w.end; w.i += rows * w.step)
    rows_of<rows, V>(s, op, channel, w.i, w.step);
  for (; w.i < w.end; w.i += w.step) rows_of<1, V>(s, op, channel, w.i, w.step);
}

template <class Op>
void for_each_value(Index pixels, Index groups, Index channels,
                    const Streams<Op::inputs, Op::outputs>& s, const Op& op, cudaStream_t stream) {
  if (!pixels) return;
  const bool vectors = channels % 4 == 0 && all_packed(s.in) && all_packed(s.out);
  const Cut c = cut(pixels / groups, groups, channels, vectors ? 4 : 1, 16, no_limit);
  if (vectors) launch_flat(each_value<4, Op>, c.grid, c.block, stream, c.columns, s, op);
  else launch_flat(each_value<1, Op>, c.grid, c.block, stream, c.columns, s, op);
}
template <class Op>
void for_each_value(View y, const Norm& norm, const Streams<Op::inputs, Op::outputs>& s,
                    const Op& op, cudaStream_t stream) {
  const Index channels = norm.mean.shape[1];
  for_each_value(y.numel() / channels, norm.mean.shape[0], channels, s, op, stream);
}

__global__ void running_kernel(float* mean_to, float* var_to, const float* mean, const float* var,
                               int groups, int channels, float momentum, float unbiased) {
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
  __device__ Channel channel(int g, int channels, int c) const {
    return channel_of(norm, g, channels, c);
  }
};

template <class Phi>
struct NormAct : Normed {  // y → φ(z)
  static constexpr int inputs = 1, outputs = 1;
  __device__ void operator()(const Channel& k, const float* x, float* out) const {
    out[0] = Phi::value(k.z(x[0]));
  }
};

template <class Phi>
struct Tangent : Normed {  // y, u → φ'(z) c u
  static constexpr int inputs = 2, outputs = 1;
  __device__ void operator()(const Channel& k, const float* x, float* out) const {
    out[0] = Phi::slope(k.z(x[0])) * (k.scale * x[1]);
  }
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
    out[0] =
        x[1] * with_parameter<Phi>(float(parameter)).curvature(z) * (k.scale * k.scale) * x[2] +
        first * x[3];
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

void CudaBackend::update_running(View running_mean, View running_var, View mean, View var,
                                 double momentum, Index count) {
  const Index channels = mean.shape[1];
  launch_flat(running_kernel, dim3(unsigned(blocks_for(channels, block_threads))),
              dim3(block_threads), compute_, running_mean.as<float>(), running_var.as<float>(),
              mean.as<float>(), var.as<float>(), mean.shape[0], channels, momentum,
              double(count) / double(count - 1));
}

void CudaBackend::norm_act(View y, const Norm& norm, View a) {
  with_activation(norm.activation, [&](auto phi) {
    for_each_value(y, norm, {{y.as<float>()}, {a.as<float>()}},
                   NormAct<decltype(phi)>{{affine_of(&norm)}}, compute_);
  });
}

// dz = da φ'(z);  dβ = Σ dz;  dγ = Σ dz x̂;  training: dy = c (dz − mean(dz) − x̂ mean(dz x̂)),
// else dy = c dz.
// Two passes that both make dz: 5 values moved for each of y's. With dz stored between them it
// would be 6.
void CudaBackend::norm_act_backward(View da, View y, const Norm& norm, bool training, View dy,
                                    View dgamma, View dbeta) {
  if (!training && !dgamma && !dbeta)
    return with_activation(norm.activation, [&](auto phi) {
      for_each_value(y, norm, {{y.as<float>(), da.as<float>()}, {dy.as<float>()}},
                     Tangent<decltype(phi)>{{affine_of(&norm)}}, compute_);
    });
  Scratch scratch(memory_);
  const Index groups = norm.mean.shape[0], channels = norm.mean.shape[1],
              pixels = y.numel() / channels;
  float* means = scratch.take<float>(groups * 2 * channels);
  with_activation(norm.activation, [&](auto phi) {
    using Phi = decltype(phi);
    const Affine affine = affine_of(&norm);
    const Partials p = norm_sums(y, da, norm, scratch, compute_);
    Sums s{p.values, int(p.cut.grid.y),       int(groups), 2, int(channels), true,
           training, double(pixels / groups), affine};
    s.dbeta = dbeta.as<float>(), s.dgamma = dgamma.as<float>(), s.means = means;
    finish(s, compute_);
    for_each_value(y, norm, {{y.as<float>(), da.as<float>()}, {dy.as<float>()}},
                   Backward<Phi>{affine, means}, compute_);
  });
}

void CudaBackend::probe_activation(View delta, View y, const Norm& norm, const Curvature& k, View u,
                                   View h, View out, View dy) {
  with_activation(norm.activation, [&](auto phi) {
    for_each_value(
        y, norm,
        {{y.as<float>(), delta.as<float>(), u.as<float>(), h.as<float>()},
         {out.as<float>(), dy.as<float>()}},
        Probe<decltype(phi)>{{affine_of(&norm)},
                             norm.activation == Activation::relu ? k.relu_beta : k.linear},
        compute_);
  });
}

void CudaBackend::add_bias(View y, View b) {
  const Index channels = b.numel();
  for_each_value(y.numel() / channels, 1, channels, {{y.as<float>()}, {y.as<float>()}},
                 AddBias{b.as<float>()}, compute_);
}

}  // namespace fission::cuda
