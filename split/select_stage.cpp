// The selection as a stage of the growth (split/stages.h): energies, which choice, multiples, the
// round's target.
#include <cmath>

#include "split/stages.h"

namespace fission {

SelectionProblem selection_problem(const Network& network,
                                   const std::vector<std::vector<double>>& lambda,
                                   const std::vector<double>& energy) {
  std::vector<int> group;
  std::vector<Index> most;
  for (const Axis& axis : network.axes())
    group.push_back(axis.group), most.push_back(axis.max_width);
  return make_problem(lambda, energy, group, most);
}

Selection select(const Network& network, const SplittingIndex& index, const GrowSettings& settings,
                 Index round) {
  // What a split is worth is ½ ε_o² λ̂_o (E3); where ε_o is ε ‖w_o‖ the lengths weigh λ̂ (E3r).
  const std::vector<double> lengths = step_lengths(network, settings.surgery);
  std::vector<std::vector<double>> worth = index.lambda;
  std::size_t row = 0;
  for (auto& layer : worth)
    for (double& w : layer) w *= lengths[row] * lengths[row], row++;
  SelectionProblem problem =
      selection_problem(network, worth, scaled_energies(network, settings.energy, settings.scale));
  if (settings.one_budget) problem.group.assign(problem.group.size(), 0);
  auto whole = [&](double grow) {
    if (settings.choice == Choice::energy)
      return select_by_energy(problem, grow, settings.rounding, settings.threshold);
    if (settings.choice == Choice::random)
      return select_random(problem, grow, settings.seed, std::uint64_t(round));
    return select_vanilla(problem, grow, settings.choice == Choice::vanilla_paper);
  };
  auto choose = [&](double grow) { return in_multiples(problem, whole(grow), settings.multiple); };
  auto macs_with = [&](const std::vector<Index>& grown) {
    std::vector<Index> widths = network.widths();
    for (std::size_t l = 0; l < widths.size(); l++) widths[l] += grown[l];
    return network.macs(widths);
  };
  auto macs_after = [&](const Selection& s) { return macs_with(s.grown()); };

  Selection chosen = choose(settings.grow);
  const double target = settings.target_of(round);
  if (chosen.count() > 0 && target > 0 && macs_after(chosen) > target) {
    // More grow only adds neurons (all groups' budgets at once), so bisection ends between two
    // choices that differ by the
    // next neuron of one group: this one is under the target, that one passes it. (In multiples
    // that is not so: there it only stays under.)
    double low = 0, high = settings.grow;
    chosen = choose(low);
    for (int i = 0; i < 60; i++) {
      double middle = (low + high) / 2;
      Selection attempt = choose(middle);
      if (macs_after(attempt) <= target) low = middle, chosen = std::move(attempt);
      else high = middle;
    }
    if (chosen.count() == 0)
      chosen.why_none = text("the network has ", Index(network.macs()), " MACs, and one more ",
                             settings.multiple == 1 ? "neuron" : "step",
                             " would pass --target-macs ", Index(target));
  } else if (chosen.count() == 0) {
    Selection before = whole(settings.grow);
    Index all = 0;
    for (const auto& layer : problem.lambda) all += Index(layer.size());
    if (before.count() > 0)
      chosen.why_none = text("no layer's growth comes to a multiple of ", settings.multiple,
                             " within the budget");
    else if (settings.choice == Choice::energy)
      chosen.why_none = why_nobody(problem, before, scaled_unit(settings.energy, settings.scale));
    else if (std::floor(settings.grow * double(all)) < 1)
      chosen.why_none = text("--grow ", settings.grow, " of ", all, " neurons is none");
    else if (settings.choice == Choice::random) chosen.why_none = "every layer is at its widest";
    else chosen.why_none = why_nobody(problem, before, "");
  }
  if (settings.fill && target > 0) {
    Keys keys = worth;
    for (std::size_t l = 0; l < keys.size() && settings.choice == Choice::energy; l++)
      for (double& key : keys[l]) key /= problem.energy[l];
    if (settings.choice == Choice::random)
      keys = random_keys(problem, settings.seed, std::uint64_t(round));
    const bool any = settings.choice == Choice::random || settings.choice == Choice::vanilla_paper;
    chosen = fill_up(problem, std::move(chosen), settings.multiple, keys, any,
                     [&](const std::vector<Index>& grown) { return macs_with(grown) <= target; });
  }
  return chosen;
}

}  // namespace fission
