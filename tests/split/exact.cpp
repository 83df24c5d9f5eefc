// The oracle against the probe, against really split networks, and by itself; on chains of one, two
// and three activations. Against the authors' numbers: tests/runners/audit_reference.cpp.
#include "split/exact.h"

#include <numeric>

#include "tensor/eigen.h"
#include "tensor/threads.h"
#include "tests/chain_network.h"

using namespace fission;
using namespace fission::testing;

namespace {
std::vector<ExactAxis> matrices(Network& network, const Tensor& x, const Tensor& y,
                                const ProbeSettings& probe, std::vector<int> axes = {}) {
  ExactSettings settings;
  settings.probe = probe, settings.axes = std::move(axes);
  ExactMatrices m(network, settings);
  m.add(x, y);
  return m.mean();
}
// v's rows of one axis (neurons, d), as they lie
std::vector<double> rows(const Network& network, const ExactAxis& a, const Tensor& flat) {
  return network.view(neurons(network, std::size_t(a.axis)), flat).to_host();
}
std::vector<double> times(const ExactAxis& a, const std::vector<double>& v) {
  std::vector<double> out(v.size(), 0.0);
  for (std::size_t d = std::size_t(a.d), i = 0; i < v.size(); i++)
    for (std::size_t j = 0; j < d; j++) out[i] += a.s[i * d + j] * v[i / d * d + j];
  return out;
}
// max|Sv − S·v| / max|S·v| of the worst layer
double off(Network& network, const Tensor& x, const Tensor& y, const ProbeSettings& probe) {
  Tensor v = random_flat(network, 1), s_v = network.like_parameters();
  splitting_products(network, x, y, v, probe, s_v);
  double most = 0;
  for (const ExactAxis& a : matrices(network, x, y, probe))
    most = std::max(most, relative(rows(network, a, s_v), times(a, rows(network, a, v))));
  return most;
}
}  // namespace

// f64: two orders of summation of some 1000 terms; f32: rounding of the products alone, measured
// 2e-6
TEST_CASE(
    "exact: S·v is the probe's, for chains of one, two and three activations, swish, ReLU's "
    "surrogate and the linear one") {
  for (const Machine& m : machines())
    for (int activations : {1, 2, 3})
      for (Activation activation : {Activation::swish, Activation::relu, Activation::none})
        for (Matrix matrix : {Matrix::chain, Matrix::paper}) {
          ChainCase c(m, activations, activation);
          ProbeSettings probe;
          probe.matrix = matrix, probe.curvature.linear = 1, probe.smoothing = 0.1;
          double worst = off(c.network, c.x, c.y, probe);
          INFO(m.name(), ", ", activations, " activations, ", std::string(name_of(activation)),
               ", ", std::string(name_of(matrix)), ": ", worst);
          CHECK(worst < m.tolerance(1e-5, 1e-12));
        }
}
TEST_CASE(
    "exact: S·v is the probe's on a MobileNetV1 and on a MobileNetV2, whose δ comes by two ways") {
  for (const Machine& m : machines())
    for (const auto& widths : small_models)
      for (Matrix matrix : {Matrix::chain, Matrix::paper}) {
        Small s(m, Activation::swish, widths);
        ProbeSettings probe;
        probe.matrix = matrix, probe.curvature.linear = 1;
        double worst = off(*s.network, s.x, s.y, probe);
        INFO(m.name(), ", ", s.network->config().model, ", ", std::string(name_of(matrix)), ": ",
             worst);
        CHECK(worst < m.tolerance(1e-5, 1e-12));
      }
}
// E2 with no derivative of the code's in it: (L(ε) − L) / (ε²/2 vᵀSv) is 1 + O(ε²)
TEST_CASE(
    "exact: a really split neuron with a chain of one, two or three activations changes the loss "
    "by ε²/2 vᵀSv") {
  for (int activations : {1, 2, 3}) {
    ChainCase c(machines()[0], activations);
    ExactAxis a = matrices(c.network, c.x, c.y, {}, {0})[0];
    double before = c.loss(c.network);
    Tensor unit = random_flat(c.network, 2);
    ops::normalise_rows(unit, c.network.neuron_rows());
    std::vector<double> v = rows(c.network, a, unit), s_v = times(a, v);
    for (std::size_t d = std::size_t(a.d), o = 0; o < std::size_t(a.neurons); o++) {
      double form = 0;
      for (std::size_t i = o * d; i < (o + 1) * d; i++) form += v[i] * s_v[i];
      std::vector<double> u(v.begin() + std::ptrdiff_t(o * d),
                            v.begin() + std::ptrdiff_t((o + 1) * d));
      auto ratio = [&](double epsilon) {
        return (c.split_loss(o, u, epsilon) - before) / (epsilon * epsilon / 2 * form);
      };
      double coarse = ratio(2e-2) - 1, fine = ratio(2e-3) - 1;
      double rounding =
          1e-15 / (2e-6 * std::abs(form));  // of two losses of size 1, against the change
      INFO(activations, " activations, neuron ", o, ": ", coarse, ", ", fine);
      CHECK(std::abs(coarse) < 0.05);
      CHECK(std::abs(fine - coarse / 100) < 0.03 * std::abs(coarse) / 100 + rounding);
    }
  }
}
TEST_CASE("exact: without activations a real split changes nothing, and S is 0") {
  for (int activations : {1, 2, 3}) {
    ChainCase c(machines()[0], activations, Activation::none);
    ExactAxis a = matrices(c.network, c.x, c.y, {}, {0})[0];
    CHECK(largest(a.s) == 0);
    std::vector<double> u(std::size_t(a.d), 1.0);
    CHECK(std::abs(c.split_loss(0, u, 0.1) - c.loss(c.network)) <
          1e-14);  // rounding of two losses of size 1
  }
}
TEST_CASE("exact: the mean over batches of different sizes is that of all their images at once") {
  ChainCase c(machines()[0], 2);
  ExactMatrices parts(c.network, {});
  Index image = 12 * 12 * 3;
  parts.add(c.x.slice(0, {2, 12, 12, 3}), c.y.slice(0, {2}));
  parts.add(c.x.slice(2 * image, {3, 12, 12, 3}), c.y.slice(2, {3}));
  std::vector<ExactAxis> all = matrices(c.network, c.x, c.y, {}), mean = parts.mean();
  for (std::size_t l = 0; l < all.size(); l++)
    CHECK(relative(mean[l].s, all[l].s) < 1e-12);  // rounding of sums of some 1000 terms
}
TEST_CASE("exact: the same bits for every number of threads, and for a layer asked for alone") {
  ChainCase c(machines()[0], 2);
  int threads = compute_threads();
  set_compute_threads(1);
  std::vector<ExactAxis> one = matrices(c.network, c.x, c.y, {});
  set_compute_threads(threads);
  std::vector<ExactAxis> many = matrices(c.network, c.x, c.y, {}),
                         alone = matrices(c.network, c.x, c.y, {}, {1});
  REQUIRE(alone.size() == 1);
  CHECK(many[0].s == one[0].s);
  CHECK(many[1].s == one[1].s);
  CHECK(alone[0].s == one[1].s);
}
TEST_CASE("exact: parameters stay as they are, and all memory goes back") {
  ChainCase c(machines()[0], 3);
  std::vector<double> p = c.network.parameters().to_host();
  const Arena::Statistics& arena = c.x.backend().arena(Memory::device).statistics();
  std::size_t before = arena.in_use;
  matrices(c.network, c.x, c.y, {});
  CHECK(arena.in_use == before);
  CHECK(c.network.parameters().to_host() == p);
}
TEST_CASE("exact: layers too large for the memory allowed are refused, with the sizes") {
  ChainCase c(machines()[0], 2);
  ExactSettings settings;
  settings.memory = 17495;  // 3 neurons of 27² doubles: 17496
  std::string said;
  try {
    ExactMatrices refused(c.network, settings);
  } catch (const UserError& e) {
    said = e.what();
  }
  for (const char* part : {"layer first", "3 neurons", "d = 27", "17496 bytes", "at most 17495"}) {
    INFO(said);
    CHECK(said.find(part) != std::string::npos);
  }
  settings.axes = {1};
  ExactMatrices allowed(c.network, settings);
}
TEST_CASE(
    "exact: as an index, it has each neuron's least eigenvalue, v_min in its row, and 0 for layers "
    "not asked for") {
  if (!have_eigen()) return;
  ChainCase c(machines()[0], 2);
  std::vector<ExactAxis> axes = matrices(c.network, c.x, c.y, {}, {0});
  solve(axes[0]);
  SplittingIndex index = splitting_index(c.network, axes);
  CHECK(index.lambda[1] == std::vector<double>(4, 0.0));
  Tensor s_v = c.network.like_parameters();
  splitting_products(c.network, c.x, c.y, index.v, {}, s_v);
  std::vector<double> v = rows(c.network, axes[0], index.v), got = rows(c.network, axes[0], s_v),
                      expected = v;
  for (std::size_t i = 0; i < v.size(); i++)
    expected[i] *= index.lambda[0][i / std::size_t(axes[0].d)];
  CHECK(distance(got, expected) < 1e-12 * largest(axes[0].eigenvalues));
  CHECK(largest(index.v.to_host()) == largest(v));
  for (std::size_t d = std::size_t(axes[0].d), i = 0; i < v.size(); i += d)
    CHECK(std::abs(std::inner_product(&v[i], &v[i] + d, &v[i], 0.0) - 1) < 1e-12);
}
TEST_CASE(
    "eigen: values ascend, vectors are theirs; NaN is refused; without Eigen one line says what to "
    "install") {
  std::vector<double> s{2, 1, 0, 1, 2, 0, 0, 0, -5}, nan{NAN};
  if (!have_eigen()) {
    CHECK_THROWS_AS(symmetric_eigen(3, s.data()), UserError);
    CHECK_THROWS_AS(require_eigen("[test]"), UserError);
    return;
  }
  require_eigen("[test]");
  SymmetricEigen e = symmetric_eigen(3, s.data());
  CHECK(distance(e.values, {-5, 1, 3}) < 1e-14);
  CHECK(std::abs(std::abs(e.vectors[2]) - 1) < 1e-14);
  CHECK(std::abs(e.vectors[3] + e.vectors[4]) < 1e-14);
  CHECK(std::abs(e.vectors[6] - e.vectors[7]) < 1e-14);
  CHECK_THROWS_AS(symmetric_eigen(1, nan.data()), UserError);
}
TEST_CASE("threads: parallel_for does each index once, and throws on what one of them throws") {
  std::vector<int> done(100, 0);
  parallel_for(100, [&](Index i) { done[std::size_t(i)]++; });
  CHECK(done == std::vector<int>(100, 1));
  CHECK_THROWS_AS(parallel_for(100,
                               [](Index i) {
                                 if (i == 50) user_error("fifty");
                               }),
                  UserError);
}
