// Selections against the authors' linear programs (select_*), energies against their flop counters,
// MACs (macs.json). Masks, widths and counts are integers and must be equal. Budgets 1e-12 (sums of
// some thousand doubles); objectives 1e-6 relative, what two linear-programming libraries differ
// by.
#include <fstream>
#include <nlohmann/json.hpp>

#include "split/energy.h"
#include "split/select.h"
#include "split/select_optimal.h"
#include "tests/near.h"
#include "tests/reference_file.h"

using namespace fission;
using namespace fission::testing;

namespace {
struct Library {
  const char* file;
  double threshold;
  EnergyScale scale;
};
const Library libraries[] = {{"select_cifar100", 0.99, EnergyScale::sqrt},
                             {"select_imagenet", 0.9, EnergyScale::log},
                             {"select_mbv2", 0.9, EnergyScale::log}};

struct Instance {
  const TensorFile& file;
  std::string prefix;
  SelectionProblem problem;
  double grow;
  std::vector<Index> widths;
  Instance(const TensorFile& f, const std::string& p)
      : file(f), prefix(p), grow(number("grow")[0]) {
    std::vector<double> lambda = number("lambda"), layer = number("layer"),
                        groups = number("split_groups"), most = number("max_cfg");
    widths = integers("cfg");
    std::vector<std::vector<double>> lambdas(widths.size());
    for (std::size_t i = 0; i < lambda.size(); i++)
      lambdas[std::size_t(layer[i])].push_back(lambda[i]);
    problem = make_problem(lambdas, number("cost_per_layer"),
                           std::vector<int>(groups.begin(), groups.end()),
                           std::vector<Index>(most.begin(), most.end()));
  }
  std::vector<double> number(const std::string& name) const { return numbers(file, prefix + name); }
  std::vector<Index> integers(const std::string& name) const {
    std::vector<double> v = number(name);
    return {v.begin(), v.end()};
  }
  std::vector<char> mask(const std::string& name) const {  // in the file's order: by layers
    std::vector<double> v = number(name);
    return {v.begin(), v.end()};
  }
  std::vector<Index> grown(const Selection& s) const {
    std::vector<Index> w = s.grown();
    for (std::size_t l = 0; l < w.size(); l++) w[l] += widths[l];
    return w;
  }
};
std::vector<char> flat(const Selection& s) {
  std::vector<char> all;
  for (const auto& layer : s.split) all.insert(all.end(), layer.begin(), layer.end());
  return all;
}

template <class Check>
void each_instance(Check check) {
  for (const Library& library : libraries) {
    TensorFile file = reference_file(library.file);
    for (const char* name :
         {"seed_g0.25/", "seed_g0.7/", "seed_g0.95/", "large_g0.15/", "large_g0.5/"}) {
      INFO(library.file, " ", name);
      check(Instance(file, name), library);
    }
  }
}
NetworkConfig config_of(const Library& library, const std::vector<Index>& widths) {
  NetworkConfig c;
  if (widths.size() == 35) c.model = "mobilenet_v2";
  c.widths = widths;
  bool imagenet = library.scale == EnergyScale::log;
  c.classes = imagenet ? 1000 : 100, c.size = imagenet ? 224 : 32, c.stem_stride = imagenet ? 2 : 1;
  return c;
}
}  // namespace

TEST_CASE("select: with the authors' thresholds, all 15 masks and new widths are theirs") {
  each_instance([](const Instance& i, const Library& library) {
    Selection s = select_by_energy(i.problem, i.grow, Rounding::paper, library.threshold);
    CHECK(flat(s) == i.mask("mask_highs"));
    CHECK(i.grown(s) == i.integers("new_cfg_highs"));
  });
}
TEST_CASE("select: budgets and caps are the authors'") {
  each_instance([](const Instance& i, const Library& library) {
    CHECK(relative(select_by_energy(i.problem, i.grow, Rounding::paper, library.threshold).budget,
                   i.number("group_budget")) < 1e-12);
    CHECK(i.problem.cap == i.integers("layer_cap"));
  });
}
TEST_CASE(
    "select: the relaxation's objective is the linear program's, and the rounded one the "
    "authors'") {
  each_instance([](const Instance& i, const Library& library) {
    Selection s = select_by_energy(i.problem, i.grow, Rounding::paper, library.threshold);
    CHECK(s.relaxed_objective == near(i.number("objective")[0]).epsilon(1e-6));
    CHECK(s.objective == near(i.number("objective")[2]).epsilon(1e-6));
  });
}
TEST_CASE(
    "select: dropping the fraction never passes a budget, and 13 of 15 masks are still the "
    "authors'") {
  int equal = 0;
  each_instance([&](const Instance& i, const Library&) {
    Selection s = select_by_energy(i.problem, i.grow, Rounding::drop);
    for (std::size_t g = 0; g < s.budget.size(); g++)
      CHECK(s.spent[g] <= s.budget[g] * (1 + 1e-12));
    equal += flat(s) == i.mask("mask_highs");
  });
  CHECK(equal == 13);
}
TEST_CASE("select: dropping the fraction loses at most 0.36 % against the exact 0/1 optimum") {
  each_instance([](const Instance& i, const Library&) {
    double objective = select_by_energy(i.problem, i.grow, Rounding::drop).objective,
           best = i.number("objective")[4];
    CHECK(objective >= best * (1 + 1e-9));  // both negative
    CHECK(objective <= best * (1 - 0.0036));
  });
}
TEST_CASE("select: the 0/1 optimum is the reference's in all 15, and proven") {
  each_instance([](const Instance& i, const Library&) {
    Optimum o = select_optimal(i.problem, i.grow);
    CHECK(o.proven());
    CHECK(o.chosen.objective ==
          near(i.number("objective")[4]).epsilon(1e-6));  // proven there to 1e-6
    CHECK(o.chosen.objective <=
          i.number("objective")[4] * (1 - 1e-9));  // and none of theirs is better
  });
}
TEST_CASE("select: vanilla as published is the authors', λ̂ ≥ 0 and all") {
  each_instance([](const Instance& i, const Library&) {
    if (!i.file.has(i.prefix + "vanilla_mask"))
      return;  // MobileNetV2's script has no vanilla selection
    Selection s = select_vanilla(i.problem, i.grow, true);
    CHECK(flat(s) == i.mask("vanilla_mask"));
    CHECK(i.grown(s) == i.integers("vanilla_new_cfg"));
  });
}

TEST_CASE("energy: the paper's count is the authors' for seed and large networks") {
  each_instance([](const Instance& i, const Library& library) {
    if (i.prefix != "seed_g0.25/" && i.prefix != "large_g0.15/") return;
    auto network =
        make_network(config_of(library, i.widths), open_backend("reference"), DType::f32, 0);
    std::vector<double> e = marginal_energies(*network, parse_energy("paper"));
    CHECK(e == i.number("flops_inc_per_layer"));
    for (double& x : e) x = scaled(x, library.scale);
    CHECK(relative(e, i.number("cost_per_layer")) < 1e-14);
  });
}

TEST_CASE("macs: of every listed width, and what one more channel costs, are the reference's") {
  std::ifstream in("tests/reference/macs.json");
  nlohmann::json all = nlohmann::json::parse(in);
  int lists = 0, marginals = 0;
  for (const char* family : {"mbv1_cifar100", "mbv1_imagenet", "mbv2_imagenet"})
    for (const auto& [name, entry] : all.at(family).items()) {
      const char* key = entry.contains("sp_mbnet") ? "sp_mbnet" : "sp_mobilenetv2";
      if (!entry.contains(key)) continue;
      INFO(family, " ", name);
      const auto& net = entry.at(key);
      std::vector<Index> widths = net.at("cfg").get<std::vector<Index>>();
      bool imagenet = net.at("input") == 224;
      auto seed =
          make_network(config_of(libraries[imagenet ? 1 : 0], std::vector<Index>(widths.size(), 8)),
                       open_backend("reference"), DType::f32, 0);
      double now = seed->macs(widths);
      CHECK(now == net.at("pure_macs").at("total").get<double>());
      std::vector<double> more;
      for (std::size_t l = 0; l < widths.size(); l++) {
        widths[l]++;
        more.push_back(seed->macs(widths) - now);
        widths[l]--;
      }
      if (entry.contains("true_marginal_macs_per_layer")) {
        CHECK(more == entry.at("true_marginal_macs_per_layer").get<std::vector<double>>());
        marginals++;
      }
      lists++;
    }
  CHECK(lists == 17);
  CHECK(marginals == 16);
}
