// Facts of a step that processes share: whatever part each takes, it is the step of one process
// with the whole batch.
#include <doctest/doctest.h>

#include "nn/training.h"
#include "split/state.h"
#include "tensor/eigen.h"
#include "tests/near.h"
#include "tests/small_network.h"
#include "tests/two_processes.h"

using namespace fission;
using namespace fission::testing;

namespace {

// Six images in batch-norm groups of two, or any part of them
struct Six {
  Tensor x, y;
  explicit Six(const Machine& m) {
    std::vector<double> images(6 * 16 * 16 * 3);
    Random random(23, random_purpose::test);
    for (std::size_t i = 0; i < images.size(); i++) images[i] = random.normal(i);
    x = make_real(m.backend, {6, 16, 16, 3}, images, m.type);
    y = Tensor::from(m.backend, {6}, std::vector<std::int32_t>{0, 3, 1, 2, 2, 1});
  }
  Tensor images(Index first, Index n) const {
    return n ? x.slice(first * 16 * 16 * 3, {n, 16, 16, 3}) : Tensor();
  }
  Tensor labels(Index first, Index n) const { return y.slice(first, {n}); }
};

// All adding up is linear: rounding alone differs, in f64 a few hundred units of 1e-16 (f32: 1e-7,
// times the same).
void check_same(const Tensor& a, const Tensor& b, DType type) {
  std::vector<double> p = a.to_host(), q = b.to_host();
  double most = 0, bound = type == DType::f64 ? 1e-12 : 1e-3;
  for (double v : q) most = std::max(most, std::abs(v));
  for (std::size_t i = 0; i < p.size(); i++)
    if (!(std::abs(p[i] - q[i]) <= bound * most))
      FAIL_CHECK("number ", i, ": ", p[i], " of two processes, ", q[i], " of one");
}

}  // namespace

TEST_CASE(
    "processes: a training step that two share is the step of one, however unequal their parts: "
    "parameters, running statistics, loss") {
  for (const Machine& m : machines())
    for (Index mine : {2, 4, 0, 6}) {  // of the first
      CAPTURE(mine);
      Six six(m);
      TrainingSettings settings;
      settings.bn_batch = 2;
      Small whole(m), shared(m);
      Sgd one(*whole.network, settings.sgd);
      Meter meter(m.backend, m.type);
      train_step(*whole.network, one, six.x, six.y, settings, 0.1, meter);
      std::vector<Meter> meters;
      play([&](Comm& comm) {
        shared = Small(m);
        Sgd sgd(*shared.network, settings.sgd);
        meters.emplace_back(m.backend, m.type);
        const Index first = comm.first() ? 0 : mine, n = comm.first() ? mine : 6 - mine;
        train_step(*shared.network, sgd, six.images(first, n), six.labels(first, n), settings, 0.1,
                   meters.back(), {comm, 6});
      });
      check_same(shared.network->parameters(), whole.network->parameters(), m.type);
      check_same(shared.network->statistics(), whole.network->statistics(), m.type);
      Score all;
      play([&](Comm& comm) { all = meters[comm.first() ? 1 : 0].read(comm); });
      CHECK(all.count == 6);
      CHECK(all.loss == near(meter.read().loss)
                            .epsilon(m.type == DType::f64 ? 1e-13 : 1e-5));  // roundings of a mean
      CHECK(all.top1 == near(meter.read().top1).epsilon(1e-15));
    }
}

TEST_CASE("processes: a step of RQ-SGD and a pass of Lanczos that two share are those of one") {
  for (const Machine& m : machines())
    for (Solver solver : {Solver::rq_sgd, Solver::lanczos})
      for (Index mine : {1, 5, 0}) {
        if (solver == Solver::lanczos && !have_eigen()) continue;
        CAPTURE(mine);
        Six six(m);
        Small s(m);
        SolverSettings settings;
        settings.epochs = 1, settings.kind = solver;
        auto of_one = make_solver(*s.network, settings, 1, 1);
        of_one->begin_epoch();
        of_one->step(six.x, six.y, 0);
        of_one->end_epoch(0);
        SplittingIndex whole = of_one->result(), shared;
        play([&](Comm& comm) {
          auto of_two = make_solver(*s.network, settings, 1, 1);
          const Index first = comm.first() ? 0 : mine, n = comm.first() ? mine : 6 - mine;
          of_two->begin_epoch();
          of_two->step(six.images(first, n), six.labels(first, n), 0, {comm, 6});
          of_two->end_epoch(0);
          shared = of_two->result();
        });
        check_same(shared.v, whole.v, m.type);
        for (std::size_t l = 0; l < whole.lambda.size(); l++)
          for (std::size_t i = 0; i < whole.lambda[l].size(); i++)
            CHECK(shared.lambda[l][i] ==
                  near(whole.lambda[l][i])
                      .epsilon(m.type == DType::f64 ? 1e-9 : 1e-2));  // of sums that cancel
      }
}

TEST_CASE(
    "processes: one that has no images brings nothing, not even the NaN of a buffer that nobody "
    "wrote") {
  for (const Machine& m : machines()) {
    Tensor x = make_real(m.backend, {2}, {std::nan(""), 7}, m.type);
    Played comm(1, {{3, 4}});
    BatchShare{comm, 5}.average(x, 0);
    CHECK(x.to_host() == std::vector<double>{3, 4});
  }
}

TEST_CASE("processes: more images than the whole batch are a broken invariant") {
  Tensor x = make_real(machines()[0].backend, {1}, {1}, machines()[0].type);
  Played comm(0);
  CHECK_THROWS_AS((BatchShare{comm, 5}.average(x, 6)), InvariantError);
}
