// Operations over rows (neurons) of flat buffers: a block a row, for rows of 3 as of 30000
// elements, wherever they start.
#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/launch.h"
#include "tensor/cuda/reduce.h"

namespace fission::cuda {
namespace {

constexpr int threads = 128;

// E10, E11: R = vᵀS v / vᵀv,  ∇R = 2 (S v − R v) / vᵀv. quotient, gradient may be null.
__global__ void rayleigh_kernel(const float* __restrict v, const float* __restrict s_v,
                                const std::int32_t* __restrict rows, float* __restrict quotient,
                                float* __restrict gradient) {
  const int row = blockIdx.x, first = rows[2 * row], length = rows[2 * row + 1];
  const float *a = v + first, *b = s_v + first;
  float norm = 0, product = 0;
  for (int i = threadIdx.x; i < length; i += threads) norm += a[i] * a[i], product += a[i] * b[i];
  norm = over_block<threads, Sum>(norm);
  product = over_block<threads, Sum>(product);
  const float ratio = product / norm, scale = 2.0f / norm;
  if (quotient && threadIdx.x == 0) quotient[row] = ratio;
  if (gradient)
    for (int i = threadIdx.x; i < length; i += threads)
      gradient[first + i] = scale * (b[i] - ratio * a[i]);
}

__global__ void normalise_rows_kernel(float* v, const std::int32_t* __restrict rows) {
  float* a = v + rows[2 * blockIdx.x];
  const int length = rows[2 * blockIdx.x + 1];
  float norm = 0;
  for (int i = threadIdx.x; i < length; i += threads) norm += a[i] * a[i];
  const float scale = 1.0f / sqrtf(over_block<threads, Sum>(norm));
  for (int i = threadIdx.x; i < length; i += threads) a[i] *= scale;
}

}  // namespace

void CudaBackend::rayleigh(View v, View s_v, View rows, View quotient, View gradient) {
  if (rows.shape[0] == 0) return;
  launch(rayleigh_kernel, dim3(unsigned(rows.shape[0])), dim3(threads), stream(Queue::compute),
         v.as<float>(), s_v.as<float>(), rows.as<std::int32_t>(), quotient.as<float>(),
         gradient.as<float>());
}

void CudaBackend::normalise_rows(View v, View rows) {
  if (rows.shape[0] == 0) return;
  launch(normalise_rows_kernel, dim3(unsigned(rows.shape[0])), dim3(threads),
         stream(Queue::compute), v.as<float>(), rows.as<std::int32_t>());
}

}  // namespace fission::cuda
