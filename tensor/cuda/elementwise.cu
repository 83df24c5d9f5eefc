// Operations over elements that know nothing of each other: one kernel, and a formula for each
// operation.
#include <type_traits>

#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/launch.h"
#include "tensor/cuda/pack.h"
#include "tensor/kernels/update.h"

namespace fission::cuda {
namespace {

constexpr int threads = 256;

// An operand of each(): its elements are read before the formula, written after it, or both.
// Operands may be one another's memory.
template <class T, bool read, bool written>
struct Operand {
  T* data;
};
template <class T>
Operand<T, true, false> in(View v) {
  return {v.as<T>()};
}
template <class T>
Operand<T, false, true> out(View v) {
  return {v.as<T>()};
}
template <class T>
Operand<T, true, true> in_out(View v) {
  return {v.as<T>()};
}

// `width` elements of an operand, from element i on, in registers
template <int width, class T, bool read, bool written>
struct Held {
  T* place;
  Pack<T, width> pack;
  __device__ Held(const Operand<T, read, written>& o, Index i)
      : place(o.data + i), pack(read ? load<T, width>(place) : Pack<T, width>{}) {}
  __device__ void put_back() const {
    if (written) store(place, pack);
  }
};
template <int width, class T, bool read, bool written>
__device__ Held<width, T, read, written> hold(const Operand<T, read, written>& o, Index i) {
  return {o, i};
}

template <int width, class F, class... H>
__device__ void apply(const F& f, Index i, H... held) {
  for (int k = 0; k < width; k++) f(i + k, held.pack.at[k]...);
  (held.put_back(), ...);
}

// f(i, element i of each operand) for i in [0, n). A thread takes `width` elements; the last one
// what is left of them.
template <int width, class F, class... O>
__global__ void each_kernel(Index n, F f, O... operands) {
  const Index first = (Index(blockIdx.x) * threads + threadIdx.x) * width;
  if (first + width <= n) return apply<width>(f, first, hold<width>(operands, first)...);
  for (Index i = first; i < n; i++) apply<1>(f, i, hold<1>(operands, i)...);
}

template <class F, class... O>
void each(cudaStream_t stream, Index n, const F& f, const O&... operands) {
  if (n == 0) return;
  if ((packs_at<4>(operands.data) && ...))
    launch_flat(each_kernel<4, F, O...>, dim3(unsigned(blocks_for(n, 4 * threads))), dim3(threads),
                stream, n, f, operands...);
  else
    launch_flat(each_kernel<1, F, O...>, dim3(unsigned(blocks_for(n, threads))), dim3(threads),
                stream, n, f, operands...);
}

template <class T>
struct Fill {
  T value;
  __device__ void operator()(Index, T& out) const { out = value; }
};

struct Add {
  __device__ void operator()(Index, float& out, float a, float b) const { out = a + b; }
};

struct AddScaled {
  float alpha;
  __device__ void operator()(Index, float& out, float x) const { out += alpha * x; }
};

struct NormaliseImages {  // (p/255 − mean)/std
  const float *mean, *std;
  Index channels;
  __device__ void operator()(Index i, float& out, std::uint8_t p) const {
    const Index c = i % channels;
    out = (float(p) / 255.0f - mean[c]) / std[c];
  }
};

template <bool nesterov>
struct Sgd {
  const float* lr;
  Index decayed;
  float momentum, decay;
  __device__ void operator()(Index i, float& p, float g, float& b) const {
    kernels::Sgd{*lr, momentum, i < decayed ? decay : 0.0f, nesterov}(p, g, b);
  }
};

struct RmsProp {
  const float* lr;
  kernels::RmsProp formula;  // but for its learning rate
  __device__ void operator()(Index, float& p, float g, float& s, float& b) const {
    kernels::RmsProp now = formula;
    now.lr = *lr;
    now(p, g, s, b);
  }
};

struct Gather {
  const float* in;
  const std::int32_t *row, *column;
  const float *row_scale, *column_scale;
  Index inner, in_columns, out_columns;
  __device__ void operator()(Index i, float& out) const {
    const Index c = i % out_columns, k = i / out_columns % inner, r = i / out_columns / inner;
    out = row_scale[r] * column_scale[c] * in[(row[r] * inner + k) * in_columns + column[c]];
  }
};

}  // namespace

void CudaBackend::fill(View v, double value) {
  const cudaStream_t s = stream(Queue::compute);
  switch (v.dtype) {
    case DType::f32: return each(s, v.numel(), Fill<float>{float(value)}, out<float>(v));
    case DType::i32:
      return each(s, v.numel(), Fill<std::int32_t>{std::int32_t(value)}, out<std::int32_t>(v));
    case DType::u8:
      return each(s, v.numel(), Fill<std::uint8_t>{std::uint8_t(value)}, out<std::uint8_t>(v));
    case DType::f64:
      FISSION_CHECK(false, "[fill] the cuda backend has no f64: take the reference backend");
  }
}

void CudaBackend::add(View sum, View a, View b) {
  each(stream(Queue::compute), sum.numel(), Add{}, out<float>(sum), in<float>(a), in<float>(b));
}

void CudaBackend::add_scaled(View sum, View x, double alpha) {
  each(stream(Queue::compute), sum.numel(), AddScaled{float(alpha)}, in_out<float>(sum),
       in<float>(x));
}

void CudaBackend::normalise_images(View normalised, View images, View mean, View std) {
  each(stream(Queue::compute), images.numel(),
       NormaliseImages{mean.as<float>(), std.as<float>(), mean.numel()}, out<float>(normalised),
       in<std::uint8_t>(images));
}

void CudaBackend::sgd(View p, View g, View momentum_buffer, View lr, double momentum, double decay,
                      Index decayed, bool nesterov) {
  auto step = [&](const auto& update) {
    each(stream(Queue::compute), p.numel(), update, in_out<float>(p), in<float>(g),
         in_out<float>(momentum_buffer));
  };
  if (nesterov) step(Sgd<true>{lr.as<float>(), decayed, float(momentum), float(decay)});
  else step(Sgd<false>{lr.as<float>(), decayed, float(momentum), float(decay)});
}

void CudaBackend::rmsprop(View p, View g, View s, View b, View lr, double alpha, double momentum,
                          double eps) {
  each(stream(Queue::compute), p.numel(),
       RmsProp{lr.as<float>(), {0, float(alpha), float(momentum), float(eps)}}, in_out<float>(p),
       in<float>(g), in_out<float>(s), in_out<float>(b));
}

void CudaBackend::gather(View in, View row, View row_scale, View column, View column_scale,
                         View gathered) {
  const Gather copy{in.as<float>(),        row.as<std::int32_t>(),   column.as<std::int32_t>(),
                    row_scale.as<float>(), column_scale.as<float>(), in.shape[1],
                    in.shape[2],           gathered.shape[2]};
  each(stream(Queue::compute), gathered.numel(), copy, out<float>(gathered));
}

}  // namespace fission::cuda
