// The only place that knows how a kernel is launched: nvcc's <<<>>>, or, where g++ compiles the
// same files for the tests, an emulator that runs the kernel's body on the CPU. Kernels use static
// shared memory only, barriers, and full-warp shuffles.
#pragma once
#include <cuda_runtime_api.h>

#include "tensor/geometry.h"

#if defined(__CUDACC__)

namespace fission::cuda {

void check_launch(const char* kernel);  // runtime.cu

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, A... args) {
  kernel<<<grid, block, 0, stream>>>(P(args)...);
  check_launch(__PRETTY_FUNCTION__);
}
// of a kernel whose threads never meet
template <class... P, class... A>
void launch_flat(void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, A... args) {
  launch(kernel, grid, block, stream, args...);
}

}  // namespace fission::cuda

#elif !defined(FISSION_EMULATOR)
#error \
    "g++ compiles these files for the tests alone, which bring their emulator of launch() along (Makefile: double)"
#endif

namespace fission::cuda {

constexpr int warp = 32;
constexpr unsigned whole_warp = 0xffffffffu;

inline Index blocks_for(Index n, Index per_block) { return (n + per_block - 1) / per_block; }

}  // namespace fission::cuda
