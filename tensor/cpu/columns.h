// Sums over pixels, for each channel: what batch norm and biases reduce. Float partial sums over at most 64 runs, in an
// expanded accumulator, then double; each thread's doubles are added in the order of the threads.
#pragma once
#include "tensor/cpu/loops.h"

namespace fission::cpu {

// S sums at once. make(group) gives a functor q, and q(i, j, s...) adds element i to the S floats s (references into the
// accumulator); j is its place in an expanded table of `run` pixels. Returns (G,S,C).
template <int S, class Make>
double* column_sums(Index pixels, Index groups, Index channels, Index run, Scratch& scratch, Make make) {
  static_assert(S == 1 || S == 2);
  const Index length = run * channels, size = groups * S * channels, stride = (size + 7) / 8 * 8;
  const int workers = worth_threads(pixels * channels) ? threads() : 1;
  double* totals = scratch.zeros<double>(workers * stride);
  float* partials = scratch.zeros<float>(workers * S * length);
#pragma omp parallel num_threads(workers)
  {
    double* total = totals + omp_get_thread_num() * stride;
    float* __restrict s0 = partials + omp_get_thread_num() * S * length;
    float* __restrict s1 = s0 + (S - 1) * length;
    for_my_groups(pixels, groups, [&](Index g, Index first, Index last) {
      auto q = make(g);
      double* sum = total + g * S * channels;
      for (Index p = first; p < last; p += 64 * run) {
        for_runs(p, std::min(last, p + 64 * run), channels, run, [&](Index i, Index j) {
          if constexpr (S == 1) q(i, j, s0[j]);
          if constexpr (S == 2) q(i, j, s0[j], s1[j]);
        });
        for (int s = 0; s < S; s++) {
          float* partial = s ? s1 : s0;
          for (Index t = 0; t < length; t += channels)
            for (Index c = 0; c < channels; c++) sum[s * channels + c] += partial[t + c];
          std::fill(partial, partial + length, 0.0f);
        }
      }
    });
  }
  for (int t = 1; t < workers; t++)
    for (Index i = 0; i < size; i++) totals[i] += totals[t * stride + i];
  return totals;
}

}  // namespace fission::cpu
