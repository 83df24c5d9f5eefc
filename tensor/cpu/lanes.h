// A vector of 8 floats in the compiler's own vector type: no intrinsics, so every processor's code comes from one source.
#pragma once
#include <cstring>

#include "tensor/geometry.h"

namespace fission::cpu {

typedef float Lanes __attribute__((vector_size(32), aligned(4), may_alias));  // aligned(4): loads and stores anywhere

#define FISSION_LANES(p) (*reinterpret_cast<Lanes*>(p))
#define FISSION_CONST_LANES(p) (*reinterpret_cast<const Lanes*>(p))

}  // namespace fission::cpu
