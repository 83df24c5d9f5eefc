// E12 on instances small enough to see through, and against all subsets; what energies are.
#include "split/select.h"

#include "tests/near.h"
#include "tests/reference_file.h"
#include "tests/split/problems.h"

using namespace fission;
using namespace fission::testing;

TEST_CASE("select: the most negative λ̂ for its energy goes first") {
  CHECK(dropping(problem({{-1, -2}, {-3, -1}}, {1, 4}), 0.3).split ==
        Split{{1, 1}, {0, 0}});  // budget 3
}
TEST_CASE(
    "select: the neuron that no longer fits closes its group, cheaper ones are not looked at") {
  // budget 5: −8 for 4 is taken, the next for 4 does not fit, and −0.1 for 1 would
  Selection s = dropping(problem({{-8, -7}, {-0.1, -0.1}}, {4, 1}), 0.5);
  CHECK(s.split == Split{{1, 0}, {0, 0}});
  CHECK(s.relaxed_objective == near(-8 - 7 * 0.25));
  CHECK(s.objective == -8);
}
TEST_CASE("select: a closed group leaves the other open") {
  CHECK(dropping(problem({{-8, -7}, {-0.1, -0.2}}, {4, 1}, {0, 1}), 0.5).split ==
        Split{{1, 0}, {0, 1}});
}
TEST_CASE("select: a full layer is skipped, and the others go on") {
  CHECK(dropping(problem({{-9, -8, -7}, {-1, -1, -1}}, {1, 1}, {0, 0}, {1, 3}), 0.5).split ==
        Split{{1, 0, 0}, {1, 1, 0}});
}
TEST_CASE("select: a layer without room takes nobody, whatever its λ̂") {
  CHECK(dropping(problem({{-9}, {-1}}, {1, 1}, {}, {0, 1}), 1).split == Split{{0}, {1}});
}
TEST_CASE("select: λ̂ ≥ 0 is never split, however much budget is left") {
  CHECK(dropping(problem({{-1, 0, 2}, {3, -4, 1e-300}}, {1, 1}), 1).split ==
        Split{{1, 0, 0}, {0, 1, 0}});
}
TEST_CASE("select: equal ratios go by layer, then by neuron") {
  CHECK(dropping(problem({{-1, -1}, {-2, -2}}, {1, 2}), 0.5).split ==
        Split{{1, 1}, {0, 0}});  // budget 3; the third does not fit
}
TEST_CASE("select: a budget that is an exact sum is met, rounding errors or not") {
  CHECK(dropping(problem({std::vector<double>(10, -1.0)}, {0.1}), 0.3).count() ==
        3);  // 0.3·10·0.1 against 0.1 + 0.1 + 0.1
}
TEST_CASE("select: no budget, nobody") {
  Selection s = dropping(problem({{-1, -2}, {-3}}, {1, 1}), 0);
  CHECK(s.count() == 0);
  CHECK(s.objective == 0);
  CHECK(s.relaxed_objective == 0);
}
TEST_CASE("select: grow 1 takes every negative one within caps") {
  CHECK(dropping(problem({{-1, -2}, {-3, 1}}, {1, 7}), 1).count() == 3);
}
TEST_CASE("select: the fraction is kept from the threshold on, and dropped below") {
  // three neurons for 1 each, budget 1.95: the second gets β = 0.95
  SelectionProblem p = problem({{-1, -2, -3}}, {1});
  CHECK(select_by_energy(p, 0.65, Rounding::paper, 0.9).split == Split{{0, 1, 1}});
  CHECK(select_by_energy(p, 0.65, Rounding::paper, 0.99).split == Split{{0, 0, 1}});
  CHECK(select_by_energy(p, 0.65, Rounding::drop, 0.9).split == Split{{0, 0, 1}});
}
TEST_CASE("select: τ of a group is grow times what splitting all of it would cost") {
  Selection s = dropping(problem({{-1, -1}, {-1}, {1, 1, 1}}, {2, 3, 5}, {0, 1, 0}), 0.5);
  CHECK(s.budget == std::vector<double>{0.5 * (2 * 2 + 3 * 5), 1.5});
  CHECK(s.spent == std::vector<double>{4, 0});
}
TEST_CASE("select: the relaxation is a lower bound of all subsets, and dropping is one of them") {
  for (std::uint64_t item = 0; item < 40; item++) {
    SelectionProblem p = random_problem(item);
    Selection s = dropping(p, 0.1 + 0.02 * double(item));
    double best = best_subset(p, s.budget);
    INFO("instance ", item);
    CHECK(s.relaxed_objective <= best + 1e-12);
    CHECK(s.objective >= best - 1e-12);
    for (std::size_t g = 0; g < s.budget.size(); g++)
      CHECK(s.spent[g] <= s.budget[g] * (1 + 1e-12));
    for (std::size_t l = 0; l < p.cap.size(); l++) CHECK(s.grown()[l] <= p.cap[l]);
  }
}
TEST_CASE("select: where nothing is fractional, it is the optimum of all subsets") {
  int whole = 0;
  for (std::uint64_t item = 0; item < 40; item++) {
    SelectionProblem p = random_problem(item);
    Selection s = dropping(p, 0.8);
    if (s.objective != s.relaxed_objective) continue;
    whole++;
    CHECK(s.objective == near(best_subset(p, s.budget)).epsilon(1e-12));
  }
  CHECK(whole > 5);
}
TEST_CASE("select: caps are what is left up to the greatest width, never below 0") {
  CHECK(make_problem({{1, 2}, {1, 2, 3}, {1}}, {1, 1, 1}, {0, 0, 0}, {5, 2, 1}).cap ==
        std::vector<Index>{3, 0, 0});
}
TEST_CASE(
    "select: λ̂ that is no number, energies that are not positive, and lists of other lengths are "
    "refused") {
  CHECK_THROWS_AS(dropping(problem({{-1, NAN}}, {1}), 0.5), InvariantError);
  CHECK_THROWS_AS(make_problem({{1}}, {0}, {0}, {2}), InvariantError);
  CHECK_THROWS_AS(make_problem({{1}}, {1, 2}, {0}, {2}), InvariantError);
}
TEST_CASE("select: vanilla takes the ⌊grow·n⌋ least λ̂ of all, whatever they cost") {
  CHECK(select_vanilla(problem({{-1, -5}, {-2, -3, -4}}, {1000, 1}), 0.5, false).split ==
        Split{{0, 1}, {0, 0, 1}});
}
TEST_CASE("select: vanilla keeps caps and leaves λ̂ ≥ 0 alone; as published it does neither") {
  SelectionProblem p = problem({{-5, -4}, {1, 2}}, {1, 1}, {}, {1, 2});
  CHECK(select_vanilla(p, 0.75, false).split == Split{{1, 0}, {0, 0}});
  CHECK(select_vanilla(p, 0.75, true).split == Split{{1, 1}, {1, 0}});
}
TEST_CASE(
    "select: random takes ⌊grow·n⌋ by the seed and the round, whatever their λ̂, within the caps; "
    "more grow adds to the same draw") {
  SelectionProblem p =
      problem({std::vector<double>(40, 1), std::vector<double>(60, -1)}, {1000, 1}, {}, {40, 5});
  Selection few = select_random(p, 0.1, 3, 1), more = select_random(p, 0.4, 3, 1);
  CHECK(few.count() == 10);
  CHECK(more.grown()[1] == 5);  // of about 24 drawn, the cap's
  CHECK(select_random(p, 0.1, 3, 1).split == few.split);
  CHECK(select_random(p, 0.1, 3, 2).split != few.split);
  CHECK(select_random(p, 0.1, 4, 1).split != few.split);
  for (std::size_t l = 0; l < 2; l++)
    for (std::size_t i = 0; i < few.split[l].size(); i++)
      CHECK(few.split[l][i] <= more.split[l][i]);
  CHECK(select_random(p, 1, 3, 1).grown() == std::vector<Index>{40, 5});
}
