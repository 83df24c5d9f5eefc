// A backend that hands everything but the operations on to another one.
#pragma once
#include "tensor/operations.h"

namespace fission {

class WrappingBackend : public Backend {
 public:
  explicit WrappingBackend(Backend& inner) : inner_(inner) {}
  std::string name() const override { return inner_.name(); }
  bool supports(DType type) const override { return inner_.supports(type); }
  Arena& arena(Memory kind) override { return inner_.arena(kind); }
  void copy(void* to, const void* from, std::size_t bytes, Direction direction,
            Queue queue) override {
    inner_.copy(to, from, bytes, direction, queue);
  }
  std::unique_ptr<Event> record(Queue queue) override { return inner_.record(queue); }
  void wait(Queue queue, const Event& event) override { inner_.wait(queue, event); }
  void wait_on_host(const Event& event) override { inner_.wait_on_host(event); }
  void synchronize() override { inner_.synchronize(); }
  void sum_over_processes(View x, double weight, Comm& comm) override {
    inner_.sum_over_processes(x, weight, comm);
  }  // no operation of one device

 protected:
  Backend& inner_;
};

}  // namespace fission
