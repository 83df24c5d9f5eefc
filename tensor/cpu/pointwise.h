#pragma once
#include "tensor/cpu/scratch.h"

namespace fission::cpu {

// dw (O,1,1,I) of x (P,I) and dy (P,O); for processors with AVX-512 (`wide`)
void pointwise_backward_filter(const float* x, const float* dy, float* dw, Index pixels, Index in, Index out, Scratch& scratch);

}  // namespace fission::cpu
