// Sums over processes. Where each process has a GPU of its own NCCL adds on the devices; else MPI
// does, by way of page-locked host memory.
#include "tensor/comm.h"

#ifdef FISSION_HAVE_NCCL
#include <nccl.h>

#include <cstdio>
#include <set>

#include "tensor/hash.h"
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
  if (status != ncclSuccess)
    fail(call, __FILE__, line,
         text("NCCL ", int(status), ": ", ncclGetErrorString(status), ", ",
              ncclGetLastError(nullptr)));
}
#define FISSION_NCCL(call) check_nccl((call), #call, __LINE__)
}  // namespace

// All processes must take the same way: NCCL, if no two of them have the same GPU. A GPU's 128 bits
// are told as a number of 52.
bool CudaBackend::ring_of_gpus(Comm& comm) {
  if (ring_) return ring_->comm != nullptr;
  ring_ = std::make_shared<Ring>();
  cudaDeviceProp properties;
  FISSION_CUDA(cudaGetDeviceProperties(&properties, device_));
  std::vector<double> gpus(std::size_t(comm.size()));
  gpus[std::size_t(comm.rank())] =
      double(hash_bytes(&properties.uuid, sizeof properties.uuid) >> 12);
  comm.sum(gpus.data(), comm.size());
  const bool own = std::set<double>(gpus.begin(), gpus.end()).size() == gpus.size();
  if (comm.first())
    std::fprintf(stderr, "%d processes add their gradients by %s\n", comm.size(),
                 own ? "NCCL" : "MPI: some share a GPU");
  if (!own) return false;
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
  else if (weight != 1 && n > 0)
    launch_flat(scale, dim3(unsigned(blocks_for(n, 256))), dim3(256), compute_, x.as<float>(), n,
                weight);
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
