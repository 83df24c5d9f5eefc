// Would cuDNN serve a convolution on a GPU that is not there? (deviceless.cpp, in the fake's
// module)
#pragma once
#include <cstdint>

extern "C" {
struct DevicelessConvolution {  // float32, NHWC
  int kind;                     // 0 forward, 1 backward_data, 2 backward_filter
  std::int64_t batch, side, in, out, kernel, stride, padding, groups;
  std::int64_t workspace_limit;  // bytes
  int exact;  // only what gives the same bits in each run, and computes in float32: no TF32
};
struct DevicelessPlan {
  int offered;             // configurations looked at
  int found;               // 1: the last of them can be made, as it is asked for
  std::int64_t workspace;  // bytes it wants
};
// Null, or what is wrong. device: cuDNN's JSON description of a GPU.
const char* fission_deviceless_plan(const char* device, const DevicelessConvolution* c,
                                    DevicelessPlan* out);
}
