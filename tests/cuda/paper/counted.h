// Included before a .cu file that g++ compiles for counting (paper.sh): its `float` becomes a
// number of the same four bytes that counts each operation done on it. + − × ÷, square roots and
// comparisons count one each, so a fused multiply-add two, as in a device's peak. Moves, loads,
// stores, conversions and integers count nothing. All that the host shares with the kernels is
// included first, as it is.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "tensor/cuda/conv.h"
#include "tensor/cuda/cuda_backend.h"
#include "tests/cuda/double/emulator.h"

#include "tensor/cuda/launch.h"

namespace fission::paper {

extern long operations_done;

struct Counted {
  float value;
  Counted() = default;
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  constexpr Counted(T v) : value(float(v)) {}
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  constexpr explicit operator T() const {
    return T(value);
  }
  Counted operator-() const { return Counted(-value); }
};
static_assert(sizeof(Counted) == 4 && std::is_trivially_copyable_v<Counted>);

#define FISSION_COUNTED(op, result)                                                     \
  inline result operator op(Counted a, Counted b) {                                     \
    return operations_done++, a.value op b.value;                                       \
  }                                                                                     \
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>                 \
  auto operator op(Counted a, T b) {                                                    \
    return operations_done++,                                                           \
           std::conditional_t<std::is_same_v<T, double>, double, result>(a.value op b); \
  }                                                                                     \
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>                 \
  auto operator op(T a, Counted b) {                                                    \
    return operations_done++,                                                           \
           std::conditional_t<std::is_same_v<T, double>, double, result>(a op b.value); \
  }
FISSION_COUNTED(+, Counted)
FISSION_COUNTED(-, Counted)
FISSION_COUNTED(*, Counted)
FISSION_COUNTED(/, Counted)
FISSION_COUNTED(<, bool)
FISSION_COUNTED(>, bool)
FISSION_COUNTED(<=, bool)
FISSION_COUNTED(>=, bool)
FISSION_COUNTED(==, bool)
FISSION_COUNTED(!=, bool)
#undef FISSION_COUNTED
inline Counted& operator+=(Counted& a, Counted b) { return a = a + b; }
inline Counted& operator-=(Counted& a, Counted b) { return a = a - b; }
inline Counted& operator*=(Counted& a, Counted b) { return a = a * b; }
inline double& operator+=(double& a, Counted b) { return operations_done++, a += b.value; }
inline Counted sqrtf(Counted x) { return operations_done++, Counted(::sqrtf(x.value)); }
inline Counted expf(Counted x) { return operations_done++, Counted(::expf(x.value)); }
inline Counted logf(Counted x) { return operations_done++, Counted(::logf(x.value)); }
inline Counted fmaxf(Counted a, Counted b) {
  return operations_done++, Counted(::fmaxf(a.value, b.value));
}
inline Counted fminf(Counted a, Counted b) {
  return operations_done++, Counted(::fminf(a.value, b.value));
}

}  // namespace fission::paper

namespace fission::cuda {
using paper::sqrtf, paper::expf, paper::logf, paper::fmaxf, paper::fminf;
inline paper::Counted __shfl_xor_sync(unsigned mask, paper::Counted x, int by) {
  return paper::Counted(__shfl_xor_sync(mask, x.value, by));
}
inline paper::Counted __shfl_down_sync(unsigned mask, paper::Counted x, unsigned by) {
  return paper::Counted(__shfl_down_sync(mask, x.value, by));
}
}  // namespace fission::cuda
namespace fission::kernels {
using paper::sqrtf;
}

#define float ::fission::paper::Counted
