// Lanczos: the least eigenvalue of every neuron's splitting matrix (E10) from products S·v averaged
// over whole passes of the data, one pass a product, all neurons at once. Each neuron keeps a basis
// q₁ … q_k of its own and the products S q_j; v̂ is the vector of least Rayleigh quotient in the
// whole basis (Rayleigh–Ritz), and the residual ‖Sv̂ − λ̂v̂‖ is stated. The data must be the same
// in each pass (one augmentation key). It refuses a build without Eigen (UserError).
#pragma once
#include "split/probe.h"
#include "split/solver.h"

namespace fission {

class Lanczos : public SplittingSolver {
 public:
  Lanczos(Network& network, const ProbeSettings& probe, Index passes, std::uint64_t seed,
          std::uint64_t round);
  void begin_epoch() override { in_mean = 0; }
  Tensor step(const Tensor& x, const Tensor& labels, Index pass,
              const BatchShare& share = {}) override;
  void end_epoch(Index pass) override;
  SplittingIndex result() const override;
  std::vector<std::pair<std::string, Tensor>> state() override;

 private:
  Network& network_;
  ProbeSettings probe_;
  Tensor s_v_;                   // (P): one batch's
  std::vector<Tensor> q_, s_q_;  // a pass each (P): the basis, its rows of length 1 or 0; the
                                 // products, in the last pass a sum over in_mean images
  Index done_;  // passes that are over: all, if none is to come after a checkpoint's
};

}  // namespace fission
