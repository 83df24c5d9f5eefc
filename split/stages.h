// The stages of grow(): each goes on from state.epoch and state.step, takes steps, and tells the
// environment after each.
#pragma once
#include "split/state.h"

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
// E1 by the settings; with `recalibrate` under running statistics of its own
std::unique_ptr<Network> split_network(const Network& network, const Selection& chosen,
                                       const SplittingIndex& index, const GrowSettings& settings,
                                       Environment& environment);
void replace_network(State& state, std::unique_ptr<Network> grown, const Selection& chosen,
                     const GrowSettings& settings);
void finish(State& state, Environment& environment);
void nothing_to_split(State& state, const Selection& nobody, Environment& environment);

}  // namespace fission
