// The exact 0/1 optimum of E12, to judge what rounding the relaxation (split/select.h) loses.
// Neurons of a layer cost the same, so a choice is a number of most negative λ̂ a layer: a knapsack
// over layers, a group at a time. States (energy, worth) of the layers so far are kept while none
// dominates them and the relaxation of the layers to come could still beat the best choice known.
// It refuses nothing; should the states be too many, `bound` says what is proven.
#pragma once
#include "split/select.h"

namespace fission {

struct Optimum {
  Selection chosen;
  double bound =
      0;  // no choice has a lesser Σ λ̂; chosen.objective up to 1e-12 of it if the optimum is proven
  bool proven() const {
    return chosen.objective <= bound * (1 - 1e-11);
  }  // both are negative, or 0
};
Optimum select_optimal(const SelectionProblem& problem, double grow);

}  // namespace fission
