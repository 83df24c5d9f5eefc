// What all of the CUDA backend stands on: checked calls, the two streams, events, device and
// page-locked memory. A failing call throws with the call, the library's own text, and the device;
// one that lacks memory throws OutOfMemory.
#pragma once
#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include <memory>
#include <string>

#include "tensor/backend.h"

namespace fission::cuda {

[[noreturn]] void fail(const char* call, const char* file, int line, const std::string& what);
[[noreturn]] void fail_memory(
    const char* call);  // OutOfMemory: libraries and kernels take some when they are first used
inline bool is_out_of_memory(cudaError_t status) { return status == cudaErrorMemoryAllocation; }
inline bool is_out_of_memory(cublasStatus_t status) { return status == CUBLAS_STATUS_ALLOC_FAILED; }
inline bool is_out_of_memory(cudnnStatus_t status) {
#if CUDNN_VERSION >= 90000
  return status == CUDNN_STATUS_ALLOC_FAILED ||
         status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
#else
  return status == CUDNN_STATUS_ALLOC_FAILED;
#endif
}
std::string text_of(cudaError_t status);
std::string text_of(cublasStatus_t status);
std::string text_of(cudnnStatus_t status);

#define FISSION_CUDA(call)                                                                        \
  do {                                                                                            \
    auto status_of_call = (call);                                                                 \
    if (::fission::cuda::is_out_of_memory(status_of_call)) ::fission::cuda::fail_memory(#call);   \
    if (int(status_of_call) != 0)                                                                 \
      ::fission::cuda::fail(#call, __FILE__, __LINE__, ::fission::cuda::text_of(status_of_call)); \
  } while (0)

class Stream {
 public:
  Stream() { FISSION_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

struct CudaEvent : Event {
  explicit CudaEvent(unsigned flags = cudaEventDisableTiming) {
    FISSION_CUDA(cudaEventCreateWithFlags(&event, flags));
  }
  ~CudaEvent() override { cudaEventDestroy(event); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  cudaEvent_t event = nullptr;
};

// Device memory, at most `limit` bytes of it (0: all there is)
struct DeviceArena : Arena {
  explicit DeviceArena(std::size_t limit);
};
struct PinnedArena : Arena {
  PinnedArena();
};

// Memory of one operation: given back when the launches that use it are enqueued. The compute
// stream runs in order, so whoever gets it next writes after they have read. Never for the copy
// stream.
class Scratch {
 public:
  explicit Scratch(Arena& arena) : arena_(arena) {}
  ~Scratch() {
    for (int i = 0; i < count_; i++) arena_.free(taken_[i]);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* take(Index n) {
    FISSION_CHECK(count_ < most, "[cuda] an operation with more than ", int(most),
                  " pieces of scratch memory");
    return static_cast<T*>(taken_[count_++] = arena_.allocate(std::size_t(n) * sizeof(T)));
  }

 private:
  static constexpr int most = 8;
  Arena& arena_;
  void* taken_[most];
  int count_ = 0;
};

}  // namespace fission::cuda
