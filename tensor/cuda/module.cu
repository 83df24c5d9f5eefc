// The module's one exported function: finds the GPU and makes its backend, or says in one line why
// it can't.
#include <cstring>

#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/launch.h"

namespace fission::cuda {
namespace {

__global__ void image_probe() {}

// Any error means "none", and the count is then not to be trusted: without a driver it is left as
// it was.
std::string why_no_device(cudaError_t status) {
  switch (status) {
    case cudaErrorInsufficientDriver: {
      int driver = 0, runtime = 0;
      cudaDriverGetVersion(&driver);
      cudaRuntimeGetVersion(&runtime);
      if (driver == 0) return text("no NVIDIA driver was found (", text_of(status), ")");
      return text("the NVIDIA driver is too old: it serves CUDA ", driver / 1000, ".",
                  driver % 1000 / 10, ", this build needs ", runtime / 1000, ".",
                  runtime % 1000 / 10, " (", text_of(status), ")");
    }
    case cudaErrorStubLibrary:
      return text(
          "libcuda is the toolkit's stub, not a driver's: is a stubs folder in LD_LIBRARY_PATH? (",
          text_of(status), ")");
    case cudaErrorNoDevice:
      return text("a driver, but no GPU that this process may see: CUDA_VISIBLE_DEVICES? (",
                  text_of(status), ")");
    default: return text("the GPUs cannot be counted: ", text_of(status));
  }
}

std::string why_not(int& device, int process) {
  int count = 0;
  if (cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess)
    return why_no_device(status);
  if (device < 0) device = process % count;
  if (device >= count)
    return text("there ", count == 1 ? "is 1 GPU" : text("are ", count, " GPUs"),
                ", numbered from 0");
  if (cudaError_t status = cudaSetDevice(device); status != cudaSuccess)
    return text("the GPU cannot be used: ", text_of(status));
  cudaFuncAttributes attributes;
  cudaError_t status =
      cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(image_probe));
  if (status == cudaSuccess) return "";
  cudaGetLastError();
  int major = 0, minor = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  if (status == cudaErrorNoKernelImageForDevice ||
      status == cudaErrorInvalidDeviceFunction)  // which of them is the runtime's choice
    return text("this build is for sm_", FISSION_CUDA_ARCH, ", the GPU is sm_", major, minor,
                ": make cuda CUDA_ARCH=", major, minor);
  if (status == cudaErrorUnsupportedPtxVersion)
    return text("the NVIDIA driver is older than the nvcc of this build: make cuda CUDA_ARCH=",
                major, minor, " needs no help of the driver's compiler (", text_of(status), ")");
  return text("a kernel cannot be loaded: ", text_of(status));
}

}  // namespace
}  // namespace fission::cuda

extern "C" __attribute__((visibility("default"))) fission::Backend* fission_cuda_backend(
    const char* seam, int device, const fission::DeviceSettings* settings, std::string* why) {
  using namespace fission;
  if (std::strcmp(seam, FISSION_SEAM) != 0) {
    *why = "fission_cuda.so is of another build than this program: make cuda";
    return nullptr;
  }
  *why = cuda::why_not(device, settings->process);
  if (!why->empty()) return nullptr;
  try {
    return new cuda::CudaBackend(device, *settings);
  } catch (const InvariantError& e) {  // a library that does not start: the GPU is full, or of a
                                       // kind it does not know
    *why = e.what();
    return nullptr;
  }
}
