// CudaBackend: the class behind the module's one function. Private to this folder.
// Work is enqueued on one compute stream and one copy stream; nothing waits but copies to and from
// pageable memory, and who asks to.
#pragma once
#include <memory>

#include "tensor/cuda/open.h"
#include "tensor/cuda/runtime.h"
#include "tensor/operations.h"

namespace fission::cuda {

class Convolutions;  // conv.h

class CudaBackend : public Backend {
 public:
  CudaBackend(int device, const DeviceSettings& settings);
  ~CudaBackend() override;
  std::string name() const override { return name_; }
  bool supports(DType type) const override { return type != DType::f64; }

  Arena& arena(Memory kind) override {
    return kind == Memory::device ? static_cast<Arena&>(memory_) : host_memory_;
  }
  void copy(void* to, const void* from, std::size_t bytes, Direction direction,
            Queue queue) override;
  std::unique_ptr<Event> record(Queue queue) override;
  void wait(Queue queue, const Event& event) override;
  void wait_on_host(const Event& event) override;
  void synchronize() override;

  FISSION_OPERATIONS(FISSION_OVERRIDE)

  void sum_over_processes(View x, double weight, Comm& comm) override;

 private:
  const Stream& stream(Queue queue) const { return queue == Queue::compute ? compute_ : transfer_; }

  int device_;
  std::string name_;
  Stream compute_, transfer_;
  DeviceArena memory_;
  PinnedArena host_memory_;
  std::unique_ptr<Convolutions> convolutions_;
  struct Ring;  // NCCL's, comm.cu
  bool ring_of_gpus(Comm& comm);
  void sum_in_ring(float* x, Index n);
  std::shared_ptr<Ring> ring_;
};

}  // namespace fission::cuda
