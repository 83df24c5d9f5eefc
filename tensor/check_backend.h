// CheckBackend (`--device check`): runs every operation on an inner backend, and on the reference
// over copies of the inputs taken to the host beforehand, and compares all outputs. A mismatch
// throws, naming the operation, the shapes, the worst element, what was expected, what came, and
// the tolerance. It overrides every pure virtual, so that an operation left out here does not
// compile. Slow, by intention: it is a harness.
#pragma once
#include <set>

#include "tensor/reference/reference.h"
#include "tensor/wrapping_backend.h"

namespace fission {

class CheckBackend : public WrappingBackend {
 public:
  using WrappingBackend::WrappingBackend;
  std::string name() const override { return "check(" + inner_.name() + ")"; }
  const std::set<std::string>& exercised() const {
    return exercised_;
  }  // the operations that have run, by name

  void copy(void* to, const void* from, std::size_t bytes, Direction direction,
            Queue queue) override;
  FISSION_OPERATIONS(FISSION_OVERRIDE)

 private:
  friend class Comparison;
  ReferenceBackend reference_;
  std::set<std::string> exercised_;
};

}  // namespace fission
