// RQ-SGD: the least eigenvalue and eigenvector of every neuron's splitting matrix, by stochastic
// gradient descent on Rayleigh quotients (section 5 of METHOD.md): E10, E11, RMSprop,
// renormalise. All neurons at once; every step costs one probe. The published recipe is kept to the
// letter: v₀ is not normalised, means are of the last epoch. The network's buffer of gradients,
// idle meanwhile, holds S·v: beside a training step it takes v, E11, Σv and RMSprop's two.
#pragma once
#include "nn/optimizer.h"
#include "split/probe.h"
#include "split/solver.h"

namespace fission {

struct RayleighSettings {
  double lr = 1e-3, factor = 0.2;
  bool decay_every_epoch = false;  // false (CIFAR): × factor at every even epoch counted from 1;
                                   // true (ImageNet): each after the first
  RmsPropSettings rmsprop;
  double lr_at(Index epoch) const;  // epoch from 0
};

// Of whichever solver the growth takes.
struct SolverSettings {
  Solver kind = Solver::rq_sgd;
  Index epochs = 10;  // Lanczos: passes
  ProbeSettings probe;
  RayleighSettings rq;
};

class RayleighDescent : public SplittingSolver {
 public:
  RayleighDescent(Network& network, SolverSettings settings, std::uint64_t seed,
                  std::uint64_t round);
  void begin_epoch() override;  // the means start anew
  Tensor step(const Tensor& x, const Tensor& labels, Index epoch,
              const BatchShare& share = {}) override;  // products() of this batch, then update()
  void update(Index epoch);
  void end_epoch(Index) override {}
  SplittingIndex result() const override;  // of the in_mean steps since begin_epoch()
  std::vector<std::pair<std::string, Tensor>> state() override;
  Tensor& v() { return v_; }
  const Tensor& quotients() const {
    return quotient_;
  }  // (R): R(v) of the last step, before its update
  const Tensor& gradient() const { return gradient_; }  // (P): E11 of the last step
  Tensor& products() {
    return s_v_;
  }  // (P): S·v of the last step, where the network has its gradients

 private:
  Network& network_;
  SolverSettings settings_;
  Tensor v_, s_v_, gradient_, sum_v_, quotient_, sum_r_;
  RmsProp rmsprop_;
};

}  // namespace fission
