// A vector of 8 floats in the compiler's own vector type: no intrinsics, so every processor's code comes from one source.
#pragma once
#include "tensor/geometry.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // without AVX vectors are passed otherwise: all such calls are within one file

namespace fission::cpu {

typedef float Lanes __attribute__((vector_size(32), aligned(4)));  // aligned(4): loads and stores anywhere

#define FISSION_LANES(p) (*reinterpret_cast<Lanes*>(p))
#define FISSION_CONST_LANES(p) (*reinterpret_cast<const Lanes*>(p))

// (n) floats, n from one vector to a row of a picture: memcpy's call costs more, and its string instruction much more
inline __attribute__((always_inline)) void copy_floats(const float* from, Index n, float* to) {
  Index i = 0;
  for (; i + 8 <= n; i += 8) FISSION_LANES(to + i) = FISSION_CONST_LANES(from + i);
  if (i == n) return;
  if (n >= 8) FISSION_LANES(to + n - 8) = FISSION_CONST_LANES(from + n - 8);  // the last 8, some of them again
  else
    for (; i < n; i++) to[i] = from[i];
}

// Asks for (n) floats ahead of their use. The hardware follows long streams; a row here and a row there it does not.
inline void prefetch_floats(const float* p, Index n) {
  for (Index i = 0; i < n; i += 16) __builtin_prefetch(p + i, 0, 3);
}
inline void prefetch_to_write(const float* p, Index n) {
  for (Index i = 0; i < n; i += 16) __builtin_prefetch(p + i, 1, 3);
}

}  // namespace fission::cpu
