#include "nn/gamma.h"

#include <algorithm>
#include <cmath>

namespace fission {
namespace {

// All vectors of the network lie behind its weights: one copy reads every γ.
struct Vectors {
  Index start;
  std::vector<double> values;
  explicit Vectors(const Network& n) : start(n.weight_count()), values(of(n, n.parameters())) {}
  static Tensor part(const Network& n, const Tensor& flat) {
    return flat.slice(n.weight_count(), {n.parameter_count() - n.weight_count()});
  }
  static std::vector<double> of(const Network& n, const Tensor& f) { return part(n, f).to_host(); }
  double* at(const Stored& s) { return values.data() + (s.offset - start); }
};

// What one |γ| of each axis is multiplied by
std::vector<double> factors(const Network& network, const GammaPenalty& penalty,
                            const std::vector<std::vector<double>>& gamma) {
  std::vector<double> factor(gamma.size(), penalty.l1);
  if (penalty.cost == GammaPenalty::none) return factor;
  auto costs = [&](std::vector<Index> widths) {
    const double before = network.macs(widths);
    std::vector<double> cost;
    for (Index& w : widths) w++, cost.push_back(network.macs(widths) - before), w--;
    return cost;
  };
  const std::vector<Index> widths = network.widths();
  const std::vector<double> whole = costs(widths);
  std::vector<Index> living;
  double sum = 0, channels = 0;
  for (std::size_t a = 0; a < gamma.size(); a++) {
    sum += double(widths[a]) * whole[a], channels += double(widths[a]);
    living.push_back(std::count_if(gamma[a].begin(), gamma[a].end(),
                                   [](double g) { return g >= living_gamma; }));
  }
  const std::vector<double> cost = costs(living);
  for (std::size_t a = 0; a < gamma.size(); a++) factor[a] *= cost[a] / (sum / channels);
  return factor;
}

std::vector<std::vector<double>> sizes(const Network& network, Vectors& vectors) {
  std::vector<std::vector<double>> gamma;
  for (const Axis& axis : network.axes()) {
    const double* g = vectors.at(gamma_of(network, axis));
    gamma.emplace_back(g, g + axis.width);
    for (double& x : gamma.back()) x = std::abs(x);
  }
  return gamma;
}

}  // namespace

const Stored& gamma_of(const Network& network, const Axis& axis) {
  const int block = axis.chain.empty() ? axis.producer : axis.chain.back();
  return network.stored()[std::size_t(network.blocks()[std::size_t(block)].gamma)];
}

std::vector<std::vector<double>> gamma_sizes(const Network& network) {
  Vectors vectors(network);
  return sizes(network, vectors);
}

double gamma_penalty(const Network& network, const GammaPenalty& penalty) {
  const std::vector<std::vector<double>> gamma = gamma_sizes(network);
  const std::vector<double> factor = factors(network, penalty, gamma);
  double total = 0;
  for (std::size_t a = 0; a < gamma.size(); a++)
    for (double g : gamma[a]) total += factor[a] * g;
  return total;
}

void add_gamma_gradient(Network& network, const GammaPenalty& penalty) {
  Vectors vectors(network);
  const std::vector<double> factor = factors(network, penalty, sizes(network, vectors));
  std::vector<double> slope(vectors.values.size(), 0.0);
  for (std::size_t a = 0; a < factor.size(); a++) {
    const Stored& s = gamma_of(network, network.axes()[a]);
    const double* g = vectors.at(s);
    for (Index i = 0; i < s.shape[0]; i++)
      slope[std::size_t(s.offset - vectors.start + i)] = g[i] == 0  ? 0
                                                         : g[i] > 0 ? factor[a]
                                                                    : -factor[a];
  }
  Tensor gradients = Vectors::part(network, network.gradients());
  ops::add_scaled(gradients,
                  make_real(network.backend(), gradients.shape(), slope, network.dtype()), 1);
}

}  // namespace fission
