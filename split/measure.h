// What is measured beside the method: the residuals of splitting indices, and what a split did to
// the loss beside what E4 predicts of it.
#pragma once
#include "split/state.h"

namespace fission {

// Over one epoch of the source, all processes' shares of it: (P) the mean of S·v; Σ over the chosen
// neurons of (ε_o/ε)² v̂ᵀS v̂ (unit v̂); and of a solver that states none the residuals ‖S v̂ − λ̂ v̂‖,
// of the S of these images
Tensor mean_products(Network& network, const Tensor& v, const ProbeSettings& probe,
                     BatchSource& source, const ImageInput& input, Comm& comm = alone());
double quadratic_form(Network& network, const Selection& chosen, const Tensor& v,
                      const std::vector<double>& lengths, const ProbeSettings& probe,
                      BatchSource& source, const ImageInput& input, Comm& comm = alone());
void state_residuals(SplittingIndex& index, Network& network, const ProbeSettings& probe,
                     BatchSource& source, const ImageInput& input, Comm& comm = alone());

// Loss on the check images before and after; E4's prediction (ε²/2) Σ v̂ᵀS v̂ by the chain's
// matrix, linear layers' truth 0
RoundRecord record_split(const State& before, Network& after, const Selection& chosen,
                         const SplittingIndex& index, const GrowSettings& settings,
                         Environment& environment);

}  // namespace fission
