// Small facts about the reference's operations, worked out by hand; f64, so that the default
// tolerance is a few
// roundings of doubles. Gradients: adjoints of the forward operation, or finite differences of it.
#include "tests/tensor/values.h"

using namespace fission;
using namespace fission::testing;

namespace {
Tensor real(const Shape& shape, const std::vector<double>& values) {
  return f64(reference(), shape, values);
}
Tensor random(const Shape& shape, std::uint64_t item, double scale = 1, double offset = 0) {
  return random_tensor(reference(), shape, item, scale, offset, DType::f64);
}
Tensor empty(const Shape& shape) { return Tensor(reference(), shape, DType::f64); }
Tensor counting(const Shape& shape) {  // 1, 2, 3, …
  std::vector<double> values(shape.numel());
  for (std::size_t i = 0; i < values.size(); i++) values[i] = double(i + 1);
  return real(shape, values);
}
// gamma 2, beta −1, mean 3, var 4 − eps: z = y − 4
NormTensors known_norm(Activation activation) {
  return {real({1, 1}, {3}), real({1, 1}, {4 - 1e-5}), real({1}, {2}), real({1}, {-1}), 1e-5,
          activation};
}
const double s1 = 1 / (1 + std::exp(-1.0));  // sigmoid(1)
constexpr double bound = 1e-12;  // for sums of up to a thousand random numbers of size one
}  // namespace

TEST_CASE("reference: fill, add, add_scaled") {
  Tensor a = real({3}, {1, 2, 3}), b = real({3}, {10, 20, 30}), out = empty({3});
  ops::add(a, b, out);
  check_values(out, {11, 22, 33});
  ops::add(a, b, a);
  check_values(a, {11, 22, 33});
  ops::add_scaled(a, b, -0.5);
  check_values(a, {6, 12, 18});
  ops::fill(a, 7);
  check_values(a, {7, 7, 7});
}

TEST_CASE("reference: images become (p/255 − mean)/std, channel by channel") {
  Tensor p = Tensor::from(reference(), {1, 1, 2, 2}, std::vector<std::uint8_t>{0, 255, 51, 102});
  check_values(ops::normalise_images(p, real({2}, {0.5, 0.2}), real({2}, {0.25, 0.1})),
               {-2, 8, -1.2, 2});
}

TEST_CASE("reference: a 3×3 convolution is a correlation with zero padding") {
  Tensor x = counting({1, 3, 3, 1}),
         w = real({1, 3, 3, 1}, {0, 1, 0, 0, 0, 2, 0, 0, 0});  // above + 2 · right
  check_values(ops::conv2d(x, w, {3, 1, 1}), {4, 6, 0, 11, 14, 3, 20, 23, 6});
}
TEST_CASE("reference: stride 2 takes every second place, the first included") {
  Tensor x = counting({1, 3, 3, 1}), w = real({1, 3, 3, 1}, {0, 1, 0, 0, 0, 2, 0, 0, 0});
  check_values(ops::conv2d(x, w, {3, 2, 1}), {4, 0, 20, 6});
}
TEST_CASE("reference: without padding only whole patches count") {
  check_values(ops::conv2d(counting({1, 3, 3, 1}), real({1, 3, 3, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1}),
                           {3, 1, 0}),
               {45});
}
TEST_CASE("reference: a 1×1 convolution is a matrix product") {
  Tensor x = real({2, 1, 1, 2}, {1, 2, 3, 4}), w = real({3, 1, 1, 2}, {1, 0, 0, 1, 1, -1});
  check_values(ops::conv2d(x, w, {1, 1, 0}), {1, 2, -1, 3, 4, -1});
}

TEST_CASE("reference: both convolution gradients are the adjoints of the convolution") {
  for (Conv2dGeometry g :
       {Conv2dGeometry{3, 1, 1}, {3, 2, 1}, {1, 1, 0}, {1, 2, 0}, {3, 1, 0}, {5, 3, 2}}) {
    Tensor x = random({2, 7, 6, 3}, 1), w = random({4, g.kernel, g.kernel, 3}, 2),
           y = ops::conv2d(x, w, g), dy = random(y.shape(), 3);
    Tensor dw = empty(w.shape());
    ops::conv2d_backward_filter(x, dy, g, dw);
    CHECK(std::abs(dot(y, dy) - dot(x, ops::conv2d_backward_data(dy, w, g, x.shape()))) < bound);
    CHECK(std::abs(dot(y, dy) - dot(w, dw)) < bound);
  }
}

TEST_CASE("reference: add_bias adds to the last dimension, sum_rows sums over the others") {
  Tensor y = counting({2, 3}), sums = empty({3});
  ops::sum_rows(y, sums);
  check_values(sums, {5, 7, 9});
  ops::add_bias(y, real({3}, {10, 20, 30}));
  check_values(y, {11, 22, 33, 14, 25, 36});
}

TEST_CASE("reference: a depthwise convolution keeps channels apart") {
  Tensor x = real({1, 1, 3, 2}, {1, 10, 2, 20, 3, 30});
  Tensor w = real({3, 3, 2}, {0, 0, 0, 0, 0, 0, /* middle row: left, itself, right */ 1, 0, 0, 1, 0,
                              2, 0, 0, 0, 0, 0, 0});
  check_values(ops::depthwise(x, nullptr, w, {3, 1, 1}), {0, 50, 1, 80, 2, 30});
}
TEST_CASE("reference: both depthwise gradients are the adjoints of the depthwise convolution") {
  for (Conv2dGeometry g : {Conv2dGeometry{3, 1, 1}, {3, 2, 1}, {1, 1, 0}, {5, 2, 2}}) {
    Tensor y = random({2, 7, 6, 3}, 1), w = random({g.kernel, g.kernel, 3}, 2),
           out = ops::depthwise(y, nullptr, w, g);
    Tensor dout = random(out.shape(), 3), da = empty(y.shape()), dw = empty(w.shape());
    ops::depthwise_backward(y, nullptr, w, dout, g, &da, &dw);
    CHECK(std::abs(dot(out, dout) - dot(y, da)) < bound);
    CHECK(std::abs(dot(out, dout) - dot(w, dw)) < bound);
  }
}

TEST_CASE("reference: moments of known numbers, each group for itself, variance biased") {
  Tensor y = real({4, 1, 1, 2}, {1, 0, 2, 0, 10, 5, 14, 5}), mean, var;
  ops::moments(y, 2, mean, var);
  check_values(mean, {1.5, 0, 12, 5});
  check_values(var, {0.25, 0, 4, 0});
  ops::moments(y, 1, mean, var);
  check_values(mean, {6.75, 2.5});
  check_values(var, {(33.0625 + 22.5625 + 10.5625 + 52.5625) / 4, 6.25});
}
TEST_CASE("reference: running statistics take the mean over groups, and the unbiased variance") {
  Tensor mean = real({1}, {1}), var = real({1}, {2});
  ops::update_running(mean, var, real({2, 1}, {3, 5}), real({2, 1}, {6, 10}), 0.1, 5);
  check_values(mean, {0.9 * 1 + 0.1 * 4});
  check_values(var, {0.9 * 2 + 0.1 * 8 * 5 / 4});
}

TEST_CASE("reference: norm_act at known numbers") {
  Tensor y = real({1, 1, 3, 1}, {5, 4, 3});  // z = 1, 0, −1
  check_values(ops::norm_act(y, known_norm(Activation::none)), {1, 0, -1});
  check_values(ops::norm_act(y, known_norm(Activation::relu)), {1, 0, 0});
  check_values(ops::norm_act(y, known_norm(Activation::swish)), {s1, 0, s1 - 1});
}
TEST_CASE("reference: swish of far negative numbers is 0, not NaN") {
  check_values(ops::norm_act(real({1, 1, 2, 1}, {-1e4, 1e4}), known_norm(Activation::swish)),
               {0, 1e4 - 4}, 1e-11);  // 1e4 · 2⁻⁵³
}
TEST_CASE("reference: NaN goes through every activation") {
  for (Activation f : {Activation::none, Activation::swish, Activation::relu})
    CHECK(std::isnan(ops::norm_act(real({1, 1, 1, 1}, {NAN}), known_norm(f)).item()));
}

TEST_CASE("reference: depthwise_tangent is the derivative of depthwise over norm_act, along u") {
  const double h =
      1e-6;  // central difference: truncation h²/6 · φ''' c³ u³ ~ 1e-11, rounding 1e-16/h
  for (Activation f : {Activation::none, Activation::swish, Activation::relu}) {
    Tensor y = random({2, 3, 3, 4}, 1, 2, 3), u = random(y.shape(), 2), w = random({3, 3, 4}, 4),
           up = y.clone(), down = y.clone();
    NormTensors norm = random_norm(y, 2, f, 3);
    Conv2dGeometry g{3, 1, 1};
    ops::add_scaled(up, u, h);
    ops::add_scaled(down, u, -h);
    Tensor difference = ops::depthwise(up, &norm, w, g);
    ops::add_scaled(difference, ops::depthwise(down, &norm, w, g), -1);
    std::vector<double> expected = difference.to_host();
    for (double& e : expected) e /= 2 * h;
    check_values(ops::depthwise_tangent(y, norm, u, w, g), expected, 1e-8);
  }
}
TEST_CASE("reference: swish's curvature is the second derivative of norm_act along u") {
  const double h =
      1e-4;  // second difference: truncation h²/12 · φ⁗ ~ 1e-9, rounding 4e-16/h² = 4e-8
  Tensor y = random({2, 3, 3, 4}, 1, 2, 3), u = random(y.shape(), 2), up = y.clone(),
         down = y.clone();
  NormTensors norm = random_norm(y, 2, Activation::swish, 3);
  ops::add_scaled(up, u, h);
  ops::add_scaled(down, u, -h);
  Tensor difference = ops::norm_act(up, norm);
  ops::add_scaled(difference, ops::norm_act(y, norm), -2);
  ops::add_scaled(difference, ops::norm_act(down, norm), 1);
  std::vector<double> expected = difference.to_host();
  for (double& e : expected) e /= h * h;
  check_values(curvature(u, y, norm, {}, u), expected, 1e-6);
}
TEST_CASE(
    "reference: relu's curvature is softplus's: beta/4 at 0, beta s(1−s) with s = sigmoid(beta z) "
    "elsewhere") {
  Tensor y = real({1, 1, 2, 1}, {4, 4 + 0.5}), delta = real(y.shape(), {1, 2}),
         u = real(y.shape(), {1, 3});  // z = 0, 0.5
  check_values(curvature(delta, y, known_norm(Activation::relu), {2, 0}, u),
               {0.5, 6 * 2 * s1 * (1 - s1)});
}
TEST_CASE(
    "reference: without an activation the curvature is the constant that is asked for, times c²") {
  NormTensors norm = known_norm(Activation::none);
  norm.gamma = real({1}, {6});  // c = 3
  Tensor y = real({1, 1, 1, 1}, {8}), delta = real(y.shape(), {2}), u = real(y.shape(), {5});
  check_values(curvature(delta, y, norm, {3, 0}, u), {0});
  check_values(curvature(delta, y, norm, {3, 1}, u), {90}, 1e-13);
}

TEST_CASE(
    "reference: norm_act_backward is the gradient of norm_act, through the statistics in training "
    "only") {
  const double h = 1e-5;  // central difference: truncation ~ h² = 1e-10 times third derivatives,
                          // rounding 1e-15/h
  for (Activation f : {Activation::none, Activation::swish, Activation::relu})
    for (Index groups : {1, 2})
      for (bool training : {true, false}) {
        Tensor y = random({4, 2, 1, 2}, 1, 2, 3), da = random(y.shape(), 2), dy = empty(y.shape()),
               dgamma = empty({2}), dbeta = empty({2});
        NormTensors norm = random_norm(y, groups, f, 3);
        auto loss = [&] {
          NormTensors n = norm;
          if (training) ops::moments(y, groups, n.mean, n.var);
          return dot(ops::norm_act(y, n), da);
        };
        auto differences = [&](Tensor& t) {
          std::vector<double> at = t.to_host(), slope(at.size());
          for (std::size_t i = 0; i < at.size(); i++)
            for (double sign : {1.0, -1.0}) {
              std::vector<double> moved = at;
              moved[i] += sign * h;
              t.set(moved.data(), moved.size() * sizeof(double));
              slope[i] += sign * loss() / (2 * h);
            }
          t.set(at.data(), at.size() * sizeof(double));
          return slope;
        };
        ops::norm_act_backward(da, y, norm, training, dy, &dgamma, &dbeta);
        check_values(dy, differences(y), 1e-7);
        check_values(dgamma, differences(norm.gamma), 1e-7);
        check_values(dbeta, differences(norm.beta), 1e-7);
      }
}
TEST_CASE("reference: norm_act_backward may write its gradient over the one it reads") {
  Tensor y = random({4, 3, 3, 2}, 1), da = random(y.shape(), 2), apart = empty(y.shape());
  NormTensors norm = random_norm(y, 2, Activation::swish, 3);
  ops::norm_act_backward(da, y, norm, true, apart, nullptr, nullptr);
  ops::norm_act_backward(da, y, norm, true, da, nullptr, nullptr);
  check_values(da, apart.to_host(), 0);
}

TEST_CASE("reference: average_pool of known numbers, overlapping windows too") {
  Tensor x = counting({1, 3, 3, 1});
  check_values(ops::average_pool(x, {3, 1}), {5});
  check_values(ops::average_pool(x, {2, 1}), {3, 4, 6, 7});
}
TEST_CASE("reference: average_pool's gradient is its adjoint") {
  for (PoolGeometry g : {PoolGeometry{2, 2}, {3, 1}, {3, 2}, {7, 7}, {2, 3}}) {
    Tensor x = random({2, 7, 7, 3}, 1), y = ops::average_pool(x, g), dy = random(y.shape(), 2);
    CHECK(std::abs(dot(y, dy) - dot(x, ops::average_pool_backward(dy, g, x.shape()))) < bound);
  }
}
