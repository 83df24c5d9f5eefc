// What the procedure asks of whoever finds the least eigenvalues: RQ-SGD as published
// (split/rayleigh.h), or Lanczos over whole passes of the data (split/lanczos.h). The exact oracle
// (split/exact.h) gives a SplittingIndex too. All take every neuron at once and leave the network
// as it is. Several processes come to the same result, on all of them.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensor/comm.h"

namespace fission {

class Network;

struct SplittingIndex {
  std::vector<std::vector<double>> lambda;  // [axis][neuron]: λ̂
  Tensor v;                                 // (P): v̂, each in its neuron's row; not normalised
  std::vector<std::vector<double>> residual;  // ‖S v̂ − λ̂ v̂‖, ‖v̂‖ = 1: an eigenvalue is that close
                                              // to λ̂. RQ-SGD's: state_residuals (split/measure.h)
  std::vector<std::vector<Index>> products;  // S·v that λ̂ rests on, where that is known
};

class SplittingSolver {
 public:
  virtual ~SplittingSolver() = default;
  virtual void begin_epoch() = 0;
  // one batch, or a process's share of it; returns the loss (1) of these images
  virtual Tensor step(const Tensor& x, const Tensor& labels, Index epoch,
                      const BatchShare& share = {}) = 0;
  virtual void end_epoch(
      Index epoch) = 0;  // its last step has been taken, perhaps by another process
  virtual SplittingIndex result() const = 0;  // after end_epoch()

  // What a checkpoint keeps: names and tensors, each (P) or (R); and what was added up since
  // begin_epoch().
  virtual std::vector<std::pair<std::string, Tensor>> state() = 0;
  Index in_mean = 0;
};

enum class Solver { rq_sgd, lanczos };

// (P): directions to start from, drawn from (seed, round) by U(−0.1, 0.1)
Tensor first_directions(const Network& network, std::uint64_t seed, std::uint64_t round);

}  // namespace fission
