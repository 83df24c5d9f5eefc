// Depthwise convolutions over φ(norm(y)), which exists only in registers, forward and backward; and
// forward over its tangent. A thread has one channel and walks down a strip of an image, some
// columns wide: the rows of its window move up one by one, so that each value is loaded and
// activated once a strip. 3×3 at stride 1 and 2 by these; any other by depthwise_any.cu.
//
// Backward goes over the padded input in cells of stride × stride: cell (i, j) holds the padded
// places (s·i + a, s·j + b), and da there is Σ w[a + s·k, b + s·l] dout[i − k, j − l]: the same few
// values of dout for a whole cell, and for dw += φ(norm(y)) dout as well.
#include "tensor/cuda/affine.cuh"
#include "tensor/cuda/conv.h"
#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/depthwise_any.h"

namespace fission::cuda {
namespace {

constexpr int K = 3, taps = K * K;  // of the fast kernels
constexpr int backward_sums = 2 + taps;
constexpr Index reducing_blocks = 2048;  // each leaves partial sums behind
constexpr Index rows_of_strip = 16;

// What is walked: in each image `rows` × `columns` places from (first_row, first_column), in
// tiles × strips. An item is one of these of one image; a group has `items`. Threads of a block:
// (channels, items).
struct Walk {
  int height, width, out_h, out_w, channels, padding;
  int first, rows, columns;  // rows and columns of places walked, both from `first`
  int tiles, strips, strip_rows;
  int images, items;  // of a group
};
struct Place {
  int image, row, last_row, column;
};
__device__ inline Place place_of(const Walk& k, int item, int tile_columns) {
  const int tile = item % k.tiles, strip = item / k.tiles % k.strips,
            image = int(blockIdx.z) * k.images + item / (k.tiles * k.strips);
  const int row = strip * k.strip_rows, last = row + k.strip_rows;
  return {image, k.first + row, k.first + (last < k.rows ? last : k.rows),
          k.first + tile * tile_columns};
}

// Which of `count` columns from `first` on are in the image: a bit each
__device__ inline unsigned columns_inside(int count, int first, int width) {
  unsigned inside = 0;
  FISSION_UNROLL
  for (int k = 0; k < count; k++) inside |= unsigned(unsigned(first + k) < unsigned(width)) << k;
  return inside;
}

// Neighbours in a row, the first at from[at]; 0 where they are not inside
template <int Columns>
__device__ inline void load_row(const float* __restrict__ from, Index at, unsigned inside,
                                int channels, float (&to)[Columns]) {
  FISSION_UNROLL
  for (int k = 0; k < Columns; k++, at += channels) to[k] = inside >> k & 1 ? from[at] : 0.0f;
}

template <int S>
constexpr int tile_outputs = S == 1 ? 8 : 4;

// What is convolved: φ(z), or, as `tangent`, φ'(z) c u
template <class Phi, bool tangent>
__device__ inline float loaded(const Channel& k, float y, float u) {
  return tangent ? Phi::slope(k.z(y)) * (k.scale * u) : Phi::value(k.z(y));
}

template <class Phi, int S, bool tangent>
__global__ void __launch_bounds__(block_threads, 2)
    forward3(Walk k, const float* __restrict__ y, Affine norm, const float* __restrict__ u,
             const float* __restrict__ w, float* __restrict__ out) {
  constexpr int tile = tile_outputs<S>, columns = S * (tile - 1) + K;
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= k.channels) return;
  const Channel channel = channel_of(norm, blockIdx.z, k.channels, c);
  float f[taps], x[K][columns];
  FISSION_UNROLL
  for (int t = 0; t < taps; t++) f[t] = w[t * k.channels + c];
  for (int item = blockIdx.y * blockDim.y + threadIdx.y; item < k.items;
       item += gridDim.y * blockDim.y) {
    const Place at = place_of(k, item, tile);
    const int left = at.column * S - k.padding;
    const unsigned in_width = columns_inside(columns, left, k.width),
                   in_out = columns_inside(tile, at.column, k.out_w);
    auto load = [&](int row, float(&to)[columns]) {
      const unsigned inside = unsigned(row) < unsigned(k.height) ? in_width : 0;
      const Index from = ((Index(at.image) * k.height + row) * k.width + left) * k.channels + c;
      float along[columns] = {};
      load_row(y, from, inside, k.channels, to);
      if (tangent) load_row(u, from, inside, k.channels, along);
      FISSION_UNROLL
      for (int j = 0; j < columns; j++)
        to[j] = inside >> j & 1 ? loaded<Phi, tangent>(channel, to[j], along[j])
                                : 0.0f;  // the padding stays 0
    };
    FISSION_UNROLL
    for (int r = S; r < K; r++)
      load(at.row * S - k.padding + r - S, x[r]);  // they move up before the first row
    for (int row = at.row; row < at.last_row; row++) {
      FISSION_UNROLL
      for (int r = 0; r < K; r++) {
        if (r + S < K) {
          FISSION_UNROLL
          for (int j = 0; j < columns; j++) x[r][j] = x[r + S][j];
        } else {
          load(row * S - k.padding + r, x[r]);
        }
      }
      Index to = ((Index(at.image) * k.out_h + row) * k.out_w + at.column) * k.channels + c;
      FISSION_UNROLL
      for (int j = 0; j < tile; j++, to += k.channels) {
        float sum = 0;
        FISSION_UNROLL
        for (int t = 0; t < taps; t++) sum += f[t] * x[t / K][j * S + t % K];
        if (in_out >> j & 1) out[to] = sum;
      }
    }
  }
}

// What of the backward pass is wanted: da; Σ dz, Σ dz (y − mean) and dw as partial sums (and da, if
// not null); or dy, which the means of these sums go into.
enum class Want { data, sums, input };

template <class Phi, int S, Want want>
__global__ void __launch_bounds__(block_threads, 2)
    backward3(Walk k, const float* __restrict__ y, Affine norm, const float* __restrict__ w,
              const float* __restrict__ dout, const float* __restrict__ means,
              float* __restrict__ da, float* __restrict__ partials) {
  constexpr int reach = (K + S - 1) / S, cells = 8 / S,
                columns = cells + reach - 1;  // rows and columns of dout that meet a cell
  const int c = blockIdx.x * blockDim.x + threadIdx.x, group = blockIdx.z;
  const bool idle = c >= k.channels;
  Channel channel;
  float f[taps], sums[backward_sums] = {}, mean_dz = 0, mean_dzx = 0;
  if (!idle) {
    channel = channel_of(norm, group, k.channels, c);
    FISSION_UNROLL
    for (int t = 0; t < taps; t++) f[t] = w[t * k.channels + c];
    if (want == Want::input)
      mean_dz = means[Index(2 * group) * k.channels + c],
      mean_dzx = means[Index(2 * group + 1) * k.channels + c];
  }
  for (int item = blockIdx.y * blockDim.y + threadIdx.y; item < k.items && !idle;
       item += gridDim.y * blockDim.y) {
    const Place at = place_of(k, item, cells);
    float d[reach][columns];  // d[r]: row i − r of dout, from column j − (reach − 1) on
    const int from = at.column - (reach - 1), left = S * at.column - k.padding;
    const unsigned in_dout = columns_inside(columns, from, k.out_w),
                   in_y = columns_inside(S * cells, left, k.width);
    auto load = [&](int row, float(&to)[columns]) {
      const unsigned inside = unsigned(row) < unsigned(k.out_h) ? in_dout : 0;
      load_row(dout, ((Index(at.image) * k.out_h + row) * k.out_w + from) * k.channels + c, inside,
               k.channels, to);
    };
    FISSION_UNROLL
    for (int r = 1; r < reach; r++)
      load(at.row - r, d[r - 1]);  // they move up before the first row
    for (int i = at.row; i < at.last_row; i++) {
      FISSION_UNROLL
      for (int r = reach - 1; r > 0; r--) {
        FISSION_UNROLL
        for (int j = 0; j < columns; j++) d[r][j] = d[r - 1][j];
      }
      load(i, d[0]);
      FISSION_UNROLL
      for (int a = 0; a < S; a++) {
        const int h = S * i + a - k.padding;
        if (unsigned(h) >= unsigned(k.height)) continue;
        const Index row = ((Index(at.image) * k.height + h) * k.width + left) * k.channels + c;
        float value[S * cells];
        if (want != Want::data) load_row(y, row, in_y, k.channels, value);
        Index to = row;
        FISSION_UNROLL
        for (int x = 0; x < S * cells; x++, to += k.channels) {
          const int j = x / S + reach - 1, b = x % S;
          const bool inside = in_y >> x & 1;
          float gradient = 0;
          FISSION_UNROLL
          for (int t = 0; t < taps; t++)
            if (t / K % S == a && t % K % S == b) gradient += f[t] * d[t / K / S][j - t % K / S];
          if constexpr (want == Want::data) {
            if (inside) da[to] = gradient;
          } else {
            float activated, slope;
            Phi::value_and_slope(channel.z(value[x]), activated, slope);
            const float centred = value[x] - channel.mean, dz = gradient * slope;
            if constexpr (want == Want::input) {
              if (inside) da[to] = channel.scale * (dz - mean_dz - centred * mean_dzx);
            } else {
              if (!inside) activated = 0;
              sums[0] += inside ? dz : 0.0f;
              sums[1] += inside ? dz * centred : 0.0f;
              FISSION_UNROLL
              for (int t = 0; t < taps; t++)
                if (t / K % S == a && t % K % S == b)
                  sums[2 + t] += activated * d[t / K / S][j - t % K / S];
              if (da && inside) da[to] = gradient;
            }
          }
        }
      }
    }
  }
  if constexpr (want == Want::sums) {
    FISSION_UNROLL
    for (int s = 0; s < backward_sums; s++) {
      const float sum = column_sum(sums[s]);
      if (!threadIdx.y && !idle)
        partials[((Index(group) * gridDim.y + blockIdx.y) * backward_sums + s) * k.channels + c] =
            sum;
    }
  }
}

// ---- how they are launched
bool fast(const Conv2dGeometry& g) { return g.kernel == K && (g.stride == 1 || g.stride == 2); }

struct Plan {
  Walk walk;
  dim3 grid, block;
};
// rows × columns of places from (first, first) of each image, tiles `tile_columns` wide; `most`:
// blocks
Plan plan(View y, View out, const Conv2dGeometry& g, Index groups, Index first, Index rows,
          Index columns, Index tile_columns, Index most) {
  const int channels = int(y.shape[3]);
  const BlockShape shape = block_shape(channels, warp);
  const Index strips = blocks_for(rows, rows_of_strip), strip_rows = blocks_for(rows, strips),
              tiles = blocks_for(columns, tile_columns);
  const Index images = y.shape[0] / groups, items = images * tiles * strips;
  const Index blocks = std::max<Index>(1, std::min(most_blocks, most / (shape.chunks * groups)));
  const Index rounds =
      blocks_for(items, shape.y * blocks);  // every block takes as many items, but the last
  const Walk walk{int(y.shape[1]), int(y.shape[2]), int(out.shape[1]), int(out.shape[2]),
                  channels,        int(g.padding),  int(first),        int(rows),
                  int(columns),    int(tiles),      int(strips),       int(strip_rows),
                  int(images),     int(items)};
  return {walk, dim3(shape.chunks, unsigned(blocks_for(items, shape.y * rounds)), unsigned(groups)),
          dim3(shape.x, shape.y)};
}
Plan backward_plan(View y, View dout, const Conv2dGeometry& g, Index groups, Index most) {
  const Index first = g.padding / g.stride;  // the first cell that is not all padding
  auto cells = [&](Index side) { return blocks_for(side + g.padding, g.stride) - first; };
  return plan(y, dout, g, groups, first, cells(y.shape[1]), cells(y.shape[2]), 8 / g.stride, most);
}
constexpr Index no_limit = Index(1) << 40;

// f(phi, S): the activation's functor, and the stride as a type
template <class F>
void with_kernel(const Norm* norm, const Conv2dGeometry& g, F f) {
  with_activation(norm ? norm->activation : Activation::none, [&](auto phi) {
    if (g.stride == 1) f(phi, std::integral_constant<int, 1>());
    else f(phi, std::integral_constant<int, 2>());
  });
}

// u null: no tangent
void own_forward(View y, const Norm* norm, View u, View w, const Conv2dGeometry& g, View out,
                 cudaStream_t stream) {
  const Plan p = plan(y, out, g, groups_of(norm), 0, out.shape[1], out.shape[2],
                      g.stride == 1 ? 8 : 4, no_limit);
  with_kernel(norm, g, [&](auto phi, auto stride) {
    const auto kernel =
        u ? forward3<decltype(phi), stride, true> : forward3<decltype(phi), stride, false>;
    launch_flat(kernel, p.grid, p.block, stream, p.walk, y.as<float>(), affine_of(norm),
                u.as<float>(), w.as<float>(), out.as<float>());
  });
}

void own_backward(View y, const Norm* norm, View w, View dout, const Conv2dGeometry& g, View da,
                  View dw, Scratch& scratch, cudaStream_t stream) {
  const Index groups = groups_of(norm), channels = y.shape[3];
  const Affine affine = affine_of(norm);
  const Plan p = backward_plan(y, dout, g, groups, dw ? reducing_blocks : no_limit);
  float* partials =
      dw ? scratch.take<float>(groups * p.grid.y * backward_sums * channels) : nullptr;
  with_kernel(dw ? norm : nullptr, g, [&](auto phi, auto stride) {
    const auto kernel = dw ? backward3<decltype(phi), stride, Want::sums>
                           : backward3<kernels::Linear, stride, Want::data>;
    launch(kernel, p.grid, p.block, stream, p.walk, y.as<float>(), affine, w.as<float>(),
           dout.as<float>(), nullptr, da.as<float>(), partials);
  });
  if (!dw) return;
  Sums s{partials, int(p.grid.y), int(groups), backward_sums, int(channels), true};
  s.norm = affine, s.rest = dw.as<float>();
  finish(s, stream);
}

// Two passes over dout and y that both make da = ∂L/∂φ(norm(y)): 2 + 3 values moved for each of y's
// (at stride 1). With da stored between them it would be 3 + 3: the nine products cost less than
// the memory.
void own_norm_backward(View y, const Norm& norm, bool training, View w, View dout,
                       const Conv2dGeometry& g, View dy, View dgamma, View dbeta, View dw,
                       Scratch& scratch, cudaStream_t stream) {
  const Index groups = groups_of(&norm), channels = y.shape[3];
  const Plan p = backward_plan(y, dout, g, groups, reducing_blocks),
             all = backward_plan(y, dout, g, groups, no_limit);
  float *partials = scratch.take<float>(groups * p.grid.y * backward_sums * channels),
        *means = scratch.take<float>(groups * 2 * channels);
  const Affine affine = affine_of(&norm);
  Sums s{partials,      int(p.grid.y), int(groups), backward_sums,
         int(channels), true,          training,    double(y.numel() / (groups * channels)),
         affine};
  s.dbeta = dbeta.as<float>(), s.dgamma = dgamma.as<float>(), s.means = means,
  s.rest = dw.as<float>();
  with_kernel(&norm, g, [&](auto phi, auto stride) {
    using Phi = decltype(phi);
    launch(backward3<Phi, stride, Want::sums>, p.grid, p.block, stream, p.walk, y.as<float>(),
           affine, w.as<float>(), dout.as<float>(), nullptr, nullptr, partials);
    finish(s, stream);
    launch_flat(backward3<Phi, stride, Want::input>, all.grid, all.block, stream, all.walk,
                y.as<float>(), affine, w.as<float>(), dout.as<float>(), means, dy.as<float>(),
                nullptr);
  });
}

// Where cuDNN serves, φ(norm(y)) lies in memory for it: a
struct ActivatedForLibrary {
  Scratch scratch;
  View a;
  ActivatedForLibrary(CudaBackend& backend, Arena& memory, View y, const Norm* norm)
      : scratch(memory), a(y) {
    if (!norm) return;
    a.data = scratch.take<float>(y.numel());
    backend.norm_act(y, *norm, a);
  }
};

}  // namespace

void CudaBackend::depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) {
  convolutions_->own_or_library(
      "depthwise", y.shape, g,
      [&] { (fast(g) ? own_forward : any::forward)(y, norm, View(), w, g, out, compute_); },
      [&] {
        ActivatedForLibrary in(*this, memory_, y, norm);
        convolutions_->depthwise(ConvKind::forward, in.a, w, out, g);
      });
}

void CudaBackend::depthwise_tangent(View y, const Norm& norm, View u, View w,
                                    const Conv2dGeometry& g, View out) {
  convolutions_->own_or_library(
      "depthwise_tangent", y.shape, g,
      [&] { (fast(g) ? own_forward : any::forward)(y, &norm, u, w, g, out, compute_); },
      [&] {
        Scratch scratch(memory_);
        View j = y;
        j.data = scratch.take<float>(y.numel());
        norm_act_backward(u, y, norm, false, j, View(), View());
        convolutions_->depthwise(ConvKind::forward, j, w, out, g);
      });
}

void CudaBackend::depthwise_backward(View y, const Norm* norm, View w, View dout,
                                     const Conv2dGeometry& g, View da, View dw) {
  convolutions_->own_or_library(
      "depthwise_backward", y.shape, g,
      [&] {
        Scratch scratch(memory_);
        (fast(g) ? own_backward : any::backward)(y, norm, w, dout, g, da, dw, scratch, compute_);
      },
      [&] {
        if (da) convolutions_->depthwise(ConvKind::backward_data, da, w, dout, g);
        if (!dw) return;
        ActivatedForLibrary in(*this, memory_, y, norm);
        convolutions_->depthwise(ConvKind::backward_filter, in.a, dw, dout, g);
      });
}

void CudaBackend::depthwise_norm_backward(View y, const Norm& norm, bool training, View w,
                                          View dout, const Conv2dGeometry& g, View dy, View dgamma,
                                          View dbeta, View dw) {
  convolutions_->own_or_library(
      "depthwise_norm_backward", y.shape, g,
      [&] {
        Scratch scratch(memory_);
        if (fast(g))
          return own_norm_backward(y, norm, training, w, dout, g, dy, dgamma, dbeta, dw, scratch,
                                   compute_);
        any::backward(y, &norm, w, dout, g, dy, dw, scratch, compute_);
        norm_act_backward(dy, y, norm, training, dy, dgamma, dbeta);
      },
      [&] {
        {
          ActivatedForLibrary in(*this, memory_, y, &norm);
          convolutions_->depthwise(ConvKind::backward_filter, in.a, dw, dout, g);
        }
        convolutions_->depthwise(ConvKind::backward_data, dy, w, dout, g);
        norm_act_backward(dy, y, norm, training, dy, dgamma, dbeta);
      });
}

}  // namespace fission::cuda
