// Facts of schedules and of what the optimisers do to a network's buffers (their formulas:
// tests/tensor/reference_learning.cpp).
#include "nn/optimizer.h"

#include "nn/schedule.h"
#include "tests/near.h"
#include "tests/small_network.h"

using namespace fission;
using namespace fission::testing;

namespace {
Schedule cosine() {
  Schedule s;
  s.kind = Schedule::cosine, s.lr = 0.2, s.epochs = 120, s.warmup_epochs = 5;
  return s;
}
// the epochs at which the rate changes, and to what
std::vector<std::pair<Index, double>> changes(const Schedule& s) {
  std::vector<std::pair<Index, double>> c;
  double before = s.lr;
  for (Index e = 0; e < s.epochs; e++)
    if (s.at(e, 0, 10) != before) c.push_back({e, before = s.at(e, 0, 10)});
  return c;
}
}  // namespace

TEST_CASE("schedule: 160 epochs change the rate at 80 and 120, to a tenth each") {
  auto c = changes(Schedule());
  REQUIRE(c.size() == 2);
  CHECK(c[0].first == 80);
  CHECK(c[0].second == near(0.01).epsilon(1e-12));
  CHECK(c[1].first == 120);
  CHECK(c[1].second == near(0.001).epsilon(1e-12));
}
TEST_CASE("schedule: 10 epochs change the rate at 5 and 7") {
  Schedule s;
  s.epochs = 10;
  auto c = changes(s);
  REQUIRE(c.size() == 2);
  CHECK(c[0].first == 5);
  CHECK(c[1].first == 7);
}
TEST_CASE("schedule: no milestone is in the first epoch, and two are never one epoch") {
  auto epochs_changed = [](Index epochs) {
    Schedule s;
    s.epochs = epochs;
    std::vector<Index> at;
    for (const auto& c : changes(s)) {
      CHECK(c.second == near(s.lr * std::pow(0.1, double(at.size() + 1))).epsilon(1e-12));
      at.push_back(c.first);
    }
    return at;
  };
  CHECK(epochs_changed(1) == std::vector<Index>{});
  CHECK(epochs_changed(2) == std::vector<Index>{1});
  CHECK(epochs_changed(3) == std::vector<Index>{1, 2});
  for (Index epochs = 4; epochs < 200; epochs++)
    CHECK(epochs_changed(epochs) == std::vector<Index>{epochs / 2, epochs * 3 / 4});
}
TEST_CASE("schedule: within an epoch a step schedule stays") {
  Schedule s;
  CHECK(s.at(79, 390, 391) == s.lr);
  CHECK(s.at(80, 390, 391) == s.at(80, 0, 391));
}
TEST_CASE("schedule: cosine starts at lr, is half of it in the middle and ends at 0") {
  Schedule s = cosine();
  s.warmup_epochs = 0;
  CHECK(s.at(0, 0, 100) == s.lr);
  CHECK(s.at(60, 0, 100) == near(s.lr / 2).epsilon(1e-12));
  CHECK(s.at(119, 99, 100) > 0);
  CHECK(s.at(119, 99, 100) < 1e-8);  // lr/2 · (π/12000)²/2 = 3.4e-9
  CHECK(std::abs(s.at(120, 0, 100)) < 1e-16);
}
TEST_CASE("schedule: cosine falls with every step") {
  Schedule s = cosine();
  for (Index e = 5; e < 120; e += 19)
    for (Index step = 1; step < 50; step++) CHECK(s.at(e, step, 50) < s.at(e, step - 1, 50));
}
TEST_CASE("schedule: warm-up rises linearly from 0 to lr, step by step") {
  for (Schedule::Kind kind : {Schedule::step_decay, Schedule::cosine}) {
    Schedule s = cosine();
    s.kind = kind;
    CHECK(s.at(0, 0, 10) == 0);
    CHECK(s.at(0, 5, 10) == near(s.lr * 0.1).epsilon(1e-12));
    CHECK(s.at(4, 9, 10) == near(s.lr * 0.98).epsilon(1e-12));
  }
  Schedule s = cosine();
  s.kind = Schedule::step_decay;
  CHECK(s.at(5, 0, 10) == s.lr);
}
TEST_CASE("schedule: names are read, unknown ones are refused with the known") {
  CHECK(parse_schedule("step") == Schedule::step_decay);
  CHECK(parse_schedule("cosine") == Schedule::cosine);
  CHECK_THROWS_WITH_AS(parse_schedule("poly"), doctest::Contains("step, cosine"), UserError);
}

TEST_CASE(
    "optimizer: without gradients weight decay shrinks what it is to reach, and nothing else") {
  for (Decay decay : {Decay::all, Decay::weights, Decay::weights_and_depthwise}) {
    Small s;
    SgdSettings settings;
    settings.weight_decay = 0.1, settings.decay = decay;
    std::vector<double> before = s.network->parameters().to_host();
    Sgd(*s.network, settings).step(0.5);
    std::vector<double> after = s.network->parameters().to_host();
    for (std::size_t i = 0; i < after.size(); i++) {
      const Index weights = s.network->weight_count(), gammas = s.network->depthwise_gamma_count();
      bool decays = decay == Decay::all || Index(i) < weights ||
                    (decay == Decay::weights_and_depthwise && Index(i) < weights + gammas);
      CHECK(std::abs(after[i] - (decays ? 0.95 : 1) * before[i]) <
            1e-15);  // one rounding of numbers of size 1
    }
  }
}
TEST_CASE("optimizer: each step takes the rate that it is given") {
  Small s;
  SgdSettings plain;
  plain.momentum = plain.weight_decay = 0;
  Sgd sgd(*s.network, plain);
  Tensor g = s.network->gradients(), p = s.network->parameters();
  double start = p.to_host()[0], expected = start;
  for (double lr : {0.5, 0.25, 0.25, 0.0, 1.0}) {
    ops::fill(g, 1);
    sgd.step(lr);
    expected -= lr;
    CHECK(p.to_host()[0] == expected);
  }
}
TEST_CASE("optimizer: momentum starts from zero, and is the gradient after the first step") {
  Small s;
  SgdSettings settings;
  settings.weight_decay = 0;
  Sgd sgd(*s.network, settings);
  CHECK(largest(sgd.buffer().to_host()) == 0);
  Tensor g = s.network->gradients();
  ops::fill(g, 3);
  sgd.step(0.1);
  CHECK(sgd.buffer().to_host() == std::vector<double>(std::size_t(g.numel()), 3));
}
