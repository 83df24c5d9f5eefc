// The CUDA runtime's entry points, over the fake's device. Only those that the backend calls:
// another one is not linked.
#include <cuda_runtime_api.h>

#include <cstring>

#include "tests/cuda/fake/device.h"

using namespace fission::cuda_fake;

namespace {

// What every entry point does first: count itself, and return what a device that is not there, or
// no longer, returns
#define ENTRY(name)               \
  Call call(#name);               \
  Device& device = Device::get(); \
  if (call.status != cudaSuccess) return device.last_error = call.status

cudaError_t failed(cudaError_t status) { return Device::get().last_error = status; }

void wants(bool condition, const char* what) {
  if (!condition) misuse(what);
}

struct Text {
  cudaError_t status;
  const char *name, *says;
};
#define TEXT(status, says) \
  { status, #status, says }
const Text& text_of(cudaError_t status) {
  static const Text other{status, "another CUDA error", "another CUDA error"},
      all[] = {
          TEXT(cudaSuccess, "no error"),
          TEXT(cudaErrorMemoryAllocation, "out of memory"),
          TEXT(cudaErrorStubLibrary, "CUDA driver is a stub library"),
          TEXT(cudaErrorInsufficientDriver,
               "CUDA driver version is insufficient for CUDA runtime version"),
          TEXT(cudaErrorDevicesUnavailable, "CUDA-capable device(s) is/are busy or unavailable"),
          TEXT(cudaErrorNoDevice, "no CUDA-capable device is detected"),
          TEXT(cudaErrorInvalidDevice, "invalid device ordinal"),
          TEXT(cudaErrorNoKernelImageForDevice,
               "no kernel image is available for execution on the device"),
          TEXT(cudaErrorNotReady, "device not ready"),
          TEXT(cudaErrorLaunchFailure, "unspecified launch failure")};
  for (const Text& t : all)
    if (t.status == status) return t;
  return other;
}

}  // namespace

extern "C" {

// ---- Devices
cudaError_t cudaGetDeviceCount(int* count) {
  ENTRY(cudaGetDeviceCount);
  *count = device.situation.devices;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int k) {
  ENTRY(cudaSetDevice);
  if (k < 0 || k >= device.situation.devices) return failed(cudaErrorInvalidDevice);
  Device::current() = k;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* k) {  // a variable of the thread's, whatever became of the device
  Call call("cudaGetDevice");
  *k = Device::current();
  return cudaSuccess;
}
#undef cudaGetDeviceProperties
#if CUDART_VERSION >= 12000 && CUDART_VERSION < 13000
#define cudaGetDeviceProperties cudaGetDeviceProperties_v2
#endif
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int k) {
  ENTRY(cudaGetDeviceProperties);
  if (k < 0 || k >= device.situation.devices) return failed(cudaErrorInvalidDevice);
  *properties = cudaDeviceProp();
  std::strcpy(properties->name, "fake GPU");
  properties->totalGlobalMem = device.situation.memory;
  properties->major = device.situation.capability / 10,
  properties->minor = device.situation.capability % 10;
  properties->multiProcessorCount = 4;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->sharedMemPerBlock = 48 << 10;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int k) {
  ENTRY(cudaDeviceGetAttribute);
  if (k < 0 || k >= device.situation.devices) return failed(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = device.situation.capability / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = device.situation.capability % 10; break;
    case cudaDevAttrMultiProcessorCount: *value = 4; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
    case cudaDevAttrClockRate: *value = 1410000; break;
    case cudaDevAttrMemoryClockRate: *value = 1215000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = 5120; break;
    default: misuse("an attribute that the fake does not know");
  }
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(
    int* version) {  // works without a device: 0 where there is no driver
  Call call("cudaDriverGetVersion");
  const std::string& problem = Device::get().situation.problem;
  *version = problem == "no_driver" ? 0 : problem == "old_driver" ? 11000 : CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  Call call("cudaRuntimeGetVersion");
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  ENTRY(cudaFuncGetAttributes);
  if (device.situation.problem == "no_image") return failed(cudaErrorNoKernelImageForDevice);
  *attributes = cudaFuncAttributes();
  attributes->maxThreadsPerBlock = 1024;
  return cudaSuccess;
}

// ---- Memory
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  ENTRY(cudaMemGetInfo);
  *total = device.situation.memory;
  *free = *total - device.in_use(Device::current());
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** p, size_t bytes) {
  ENTRY(cudaMalloc);
  *p = device.allocate(bytes, false, Device::current());
  return *p ? cudaSuccess : failed(cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* p) {
  ENTRY(cudaFree);
  device.free(p, false);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** p, size_t bytes) {
  ENTRY(cudaMallocHost);
  *p = device.allocate(bytes, true, Device::current());
  return *p ? cudaSuccess : failed(cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* p) {
  ENTRY(cudaFreeHost);
  device.free(p, true);
  return cudaSuccess;
}

// Pageable host memory is read, or written, when the copy runs: who does not wait before changing
// it copies the wrong bytes.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  ENTRY(cudaMemcpyAsync);
  Use target{to, bytes, "to", true}, source{from, bytes, "from"};
  bool known = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToHost ||
               kind == cudaMemcpyDeviceToDevice;
  wants(known, "a direction that is none of the three");
  kind == cudaMemcpyDeviceToHost ? device.check_host(target) : device.check(target);
  kind == cudaMemcpyHostToDevice ? device.check_host(source) : device.check(source);
  wants(bytes == 0 || static_cast<char*>(to) + bytes <= from ||
            static_cast<const char*>(from) + bytes <= to,
        "to and from overlap");
  device.enqueue(stream,
                 {"cudaMemcpyAsync", {target, source}, [=] { std::memcpy(to, from, bytes); }});
  return cudaSuccess;
}

// ---- Streams
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  ENTRY(cudaStreamCreateWithFlags);
  wants(flags == cudaStreamNonBlocking, "a stream that waits for the null stream");
  *stream = device.create_stream(Device::current());
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  ENTRY(cudaStreamDestroy);
  device.destroy_stream(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  ENTRY(cudaStreamSynchronize);
  device.check_stream(stream);
  device.finish(stream, nullptr);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  ENTRY(cudaStreamWaitEvent);
  CUevent_st& e = device.check_event(event);
  wants(e.last != nullptr, "an event that was never recorded: nobody waits");
  device.enqueue(stream, {"cudaStreamWaitEvent", {}, nullptr, nullptr, e.last});
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  ENTRY(cudaDeviceSynchronize);
  device.finish_all();
  return cudaSuccess;
}

// ---- Events
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  ENTRY(cudaEventCreateWithFlags);
  *event = device.create_event(!(flags & cudaEventDisableTiming));
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  ENTRY(cudaEventDestroy);
  device.destroy_event(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  ENTRY(cudaEventRecord);
  CUevent_st& e = device.check_event(event);
  auto record = std::make_shared<Record>(Record{stream});
  device.enqueue(stream, {"cudaEventRecord", {}, nullptr, record});
  e.last = record;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  ENTRY(cudaEventSynchronize);
  std::shared_ptr<Record> record = device.check_event(event).last;
  wants(record != nullptr, "an event that was never recorded: nobody waits");
  if (record) device.finish(record->stream, record.get());
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  ENTRY(cudaEventElapsedTime);
  CUevent_st &a = device.check_event(from), &b = device.check_event(to);
  wants(a.timing && b.timing, "an event made without timing");
  wants(a.last && b.last, "an event that was never recorded");
  if (!a.last->done || !b.last->done) return failed(cudaErrorNotReady);
  *milliseconds = float(1e3 * (b.last->seconds - a.last->seconds));
  return cudaSuccess;
}

// ---- Errors
cudaError_t cudaGetLastError() {
  std::lock_guard<std::recursive_mutex> lock(Device::get().mutex);
  cudaError_t status = Device::get().last_error;
  if (!Device::get().lost) Device::get().last_error = cudaSuccess;  // a lost device stays lost
  return status;
}
const char* cudaGetErrorName(cudaError_t status) { return text_of(status).name; }
const char* cudaGetErrorString(cudaError_t status) { return text_of(status).says; }

}  // extern "C"
