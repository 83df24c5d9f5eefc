#include "split/lanczos.h"

#include <cmath>

#include "tensor/eigen.h"
#include "tensor/threads.h"

namespace fission {
namespace {

using Numbers = std::vector<double>;

double dot(const double* a, const double* b, Index n) {
  double sum = 0;
  for (Index i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}
void add_scaled(double* out, const double* x, double alpha, Index n) {
  for (Index i = 0; i < n; i++) out[i] += alpha * x[i];
}

// One axis's rows of the first k of some flat tensors, on the host: [j] (neurons, d)
std::vector<Numbers> rows(const Network& network, const Axis& axis, const std::vector<Tensor>& flat,
                          Index k) {
  std::vector<Numbers> all;
  for (Index j = 0; j < k; j++)
    all.push_back(
        network.view(network.stored()[network.producer(axis).weight], flat[std::size_t(j)])
            .to_host());
  return all;
}
void put(const Network& network, const Axis& axis, const Numbers& values, const Tensor& flat) {
  const Stored& w = network.stored()[network.producer(axis).weight];
  network.view(w, flat).copy_from(make_real(network.backend(), w.shape, values, network.dtype()));
}

// What the basis lacks of S q_k: w − QQᵀw, taken twice against rounding, to length 1. Zero where
// the basis already spans all of the space, or one that S maps into itself: that neuron is done.
void next_direction(const std::vector<Numbers>& q, Index at, Index d, double* w) {
  double before = std::sqrt(dot(w, w, d));
  for (int twice = 0; twice < 2; twice++)
    for (const Numbers& j : q) add_scaled(w, j.data() + at, -dot(j.data() + at, w, d), d);
  double length = std::sqrt(dot(w, w, d));
  bool over = Index(q.size()) >= d || length <= 1e-12 * before;
  for (Index i = 0; i < d; i++) w[i] = over ? 0 : w[i] / length;
}

}  // namespace

Lanczos::Lanczos(Network& network, const ProbeSettings& probe, Index passes, std::uint64_t seed,
                 std::uint64_t round)
    : network_(network), probe_(probe), s_v_(network.like_parameters()), done_(passes) {
  require_eigen("--solver lanczos");
  for (Index j = 0; j < passes; j++)
    q_.push_back(network.like_parameters()), s_q_.push_back(network.like_parameters());
  q_[0].copy_from(first_directions(network, seed, round));
  ops::normalise_rows(q_[0], network.neuron_rows());
}

Tensor Lanczos::step(const Tensor& x, const Tensor& labels, Index pass, const BatchShare& share) {
  const Index images = share.whole > 0 ? share.whole : labels.dim(0);
  Tensor loss = splitting_products(network_, x, labels, q_[std::size_t(pass)], probe_, s_v_, share);
  ops::add_scaled(s_q_[std::size_t(pass)], s_v_,
                  double(images));  // S is of a mean over the batch
  in_mean += images;
  return loss;
}

void Lanczos::end_epoch(Index pass) {
  FISSION_CHECK(in_mean > 0, "[lanczos] a pass of no images");
  done_ = pass + 1;
  for (const Axis& axis : network_.axes()) {
    Numbers w = rows(network_, axis, {s_q_[std::size_t(pass)]}, 1)[0];
    for (double& x : w) x /= double(in_mean);
    put(network_, axis, w, s_q_[std::size_t(pass)]);
    if (done_ == Index(q_.size())) continue;
    std::vector<Numbers> q = rows(network_, axis, q_, done_);
    Index d = Index(w.size()) / axis.width;
    parallel_for(axis.width, [&](Index o) { next_direction(q, o * d, d, w.data() + o * d); });
    put(network_, axis, w, q_[std::size_t(done_)]);
  }
}

// E10 over the basis: T = Qᵀ(SQ), T y = λ̂ y with the least λ̂, v̂ = Q y, residual (SQ) y − λ̂ v̂.
SplittingIndex Lanczos::result() const {
  FISSION_CHECK(in_mean > 0, "[lanczos] no pass is over");
  SplittingIndex index;
  index.v = network_.like_parameters();
  for (const Axis& axis : network_.axes()) {
    std::vector<Numbers> q = rows(network_, axis, q_, done_),
                         s_q = rows(network_, axis, s_q_, done_);
    Numbers v(q[0].size(), 0.0), lambda(std::size_t(axis.width)), residual(lambda.size());
    std::vector<Index> products(lambda.size());
    Index d = Index(v.size()) / axis.width;
    parallel_for(axis.width, [&](Index o) {
      Index k = 0;
      while (k < done_ && dot(&q[std::size_t(k)][std::size_t(o * d)],
                              &q[std::size_t(k)][std::size_t(o * d)], d) > 0)
        k++;
      Numbers t(std::size_t(k * k)), r(std::size_t(d), 0.0);
      auto product = [&](Index i, Index j) {
        return dot(&q[std::size_t(i)][std::size_t(o * d)], &s_q[std::size_t(j)][std::size_t(o * d)],
                   d);
      };
      for (Index i = 0; i < k; i++)
        for (Index j = 0; j < k; j++)
          t[std::size_t(i * k + j)] = (product(i, j) + product(j, i)) / 2;
      SymmetricEigen ritz = symmetric_eigen(k, t.data());
      double* u = v.data() + o * d;
      for (Index j = 0; j < k; j++) {
        add_scaled(u, &q[std::size_t(j)][std::size_t(o * d)], ritz.vectors[std::size_t(j)], d);
        add_scaled(r.data(), &s_q[std::size_t(j)][std::size_t(o * d)], ritz.vectors[std::size_t(j)],
                   d);
      }
      add_scaled(r.data(), u, -ritz.values[0], d);
      lambda[std::size_t(o)] = ritz.values[0],
      residual[std::size_t(o)] = std::sqrt(dot(r.data(), r.data(), d)),
      products[std::size_t(o)] = k;
    });
    put(network_, axis, v, index.v);
    index.lambda.push_back(lambda), index.residual.push_back(residual),
        index.products.push_back(products);
  }
  return index;
}

std::vector<std::pair<std::string, Tensor>> Lanczos::state() {
  std::vector<std::pair<std::string, Tensor>> all;
  for (std::size_t j = 0; j < q_.size(); j++)
    all.push_back({text("q", j), q_[j]}), all.push_back({text("s_q", j), s_q_[j]});
  return all;
}

}  // namespace fission
