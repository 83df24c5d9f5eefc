// Depthwise convolutions of any kernel, stride and padding: right, not fast. See
// Backend::depthwise, depthwise_tangent and depthwise_backward.
#pragma once
#include "tensor/cuda/runtime.h"

namespace fission::cuda::any {

// u null: no tangent
void forward(View y, const Norm* norm, View u, View w, const Conv2dGeometry& g, View out,
             cudaStream_t stream);
// da, dw: either may be null
void backward(View y, const Norm* norm, View w, View dout, const Conv2dGeometry& g, View da,
              View dw, Scratch& scratch, cudaStream_t stream);

}  // namespace fission::cuda::any
