// Vectors of 8 floats, of 16, and of one (where there are fewer channels than 8), in the compiler's
// own vector types: no intrinsics, so every processor's code comes from one source.
#pragma once
#include "tensor/geometry.h"

#pragma GCC diagnostic ignored \
    "-Wpsabi"  // without AVX vectors are passed otherwise: all such calls are within one file

namespace fission::cpu {

template <int L>
struct Vector {
  typedef float Type
      __attribute__((vector_size(L * 4), aligned(4)));  // aligned(4): loads and stores anywhere
};

template <int L>
inline __attribute__((always_inline)) typename Vector<L>::Type& lanes_at(float* p) {
  return *reinterpret_cast<typename Vector<L>::Type*>(p);
}
template <int L>
inline __attribute__((always_inline)) const typename Vector<L>::Type& lanes_at(const float* p) {
  return *reinterpret_cast<const typename Vector<L>::Type*>(p);
}

// Prefetches n floats. The hardware follows long streams; a row here and a row
// there it does not.
inline void prefetch_floats(const float* p, Index n) {
  for (Index i = 0; i < n; i += 16) __builtin_prefetch(p + i, 0, 3);
}

}  // namespace fission::cpu
