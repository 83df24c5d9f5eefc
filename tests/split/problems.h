// Selection problems small enough to see through, or to try all subsets of.
#pragma once
#include <algorithm>

#include "split/select.h"
#include "tensor/random.h"

namespace fission::testing {

using Lambdas = std::vector<std::vector<double>>;
using Split = std::vector<std::vector<char>>;
inline SelectionProblem problem(const Lambdas& lambda, const std::vector<double>& energy,
                                std::vector<int> group = {}, std::vector<Index> cap = {}) {
  if (group.empty()) group.assign(lambda.size(), 0);
  if (cap.empty()) cap.assign(lambda.size(), 100);
  return {lambda, energy, group, cap};
}
inline Selection dropping(const SelectionProblem& p, double grow) {
  return select_by_energy(p, grow, Rounding::drop);
}

inline SelectionProblem random_problem(std::uint64_t item) {
  Random random(23, random_purpose::test, item);
  std::uint64_t i = 0;
  SelectionProblem p;
  for (int l = 0; l < 4; l++) {
    p.lambda.emplace_back(2 + random.below(i++, 2));
    for (double& x : p.lambda.back()) x = 0.3 - random.uniform(i++);
    p.energy.push_back(0.5 + 3 * random.uniform(i++)), p.group.push_back(l / 2),
        p.cap.push_back(random.below(i++, 4));
  }
  return p;
}
// the least Σλ of all subsets within budgets and caps
inline double best_subset(const SelectionProblem& p, const std::vector<double>& budget) {
  std::vector<std::pair<std::size_t, double>> all;
  for (std::size_t l = 0; l < p.lambda.size(); l++)
    for (double x : p.lambda[l]) all.push_back({l, x});
  double best = 0;
  for (std::uint32_t subset = 0; subset < (1u << all.size()); subset++) {
    double sum = 0;
    std::vector<double> spent(budget.size());
    std::vector<Index> taken(p.lambda.size());
    for (std::size_t i = 0; i < all.size(); i++)
      if (subset >> i & 1)
        sum += all[i].second, spent[p.group[all[i].first]] += p.energy[all[i].first],
            taken[all[i].first]++;
    bool fits = true;
    for (std::size_t g = 0; g < budget.size(); g++)
      fits = fits && spent[g] <= budget[g] * (1 + 1e-12);
    for (std::size_t l = 0; l < taken.size(); l++) fits = fits && taken[l] <= p.cap[l];
    if (fits) best = std::min(best, sum);
  }
  return best;
}

}  // namespace fission::testing
