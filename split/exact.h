// The oracle: the whole splitting matrix of every neuron (E6, E6c; section 3 of METHOD.md),
// in double, over any number of batches, and all its eigenvalues: what the probe and the solvers
// are judged by. It takes the activations and gradients that the probe sees, and none of the
// probe's products: patches and chains are walked here in plain loops. It refuses layers whose
// matrices would take more memory than allowed; eigenvalues want a build with Eigen (UserError).
#pragma once
#include "nn/training.h"
#include "split/probe.h"
#include "split/solver.h"

namespace fission {

struct ExactSettings {
  ProbeSettings probe;
  std::vector<int> axes;  // indices into network.axes(), which neurons; empty: all
  double memory = 4e9;    // bytes for the matrices: neurons·d² doubles an axis
};

struct ExactAxis {
  int axis = 0;
  Index neurons = 0, d = 0;         // d = K·K·I, in the order of the producer's row (K,K,I)
  std::vector<double> s;            // (neurons,d,d)
  std::vector<double> eigenvalues;  // (neurons,d), ascending
  std::vector<double> v_min;  // (neurons,d): unit eigenvectors of the least, largest entry positive
  double lambda_min(Index o) const { return eigenvalues[std::size_t(o * d)]; }
};

class ExactMatrices {
 public:
  ExactMatrices(Network& network, ExactSettings settings);
  // x (N,size,size,channels) normalised; labels (N). Returns the batch's loss.
  double add(const Tensor& x, const Tensor& labels);
  std::vector<ExactAxis> mean() const;  // over the images added so far; not solved

 private:
  Network& network_;
  ExactSettings settings_;
  std::vector<ExactAxis> sum_;  // lower triangles only
  double images_ = 0;
};

void solve(ExactAxis& axis);  // its eigenvalues and v_min from its matrices
// Over one epoch of the source: the mean, solved.
std::vector<ExactAxis> exact(Network& network, BatchSource& source, const ImageInput& input,
                             const ExactSettings& settings);
// As a solver gives it. Axes that are not there have λ̂ = 0, which is never split.
SplittingIndex splitting_index(const Network& network, const std::vector<ExactAxis>& axes);

}  // namespace fission
