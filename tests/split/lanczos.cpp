// Lanczos against the oracle: exact where its basis is whole, and where it is not, as far off as it
// says.
#include "split/lanczos.h"

#include "split/exact.h"
#include "split/measure.h"
#include "tensor/eigen.h"
#include "tests/near.h"
#include "tests/one_thread.h"
#include "tests/small_network.h"

using namespace fission;
using namespace fission::testing;

namespace {
// `passes` over the images of s in two batches of different size
void go_on(Lanczos& lanczos, const Small& s, Index first, Index passes) {
  for (Index pass = first; pass < passes; pass++) {
    lanczos.begin_epoch();
    lanczos.step(s.x.slice(0, {2, 16, 16, 3}), s.y.slice(0, {2}), pass);
    lanczos.step(s.x.slice(2 * 16 * 16 * 3, {1, 16, 16, 3}), s.y.slice(2, {1}), pass);
    lanczos.end_epoch(pass);
  }
}
std::vector<ExactAxis> oracle(Small& s) {
  ExactMatrices matrices(*s.network, {});
  matrices.add(s.x, s.y);
  std::vector<ExactAxis> axes = matrices.mean();
  for (ExactAxis& a : axes) solve(a);
  return axes;
}
}  // namespace

TEST_CASE(
    "lanczos: with as many passes as a neuron has weights λ̂ is its least eigenvalue, v̂ its "
    "eigenvector, the residual rounding") {
  if (!have_eigen()) return;
  OneThread one;
  for (const Machine& m : machines()) {
    Small s(m);
    Lanczos lanczos(*s.network, {}, 27, 1, 0);
    go_on(lanczos, s, 0, 27);
    SplittingIndex index = lanczos.result();
    for (const ExactAxis& a : oracle(s)) {
      double scale = largest(a.eigenvalues);
      for (std::size_t o = 0; o < std::size_t(a.neurons); o++) {
        INFO(m.name(), " layer ", a.axis, " neuron ", o);
        // f64: rounding; f32: that of products, 2e-6 of the layer's largest (tests/split/exact.cpp)
        CHECK(std::abs(index.lambda[std::size_t(a.axis)][o] - a.lambda_min(Index(o))) <
              m.tolerance(1e-5, 1e-12) * scale);
        CHECK(index.residual[std::size_t(a.axis)][o] < m.tolerance(1e-5, 1e-12) * scale);
        CHECK(index.products[std::size_t(a.axis)][o] <= a.d);
      }
    }
  }
}
TEST_CASE(
    "lanczos: with few passes the residual is ‖Sv̂ − λ̂v̂‖, λ̂ = v̂ᵀSv̂ lies above the least eigenvalue, "
    "and falls with each pass") {
  if (!have_eigen()) return;
  Small s;
  std::vector<ExactAxis> exact = oracle(s);
  std::vector<double> before(exact[0].neurons, INFINITY);
  Lanczos lanczos(*s.network, {}, 5, 1, 0);
  for (Index passes = 1; passes <= 5; passes++) {
    go_on(lanczos, s, passes - 1, passes);
    SplittingIndex index = lanczos.result();
    const ExactAxis& a = exact[0];  // d = 27
    std::vector<double> v = s.network->view(neurons(*s.network, 0), index.v).to_host();
    for (std::size_t d = std::size_t(a.d), o = 0; o < std::size_t(a.neurons); o++) {
      double residual = 0, form = 0, length = 0, lambda = index.lambda[0][o];
      for (std::size_t i = 0; i < d; i++) {
        double r = 0;
        for (std::size_t j = 0; j < d; j++) r += a.s[(o * d + i) * d + j] * v[o * d + j];
        form += r * v[o * d + i], length += v[o * d + i] * v[o * d + i];
        residual += (r - lambda * v[o * d + i]) * (r - lambda * v[o * d + i]);
      }
      double scale = largest(a.eigenvalues), nearest = INFINITY;
      for (std::size_t i = 0; i < d; i++)
        nearest = std::min(nearest, std::abs(a.eigenvalues[o * d + i] - lambda));
      INFO(passes, " passes, neuron ", o);
      CHECK(std::abs(length - 1) < 1e-12);  // rounding, here and below
      CHECK(std::abs(form - lambda) < 1e-12 * scale);
      CHECK(std::abs(std::sqrt(residual) - index.residual[0][o]) < 1e-12 * scale);
      CHECK(nearest <= index.residual[0][o] + 1e-12 * scale);
      CHECK(lambda >= a.lambda_min(Index(o)) - 1e-12 * scale);
      CHECK(lambda <= before[o] + 1e-12 * scale);
      CHECK(index.products[0][o] == passes);
      before[o] = lambda;
    }
  }
}
TEST_CASE("lanczos: where S is 0 the first product ends it: λ̂ = 0, residual 0") {
  if (!have_eigen()) return;
  Small s(machines()[0], Activation::none);
  Lanczos lanczos(*s.network, {}, 3, 1, 0);
  go_on(lanczos, s, 0, 3);
  SplittingIndex index = lanczos.result();
  for (std::size_t l = 0; l < index.lambda.size(); l++)
    for (std::size_t o = 0; o < index.lambda[l].size(); o++) {
      CHECK(index.lambda[l][o] == 0);
      CHECK(index.residual[l][o] == 0);
      CHECK(index.products[l][o] == 1);
    }
}
TEST_CASE(
    "lanczos: from a kept state it goes on to the same bits, amid a pass and at a pass's end") {
  if (!have_eigen()) return;
  OneThread one;
  for (const Machine& m : machines())
    for (bool amid : {false, true}) {
      Small s(m);
      Lanczos whole(*s.network, {}, 4, 1, 0), first(*s.network, {}, 4, 1, 0),
          second(*s.network, {}, 4, 5, 9);
      go_on(whole, s, 0, 4);
      go_on(first, s, 0, 2);
      first.begin_epoch();
      first.step(s.x.slice(0, {2, 16, 16, 3}), s.y.slice(0, {2}), 2);
      if (!amid) first.step(s.x.slice(2 * 16 * 16 * 3, {1, 16, 16, 3}), s.y.slice(2, {1}), 2);
      auto from = first.state(), to = second.state();
      for (std::size_t i = 0; i < from.size(); i++) to[i].second.copy_from(from[i].second);
      second.in_mean = first.in_mean;
      if (amid) second.step(s.x.slice(2 * 16 * 16 * 3, {1, 16, 16, 3}), s.y.slice(2, {1}), 2);
      second.end_epoch(2);
      go_on(second, s, 3, 4);
      CHECK(second.result().lambda == whole.result().lambda);
      CHECK(second.result().residual == whole.result().residual);
      CHECK(second.result().v.to_host() == whole.result().v.to_host());
    }
}
TEST_CASE("lanczos: without Eigen it is refused at once; a result before the first pass is, too") {
  Small s;
  if (!have_eigen()) {
    CHECK_THROWS_AS(Lanczos(*s.network, {}, 3, 1, 0), UserError);
    return;
  }
  CHECK_THROWS_AS(Lanczos(*s.network, {}, 3, 1, 0).result(), InvariantError);
}

TEST_CASE(
    "solver: a residual that RQ-SGD does not state is ‖S v̂ − λ̂ v̂‖ of the check images' exact "
    "matrices, ‖v̂‖ = 1") {
  OneThread one;
  const Machine m{open_backend("reference"), DType::f64};
  Small s(m);
  TwoBatches source(m.backend);
  ImageInput input(m.backend, m.type, {0.5, 0.5, 0.5}, {0.2, 0.2, 0.2});
  SplittingIndex index{{}, first_directions(*s.network, 3, 0), {}, {}};
  for (const Axis& a : s.network->axes()) {
    index.lambda.emplace_back();
    for (Index o = 0; o < a.width; o++)
      index.lambda.back().push_back(-0.01 * double(o + 1) - 0.1 * double(index.lambda.size()));
  }
  ExactMatrices matrices(*s.network, {});
  for (Index step = 0; step < 2; step++) {
    Batch batch = source.next(0, step);
    matrices.add(input(batch), batch.labels);
  }
  state_residuals(index, *s.network, {}, source, input);
  for (const ExactAxis& a : matrices.mean()) {
    const std::vector<double> v =
        s.network
            ->view(s.network->stored()[std::size_t(
                       s.network->producer(s.network->axes()[std::size_t(a.axis)]).weight)],
                   index.v)
            .to_host();
    for (Index o = 0; o < a.neurons; o++) {
      double length = 0, square = 0;
      for (Index i = 0; i < a.d; i++) length += std::pow(v[std::size_t(o * a.d + i)], 2);
      for (Index i = 0; i < a.d; i++) {
        double r = -index.lambda[std::size_t(a.axis)][std::size_t(o)] * v[std::size_t(o * a.d + i)];
        for (Index j = 0; j < a.d; j++)
          r += a.s[std::size_t((o * a.d + i) * a.d + j)] * v[std::size_t(o * a.d + j)];
        square += r * r / length;
      }
      CHECK(index.residual[std::size_t(a.axis)][std::size_t(o)] ==
            near(std::sqrt(square)).epsilon(1e-9));
    }
  }
}
