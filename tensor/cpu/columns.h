// Sums over pixels, for each channel: what batch norm and biases reduce. Float partial sums over at
// most 64 runs, then double, both expanded; folded to channels where a group ends, and each
// thread's added in the order of the threads.
#pragma once
#include <algorithm>

#include "tensor/cpu/loops.h"

namespace fission::cpu {

// S sums at once. make(group) gives a functor q, and q(i, j, s...) adds element i to the S floats s
// (references into the accumulator); j is its place in an expanded table of `run` pixels. Returns
// (G,S,C).
template <int S, class Make, class... Streams>
double* column_sums(Index pixels, Index groups, Index channels, Index run, Scratch& scratch,
                    Make make, Streams... streams) {
  static_assert(S == 1 || S == 2);
  const Index length = run * channels, size = groups * S * channels, stride = (size + 7) / 8 * 8;
  const int workers = worth_threads(pixels * channels) ? threads() : 1;
  double *totals = scratch.zeros<double>(workers * stride),
         *wides = scratch.zeros<double>(workers * S * length);
  float* partials = scratch.zeros<float>(workers * S * length);
#pragma omp parallel num_threads(workers)
  {
    double *total = totals + omp_get_thread_num() * stride,
           *wide = wides + omp_get_thread_num() * S * length;
    float* __restrict s0 = partials + omp_get_thread_num() * S * length;
    float* __restrict s1 = s0 + (S - 1) * length;
    for_my_groups(pixels, groups, [&](Index g, Index first, Index last) {
      auto q = make(g);
      for (Index p = first; p < last; p += 64 * run) {
        for_runs(
            p, std::min(last, p + 64 * run), channels, run,
            [&](Index i, Index j) {
              if constexpr (S == 1) q(i, j, s0[j]);
              if constexpr (S == 2) q(i, j, s0[j], s1[j]);
            },
            streams...);
        for (Index j = 0; j < S * length; j++) wide[j] += s0[j], s0[j] = 0;
      }
      for (int s = 0; s < S; s++)
        for (Index t = 0; t < length; t += channels)
          for (Index c = 0; c < channels; c++)
            total[(g * S + s) * channels + c] += wide[s * length + t + c];
      std::fill(wide, wide + S * length, 0.0);
    });
  }
  for (int t = 1; t < workers; t++)
    for (Index i = 0; i < size; i++) totals[i] += totals[t * stride + i];
  return totals;
}

}  // namespace fission::cpu
