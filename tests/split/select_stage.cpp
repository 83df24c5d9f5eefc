// The selection as a stage: multiples of a width, the target in MACs, and why nobody was chosen.
#include <cmath>

#include "split/stages.h"
#include "tests/small_network.h"
#include "tests/split/problems.h"

using namespace fission;
using namespace fission::testing;

namespace {
std::vector<Index> widths_after(const SelectionProblem& p, const Selection& s) {
  std::vector<Index> w = s.grown();
  for (std::size_t l = 0; l < w.size(); l++) w[l] += Index(p.lambda[l].size());
  return w;
}
SelectionProblem wide_problem(std::uint64_t item) {
  Random random(37, random_purpose::test, item);
  std::uint64_t i = 0;
  SelectionProblem p;
  for (int l = 0; l < 6; l++) {
    p.lambda.emplace_back(6 + random.below(i++, 30));
    for (double& x : p.lambda.back()) x = 0.2 - random.uniform(i++);
    p.energy.push_back(0.5 + 3 * random.uniform(i++)), p.group.push_back(l / 3),
        p.cap.push_back(random.below(i++, 40));
  }
  return p;
}

// a network with its λ̂ drawn at random
struct Grown : Small {
  SplittingIndex index;
  GrowSettings settings;
  explicit Grown(std::uint64_t item = 0, double shift = 0.8)
      : Small(machines()[0], Activation::swish,
              {9, 12, 8, 7, 16, 10, 12, 9, 11, 8, 10, 14, 9, 16}) {
    Random random(41, random_purpose::test, item);
    std::uint64_t i = 0;
    for (Index w : network->widths()) {
      index.lambda.emplace_back(w);
      for (double& x : index.lambda.back()) x = random.uniform(i++) - shift;
    }
  }
  Selection chosen(Index round = 1) { return select(*network, index, settings, round); }
  double macs(const Selection& s) {
    std::vector<Index> w = network->widths(), grown = s.grown();
    for (std::size_t l = 0; l < w.size(); l++) w[l] += grown[l];
    return network->macs(w);
  }
};
}  // namespace

TEST_CASE(
    "multiples: a width that grows becomes a multiple, rounded down, and what is freed buys the "
    "next whole step") {
  // widths 3 and 2, budget 4.5: the relaxation takes both of layer 0 (to 5) and one of layer 1 (to
  // 3)
  SelectionProblem p = problem({{-9, -8, 1}, {-3, -2}}, {1, 1.5});
  Selection s = dropping(p, 0.75);
  CHECK(s.grown() == std::vector<Index>{2, 1});
  // down: to 4 (the −9 stays in) and 2; 3.5 are left: layer 0's next step of 4 has no 4 neurons,
  // layer 1's of 2 costs 3
  Selection m = in_multiples(p, s, 4);
  CHECK(m.split == Split{{1, 0, 0}, {1, 1}});
  CHECK(m.spent == std::vector<double>{4});
  CHECK(m.objective == -14);
}
TEST_CASE("multiples: of 1, the choice is as it was") {
  for (std::uint64_t item = 0; item < 10; item++) {
    SelectionProblem p = wide_problem(item);
    CHECK(in_multiples(p, dropping(p, 0.4), 1).split == dropping(p, 0.4).split);
  }
}
TEST_CASE(
    "multiples: widths that grew are multiples; budgets and caps hold, no λ̂ ≥ 0 is split, no "
    "better neuron is passed over, no step is left") {
  Index steps = 0;
  for (std::uint64_t item = 0; item < 60; item++)
    for (Index multiple : {4, 8}) {
      INFO("instance ", item, " multiple ", multiple);
      SelectionProblem p = wide_problem(item);
      Selection s = in_multiples(p, dropping(p, 0.2 + 0.01 * double(item)), multiple);
      std::vector<Index> after = widths_after(p, s), grown = s.grown();
      for (std::size_t g = 0; g < 2; g++) CHECK(s.spent[g] <= s.budget[g] * (1 + 1e-12));
      for (std::size_t l = 0; l < 6; l++) {
        steps += grown[l] > 0;
        CHECK((grown[l] == 0 || after[l] % multiple == 0));
        CHECK(grown[l] <= p.cap[l]);
        double worst = -1e9, passed = 0;
        Index free = 0;
        for (std::size_t i = 0; i < p.lambda[l].size(); i++) {
          if (s.split[l][i]) worst = std::max(worst, p.lambda[l][i]);
          else passed = std::min(passed, p.lambda[l][i]), free += p.lambda[l][i] < 0;
        }
        CHECK(worst < 0);
        CHECK(worst <= passed);
        Index more = multiple - after[l] % multiple;
        bool fits = s.spent[p.group[l]] + double(more) * p.energy[l] <= s.budget[p.group[l]];
        CHECK_FALSE((fits && free >= more && grown[l] + more <= p.cap[l]));
      }
    }
  CHECK(steps > 100);
}
TEST_CASE("multiples: the baselines are only rounded down, by the neurons that were taken last") {
  SelectionProblem p = problem({{-1, -2, -3, -4, -5}, {-9, 1, 1}}, {1, 1});
  Selection s = select_vanilla(p, 0.75, false);  // −9 … −1
  CHECK(s.grown() == std::vector<Index>{5, 1});
  CHECK(in_multiples(p, s, 4).split == Split{{0, 0, 1, 1, 1}, {1, 0, 0}});
  SelectionProblem q = problem({std::vector<double>(30, -1)}, {1});
  Selection random = select_random(q, 0.5, 1, 1), down = in_multiples(q, random, 8);
  CHECK(down.grown()[0] == 10);
  for (std::size_t i = 0; i < 10; i++) CHECK(down.order[i] == random.order[i]);
}

TEST_CASE("target: the choice is under it, and the next neuron of the order would pass it") {
  for (std::uint64_t item = 0; item < 12; item++)
    for (EnergyScale scale : {EnergyScale::none, EnergyScale::sqrt})
      for (Choice choice : {Choice::energy, Choice::vanilla, Choice::random}) {
        Grown g(item);
        g.settings.scale = scale, g.settings.choice = choice, g.settings.grow = 0.9;
        double now = g.network->macs(), all = g.macs(g.chosen()),
               target = now + (all - now) * (0.1 + 0.07 * double(item));
        g.settings.target_macs = {target};
        Selection s = g.chosen();
        INFO("instance ", item, " choice ", int(choice));
        CHECK(g.macs(s) <= target);
        CHECK(s.count() > 0);
        // without the target, the least grow that adds a neuron to this choice
        g.settings.target_macs = {};
        double low = 0, high = 0.9;
        for (int i = 0; i < 60; i++) {
          g.settings.grow = (low + high) / 2;
          (g.chosen().count() > s.count() ? high : low) = g.settings.grow;
        }
        g.settings.grow = high;
        Selection next = g.chosen();
        CHECK(g.macs(next) > target);
        CHECK(next.count() == s.count() + 1);
        for (std::size_t l = 0; l < s.split.size(); l++)
          for (std::size_t i = 0; i < s.split[l].size(); i++)
            CHECK(s.split[l][i] <= next.split[l][i]);
      }
}
TEST_CASE("target: in multiples, the choice is under it too") {
  for (std::uint64_t item = 0; item < 12; item++) {
    Grown g(item);
    g.settings.grow = 0.9, g.settings.multiple = 4,
    g.settings.target_macs = {1.5 * g.network->macs()};
    Selection s = g.chosen();
    CHECK(g.macs(s) <= g.settings.target_macs[0]);
    CHECK(g.macs(s) > 1.2 * g.network->macs());
  }
}

TEST_CASE(
    "nobody: no negative splitting index, full layers, and a budget that is too small are each "
    "named") {
  auto why = [](const SelectionProblem& p, double grow) {
    Selection s = dropping(p, grow);
    CHECK(s.count() == 0);
    return why_nobody(p, s, "MACs");
  };
  CHECK(why(problem({{1, 2}, {0}}, {1, 1}), 1) == "no splitting index is negative");
  CHECK(why(problem({{-1, 2}, {0}}, {1, 1}, {}, {0, 5}), 1) ==
        "every layer with a negative splitting index is at its widest");
  CHECK(why(problem({{-1, -2}, {-9}}, {2, 3}), 0.25) ==
        "the budget of 1.75 MACs buys none: the first neuron costs 3");
  CHECK(why(problem({{-1}, {1}, {-1}}, {1, 1, 1}, {0, 1, 2}, {0, 1, 1}), 0.5) ==
        "group 0: every layer with a negative splitting index is at its widest; group 1: no "
        "splitting index is negative; "
        "group 2: the budget of 0.5 MACs buys none: the first neuron costs 1");
}
TEST_CASE("nobody: the stage says which of its settings leave nothing") {
  auto why = [](Grown& g) {
    Selection s = g.chosen();
    CHECK(s.count() == 0);
    return s.why_none;
  };
  Grown stable(0, -0.1), g;
  CHECK(why(stable) == "no splitting index is negative");
  stable.settings.choice = Choice::vanilla;
  CHECK(why(stable) == "no splitting index is negative");
  CHECK(g.chosen().why_none == "");
  g.settings.target_macs = {g.network->macs()};
  CHECK(why(g) == text("the network has ", Index(g.network->macs()),
                       " MACs, and one more neuron would pass --target-macs ",
                       Index(g.network->macs())));
  g.settings.target_macs = {}, g.settings.grow = 1e-6, g.settings.scale = EnergyScale::sqrt;
  CHECK(why(g).find("√MACs buys none: the first neuron costs ") != std::string::npos);
  g.settings.choice = Choice::random;
  CHECK(why(g) == "--grow 1e-06 of 151 neurons is none");
  Grown m;  // widths from 7 to 16: one neuron makes no multiple of 8 but on axis L03
  m.settings.grow = 1e-3;
  while (m.chosen().count() == 0) m.settings.grow *= 1.1;
  CHECK(m.chosen().grown()[3] == 0);
  m.settings.multiple = 8;
  CHECK(why(m) == "no layer's growth comes to a multiple of 8 within the budget");
}

TEST_CASE("fill: the choice grows up to the target, until no neuron with λ̂ < 0 fits") {
  Index filled = 0;
  for (std::uint64_t item = 0; item < 12; item++)
    for (Index multiple : {1, 4})
      for (Choice choice : {Choice::energy, Choice::vanilla, Choice::random}) {
        Grown g(item);
        g.settings.choice = choice, g.settings.grow = 0.9, g.settings.multiple = multiple;
        g.settings.target_macs = {1.7 * g.network->macs()};
        INFO("instance ", item, ", choice ", int(choice), ", multiple ", multiple);
        Selection plain = g.chosen();
        g.settings.fill = true;
        Selection s = g.chosen();
        CHECK(g.macs(s) <= g.settings.target_macs[0]);
        CHECK(g.macs(s) >= g.macs(plain));
        filled += s.count() - plain.count();
        std::vector<Index> widths = g.network->widths(), grown = s.grown();
        for (std::size_t l = 0; l < widths.size(); l++) {
          Index free = 0;
          for (std::size_t i = 0; i < s.split[l].size(); i++) {
            CHECK((!plain.split[l][i] || s.split[l][i]));
            const bool helps = choice == Choice::random || g.index.lambda[l][i] < 0;
            free += !s.split[l][i] && helps;
            CHECK((helps || !s.split[l][i]));
          }
          const Index more = multiple - (widths[l] + grown[l]) % multiple;
          if (free < more || grown[l] + more > g.network->axes()[l].max_width - widths[l]) continue;
          Selection next = s;  // one step more on this layer would pass the target
          for (Index left = more, i = 0; left > 0; i++)
            if (!next.split[l][std::size_t(i)]) next.split[l][std::size_t(i)] = 1, left--;
          CHECK(g.macs(next) > g.settings.target_macs[0]);
        }
      }
  CHECK(filled > 100);
}
TEST_CASE(
    "fill: the energy-aware choice takes the best λ̂/e that fits, the vanilla one the least λ̂") {
  SelectionProblem p = problem({{-4, -1}, {-3, -2}}, {4, 1});
  Keys by_energy{{-1, -0.25}, {-3, -2}};
  auto room = [](const std::vector<Index>& grown) { return 4 * grown[0] + grown[1] <= 5; };
  CHECK(fill_up(p, dropping(p, 0), 1, by_energy, false, room).split == Split{{0, 0}, {1, 1}});
  CHECK(fill_up(p, dropping(p, 0), 1, p.lambda, false, room).split == Split{{1, 0}, {1, 0}});
}
TEST_CASE("select: relative steps value a neuron by ‖w_o‖² λ̂_o (E3r)") {
  Grown g;
  g.settings.surgery.relative = true;
  std::vector<double> lengths = step_lengths(*g.network, g.settings.surgery);
  Selection relative = g.chosen();
  std::size_t row = 0;
  for (auto& layer : g.index.lambda)
    for (double& l : layer) l *= std::pow(lengths[row++], 2);
  CHECK(g.chosen().count() > 0);
  g.settings.surgery.relative = false;
  CHECK(g.chosen().split == relative.split);
}
