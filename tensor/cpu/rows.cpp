// Operations over rows (neurons) of flat buffers, and the copies that surgery is made of.
#include <cmath>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/loops.h"

namespace fission::cpu {
namespace {

// Σ a_i b_i in 32 partial sums, which vectorises without reordering: the same order as a GPU's warp
double dot(const float* a, const float* b, Index n) {
  float partial[32] = {};
  Index i = 0;
  for (; i + 32 <= n; i += 32)
    for (int k = 0; k < 32; k++) partial[k] += a[i + k] * b[i + k];
  for (; i < n; i++) partial[i % 32] += a[i] * b[i];
  double sum = 0;
  for (float p : partial) sum += p;
  return sum;
}

template <class F>
void for_rows(View rows, Index elements, F f) {
  const std::int32_t* table = rows.as<std::int32_t>();
#pragma omp parallel if (worth_threads(elements))
  {
    Range mine = my_range(rows.shape[0]);
    for (Index r = mine.first; r < mine.last; r++)
      f(r, Index(table[2 * r]), Index(table[2 * r + 1]));
  }
}

}  // namespace

// E10, E11: R = vᵀS v / vᵀv,  ∇R = 2 (S v − R v) / vᵀv. Outside the rows the gradient stays as it
// is.
void CpuBackend::rayleigh(View v, View s_v, View rows, View quotient, View gradient) {
  for_rows(rows, v.numel(), [&](Index r, Index first, Index length) {
    const float *a = v.as<float>() + first, *b = s_v.as<float>() + first;
    double norm = dot(a, a, length), ratio = dot(a, b, length) / norm;
    float q = float(ratio), scale = float(2 / norm);
    if (quotient) quotient.as<float>()[r] = q;
    if (!gradient) return;
    float* g = gradient.as<float>() + first;
    for (Index i = 0; i < length; i++) g[i] = scale * (b[i] - q * a[i]);
  });
}

void CpuBackend::normalise_rows(View v, View rows) {
  for_rows(rows, v.numel(), [&](Index, Index first, Index length) {
    float* a = v.as<float>() + first;
    float scale = float(1 / std::sqrt(dot(a, a, length)));
    for (Index i = 0; i < length; i++) a[i] *= scale;
  });
}

void CpuBackend::gather(View in, View row, View row_scale, View column, View column_scale,
                        View out) {
  const Index taps = in.shape[1], columns = in.shape[2], out_columns = out.shape[2];
  const std::int32_t* from = column.as<std::int32_t>();
  const float* scales = column_scale.as<float>();
#pragma omp parallel if (worth_threads(out.numel()))
  {
    Range mine = my_range(out.shape[0]);
    for (Index r = mine.first; r < mine.last; r++)
      for (Index k = 0; k < taps; k++) {
        const float* source = in.as<float>() + (row.as<std::int32_t>()[r] * taps + k) * columns;
        float *to = out.as<float>() + (r * taps + k) * out_columns,
              scale = row_scale.as<float>()[r];
        for (Index c = 0; c < out_columns; c++) to[c] = scale * scales[c] * source[from[c]];
      }
  }
}

}  // namespace fission::cpu
