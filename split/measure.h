// What is measured beside the method: the residuals of splitting indices, and what a split did to
// the loss beside what E4 predicts of it.
#pragma once
#include "split/state.h"

namespace fission {

// Of a solver that states none the residuals ‖S v̂ − λ̂ v̂‖, ‖v̂‖ = 1, of the S of these images (one
// epoch of the source)
void state_residuals(SplittingIndex& index, Network& network, const ProbeSettings& probe,
                     BatchSource& source, const ImageInput& input, Comm& comm = alone());

// Loss on the check images before and after; E4's prediction (ε²/2) Σ v̂ᵀS v̂ by the chain's
// matrix, linear layers' truth 0
RoundRecord record_split(const State& before, Network& after, const Selection& chosen,
                         const SplittingIndex& index, const GrowSettings& settings,
                         Environment& environment);

}  // namespace fission
