// The stages of grow(): each goes on from state.epoch and state.step, takes steps, and tells the
// environment after each.
#pragma once
#include "split/grow.h"

namespace fission {

void train(State& state, const GrowSettings& settings,
           Environment& environment);  // ends with the test score in the round's record
SplittingIndex solve(State& state, const GrowSettings& settings, Environment& environment);
// E12 of a network's axes, with their groups and greatest widths; energy: of one more channel on
// each
SelectionProblem selection_problem(const Network& network,
                                   const std::vector<std::vector<double>>& lambda,
                                   const std::vector<double>& energy);
// E12 with the settings' energies, or a baseline; in multiples; under the round's target, and with
// `fill` up to it (select_stage.cpp). Nobody: says why.
Selection select(const Network& network, const SplittingIndex& index, const GrowSettings& settings,
                 Index round);
// Loss on the check images before and after; E4's prediction (ε²/2) Σ v̂ᵀS v̂ by the chain's
// matrix, linear layers' truth 0
RoundRecord record_split(const State& before, Network& after, const Selection& chosen,
                         const SplittingIndex& index, const GrowSettings& settings,
                         Environment& environment);
void replace_network(State& state, std::unique_ptr<Network> grown, const Selection& chosen,
                     const GrowSettings& settings);
void finish(State& state, Environment& environment);
void nothing_to_split(State& state, const Selection& nobody, Environment& environment);

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

}  // namespace fission
