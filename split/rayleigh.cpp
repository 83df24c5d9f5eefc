#include "split/rayleigh.h"

#include <cmath>

namespace fission {

double RayleighSettings::lr_at(Index epoch) const {
  return lr * std::pow(factor, double(decay_every_epoch ? epoch : (epoch + 1) / 2));
}

RayleighDescent::RayleighDescent(Network& network, SolverSettings settings, std::uint64_t seed,
                                 std::uint64_t round)
    : network_(network),
      settings_(settings),
      v_(network.like_parameters()),
      s_v_(network.gradients()),
      gradient_(network.like_parameters()),
      sum_v_(network.like_parameters()),
      quotient_(ops::zeros(network.backend(), {network.neuron_rows().dim(0)}, network.dtype())),
      sum_r_(ops::zeros_like(quotient_)),
      rmsprop_(v_, settings.rq.rmsprop) {
  ops::fill(s_v_, 0);
  v_.copy_from(first_directions(network, seed, round));
}

void RayleighDescent::begin_epoch() {
  ops::fill(sum_v_, 0);
  ops::fill(sum_r_, 0);
  in_mean = 0;
}

Tensor RayleighDescent::step(const Tensor& x, const Tensor& labels, Index epoch,
                             const BatchShare& share) {
  Tensor loss = splitting_products(network_, x, labels, v_, settings_.probe, s_v_, share);
  update(epoch);
  return loss;
}

// E10, E11: R(v) = vᵀSv/vᵀv and its gradient, from this batch's S·v; the means take R and v before
// the update.
void RayleighDescent::update(Index epoch) {
  ops::rayleigh(v_, s_v_, network_.neuron_rows(), quotient_, gradient_);
  ops::add_scaled(sum_r_, quotient_, 1);
  ops::add_scaled(sum_v_, v_, 1);
  in_mean++;
  rmsprop_.step(v_, gradient_, settings_.rq.lr_at(epoch));
  ops::normalise_rows(v_, network_.neuron_rows());
}

SplittingIndex RayleighDescent::result() const {
  FISSION_CHECK(in_mean > 0, "[rayleigh] no step to take a mean of");
  SplittingIndex index;
  std::vector<double> sum = sum_r_.to_host();
  std::size_t row = 0;
  for (const Axis& axis : network_.axes()) {
    index.lambda.emplace_back();
    index.products.emplace_back(axis.width, in_mean);
    for (Index o = 0; o < axis.width; o++)
      index.lambda.back().push_back(sum[row++] / double(in_mean));
  }
  index.v = ops::zeros_like(sum_v_);
  ops::add_scaled(index.v, sum_v_, 1.0 / double(in_mean));
  return index;
}

std::vector<std::pair<std::string, Tensor>> RayleighDescent::state() {
  return {{"v", v_},
          {"squares", rmsprop_.squares()},
          {"buffer", rmsprop_.buffer()},
          {"sum_v", sum_v_},
          {"sum_r", sum_r_}};
}

}  // namespace fission
