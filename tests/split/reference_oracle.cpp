// The oracle against the reference's splitting matrices and eigenvalues (exact_eigen_small, variant
// b), in f64 on the reference backend. Tolerance 1e-9 of the layer's largest: the reference's
// README; independent programs agree to 4e-13.
#include "split/exact.h"
#include "tensor/eigen.h"
#include "tests/reference_file.h"

using namespace fission;
using namespace fission::testing;

namespace {
const TensorFile& file() {
  static const TensorFile f = reference_file("exact_eigen_small");
  return f;
}
const std::vector<ExactAxis>& oracle(Matrix matrix) {  // each is computed once
  static std::map<Matrix, std::vector<ExactAxis>> known;
  auto& axes = known[matrix];
  if (!axes.empty()) return axes;
  Machine m = machines()[0];
  auto network = reference_network(file(), m);
  ExactSettings settings;
  settings.probe.matrix = matrix;
  ExactMatrices matrices(*network, settings);
  matrices.add(images(file(), "input", m), labels(file(), m));
  axes = matrices.mean();
  if (have_eigen())
    for (ExactAxis& a : axes) solve(a);
  return axes;
}
// S as the file has it: rows and columns in the order (I,K,K)
std::vector<double> in_file_order(const ExactAxis& a) {
  Index k = a.axis == 0 ? 3 : 1, in = a.d / (k * k);
  std::vector<double> out;
  auto place = [&](Index i) {
    return i % (k * k) * in + i / (k * k);
  };  // of (i, kh, kw) in a row (kh, kw, i)
  for (Index o = 0; o < a.neurons; o++)
    for (Index i = 0; i < a.d; i++)
      for (Index j = 0; j < a.d; j++)
        out.push_back(a.s[std::size_t((o * a.d + place(i)) * a.d + place(j))]);
  return out;
}
}  // namespace

TEST_CASE("exact: S of the paper's matrix is the reference's, every layer") {
  for (const ExactAxis& a : oracle(Matrix::paper))
    CHECK(relative(in_file_order(a), numbers(file(), "b/S/" + layer_name(std::size_t(a.axis)))) <
          1e-9);
}
TEST_CASE("exact: S of the chain's matrix is the reference's S + S_dwterm, every layer") {
  for (const ExactAxis& a : oracle(Matrix::chain)) {
    std::string layer = layer_name(std::size_t(a.axis));
    std::vector<double> s = numbers(file(), "b/S/" + layer),
                        rest = numbers(file(), "b/S_dwterm/" + layer);
    for (std::size_t i = 0; i < s.size(); i++) s[i] += rest[i];
    CHECK(relative(in_file_order(a), s) < 1e-9);
  }
}
TEST_CASE(
    "exact: all eigenvalues of the paper's matrix are the reference's, and the least of either") {
  if (!have_eigen()) return;
  for (Matrix matrix : {Matrix::paper, Matrix::chain})
    for (const ExactAxis& a : oracle(matrix)) {
      std::string layer = layer_name(std::size_t(a.axis));
      INFO(std::string(name_of(matrix)), " ", layer);
      double scale = largest(a.eigenvalues);
      if (matrix == Matrix::paper)
        CHECK(distance(a.eigenvalues, numbers(file(), "b/eigvals/" + layer)) < 1e-9 * scale);
      std::vector<double> least;
      for (Index o = 0; o < a.neurons; o++) least.push_back(a.lambda_min(o));
      CHECK(distance(least, numbers(file(), (matrix == Matrix::paper ? "b/min_eigval/"
                                                                     : "b/full_min_eigval/") +
                                                layer)) < 1e-9 * scale);
    }
}
// Not entry by entry: where the first two eigenvalues nearly coincide (2e-6 apart in L13) the
// vector is ill-conditioned.
TEST_CASE(
    "exact: v_min are unit eigenvectors, and span the reference's where the gap allows to say so") {
  if (!have_eigen()) return;
  for (Matrix matrix : {Matrix::paper, Matrix::chain})
    for (const ExactAxis& a : oracle(matrix)) {
      std::string which = matrix == Matrix::paper ? "b/min_eigvec/" : "b/full_min_eigvec/";
      std::vector<double> theirs = numbers(file(), which + layer_name(std::size_t(a.axis)));
      Index d = a.d, kk = a.axis == 0 ? 9 : 1, in = d / kk;
      for (Index o = 0; o < a.neurons; o++) {
        const double *s = a.s.data() + o * d * d, *u = a.v_min.data() + o * d,
                     *values = a.eigenvalues.data() + o * d;
        double residual = 0, norm = 0, along = 0,
               scale = std::max(std::abs(values[0]), std::abs(values[d - 1]));
        for (Index i = 0; i < d; i++) {
          double r = -values[0] * u[i];
          for (Index j = 0; j < d; j++) r += s[i * d + j] * u[j];
          residual += r * r, norm += u[i] * u[i];
          along += u[i] * theirs[std::size_t(o * d + i % in * kk + i / in)];
        }
        INFO(std::string(name_of(matrix)), " layer ", a.axis, " neuron ", o);
        CHECK(std::sqrt(residual) < 1e-9 * scale);
        CHECK(std::abs(norm - 1) < 1e-12);
        if (values[1] - values[0] > 1e-4 * scale)
          CHECK(std::abs(along - 1) < 1e-9);  // both have their largest entry positive
      }
    }
}
