// Checked calls, memory, streams: CudaBackend without its operations.
#include "tensor/cuda/runtime.h"

#include "tensor/cuda/conv.h"
#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/launch.h"

namespace fission::cuda {

void fail(const char* call, const char* file, int line, const std::string& what) {
  int device = -1;
  cudaGetDevice(&device);
  fail_invariant(call, file, line, text("[cuda:", device, "] ", what));
}
std::string text_of(cudaError_t status) {
  return text(cudaGetErrorName(status), " (", int(status), "): ", cudaGetErrorString(status));
}
std::string text_of(cublasStatus_t status) {
  return text(cublasGetStatusName(status), " (", int(status), "): ", cublasGetStatusString(status));
}
std::string text_of(cudnnStatus_t status) {
#if CUDNN_VERSION >= 90000
  char more[1024] = "";
  cudnnGetLastErrorString(more, sizeof more);
  return text(cudnnGetErrorString(status), " (", int(status), ") ", more);
#else
  return text(cudnnGetErrorString(status), " (", int(status), ")");
#endif
}

void check_launch(const char* kernel) {
  cudaError_t status = cudaGetLastError();
  if (is_out_of_memory(status)) fail_memory(kernel);
  if (status != cudaSuccess) fail(kernel, __FILE__, __LINE__, text_of(status));
}

namespace {

std::string device_place() {
  std::size_t free = 0, total = 0;
  int device = 0;
  cudaGetDevice(&device);
  cudaMemGetInfo(&free, &total);
  return text("cuda:", device, " (", total >> 20, " MiB, ", free >> 20, " free)");
}

}  // namespace

void fail_memory(const char* call) {
  cudaGetLastError();  // not left behind for the next launch to find
  throw OutOfMemory(
      text("[memory] ", device_place(), ": no more for ", call,
           "; expected a smaller batch (or network), or some left by --memory-limit"));
}

namespace {

// Null when there is no more; that error is not left behind for the next launch to find.
template <class Take>
void* or_null(Take take) {
  void* p = nullptr;
  cudaError_t status = take(&p);
  if (status == cudaErrorMemoryAllocation) return cudaGetLastError(), nullptr;
  FISSION_CUDA(status);
  return p;
}

}  // namespace

// A piece goes back when all queued work is done: the arena reuses memory in the order of the
// compute stream, without waiting.
DeviceArena::DeviceArena(std::size_t limit)
    : Arena(
          [this, limit](std::size_t bytes) -> void* {
            if (limit && statistics().held + bytes > limit) return nullptr;
            return or_null([&](void** p) { return cudaMalloc(p, bytes); });
          },
          [](void* p, std::size_t) {
            cudaDeviceSynchronize();
            cudaFree(p);
          },
          [limit] {
            return device_place() + (limit ? text(", --memory-limit ", limit >> 20, " MiB") : "");
          }) {}

PinnedArena::PinnedArena()
    : Arena(
          [](std::size_t bytes) -> void* {
            return or_null([&](void** p) { return cudaMallocHost(p, bytes); });
          },
          [](void* p, std::size_t) {
            cudaDeviceSynchronize();
            cudaFreeHost(p);
          },
          [] { return "page-locked host memory"; }) {}

CudaBackend::CudaBackend(int device, const DeviceSettings& settings)
    : device_(device),
      memory_(settings.memory_limit),
      convolutions_(std::make_unique<Convolutions>(memory_, compute_, settings)) {
  cudaDeviceProp properties;
  FISSION_CUDA(cudaGetDeviceProperties(&properties, device));
  name_ = text("cuda:", device, " (", properties.name, ")");
}

CudaBackend::~CudaBackend() { cudaDeviceSynchronize(); }

void CudaBackend::copy(void* to, const void* from, std::size_t bytes, Direction direction,
                       Queue queue) {
  if (bytes == 0) return;
  const void* host = direction == Direction::host_to_device   ? from
                     : direction == Direction::device_to_host ? to
                                                              : nullptr;
  cudaMemcpyKind kind = direction == Direction::host_to_device   ? cudaMemcpyHostToDevice
                        : direction == Direction::device_to_host ? cudaMemcpyDeviceToHost
                                                                 : cudaMemcpyDeviceToDevice;
  FISSION_CUDA(cudaMemcpyAsync(to, from, bytes, kind, stream(queue)));
  if (host && !host_memory_.holds(host)) FISSION_CUDA(cudaStreamSynchronize(stream(queue)));
}

std::unique_ptr<Event> CudaBackend::record(Queue queue) {
  auto event = std::make_unique<CudaEvent>();
  FISSION_CUDA(cudaEventRecord(event->event, stream(queue)));
  return event;
}
void CudaBackend::wait(Queue queue, const Event& event) {
  FISSION_CUDA(cudaStreamWaitEvent(stream(queue), static_cast<const CudaEvent&>(event).event, 0));
}
void CudaBackend::wait_on_host(const Event& event) {
  FISSION_CUDA(cudaEventSynchronize(static_cast<const CudaEvent&>(event).event));
}
void CudaBackend::synchronize() {
  FISSION_CUDA(cudaStreamSynchronize(transfer_));
  FISSION_CUDA(cudaStreamSynchronize(compute_));
}

}  // namespace fission::cuda
