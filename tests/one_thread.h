// For the life of this object one thread computes: in networks too small for two each would wait
// for the other.
#pragma once
#include "tensor/threads.h"

namespace fission::testing {

struct OneThread {
  int before = compute_threads();
  OneThread() { set_compute_threads(1); }
  ~OneThread() { set_compute_threads(before); }
};

}  // namespace fission::testing
