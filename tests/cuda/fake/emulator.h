// Runs kernels on the CPU, for the tests: what tensor/cuda/launch.h offers where g++ compiles the
// .cu files. A launch waits in its stream of the fake (device.h); when it runs, launch() gives
// each thread of a block a fiber, and launch_flat() is a plain loop, for threads that never meet.
// Refused, each by a Misuse that names the kernel: host pointers among the arguments, impossible
// grids, a barrier that not all threads of the block reach, a shuffle that not all lanes of the
// warp reach, either of them in launch_flat. What needs luck on a GPU shows here: fibers run in
// ascending or descending order (fake.h: "fibers="), and shared memory is full of NaN before each
// block.
#pragma once
#include <cuda_runtime_api.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <vector>

#define FISSION_EMULATOR 1  // which launch.h asks for
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __forceinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

namespace fission::emulator {

struct Argument {
  const void* at;
  std::size_t bytes;
};
// thread() runs the kernel's body as the thread that threadIdx and blockIdx name
void enqueue(const void* kernel, dim3 grid, dim3 block, cudaStream_t stream, bool flat,
             const std::vector<Argument>& arguments, std::function<void()> thread);

enum class Meeting { barrier, warp_barrier, down, up, exclusive, lane };
void meet(Meeting kind, int line);  // of the whole block, or of the warp
std::uint64_t shuffle(Meeting kind, unsigned mask, std::uint64_t value, int by, int width,
                      int line);

template <class T>
void clear_holes(T& argument) {  // they may hold what looks like a pointer
  if constexpr (!std::is_empty_v<T>)
    __builtin_clear_padding(&argument);  // an empty one may lie in the place of another
}

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, bool flat,
            A... given) {
  static_assert((std::is_trivially_copyable_v<P> && ...),
                "a kernel's parameters are copied as bytes: no references, nothing that owns");
  static_assert((sizeof(P) + ... + 0) <= 4096, "a kernel takes at most 4096 bytes of parameters");
  std::tuple<P...> arguments{static_cast<P>(given)...};
  std::vector<Argument> seen;
  std::apply([](auto&... each) { (clear_holes(each), ...); }, arguments);
  std::apply([&](const auto&... each) { (seen.push_back({&each, sizeof each}), ...); }, arguments);
  enqueue(reinterpret_cast<const void*>(kernel), grid, block, stream, flat, seen,
          [kernel, arguments] { std::apply(kernel, arguments); });
}

template <class T>
T shuffled(Meeting kind, unsigned mask, T value, int by, int width, int line) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                "shuffles take numbers of 4 or 8 bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(kind, mask, bits, by, width, line);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace fission::emulator

namespace fission::cuda {

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

void check_launch(const char* kernel);  // tensor/cuda/runtime.cu

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, A... arguments) {
  emulator::launch(kernel, grid, block, stream, false, arguments...);
  check_launch(__PRETTY_FUNCTION__);
}
template <class... P, class... A>
void launch_flat(void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, A... arguments) {
  emulator::launch(kernel, grid, block, stream, true, arguments...);
  check_launch(__PRETTY_FUNCTION__);
}

inline void __syncthreads(int line = __builtin_LINE()) {
  emulator::meet(emulator::Meeting::barrier, line);
}
inline void __syncwarp(unsigned = 0xffffffffu, int line = __builtin_LINE()) {
  emulator::meet(emulator::Meeting::warp_barrier, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32,
                   int line = __builtin_LINE()) {
  return emulator::shuffled(emulator::Meeting::down, mask, value, int(by), width, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, int line = __builtin_LINE()) {
  return emulator::shuffled(emulator::Meeting::up, mask, value, int(by), width, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32, int line = __builtin_LINE()) {
  return emulator::shuffled(emulator::Meeting::exclusive, mask, value, by, width, line);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, int line = __builtin_LINE()) {
  return emulator::shuffled(emulator::Meeting::lane, mask, value, lane, width, line);
}

}  // namespace fission::cuda
