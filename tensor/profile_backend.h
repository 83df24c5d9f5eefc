// ProfileBackend: runs every operation on another backend, and keeps how long each took, by name.
// It waits for the device after each, so the sum is a little more than a step takes without it.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tensor/operations.h"

namespace fission {

class ProfileBackend : public Backend {
 public:
  struct Row {
    Index calls = 0;
    double seconds = 0;
    double macs = 0;    // multiply-accumulates of convolutions
    double bytes = 0;   // of the operands, each once: the least that an operation moves
    Index regions = 0;  // parallel regions that it entered
  };
  // regions: how many parallel regions this process has entered so far; null: they are not counted
  explicit ProfileBackend(Backend& inner, std::function<Index()> regions = nullptr)
      : inner_(inner), regions_(std::move(regions)) {}
  // By operation; dense convolutions apart by their kernel, "conv2d 1x1"
  const std::map<std::string, Row>& rows() const { return rows_; }
  void clear() { rows_.clear(); }

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
  }
  FISSION_OPERATIONS(FISSION_OVERRIDE)

 private:
  struct Operands;
  template <class Call>
  void time(const std::string& name, const Operands& operands, Call call);

  Backend& inner_;
  std::function<Index()> regions_;
  std::map<std::string, Row> rows_;
};

}  // namespace fission
