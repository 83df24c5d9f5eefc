// What planted work is run with: two streams, an event, memory; 64 floats everywhere. Of the
// module's g++ build alone.
#pragma once
#include "tests/cuda/fake/device.h"
#include "tests/cuda/fake/emulator.h"
#include "tests/cuda/fake/fake.h"
#include "tests/cuda/fake/mistakes.h"

namespace fission::cuda {

constexpr int n = 64, n_bytes = 4 * n;

struct Bench {
  cudaStream_t stream = nullptr, other = nullptr;
  cudaEvent_t event = nullptr;
  float *x = nullptr, *y = nullptr, *pinned = nullptr;
  float host[n];
  Bench() {
    fission_fake_reset();
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    cudaMalloc(reinterpret_cast<void**>(&x), n_bytes);
    cudaMalloc(reinterpret_cast<void**>(&y), n_bytes);
    cudaMallocHost(reinterpret_cast<void**>(&pinned), n_bytes);
    for (int i = 0; i < n; i++) host[i] = float(i), pinned[i] = float(i);
  }
  void up(float* to, cudaStream_t s) {
    cudaMemcpyAsync(to, host, n_bytes, cudaMemcpyHostToDevice, s);
  }
  void down(const float* from, cudaStream_t s) {
    cudaMemcpyAsync(host, from, n_bytes, cudaMemcpyDeviceToHost, s);
  }
  void finish() { cudaStreamSynchronize(stream); }
  void end() {
    cudaDeviceSynchronize();
    cudaFree(x), cudaFree(y), cudaFreeHost(pinned), cudaStreamDestroy(stream),
        cudaStreamDestroy(other), cudaEventDestroy(event);
  }
};

// Results that are wrong are for a test to see; the fake's tests see them through this.
inline void expect(bool right, const char* what) {
  if (!right) cuda_fake::misuse(what);
}

// each of the file of that name
extern const std::vector<mistakes::Mistake> mistakes_of_libraries, mistakes_of_races;

}  // namespace fission::cuda
