// Softmax with cross-entropy, hits, and pooling.
#include <algorithm>
#include <cmath>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/loops.h"

namespace fission::cpu {
namespace {
void check_labels(const char* op, View labels,
                  Index classes) {  // before the threads start: none of them may throw
  for (Index n = 0; n < labels.shape[0]; n++) {
    Index label = labels.as<std::int32_t>()[n];
    FISSION_CHECK(label >= 0 && label < classes, "[", op, "] label ", label, " of ", classes,
                  " classes");
  }
}
}  // namespace

// loss = mean over N of  log Σ_c e^{x_c} − Σ_c t_c x_c,  t = (1−s)·onehot + s/C;  dlogits =
// (softmax − t)/N. Exponentials relative to the row's greatest logit.
void CpuBackend::softmax_cross_entropy(View logits, View labels, double smoothing, View loss,
                                       View dlogits) {
  Scratch::Frame frame(scratch_);
  const Index rows = logits.shape[0], classes = logits.shape[1];
  check_labels("softmax_cross_entropy", labels, classes);
  double* losses = scratch_.take<double>(rows);
  float* gradients = dlogits ? dlogits.as<float>() : scratch_.take<float>(rows * classes);
  const float each = float(smoothing / double(classes)), scale = float(1.0 / double(rows));
#pragma omp parallel if (worth_threads(rows * classes))
  {
    Range r = my_range(rows);
    for (Index n = r.first; n < r.last; n++) {
      const float* x = logits.as<float>() + n * classes;
      float* d = gradients + n * classes;
      const Index label = labels.as<std::int32_t>()[n];
      float most = x[0];
      for (Index c = 1; c < classes; c++) most = x[c] > most ? x[c] : most;
#pragma omp simd
      for (Index c = 0; c < classes; c++) d[c] = kernels::fast_exp(x[c] - most);
      double sum = 0, all = 0;
      for (Index c = 0; c < classes; c++) sum += d[c], all += x[c] - most;
      const float inverse = float(1 / sum);
#pragma omp simd
      for (Index c = 0; c < classes; c++) d[c] = (d[c] * inverse - each) * scale;
      d[label] -= float(1 - smoothing) * scale;
      losses[n] = std::log(sum) - (1 - smoothing) * double(x[label] - most) -
                  smoothing / double(classes) * all;
    }
  }
  double total = 0;
  for (Index n = 0; n < rows; n++) total += losses[n];
  if (loss) *loss.as<float>() = float(total / double(rows));
}

// the label's rank: how many other logits are not less (so that ties, and NaN, count against)
void CpuBackend::count_hits(View logits, View labels, View hits) {
  const Index rows = logits.shape[0], classes = logits.shape[1];
  check_labels("count_hits", labels, classes);
  std::int32_t first = 0, fifth = 0;
  for (Index n = 0; n < rows; n++) {
    const float* x = logits.as<float>() + n * classes;
    const Index label = labels.as<std::int32_t>()[n];
    Index above = 0;
    for (Index c = 0; c < classes; c++) above += c != label && !(x[c] < x[label]);
    const bool number = x[label] == x[label];
    first += number && above < 1;
    fifth += number && above < 5;
  }
  hits.as<std::int32_t>()[0] += first;
  hits.as<std::int32_t>()[1] += fifth;
}

void CpuBackend::average_pool(View x, const PoolGeometry& g, View y) {
  const Index height = x.shape[1], width = x.shape[2], channels = x.shape[3], out_h = y.shape[1],
              out_w = y.shape[2];
  const float scale = float(1.0 / double(g.window * g.window));
#pragma omp parallel if (worth_threads(x.numel()))
  {
    Range r = my_range(x.shape[0] * out_h);
    for (Index row = r.first; row < r.last; row++)
      for (Index ox = 0; ox < out_w; ox++) {
        float* __restrict to = y.as<float>() + (row * out_w + ox) * channels;
        std::fill(to, to + channels, 0.0f);
        for (Index ky = 0; ky < g.window; ky++)
          for (Index kx = 0; kx < g.window; kx++) {
            Index iy = row % out_h * g.stride + ky, ix = ox * g.stride + kx;
            const float* __restrict from =
                x.as<float>() + ((row / out_h * height + iy) * width + ix) * channels;
            for (Index c = 0; c < channels; c++) to[c] += from[c];
          }
        for (Index c = 0; c < channels; c++) to[c] *= scale;
      }
  }
}

void CpuBackend::average_pool_backward(View dy, const PoolGeometry& g, View dx) {
  const Index height = dx.shape[1], width = dx.shape[2], channels = dx.shape[3],
              out_h = dy.shape[1], out_w = dy.shape[2];
  const float scale = float(1.0 / double(g.window * g.window));
#pragma omp parallel if (worth_threads(dx.numel()))
  {
    Range r = my_range(dx.shape[0]);
    for (Index n = r.first; n < r.last; n++) {
      float* image = dx.as<float>() + n * height * width * channels;
      std::fill(image, image + height * width * channels, 0.0f);
      for (Index o = 0; o < out_h * out_w; o++) {
        const float* __restrict from = dy.as<float>() + (n * out_h * out_w + o) * channels;
        for (Index ky = 0; ky < g.window; ky++)
          for (Index kx = 0; kx < g.window; kx++) {
            float* __restrict to =
                image +
                ((o / out_w * g.stride + ky) * width + o % out_w * g.stride + kx) * channels;
            for (Index c = 0; c < channels; c++) to[c] += scale * from[c];
          }
      }
    }
  }
}

}  // namespace fission::cpu
