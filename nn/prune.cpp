#include "nn/prune.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "nn/rewire.h"

namespace fission {
namespace {

// Of each filter of the axis's producer
std::vector<double> l1_norms(const Network& network, const Axis& axis) {
  const std::vector<double> w =
      network.stored()[std::size_t(network.producer(axis).weight)].value.to_host();
  const std::size_t filter = w.size() / std::size_t(axis.width);
  std::vector<double> norm(std::size_t(axis.width), 0.0);
  for (std::size_t i = 0; i < w.size(); i++) norm[i / filter] += std::abs(w[i]);
  return norm;
}

void check_gammas(const std::vector<std::vector<double>>& gamma, const PruneSettings& settings) {
  double least = gamma[0][0], most = gamma[0][0];
  for (const auto& axis : gamma)
    for (double g : axis) least = std::min(least, g), most = std::max(most, g);
  if (least == most)
    user_error("every |γ| is ", least,
               ": no γ to rank, expected a trained network (by --gamma-l1)");
  if (settings.method == Pruning::morphnet && least >= settings.threshold)
    user_error("no |γ| is below ", settings.threshold, ", the least is ", least,
               ": expected dead channels (a greater --gamma-l1 in training, or a greater "
               "--gamma-threshold)");
}

// The axis's channels, those worth most first
std::vector<Index> ranking(const std::vector<double>& worth) {
  std::vector<Index> order(worth.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](Index a, Index b) { return worth[std::size_t(a)] > worth[std::size_t(b)]; });
  return order;
}

// Kept channels, then new ones: those come from nowhere
Wiring wiring(const AxisUse& use, Index n, const PruningPlan& plan) {
  Wiring w;
  if (use.use == Use::none) {
    w.from.resize(std::size_t(n)), w.scale.assign(std::size_t(n), 1);
    std::iota(w.from.begin(), w.from.end(), 0);
    return w;
  }
  const std::vector<Index>& kept = plan.kept[std::size_t(use.axis)];
  w.from.assign(kept.begin(), kept.end()), w.scale.assign(kept.size(), 1);
  w.from.resize(std::size_t(plan.widths[std::size_t(use.axis)]), 0),
      w.scale.resize(w.from.size(), 0);
  return w;
}

}  // namespace

PruningPlan plan_pruning(const Network& network, const PruneSettings& settings) {
  const std::size_t axes = network.axes().size();
  const std::vector<Index> before = network.widths();
  PruningPlan plan;
  plan.widths.assign(axes, 1);
  if (settings.target_macs > network.macs())
    user_error("--target-macs ", Index(settings.target_macs), ": expected at most the ",
               Index(network.macs()), " MACs of the network");
  if (settings.target_macs < network.macs(plan.widths))
    user_error("--target-macs ", Index(settings.target_macs), ": expected at least the ",
               Index(network.macs(plan.widths)), " MACs of one channel on each axis");

  if (settings.method == Pruning::l1)
    for (const Axis& axis : network.axes()) plan.worth.push_back(l1_norms(network, axis));
  else plan.worth = gamma_sizes(network), check_gammas(plan.worth, settings);

  std::vector<std::vector<Index>> ranked;
  std::vector<double> whole;  // the width of each axis that shares are of
  for (std::size_t a = 0; a < axes; a++) {
    ranked.push_back(ranking(plan.worth[a]));
    double living = double(before[a]);
    if (settings.method == Pruning::morphnet)
      living = double(std::count_if(plan.worth[a].begin(), plan.worth[a].end(),
                                    [&](double g) { return g >= settings.threshold; }));
    whole.push_back(std::max(1.0, living));
  }
  // The threshold at which an axis that has n channels gets the next: a |γ|, or the inverse of a
  // share
  auto threshold = [&](std::size_t a) {
    const std::size_t n = std::size_t(plan.widths[a]);
    return settings.method == Pruning::slimming ? plan.worth[a][std::size_t(ranked[a][n])]
                                                : whole[a] / double(n + 1);
  };
  // From one channel on each axis the threshold goes down, and channels come in while they fit. An
  // axis whose next channel does not fit is closed for good: its neighbours only get wider.
  std::vector<char> open(axes, 1);
  while (true) {
    std::size_t next = axes;
    for (std::size_t a = 0; a < axes; a++) {
      if (settings.method != Pruning::morphnet && plan.widths[a] == before[a]) open[a] = 0;
      if (open[a] && (next == axes || threshold(a) > threshold(next))) next = a;
    }
    if (next == axes) break;
    plan.widths[next]++;
    if (network.macs(plan.widths) > settings.target_macs) plan.widths[next]--, open[next] = 0;
  }

  for (std::size_t a = 0; a < axes; a++) {
    const Index old = std::min(plan.widths[a], Index(whole[a]));
    plan.kept.emplace_back(ranked[a].begin(), ranked[a].begin() + old);
    std::sort(plan.kept.back().begin(), plan.kept.back().end());
  }
  return plan;
}

std::unique_ptr<Network> pruned_network(const Network& network, const PruningPlan& plan,
                                        bool keep_weights, std::uint64_t seed) {
  NetworkConfig config = network.config();
  config.widths = plan.widths;
  auto pruned = make_network(config, network.backend(), network.dtype(), seed);
  if (!keep_weights) return pruned;
  for (std::size_t i = 0; i < network.stored().size(); i++) {
    const Stored &old = network.stored()[i], &now = pruned->stored()[i];
    const Shape shape = as_rows_and_columns(old);
    Wiring rows = wiring(old.first, shape[0], plan), columns = wiring(old.last, shape[2], plan);
    Tensor values = rewired(old, old.value, rows, columns);
    // New is all of the fresh tensor but the kept rows' kept columns.
    std::iota(rows.from.begin(), rows.from.end(), 0);
    std::iota(columns.from.begin(), columns.from.end(), 0);
    Tensor fresh = now.value.reshape(values.shape()).clone();
    ops::add_scaled(fresh, rewired(now, now.value, rows, columns), -1);
    ops::add_scaled(values, fresh, 1);
    Tensor place = now.value;
    place.copy_from(values.reshape(now.shape));
  }
  return pruned;
}

}  // namespace fission
