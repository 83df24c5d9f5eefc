// The CPU backend: oneDNN for dense convolutions, own vectorised OpenMP loops for everything else.
// f32 only.
// Same thread count, same machine: the same bits, run after run (static schedules, sums added in a
// fixed order).
#pragma once
#include <memory>

#include "tensor/backend.h"

namespace fission {

std::unique_ptr<Backend> make_cpu_backend();

}  // namespace fission
