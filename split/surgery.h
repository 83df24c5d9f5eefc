// The split itself: function-preserving surgery over channel axes (E1, E2; section 7 of METHOD.md).
// For a split neuron o: w_o ± ε v̂_o where it is produced, copies where it is copied, halves where
// it is consumed. With shares a and 1−a in place of halves the steps are ε √((1−a)/a) and −ε
// √(a/(1−a)): their mean stays 0 and their mean square ε², so that E2 holds to second order (E2w).
// New channels come after the old ones, in the order of the old indices. One rule serves every
// stored tensor.
#pragma once
#include "nn/network.h"

namespace fission {

enum class SplitStep {
  exact,  // v̂'s columns are halved with W's, so that the step in function space is ε v̂ (E2 holds)
  paper,  // v̂'s columns are copied whole, as the authors do: twice the step on inputs that split
          // too
};

struct SurgerySettings {
  double epsilon = 1e-2;
  SplitStep step = SplitStep::exact;
  bool relative = false;  // ε_o = ε ‖w_o‖: the same if w_o is scaled under its batch norm (E3r)
  double share = 0.5;     // a: what the first copy keeps of the outgoing weight (E2w); paper: ½
  double spread = 0;      // each consumer's a is drawn from share ± spread: the copies are used
                          // differently, and part
  std::uint64_t seed = 1;  // of those draws
  bool keep_norms =
      false;  // rows are scaled back to ‖w_o‖ under their batch norm: the same function
};

// ε_o / ε of every neuron, in the order of network.neuron_rows(): 1, or ‖w_o‖
std::vector<double> step_lengths(const Network& network, const SurgerySettings& settings);

// split[axis][neuron]; v (P): directions, those of split neurons normalised here. The new network
// has the same statistics and no gradients.
std::unique_ptr<Network> split_network(const Network& network,
                                       const std::vector<std::vector<char>>& split, const Tensor& v,
                                       const SurgerySettings& settings);
// Carries a buffer of the parameters' layout (momentum) through the same split: rows copied,
// columns shared, no ε.
Tensor split_buffer(const Network& before, const Network& after,
                    const std::vector<std::vector<char>>& split, const Tensor& flat,
                    double share = 0.5);

}  // namespace fission
