// CpuBackend: the class behind make_cpu_backend(). Private to this folder.
// One thread computes (the loops inside are parallel); scratch memory and plans are cached between
// calls.
#pragma once
#include <memory>

#include "tensor/comm.h"
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/scratch.h"
#include "tensor/operations.h"

namespace fission::cpu {

class ConvPlans;

class CpuBackend : public Backend {
 public:
  CpuBackend();
  ~CpuBackend() override;
  std::string name() const override { return "cpu"; }
  bool supports(DType type) const override { return type != DType::f64; }

  Arena& arena(Memory) override { return arena_; }
  void copy(void* to, const void* from, std::size_t bytes, Direction direction,
            Queue queue) override;
  std::unique_ptr<Event> record(Queue queue) override;
  void wait(Queue, const Event&) override {}
  void wait_on_host(const Event&) override {}
  void synchronize() override {}

  FISSION_OPERATIONS(FISSION_OVERRIDE)
  void sum_over_processes(View x, double weight, Comm& comm) override {
    fission::sum_over_processes(x, weight, comm);
  }

 private:
  HostArena arena_;
  Scratch scratch_;
  std::unique_ptr<ConvPlans> plans_;
};

}  // namespace fission::cpu
