// Which neurons to split: E12 (section 6 of METHOD.md).
//    min_β Σ β_i λ̂_i   s.t.  Σ_{i∈g} β_i e_i ≤ τ_g for each budget group g,  Σ_{i∈ℓ} β_i ≤ cap_ℓ,
//   0 ≤ β ≤ 1.
// Neurons of a layer cost the same, so its most negative λ̂ go first and the relaxation is a
// fractional knapsack a
// group: taking neurons by λ̂/e (most negative first; never λ̂ ≥ 0), skipping full layers, is exact
// (exchange argument: moving energy from a taken to an untaken neuron of worse ratio can only raise
// the sum). The first that does not fit gets the rest as a fraction and closes its group.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "tensor/geometry.h"

namespace fission {

struct SelectionProblem {
  std::vector<std::vector<double>> lambda;  // [layer][neuron]: λ̂
  std::vector<double> energy;               // e of one neuron of each layer
  std::vector<int> group;                   // of each layer
  std::vector<Index> cap;                   // channels that each layer may still take
};
SelectionProblem make_problem(const std::vector<std::vector<double>>& lambda,
                              const std::vector<double>& energy, const std::vector<int>& group,
                              const std::vector<Index>& max_width);

enum class Rounding {
  drop,
  paper
};  // the fractional β: dropped (never over budget) | kept from a threshold on, as the authors do

struct Selection {
  std::vector<std::vector<char>> split;                    // [layer][neuron]
  std::vector<std::pair<std::size_t, std::size_t>> order;  // layer and neuron, as they were taken
  std::vector<double> budget, spent;                       // of each group, in the unit of energy
  double objective = 0;                                    // Σ λ̂ over the chosen
  double relaxed_objective = 0;                            // of the relaxation: a bound
  std::string why_none;                                    // if it is nobody
  void take(const SelectionProblem& problem, std::size_t layer, std::size_t neuron);
  Index count() const;
  std::vector<Index> grown() const;  // channels added to each layer
};

// τ_g = grow · Σ_{i∈g} e_i
Selection select_by_energy(const SelectionProblem& problem, double grow, Rounding rounding,
                           double threshold = 0.99);
// S2D's baseline: the ⌊grow·n⌋ least λ̂ of all n, no energy. as_published: λ̂ ≥ 0 too, and no caps.
Selection select_vanilla(const SelectionProblem& problem, double grow, bool as_published);
// The other baseline: ⌊grow·n⌋ of all n, drawn from (seed, round), whatever their λ̂; caps kept.
// More grow adds to the same draw.
Selection select_random(const SelectionProblem& problem, double grow, std::uint64_t seed,
                        std::uint64_t round);

// The same with each new width that grows a multiple: a layer's last taken neurons are left out,
// down to the multiple (or to no growth); then what is free of each group's budget buys whole steps
// up to a next multiple, of λ̂ < 0 and within caps, the step with the most negative Σλ̂/Σe first.
// Never over a budget that was kept. The baselines, which have no budget, are only rounded down.
Selection in_multiples(const SelectionProblem& problem, const Selection& chosen, Index multiple);

// What is left of a target goes to whole steps of `multiple` more channels on a layer, the step of
// least mean key first, as long as one `fits` (called with the channels added to each layer). Of
// neurons with λ̂ < 0, within caps; groups' budgets no longer count. any: of λ̂ ≥ 0 too.
using Keys = std::vector<std::vector<double>>;  // [layer][neuron]: the least is taken first
Selection fill_up(const SelectionProblem& problem, Selection chosen, Index multiple,
                  const Keys& keys, bool any,
                  const std::function<bool(const std::vector<Index>& grown)>& fits);
Keys random_keys(const SelectionProblem& problem, std::uint64_t seed,
                 std::uint64_t round);  // select_random's

// Why select_by_energy chose nobody, of each group: no λ̂ < 0, no room, or a budget too small (then
// in this unit)
std::string why_nobody(const SelectionProblem& problem, const Selection& chosen,
                       const std::string& unit);

}  // namespace fission
