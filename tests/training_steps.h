// A small network, and what takes its training and RQ-SGD steps as the runners do.
#pragma once
#include "nn/training.h"
#include "split/rayleigh.h"
#include "tests/small_network.h"

namespace fission::testing {

struct Steps {
  Small s;
  TrainingSettings settings;
  Sgd sgd;
  Meter meter;
  RayleighDescent descent;
  explicit Steps(const Machine& m, const std::vector<Index>& widths = small_v1)
      : s(m, Activation::swish, widths),
        sgd(*s.network, settings.sgd),
        meter(m.backend, m.type),
        descent(*s.network, {}, 1, 1) {}
  void train() { train_step(*s.network, sgd, s.x, s.y, settings, 0.01, meter); }
  void rayleigh() { descent.step(s.x, s.y, 0); }
  std::vector<double> parameters() const { return s.network->parameters().to_host(); }
};

}  // namespace fission::testing
