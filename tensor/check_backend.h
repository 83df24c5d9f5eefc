// CheckBackend (`--device check`): runs every operation on an inner backend, and on the reference
// over copies of the inputs taken to the host beforehand, and compares all outputs. A mismatch
// throws, naming the operation, the shapes, the worst element, what was expected, what came, and
// the tolerance. It overrides every pure virtual, so that an operation left out here does not
// compile. Slow, by intention: it is a harness.
#pragma once
#include <set>

#include "tensor/operations.h"
#include "tensor/reference/reference.h"

namespace fission {

class CheckBackend : public Backend {
 public:
  explicit CheckBackend(Backend& inner) : inner_(inner) {}
  std::string name() const override { return "check(" + inner_.name() + ")"; }
  bool supports(DType type) const override { return inner_.supports(type); }
  const std::set<std::string>& exercised() const {
    return exercised_;
  }  // the operations that have run, by name

  Arena& arena(Memory kind) override { return inner_.arena(kind); }
  void copy(void* to, const void* from, std::size_t bytes, Direction direction,
            Queue queue) override;
  std::unique_ptr<Event> record(Queue queue) override { return inner_.record(queue); }
  void wait(Queue queue, const Event& event) override { inner_.wait(queue, event); }
  void wait_on_host(const Event& event) override { inner_.wait_on_host(event); }
  void synchronize() override { inner_.synchronize(); }

  FISSION_OPERATIONS(FISSION_OVERRIDE)
  void sum_over_processes(View x, double weight, Comm& comm) override {
    inner_.sum_over_processes(x, weight, comm);
  }  // no operation of one device

 private:
  friend class Comparison;
  Backend& inner_;
  ReferenceBackend reference_;
  std::set<std::string> exercised_;
};

}  // namespace fission
