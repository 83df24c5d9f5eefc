#include "split/measure.h"

#include <cmath>

#include "split/stages.h"

namespace fission {

namespace {

// Unit vectors v and the mean of S·v over one epoch of the source, all processes' shares of it (P)
struct Products {
  Tensor v, s_v;
};
Products mean_products(Network& network, const Tensor& v, const ProbeSettings& probe,
                       BatchSource& source, const ImageInput& input, Comm& comm) {
  Tensor unit = v.clone(), s_v = network.like_parameters(), mean = ops::zeros_like(s_v);
  ops::normalise_rows(unit, network.neuron_rows());
  double images = 0;
  for (Index step = 0; step < source.steps(); step++) {
    Batch batch = source.next(0, step);
    if (batch.labels.numel() == 0) continue;
    splitting_products(network, input(batch), batch.labels, unit, probe, s_v);
    ops::add_scaled(mean, s_v, double(batch.labels.numel()));
    images += double(batch.labels.numel());
  }
  comm.sum(&images, 1);
  network.backend().sum_over_processes(mean, 1 / images, comm);
  return {unit, mean};
}

// Σ (ε_o/ε)² v̂ᵀS v̂ over the chosen neurons, v̂ of length 1; lengths: ε_o/ε
double quadratic_form(Network& network, const Selection& chosen, const Products& products,
                      const std::vector<double>& lengths) {
  const Tensor& rows = network.neuron_rows();
  Tensor gradient = products.v.like(), quotient(network.backend(), {rows.dim(0)}, network.dtype());
  ops::rayleigh(products.v, products.s_v, rows, quotient, gradient);
  double total = 0;
  std::size_t row = 0;
  const std::vector<double> forms = quotient.to_host();
  for (const auto& layer : chosen.split)
    for (char split : layer) total += split ? lengths[row] * lengths[row] * forms[row] : 0, row++;
  return total;
}

}  // namespace

void state_residuals(SplittingIndex& index, Network& network, const ProbeSettings& probe,
                     BatchSource& source, const ImageInput& input, Comm& comm) {
  const Products mean = mean_products(network, index.v, probe, source, input, comm);
  for (std::size_t l = 0; l < network.axes().size(); l++) {
    const Stored& w = network.stored()[std::size_t(network.producer(network.axes()[l]).weight)];
    const std::vector<double> u = network.view(w, mean.v).to_host(),
                              su = network.view(w, mean.s_v).to_host();
    const std::size_t d = u.size() / std::size_t(network.axes()[l].width);
    std::vector<double> squares(u.size() / d, 0.0);
    for (std::size_t i = 0; i < u.size(); i++)
      squares[i / d] += std::pow(su[i] - index.lambda[l][i / d] * u[i], 2);
    for (double& s : squares) s = std::sqrt(s);
    index.residual.push_back(squares);
  }
}

RoundRecord record_split(const State& state, Network& after, const Selection& chosen,
                         const SplittingIndex& index, const GrowSettings& settings,
                         Environment& environment) {
  Network& before = *state.network;
  ProbeSettings truth = settings.solver.probe;
  truth.matrix = Matrix::chain, truth.curvature.linear = 0,
  truth.smoothing = settings.tune.smoothing;
  double half_square = 0.5 * settings.surgery.epsilon * settings.surgery.epsilon;
  const std::vector<double> lengths = step_lengths(before, settings.surgery);
  auto loss = [&](Network& n) {
    return evaluate(n, environment.check(), environment.input(), truth.smoothing,
                    environment.comm())
        .loss;
  };
  RoundRecord r;
  r.round = state.round;
  // E4: L_new − L = ½ Σ ε_o² v̂ᵀS v̂ + O(ε⁴)
  r.predicted =
      half_square * quadratic_form(before, chosen,
                                   mean_products(before, index.v, truth, environment.check(),
                                                 environment.input(), environment.comm()),
                                   lengths);
  const double old_loss = loss(before);
  r.measured = loss(after) - old_loss;
  // E4 applies where half a step changes the loss by a quarter, and a quarter by a sixteenth:
  // within a fourth of that, or within what rounding in float32 makes of losses of size 1.
  GrowSettings nearer = settings;
  for (double part : {4.0, 16.0}) {
    nearer.surgery.epsilon /= 2;
    const double change =
        loss(*split_network(before, chosen, index, nearer, environment)) - old_loss;
    r.quadratic = r.quadratic &&
                  std::abs(r.measured - part * change) <= 0.25 * std::abs(r.measured) + part * 1e-6;
  }
  r.split = evaluate(after, environment.test(), environment.input(), 0, environment.comm());
  require_finite(r.split.loss + r.measured + r.predicted, state,
                 "the split's own doing: a smaller --epsilon may help");
  r.widths = after.widths(), r.macs = after.macs(), r.parameters = double(after.parameter_count()),
  r.neurons_split = chosen.count();
  double by_lambda = 0;
  std::size_t row = 0;
  for (std::size_t l = 0; l < chosen.split.size(); l++)
    for (std::size_t i = 0; i < chosen.split[l].size(); i++, row++)
      if (chosen.split[l][i])
        by_lambda += half_square * lengths[row] * lengths[row] * index.lambda[l][i];
  environment.log(SplitRecord{r, chosen, scaled_unit(settings.energy, settings.scale),
                              settings.energy.source, state.training_macs, old_loss, by_lambda});
  return r;
}

}  // namespace fission
