// Pointwise convolutions and their gradients. x (P,I), w (O,1,1,I), y (P,O)
#pragma once
#include "tensor/cpu/scratch.h"

namespace fission::cpu {

void pointwise(const float* x, const float* w, float* y, Index pixels, Index in, Index out,
               Scratch& scratch);
void pointwise_backward_data(const float* dy, const float* w, float* dx, Index pixels, Index in,
                             Index out, Scratch& scratch);
void pointwise_backward_filter(const float* x, const float* dy, float* dw, Index pixels, Index in,
                               Index out, Scratch& scratch);

}  // namespace fission::cpu
