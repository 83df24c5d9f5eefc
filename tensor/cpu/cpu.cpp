// CpuBackend: memory, and the operations that are one loop over elements.
#include <cstdlib>
#include <cstring>

#include "tensor/cpu/conv.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/loops.h"
#include "tensor/kernels/update.h"

namespace fission {

std::unique_ptr<Backend> make_cpu_backend() { return std::make_unique<cpu::CpuBackend>(); }

namespace cpu {

CpuBackend::CpuBackend() : scratch_(arena_), plans_(std::make_unique<ConvPlans>(arena_)) {}
CpuBackend::~CpuBackend() = default;

// Everything is done when the call returns: an event has nothing to remember.
void CpuBackend::copy(void* to, const void* from, std::size_t bytes, Direction, Queue) {
  std::memcpy(to, from, bytes);
}
std::unique_ptr<Event> CpuBackend::record(Queue) { return std::make_unique<Event>(); }

void CpuBackend::fill(View out, double value) {
  switch (out.dtype) {
    case DType::f32:
      return for_each(out.numel(), [p = out.as<float>(), v = float(value)](Index i) { p[i] = v; });
    case DType::i32:
      return for_each(out.numel(),
                      [p = out.as<std::int32_t>(), v = std::int32_t(value)](Index i) { p[i] = v; });
    case DType::u8:
      return for_each(out.numel(),
                      [p = out.as<std::uint8_t>(), v = std::uint8_t(value)](Index i) { p[i] = v; });
    case DType::f64:
      FISSION_CHECK(false, "[fill] the cpu backend has no f64: take the reference backend");
  }
}

void CpuBackend::add(View out, View a, View b) {
  for_each(out.numel(), [o = out.as<float>(), x = a.as<float>(), y = b.as<float>()](Index i) {
    o[i] = x[i] + y[i];
  });
}

void CpuBackend::add_scaled(View out, View x, double alpha) {
  for_each(out.numel(), [o = out.as<float>(), p = x.as<float>(), k = float(alpha)](Index i) {
    o[i] += k * p[i];
  });
}

// (p/255 − mean)/std as a product and a sum
void CpuBackend::normalise_images(View out, View images, View mean, View std) {
  Scratch::Frame frame(scratch_);
  Index channels = last_dim(out.shape), run = run_pixels(channels);
  float *scale = scratch_.take<float>(run * channels),
        *shift = scratch_.take<float>(run * channels);
  for (Index j = 0; j < run * channels; j++) {
    double m = mean.as<float>()[j % channels], s = std.as<float>()[j % channels];
    scale[j] = float(1 / (255 * s));
    shift[j] = float(-m / s);
  }
  const std::uint8_t* in = images.as<std::uint8_t>();
  float* to = out.as<float>();
#pragma omp parallel if (worth_threads(out.numel()))
  {
    Range r = my_range(out.numel() / channels);
    for_runs(r.first, r.last, channels, run,
             [=](Index i, Index j) { to[i] = float(in[i]) * scale[j] + shift[j]; });
  }
}

void CpuBackend::sgd(View p, View g, View momentum_buffer, View lr, double momentum, double decay,
                     Index decayed, bool nesterov) {
  float *pp = p.as<float>(), *gg = g.as<float>(), *bb = momentum_buffer.as<float>();
  kernels::Sgd with{*lr.as<float>(), float(momentum), float(decay), nesterov}, without = with;
  without.decay = 0;
  for_each<FlushDenormals>(decayed, [=](Index i) { with(pp[i], gg[i], bb[i]); });
  for_each<FlushDenormals>(p.numel() - decayed, [=, first = decayed](Index i) {
    without(pp[first + i], gg[first + i], bb[first + i]);
  });
}

void CpuBackend::rmsprop(View p, View g, View s, View b, View lr, double alpha, double momentum,
                         double eps) {
  float *pp = p.as<float>(), *gg = g.as<float>(), *ss = s.as<float>(), *bb = b.as<float>();
  kernels::RmsProp update{*lr.as<float>(), float(alpha), float(momentum), float(eps)};
  for_each<FlushDenormals>(p.numel(), [=](Index i) { update(pp[i], gg[i], ss[i], bb[i]); });
}

}  // namespace cpu
}  // namespace fission
