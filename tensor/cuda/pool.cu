// Average pooling: a thread an output place and `width` neighbouring channels.
#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/launch.h"
#include "tensor/cuda/pack.h"

namespace fission::cuda {
namespace {

constexpr int threads = 256;

struct Images {  // (N,H,W,C)
  int h, w, c;
  explicit Images(const Shape& s) : h(int(s[1])), w(int(s[2])), c(int(s[3])) {}
};

struct Place {
  Index n;
  int h, w, c;
};
template <int width>
__device__ Place place_of(Index pack, const Images& p) {
  const int packs = p.c / width;
  const Index row = pack / packs / p.w;
  return {row / p.h, int(row % p.h), int(pack / packs % p.w), int(pack % packs) * width};
}
template <int width>
__device__ Pack<float, width> at(const float* x, const Images& p, const Place& o) {
  return load<float, width>(x + ((o.n * p.h + o.h) * p.w + o.w) * p.c + o.c);
}

// y = scale Σ of the window's values
template <int width>
__global__ void average_pool_kernel(const float* __restrict x, Images in, int window, int stride,
                                    float scale, float* __restrict y, Images out, Index packs) {
  const Index i = Index(blockIdx.x) * threads + threadIdx.x;
  if (i >= packs) return;
  const Place o = place_of<width>(i, out);
  Pack<float, width> sum = {};
  for (int kh = 0; kh < window; kh++)
    for (int kw = 0; kw < window; kw++) {
      const Pack<float, width> value =
          at<width>(x, in, {o.n, o.h * stride + kh, o.w * stride + kw, o.c});
      for (int k = 0; k < width; k++) sum.at[k] += value.at[k];
    }
  for (int k = 0; k < width; k++) sum.at[k] *= scale;
  store(y + i * width, sum);
}

// dx = scale Σ dy of the windows that hold the place: those that start at most window − 1 before it
template <int width>
__global__ void average_pool_backward_kernel(const float* __restrict dy, Images out, int window,
                                             int stride, float scale, float* __restrict dx,
                                             Images in, Index packs) {
  const Index i = Index(blockIdx.x) * threads + threadIdx.x;
  if (i >= packs) return;
  const Place o = place_of<width>(i, in);
  const int first_h = o.h < window ? 0 : (o.h - window) / stride + 1,
            first_w = o.w < window ? 0 : (o.w - window) / stride + 1;
  Pack<float, width> sum = {};
  for (int h = first_h; h <= o.h / stride && h < out.h; h++)
    for (int w = first_w; w <= o.w / stride && w < out.w; w++) {
      const Pack<float, width> value = at<width>(dy, out, {o.n, h, w, o.c});
      for (int k = 0; k < width; k++) sum.at[k] += value.at[k];
    }
  for (int k = 0; k < width; k++) sum.at[k] *= scale;
  store(dx + i * width, sum);
}

using PoolKernel = void (*)(const float*, Images, int, int, float, float*, Images, Index);

void pool(PoolKernel four, PoolKernel one, View from, const PoolGeometry& g, View to,
          cudaStream_t stream) {
  if (to.numel() == 0) return;
  const bool wide =
      to.shape[3] % 4 == 0 && packs_at<4>(from.as<float>()) && packs_at<4>(to.as<float>());
  const Index packs = to.numel() / (wide ? 4 : 1);
  launch_flat(wide ? four : one, dim3(unsigned(blocks_for(packs, threads))), dim3(threads), stream,
              from.as<float>(), Images(from.shape), g.window, g.stride,
              1 / double(g.window * g.window), to.as<float>(), Images(to.shape), packs);
}

}  // namespace

// y[n,h',w',c] = 1/window² Σ_{kh,kw} x[n, h's + kh, w's + kw, c]
void CudaBackend::average_pool(View x, const PoolGeometry& g, View y) {
  pool(average_pool_kernel<4>, average_pool_kernel<1>, x, g, y, stream(Queue::compute));
}

// dx[n,h,w,c] = 1/window² Σ dy[n,h',w',c] over the windows that hold (h,w)
void CudaBackend::average_pool_backward(View dy, const PoolGeometry& g, View dx) {
  pool(average_pool_backward_kernel<4>, average_pool_backward_kernel<1>, dy, g, dx,
       stream(Queue::compute));
}

}  // namespace fission::cuda
