// How the loops run: which thread does what, and how odd channel counts stay fast.
// In (pixel, channel) data a loop over C = 21 channels would leave a scalar tail at each pixel. So
// T pixels are taken together, T·C a multiple of the vector length: one flat loop, with the
// per-channel coefficients repeated T times in a table ("expanded"). Column sums go to an expanded
// accumulator as well, folded to channels at the end.
#pragma once
#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <numeric>
#include <type_traits>

#include "tensor/backend.h"
#include "tensor/cpu/lanes.h"
#include "tensor/cpu/scratch.h"
#include "tensor/kernels/activation.h"

namespace fission::cpu {

#ifndef _OPENMP  // a build without OpenMP runs on one thread
inline int omp_get_num_threads() { return 1; }
inline int omp_get_thread_num() { return 0; }
inline int omp_get_max_threads() { return 1; }
#endif

constexpr Index lanes = 8;  // floats of a vector (AVX2)

extern const bool wide;  // conv.cpp: AVX-512 is there, and oneDNN was not told to do without
                         // (ONEDNN_MAX_CPU_ISA=AVX2)

// Pixels of a run: T·C is at least 256 floats, and a multiple of the vector length unless that
// would be so many that the tables leave the first-level cache.
inline Index run_pixels(Index channels) {
  const Index floats = wide ? 2 * lanes : lanes, least = 256, most = 2200;
  Index t = floats / std::gcd(floats, channels);
  while (t > 1 && t * channels > most) t /= 2;
  return t * std::max<Index>(1, (least + t * channels - 1) / (t * channels));
}

template <class T>
void expand(const T* values, Index channels, Index pixels, T* out) {  // (C) → (T,C)
  for (Index t = 0; t < pixels; t++) std::copy(values, values + channels, out + t * channels);
}

// the part of [0, n) that is this thread's
struct Range {
  Index first, last;
};
inline Range my_range(Index n) {
  Index threads = omp_get_num_threads(), me = omp_get_thread_num();
  return {n * me / threads, n * (me + 1) / threads};
}

inline int threads() { return omp_get_max_threads(); }
inline bool worth_threads(Index elements) {
  return elements > 8192;
}  // below that, starting threads costs more

// f(Floats<N>) compiled twice, each time with all that it calls in one piece: for vectors of 8
// floats, with the instructions that the program is built for; and for 16, with AVX-512, run where
// the processor has it. A function that gcc did not inline into run_wide would be AVX-512 for all
// who call it, or narrow within: hence flatten.
template <int N>
using Floats = std::integral_constant<int, N>;
#if defined(__x86_64__)
template <class F>
__attribute__((noinline, flatten,
               target("avx512f,avx512vl,avx512bw,avx512dq,fma,prefer-vector-width=512"))) void
run_wide(F f) {
  f(Floats<16>{});
}
#else
template <class F>
void run_wide(F) {}
#endif
template <class F>
__attribute__((noinline, flatten)) void run_narrow(F f) {
  f(Floats<lanes>{});
}
template <class F>
void widest(F f) {
  if (wide) run_wide(f);
  else run_narrow(f);
}

// While one lives, this thread reckons with 0 for numbers below the least normal float (1e-38),
// which cost a hundred cycles each otherwise. Optimisers keep squares and decaying averages of
// gradients, and of small gradients those can be as many as there are parameters: RMSprop's step
// over 820,000 of them took 4.3 ms with gradients of 1e-20, of 1e-15 it takes 0.24.
class FlushDenormals {
#if defined(__x86_64__)
 public:
  FlushDenormals() : before_(__builtin_ia32_stmxcsr()) {
    __builtin_ia32_ldmxcsr(before_ | 0x8040);
  }  // flush to zero, denormals are zero
  ~FlushDenormals() { __builtin_ia32_ldmxcsr(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned before_;
#endif
};
struct AsItIs {};

// f(i) for all i < n, in parallel and vectorised; Mode: AsItIs or FlushDenormals
template <class Mode = AsItIs, class F>
void for_each(Index n, F f) {
#pragma omp parallel if (worth_threads(n))
  {
    [[maybe_unused]] Mode mode;
    widest([f, r = my_range(n)](auto) {
#pragma omp simd
      for (Index i = r.first; i < r.last; i++) f(i);
    });
  }
}

// f(group, first pixel, last pixel) for this thread's part of `pixels`, cut where a group ends
template <class F>
void for_my_groups(Index pixels, Index groups, F f) {
  Range r = my_range(pixels);
  Index per_group = pixels / groups;
  for (Index p = r.first; p < r.last;) {
    Index g = p / per_group, end = std::min(r.last, (g + 1) * per_group);
    f(g, p, end);
    p = end;
  }
}

// f(i, j) for each float i of the pixels [first, last) of C channels; j: its place in an expanded
// table of T pixels.
// streams: what f reads and writes at i, prefetched: a core alone has too few loads
// under way to use the memory's bandwidth, and the hardware's own prefetching stops at every page
// (a pass over a large tensor takes 10 to 20 % less).
template <class F, class... Streams>
void for_runs(Index first, Index last, Index channels, Index run, F f, Streams... streams) {
  constexpr Index ahead = 512, piece = 128;  // floats
  widest([=](auto) {
    for (Index p = first; p < last; p += run) {
      const Index n = std::min(run, last - p) * channels, base = p * channels;
      for (Index k = 0; k < n; k += piece) {
        const Index end = std::min(n, k + piece);
        (prefetch_floats(streams + base + k + ahead, end - k), ...);
#pragma omp simd
        for (Index j = k; j < end; j++) f(base + j, j);
      }
    }
  });
}

// E5's coefficients z = c y + b, one set a group, expanded: (G,T,C) each
struct Coefficients {
  Index run, length;  // T, T·C
  float *c, *b;
  const float* c_of(Index group) const { return c + group * length; }
  const float* b_of(Index group) const { return b + group * length; }
};
Coefficients coefficients(const Norm& norm, Index channels, Index run, Scratch& scratch);

const float* expanded_means(const Norm& norm, Index channels, const Coefficients& k,
                            Scratch& scratch);  // (G,T,C)
// The second half of norm_act_backward: dz lies in dy; sums (G,2,C): Σ dz and Σ dz (y − mean)
void finish_norm_backward(View y, const Norm& norm, bool training, const Coefficients& k,
                          const double* sums, View dy, View dgamma, View dbeta, Scratch& scratch);

inline Index last_dim(const Shape& s) { return s[s.rank() - 1]; }

// calls f with the functor of an activation
template <class F>
void with_activation(Activation a, const Curvature& k, F f) {
  switch (a) {
    case Activation::swish: return f(kernels::Swish{});
    case Activation::relu: return f(kernels::Relu{float(k.relu_beta)});
    case Activation::none: return f(kernels::Linear{float(k.linear)});
  }
}

}  // namespace fission::cpu
