// A fused operation is what its parts make of it: on the reference, in f64.
#include "tests/tensor/values.h"

using namespace fission;
using namespace fission::testing;

namespace {
Tensor random(const Shape& shape, std::uint64_t item, double scale = 1, double offset = 0) {
  return random_tensor(reference(), shape, item, scale, offset, DType::f64);
}
constexpr Activation activations[] = {Activation::none, Activation::swish, Activation::relu};
constexpr double bound = 1e-13;  // a hundred roundings of doubles of size one
Tensor tangent(const Tensor& y, const NormTensors& norm, const Tensor& u) {  // φ'(z) ⊙ c ⊙ u
  Tensor one = ops::zeros(reference(), {1, 1, y.dim(3)}, DType::f64);
  ops::fill(one, 1);
  return ops::depthwise_tangent(y, norm, u, one, {1, 1, 0});
}
}  // namespace

TEST_CASE("fused: depthwise with a norm, its tangent and its backward are norm_act's and its own") {
  for (Activation f : activations)
    for (Index stride : {1, 2}) {
      Tensor y = random({4, 5, 6, 3}, 1, 2, 3), w = random({3, 3, 3}, 2), u = random(y.shape(), 4),
             j = y.like(), da = y.like(), dw = w.like(), da_parts = y.like(), dw_parts = w.like();
      NormTensors norm = random_norm(y, 2, f, 3);
      Conv2dGeometry g{3, stride, 1};
      Tensor out = ops::depthwise(y, &norm, w, g), dout = random(out.shape(), 5),
             a = ops::norm_act(y, norm);
      check_values(out, ops::depthwise(a, nullptr, w, g).to_host(), bound);
      ops::norm_act_backward(u, y, norm, false, j, nullptr, nullptr);
      check_values(ops::depthwise_tangent(y, norm, u, w, g),
                   ops::depthwise(j, nullptr, w, g).to_host(), bound);
      ops::depthwise_backward(y, &norm, w, dout, g, &da, &dw);
      ops::depthwise_backward(a, nullptr, w, dout, g, &da_parts, &dw_parts);
      check_values(da, da_parts.to_host(), bound);
      check_values(dw, dw_parts.to_host(), 10 * bound);  // sums of 120
    }
}

TEST_CASE("fused: depthwise_norm_backward is depthwise_backward, then norm_act_backward") {
  for (Activation f : activations)
    for (bool training : {true, false}) {
      Tensor y = random({4, 5, 6, 3}, 1, 2, 3), w = random({3, 3, 3}, 2), da = y.like(),
             dy = y.like(), dy2 = y.like(), dw = w.like(), dw2 = w.like();
      NormTensors norm = random_norm(y, 2, f, 3);
      norm.training = training;
      Conv2dGeometry g{3, 2, 1};
      Tensor dout = random(ops::depthwise(y, &norm, w, g).shape(), 5), dgamma = norm.gamma.like(),
             dbeta = dgamma.like(), dgamma2 = dgamma.like(), dbeta2 = dgamma.like();
      ops::depthwise_norm_backward(y, norm, w, dout, g, dy, dgamma, dbeta, dw);
      ops::depthwise_backward(ops::norm_act(y, norm), nullptr, w, dout, g, &da, &dw2);
      ops::norm_act_backward(da, y, norm, training, dy2, &dgamma2, &dbeta2);
      check_values(dy, dy2.to_host(), bound);
      check_values(dw, dw2.to_host(), 10 * bound);
      check_values(dgamma, dgamma2.to_host(), 10 * bound);
      check_values(dbeta, dbeta2.to_host(), 10 * bound);
    }
}

TEST_CASE("fused: norm_act is the activation of the norm") {
  Tensor y = random({4, 3, 3, 3}, 1, 2, 3);
  NormTensors norm = random_norm(y, 2, Activation::none, 3);
  std::vector<double> swish = ops::norm_act(y, norm).to_host(), relu = swish;
  for (double& z : swish) z = z / (1 + std::exp(-z));
  for (double& z : relu) z = std::max(z, 0.0);
  norm.activation = Activation::swish;
  check_values(ops::norm_act(y, norm), swish, bound);
  norm.activation = Activation::relu;
  check_values(ops::norm_act(y, norm), relu, bound);
}

// with φ' from tangent, at a norm that does nothing: mean 0, var 1 − eps, gamma 1, beta 0
TEST_CASE("fused: norm_act_backward is the activation's gradient, then the norm's") {
  for (Activation f : {Activation::swish, Activation::relu})
    for (bool training : {true, false}) {
      Tensor y = random({4, 3, 3, 2}, 1, 2, 3), da = random(y.shape(), 5);
      NormTensors norm = random_norm(y, 2, f, 3), linear = norm;
      linear.activation = Activation::none;
      NormTensors activation{f64(reference(), {1, 2}, {0, 0}),
                             f64(reference(), {1, 2}, {1 - 1e-5, 1 - 1e-5}),
                             f64(reference(), {2}, {1, 1}),
                             f64(reference(), {2}, {0, 0}),
                             1e-5,
                             f};
      Tensor dy = y.like(), dgamma = norm.gamma.like(), dbeta = norm.beta.like(), dy2 = y.like(),
             dgamma2 = dgamma.like(), dbeta2 = dbeta.like();
      ops::norm_act_backward(da, y, norm, training, dy, &dgamma, &dbeta);
      Tensor dz = tangent(ops::norm_act(y, linear), activation, da);
      ops::norm_act_backward(dz, y, linear, training, dy2, &dgamma2, &dbeta2);
      check_values(dy, dy2.to_host(), bound);
      check_values(dgamma, dgamma2.to_host(), bound);
      check_values(dbeta, dbeta2.to_host(), bound);
    }
}

TEST_CASE("fused: E9's product without an activation is the tangent twice, times delta") {
  Tensor y = random({4, 3, 3, 2}, 1, 2, 3), u = random(y.shape(), 5), ones = y.like(),
         delta = random(y.shape(), 6);
  NormTensors norm = random_norm(y, 2, Activation::none, 3);
  std::vector<double> expected = tangent(y, norm, tangent(y, norm, u)).to_host(),
                      d = delta.to_host();
  for (std::size_t i = 0; i < d.size(); i++) expected[i] *= d[i];
  check_values(curvature(delta, y, norm, {3, 1}, u), expected, bound);
}

TEST_CASE(
    "fused: probe_activation is the product without h, the tangent of h, and the gradient's way "
    "on, "
    "in place too") {
  for (Activation f : activations) {
    Tensor y = random({4, 3, 3, 2}, 1, 2, 3), u = random(y.shape(), 5),
           delta = random(y.shape(), 6), h = random(y.shape(), 7), dy = y.like(), dy2 = y.like();
    NormTensors norm = random_norm(y, 2, f, 3);
    Tensor out = y.like(), parts = curvature(delta, y, norm, {3, 1}, u);
    ops::probe_activation(delta, y, norm, {3, 1}, u, &h, out, &dy);
    ops::add(parts, tangent(y, norm, h), parts);
    ops::norm_act_backward(delta, y, norm, false, dy2, nullptr, nullptr);
    check_values(out, parts.to_host(), bound);
    check_values(dy, dy2.to_host(), bound);
    ops::probe_activation(delta, y, norm, {3, 1}, u, &h, u, &delta);
    CHECK(u.to_host() == out.to_host());
    CHECK(delta.to_host() == dy.to_host());
  }
}

TEST_CASE("fused: sum_rows is the gradient of add_bias") {
  Tensor y = random({3, 2, 2, 4}, 1), dy = random(y.shape(), 2), b = random({4}, 3), db = b.like(),
         moved = y.clone();
  ops::sum_rows(dy, db);
  ops::add_bias(moved, b);
  CHECK(std::abs(dot(moved, dy) - dot(y, dy) - dot(b, db)) < bound);
}
