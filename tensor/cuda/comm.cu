// Sums over processes. Where each process has a GPU of its own NCCL adds on the devices; else MPI does, by way of page-locked host memory.
#include "tensor/comm.h"

#ifdef FISSION_HAVE_NCCL
#include <nccl.h>
#endif

#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/launch.h"

namespace fission::cuda {
namespace {

__global__ void scale(float* __restrict x, Index n, float weight) {
  Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= weight;
}

}  // namespace

#ifdef FISSION_HAVE_NCCL
struct CudaBackend::Ring {
  ncclComm_t comm = nullptr;
};
namespace {
void check_nccl(ncclResult_t status, const char* call, int line) {
  if (status != ncclSuccess) fail(call, __FILE__, line, text("NCCL ", int(status), ": ", ncclGetErrorString(status), ", ", ncclGetLastError(nullptr)));
}
#define FISSION_NCCL(call) check_nccl((call), #call, __LINE__)
}  // namespace

// All processes must take the same way: each says whether it has a GPU of its own, and one that has none decides for all.
bool CudaBackend::ring_of_gpus(Comm& comm) {
  if (ring_) return ring_->comm != nullptr;
  ring_ = std::make_shared<Ring>();
  int gpus = 0;
  FISSION_CUDA(cudaGetDeviceCount(&gpus));
  double own = comm.neighbours() <= gpus && device_ == comm.place() ? 1 : 0;
  comm.sum(&own, 1);
  if (own != comm.size()) return false;
  ncclUniqueId id{};
  if (comm.first()) FISSION_NCCL(ncclGetUniqueId(&id));
  comm.broadcast(&id, sizeof id);
  FISSION_NCCL(ncclCommInitRank(&ring_->comm, comm.size(), id, comm.rank()));
  return true;
}
void CudaBackend::sum_in_ring(float* x, Index n) {
  FISSION_NCCL(ncclAllReduce(x, x, std::size_t(n), ncclFloat, ncclSum, ring_->comm, compute_));
}
#else
struct CudaBackend::Ring {};
bool CudaBackend::ring_of_gpus(Comm&) { return false; }
void CudaBackend::sum_in_ring(float*, Index) {}
#endif

void CudaBackend::sum_over_processes(View x, double weight, Comm& comm) {
  const Index n = x.numel();
  if (weight == 0) fill(x, 0);
  else if (weight != 1 && n > 0) launch_flat(scale, dim3(unsigned(blocks_for(n, 256))), dim3(256), compute_, x.as<float>(), n, weight);
  if (ring_of_gpus(comm)) return sum_in_ring(x.as<float>(), n);
  const std::size_t bytes = std::size_t(n) * sizeof(float);
  auto* here = static_cast<float*>(host_memory_.allocate(bytes));
  copy(here, x.data, bytes, Direction::device_to_host, Queue::compute);
  FISSION_CUDA(cudaStreamSynchronize(compute_));
  comm.sum(here, n);
  copy(x.data, here, bytes, Direction::host_to_device, Queue::compute);
  FISSION_CUDA(cudaStreamSynchronize(compute_));  // before the memory is anyone else's
  host_memory_.free(here);
}

}  // namespace fission::cuda
