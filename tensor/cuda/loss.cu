// Softmax with cross-entropy, and hits. A device cannot throw for a label that is no class: such an
// image makes the loss and its own gradient NaN, which training refuses, and is never hit.
#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/launch.h"
#include "tensor/cuda/reduce.h"
#include "tensor/kernels/activation.h"

namespace fission::cuda {
namespace {

// A block per image: log Σ e^x − Σ t x and (softmax − t)·scale, x relative to its greatest logit, t
// = (1−s)·onehot + s/C. Where t = 0 a logit of −∞ costs nothing. losses (N), dlogits (N,C): either
// may be null.
template <int threads>
__global__ void softmax_cross_entropy_kernel(const float* __restrict logits,
                                             const std::int32_t* __restrict labels, int classes,
                                             float on_label, float on_each, float scale,
                                             float* __restrict losses, float* __restrict dlogits) {
  const Index row = blockIdx.x;
  const float* x = logits + row * classes;
  const int label = labels[row];
  float most = x[0], sum = 0, hit = 0;
  for (int c = threadIdx.x; c < classes; c += threads) most = fmaxf(most, x[c]);
  most = over_block<threads, Max>(most);
  for (int c = threadIdx.x; c < classes; c += threads) {
    const float target = on_each + (c == label ? on_label : 0.0f);
    sum += kernels::fast_exp(x[c] - most);
    if (target != 0) hit += target * (x[c] - most);
  }
  sum = over_block<threads, Sum>(sum);
  hit = over_block<threads, Sum>(hit);
  if (label < 0 || label >= classes) sum = NAN;
  if (losses && threadIdx.x == 0) losses[row] = logf(sum) - hit;
  if (dlogits)
    for (int c = threadIdx.x; c < classes; c += threads)
      dlogits[row * classes + c] =
          (kernels::fast_exp(x[c] - most) / sum - on_each - (c == label ? on_label : 0.0f)) * scale;
}

// one block
template <int threads>
__global__ void mean_kernel(const float* __restrict x, Index n, float* __restrict mean) {
  double sum = 0;
  for (Index i = threadIdx.x; i < n; i += threads) sum += x[i];
  sum = over_block<threads, Sum>(sum);
  if (threadIdx.x == 0) *mean = float(sum / double(n));
}

// One block, a warp an image. The label's rank is how many other logits are not less: ties and NaN
// count against it.
template <int threads>
__global__ void __launch_bounds__(threads, 1)
    count_hits_kernel(const float* __restrict logits, const std::int32_t* __restrict labels,
                      Index images, int classes, std::int32_t* __restrict hits) {
  const int lane = threadIdx.x % warp;
  int first = 0, fifth = 0;  // what lane 0 of this warp has seen
  for (Index row = threadIdx.x / warp; row < images; row += threads / warp) {
    const float* x = logits + row * classes;
    const int label = labels[row];
    const float own = label >= 0 && label < classes ? x[label] : NAN;
    int rank = 0;
    for (int c = lane; c < classes; c += warp) rank += c != label && !(x[c] < own);
    rank = over_warp<Sum>(rank);
    const bool counts = lane == 0 && own == own;
    first += counts && rank < 1;
    fifth += counts && rank < 5;
  }
  first = over_block<threads, Sum>(first);
  fifth = over_block<threads, Sum>(fifth);
  if (threadIdx.x == 0) hits[0] += first, hits[1] += fifth;
}

}  // namespace

void CudaBackend::softmax_cross_entropy(View logits, View labels, double smoothing, View loss,
                                        View dlogits) {
  const Index images = logits.shape[0], classes = logits.shape[1];
  constexpr int narrow = warp, wide = 256;
  const bool few = classes <= 4 * warp;
  Scratch scratch(memory_);
  float* losses = loss ? scratch.take<float>(images) : nullptr;
  if (images > 0)
    launch(few ? softmax_cross_entropy_kernel<narrow> : softmax_cross_entropy_kernel<wide>,
           dim3(unsigned(images)), dim3(few ? narrow : wide), stream(Queue::compute),
           logits.as<float>(), labels.as<std::int32_t>(), classes, 1 - smoothing,
           smoothing / double(classes), 1 / double(images), losses, dlogits.as<float>());
  if (loss)
    launch(mean_kernel<wide>, dim3(1), dim3(wide), stream(Queue::compute), losses, images,
           loss.as<float>());
}

void CudaBackend::count_hits(View logits, View labels, View hits) {
  constexpr int threads = 1024;
  launch(count_hits_kernel<threads>, dim3(1), dim3(threads), stream(Queue::compute),
         logits.as<float>(), labels.as<std::int32_t>(), logits.shape[0], logits.shape[1],
         hits.as<std::int32_t>());
}

}  // namespace fission::cuda
