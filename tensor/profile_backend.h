// ProfileBackend: runs every operation on another backend, and keeps how long each took, by name.
// It waits for the device after each, so the sum is a little more than a step takes without it.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tensor/wrapping_backend.h"

namespace fission {

class ProfileBackend : public WrappingBackend {
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
      : WrappingBackend(inner), regions_(std::move(regions)) {}
  // By operation; dense convolutions apart by their kernel, "conv2d 1x1"
  const std::map<std::string, Row>& rows() const { return rows_; }
  void clear() { rows_.clear(); }

  FISSION_OPERATIONS(FISSION_OVERRIDE)

 private:
  struct Operands;
  template <class Call>
  void time(const std::string& name, const Operands& operands, Call call);

  std::function<Index()> regions_;
  std::map<std::string, Row> rows_;
};

}  // namespace fission
