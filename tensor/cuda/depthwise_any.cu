// A thread a value, plain loops over the taps.
#include "tensor/cuda/depthwise_any.h"

#include "tensor/cuda/affine.cuh"

namespace fission::cuda::any {
namespace {

constexpr Index reducing_blocks = 2048;  // each leaves partial sums behind

struct Plain {
  int height, width, out_h, out_w, channels, kernel, stride, padding,
      images;  // images: of a group
};

template <class Phi>
__global__ void forward_kernel(Plain k, const float* y, Affine norm, const float* u, const float* w,
                               float* out, Index n) {
  const Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int c = int(i % k.channels), ox = int(i / k.channels % k.out_w),
            oy = int(i / k.channels / k.out_w % k.out_h);
  const Index image = i / k.channels / k.out_w / k.out_h;
  const Channel channel = channel_of(norm, int(image / k.images), k.channels, c);
  float sum = 0;
  for (int ky = 0; ky < k.kernel; ky++)
    for (int kx = 0; kx < k.kernel; kx++) {
      const int h = oy * k.stride + ky - k.padding, x = ox * k.stride + kx - k.padding;
      if (h < 0 || h >= k.height || x < 0 || x >= k.width) continue;
      const Index at = ((image * k.height + h) * k.width + x) * k.channels + c;
      const float z = channel.z(y[at]);
      sum += (u ? Phi::slope(z) * (channel.scale * u[at]) : Phi::value(z)) *
             w[(ky * k.kernel + kx) * k.channels + c];
    }
  out[i] = sum;
}

__global__ void data_kernel(Plain k, const float* w, const float* dout, float* da, Index n) {
  const Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int c = int(i % k.channels), x = int(i / k.channels % k.width),
            h = int(i / k.channels / k.width % k.height);
  const Index image = i / k.channels / k.width / k.height;
  float sum = 0;
  for (int ky = 0; ky < k.kernel; ky++)
    for (int kx = 0; kx < k.kernel; kx++) {
      const int oy = h + k.padding - ky, ox = x + k.padding - kx;
      if (oy < 0 || ox < 0 || oy % k.stride || ox % k.stride || oy / k.stride >= k.out_h ||
          ox / k.stride >= k.out_w)
        continue;
      sum += dout[((image * k.out_h + oy / k.stride) * k.out_w + ox / k.stride) * k.channels + c] *
             w[(ky * k.kernel + kx) * k.channels + c];
    }
  da[i] = sum;
}

// grid (chunks of channels, blocks of output places, tap)
template <class Phi>
__global__ void __launch_bounds__(block_threads)
    filter_kernel(Plain k, const float* y, Affine norm, const float* dout, float* partials,
                  Index places) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x, ky = blockIdx.z / k.kernel,
            kx = blockIdx.z % k.kernel;
  float sum = 0;
  for (Index p = blockIdx.y * blockDim.y + threadIdx.y; p < places && c < k.channels;
       p += gridDim.y * blockDim.y) {
    const int ox = int(p % k.out_w), oy = int(p / k.out_w % k.out_h),
              h = oy * k.stride + ky - k.padding, x = ox * k.stride + kx - k.padding;
    const Index image = p / k.out_w / k.out_h;
    if (h < 0 || h >= k.height || x < 0 || x >= k.width) continue;
    const Channel channel = channel_of(norm, int(image / k.images), k.channels, c);
    sum += Phi::value(channel.z(y[((image * k.height + h) * k.width + x) * k.channels + c])) *
           dout[p * k.channels + c];
  }
  sum = column_sum(sum);
  if (!threadIdx.y && c < k.channels)
    partials[(Index(blockIdx.y) * gridDim.z + blockIdx.z) * k.channels + c] = sum;
}

Plain plain_of(View y, View out, const Conv2dGeometry& g, Index groups) {
  return {int(y.shape[1]),   int(y.shape[2]), int(out.shape[1]),
          int(out.shape[2]), int(y.shape[3]), int(g.kernel),
          int(g.stride),     int(g.padding),  int(y.shape[0] / groups)};
}

}  // namespace

void forward(View y, const Norm* norm, View u, View w, const Conv2dGeometry& g, View out,
             cudaStream_t stream) {
  with_activation(norm ? norm->activation : Activation::none, [&](auto phi) {
    launch_flat(forward_kernel<decltype(phi)>,
                dim3(unsigned(blocks_for(out.numel(), block_threads))), dim3(block_threads), stream,
                plain_of(y, out, g, groups_of(norm)), y.as<float>(), affine_of(norm), u.as<float>(),
                w.as<float>(), out.as<float>(), out.numel());
  });
}

void backward(View y, const Norm* norm, View w, View dout, const Conv2dGeometry& g, View da,
              View dw, Scratch& scratch, cudaStream_t stream) {
  const Plain k = plain_of(y, dout, g, groups_of(norm));
  if (da)
    launch_flat(data_kernel, dim3(unsigned(blocks_for(da.numel(), block_threads))),
                dim3(block_threads), stream, k, w.as<float>(), dout.as<float>(), da.as<float>(),
                da.numel());
  if (!dw) return;
  const int sums = int(g.kernel * g.kernel), channels = int(y.shape[3]);
  const Index places = dout.numel() / channels;
  const BlockShape shape = block_shape(channels, warp);
  const Index blocks = std::max<Index>(
      1, std::min(blocks_for(places, shape.y * 8), reducing_blocks / (shape.chunks * sums)));
  float* partials = scratch.take<float>(blocks * sums * channels);
  with_activation(norm ? norm->activation : Activation::none, [&](auto phi) {
    launch(filter_kernel<decltype(phi)>, dim3(shape.chunks, unsigned(blocks), sums),
           dim3(shape.x, shape.y), stream, k, y.as<float>(), affine_of(norm), dout.as<float>(),
           partials, places);
  });
  Sums s{partials, int(blocks), 1, sums, channels};
  s.rest = dw.as<float>();
  finish(s, stream);
}

}  // namespace fission::cuda::any
