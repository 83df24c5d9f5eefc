// Gradients against central differences, for tests: (L(p + h) − L(p − h)) / 2h, one parameter's
// element at a time.
// It wants f64: in f32 the difference of two losses has no digits left.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>

#include "autograd/variable.h"

namespace fission {

// Where the worst element is, and how far off: |analytic − numeric| / (1 + largest |numeric| of its
// parameter).
struct GradientError {
  double error = 0;
  std::size_t parameter = 0;
  Index element = 0;
  double analytic = 0, numeric = 0;
};

// loss(): a fresh graph over `parameters` (Variable::parameter), ending in one element; it must be
// the same each time.
// Step h: the truncation h²/6·L''' and the rounding 1e-16·L/h of an L of size 1 are both about
// 1e-11 at h = 1e-5.
inline GradientError check_gradients(const std::function<Loss()>& loss,
                                     std::vector<Variable>& parameters, double h = 1e-5) {
  for (Variable& p : parameters) p.clear_grad();
  backward(loss());
  GradientError worst;
  for (std::size_t i = 0; i < parameters.size(); i++) {
    Tensor place = parameters[i].value();
    FISSION_CHECK(place.dtype() == DType::f64, "[gradcheck] wants f64, not ",
                  name_of(place.dtype()));
    FISSION_CHECK(parameters[i].grad(), "[gradcheck] no gradient reached parameter ", i, " ",
                  place.shape());
    std::vector<double> values = place.to_host(), analytic = parameters[i].grad().to_host(),
                        numeric(values.size());
    auto at = [&](std::size_t j, double value) {
      std::vector<double> moved = values;
      moved[j] = value;
      place.set(moved.data(), place.bytes());
      GradientMode none(Gradients::none);
      return loss().value().item();
    };
    double largest = 0;
    for (std::size_t j = 0; j < values.size(); j++) {
      numeric[j] = (at(j, values[j] + h) - at(j, values[j] - h)) / (2 * h);
      largest = std::max(largest, std::abs(numeric[j]));
    }
    place.set(values.data(), place.bytes());
    for (std::size_t j = 0; j < values.size(); j++) {
      double error = std::abs(analytic[j] - numeric[j]) / (1 + largest);
      if (!(error <= worst.error)) worst = {error, i, Index(j), analytic[j], numeric[j]};
    }
  }
  return worst;
}

}  // namespace fission
