// The selection as a stage of the growth (split/stages.h): energies, which choice, multiples, the
// round's target.
#include <cmath>

#include "split/stages.h"

namespace fission {

SelectionProblem selection_problem(const Network& network, const SplittingIndex& index,
                                   const std::vector<double>& energy) {
  std::vector<int> group;
  std::vector<Index> most;
  for (const Axis& axis : network.axes())
    group.push_back(axis.group), most.push_back(axis.max_width);
  return make_problem(index.lambda, energy, group, most);
}

Selection select(const Network& network, const SplittingIndex& index, const GrowSettings& how,
                 Index round) {
  SelectionProblem problem =
      selection_problem(network, index, scaled_energies(network, how.energy, how.scale));
  auto whole = [&](double grow) {
    if (how.choice == Choice::energy)
      return select_by_energy(problem, grow, how.rounding, how.threshold);
    if (how.choice == Choice::random)
      return select_random(problem, grow, how.seed, std::uint64_t(round));
    return select_vanilla(problem, grow, how.choice == Choice::vanilla_paper);
  };
  auto choose = [&](double grow) { return in_multiples(problem, whole(grow), how.multiple); };
  auto macs_after = [&](const Selection& s) {
    std::vector<Index> widths = network.widths(), grown = s.grown();
    for (std::size_t l = 0; l < widths.size(); l++) widths[l] += grown[l];
    return network.macs(widths);
  };

  Selection chosen = choose(how.grow);
  const double target = how.target_of(round);
  if (chosen.count() > 0 && target > 0 && macs_after(chosen) > target) {
    // More grow only adds neurons (all groups' budgets at once), so bisection ends between two
    // choices that differ by the
    // next neuron of one group: this one is under the target, that one passes it. (In multiples
    // that is not so: there it only stays under.)
    double low = 0, high = how.grow;
    chosen = choose(low);
    for (int i = 0; i < 60; i++) {
      double middle = (low + high) / 2;
      Selection attempt = choose(middle);
      if (macs_after(attempt) <= target) low = middle, chosen = std::move(attempt);
      else high = middle;
    }
    if (chosen.count() == 0)
      chosen.why_none =
          text("the network has ", Index(network.macs()), " MACs, and one more ",
               how.multiple == 1 ? "neuron" : "step", " would pass --target-macs ", Index(target));
  } else if (chosen.count() == 0) {
    Selection before = whole(how.grow);
    Index all = 0;
    for (const auto& layer : problem.lambda) all += Index(layer.size());
    if (before.count() > 0)
      chosen.why_none =
          text("no layer's growth comes to a multiple of ", how.multiple, " within the budget");
    else if (how.choice == Choice::energy)
      chosen.why_none = why_nobody(problem, before, scaled_unit(how.energy, how.scale));
    else if (std::floor(how.grow * double(all)) < 1)
      chosen.why_none = text("--grow ", how.grow, " of ", all, " neurons is none");
    else if (how.choice == Choice::random) chosen.why_none = "every layer is at its widest";
    else chosen.why_none = why_nobody(problem, before, "");
  }
  return chosen;
}

}  // namespace fission
