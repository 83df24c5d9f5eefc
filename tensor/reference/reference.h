// ReferenceBackend: the definition of every operation, in plain loops: no library, no threads, each
// formula beside its line. f32 data with double accumulators, and f64 throughout. Written
// independently of the other backends, so that it can be their oracle; it is also what a reader
// studies, and the build without oneDNN. Memory is the host's, copies are immediate, both queues
// are synchronous, events are reached when recorded.
#pragma once
#include "tensor/comm.h"
#include "tensor/operations.h"

namespace fission {

class ReferenceBackend : public Backend {
 public:
  std::string name() const override { return "reference"; }
  bool supports(DType) const override { return true; }

  Arena& arena(Memory) override { return arena_; }
  void copy(void* to, const void* from, std::size_t bytes, Direction, Queue) override;
  std::unique_ptr<Event> record(Queue) override { return std::make_unique<Event>(); }
  void wait(Queue, const Event&) override {}
  void wait_on_host(const Event&) override {}
  void synchronize() override {}

  FISSION_OPERATIONS(FISSION_OVERRIDE)
  void sum_over_processes(View x, double weight, Comm& comm) override {
    fission::sum_over_processes(x, weight, comm);
  }

 private:
  HostArena arena_;
};

}  // namespace fission
