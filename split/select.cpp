#include "split/select.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tensor/random.h"

namespace fission {
namespace {

struct Candidate {
  double key;
  std::size_t layer, neuron;
  bool operator<(const Candidate& o)
      const {  // ties: by layer, then neuron, so that the choice is reproducible
    return key != o.key ? key < o.key : layer != o.layer ? layer < o.layer : neuron < o.neuron;
  }
};

Selection nothing(const SelectionProblem& p) {
  Selection s;
  int groups = 0;
  for (int g : p.group) groups = std::max(groups, g + 1);
  s.budget.assign(groups, 0), s.spent.assign(groups, 0);
  for (const auto& layer : p.lambda) s.split.emplace_back(layer.size(), 0);
  return s;
}

template <class Key>
std::vector<Candidate> sorted(const SelectionProblem& p, bool negative_only, Key key) {
  std::vector<Candidate> order;
  for (std::size_t l = 0; l < p.lambda.size(); l++)
    for (std::size_t i = 0; i < p.lambda[l].size(); i++) {
      FISSION_CHECK(std::isfinite(p.lambda[l][i]), "[select] the splitting index of neuron ", i,
                    " of layer ", l, " is not finite");
      if (!negative_only || p.lambda[l][i] < 0) order.push_back({key(l, i), l, i});  // E3
    }
  std::sort(order.begin(), order.end());
  return order;
}

// the first ⌊grow·n⌋ of `order` whose layers have room
Selection take(const SelectionProblem& p, const std::vector<Candidate>& order, double grow,
               bool keep_caps) {
  Selection s = nothing(p);
  std::size_t n = 0;
  for (const auto& layer : p.lambda) n += layer.size();
  Index wanted = Index(std::floor(grow * double(n) * (1 + 1e-12)));
  std::vector<Index> room = p.cap;
  for (const Candidate& c : order) {
    if (wanted == 0) break;
    if (keep_caps && room[c.layer] == 0) continue;
    s.take(p, c.layer, c.neuron);
    room[c.layer]--, wanted--;
  }
  s.relaxed_objective = s.objective;
  return s;
}

}  // namespace

SelectionProblem make_problem(const std::vector<std::vector<double>>& lambda,
                              const std::vector<double>& energy, const std::vector<int>& group,
                              const std::vector<Index>& max_width) {
  SelectionProblem p{lambda, energy, group, {}};
  FISSION_CHECK(energy.size() == lambda.size() && group.size() == lambda.size() &&
                    max_width.size() == lambda.size(),
                "[select] ", lambda.size(), " layers, ", energy.size(), " energies, ", group.size(),
                " groups, ", max_width.size(), " caps");
  for (std::size_t l = 0; l < lambda.size(); l++) {
    FISSION_CHECK(energy[l] > 0, "[select] layer ", l, " has energy ", energy[l]);
    p.cap.push_back(std::max<Index>(0, max_width[l] - Index(lambda[l].size())));
  }
  return p;
}

void Selection::take(const SelectionProblem& p, std::size_t layer, std::size_t neuron) {
  split[layer][neuron] = 1;
  order.push_back({layer, neuron});
  objective += p.lambda[layer][neuron];  // gains add up (E4)
  spent[p.group[layer]] += p.energy[layer];
}
Index Selection::count() const { return Index(order.size()); }
std::vector<Index> Selection::grown() const {
  std::vector<Index> n;
  for (const auto& layer : split)
    n.push_back(Index(std::count(layer.begin(), layer.end(), char(1))));
  return n;
}

// E12, its relaxation solved exactly, then rounded
Selection select_by_energy(const SelectionProblem& p, double grow, Rounding rounding,
                           double threshold) {
  Selection s = nothing(p);
  for (std::size_t l = 0; l < p.lambda.size(); l++)
    s.budget[p.group[l]] += grow * p.energy[l] * double(p.lambda[l].size());
  std::vector<double> left = s.budget;
  std::vector<char> closed(left.size(), 0);
  std::vector<Index> room = p.cap;
  for (const Candidate& c : sorted(
           p, true, [&](std::size_t l, std::size_t i) { return p.lambda[l][i] / p.energy[l]; })) {
    int g = p.group[c.layer];
    if (closed[g] || room[c.layer] == 0) continue;
    double e = p.energy[c.layer], lambda = p.lambda[c.layer][c.neuron];
    double fits =
        left[g] * (1 + 1e-12);  // a budget that is an exact sum is not missed by a rounding error
    double beta = e <= fits ? 1 : left[g] / e;
    s.relaxed_objective += beta * lambda;
    if (beta < 1) closed[g] = 1;
    if (beta < 1 && !(rounding == Rounding::paper && beta >= threshold)) continue;
    s.take(p, c.layer, c.neuron);
    left[g] = std::max(0.0, left[g] - e);
    room[c.layer]--;
  }
  return s;
}

Selection select_vanilla(const SelectionProblem& p, double grow, bool as_published) {
  return take(
      p, sorted(p, !as_published, [&](std::size_t l, std::size_t i) { return p.lambda[l][i]; }),
      grow, !as_published);
}

Keys random_keys(const SelectionProblem& p, std::uint64_t seed, std::uint64_t round) {
  Random random(seed, random_purpose::selection, round);
  std::uint64_t index = 0;
  Keys keys = p.lambda;
  for (auto& layer : keys)
    for (double& key : layer) key = random.uniform(index++);
  return keys;
}

Selection select_random(const SelectionProblem& p, double grow, std::uint64_t seed,
                        std::uint64_t round) {
  const Keys keys = random_keys(p, seed, round);
  return take(p, sorted(p, false, [&](std::size_t l, std::size_t i) { return keys[l][i]; }), grow,
              true);
}

Selection in_multiples(const SelectionProblem& p, const Selection& chosen, Index multiple) {
  if (multiple == 1) return chosen;
  Selection s = nothing(p);
  s.budget = chosen.budget, s.relaxed_objective = chosen.relaxed_objective;
  std::vector<Index> grown = chosen.grown();
  for (std::size_t l = 0; l < grown.size(); l++) {
    Index width = Index(p.lambda[l].size()), down = (width + grown[l]) / multiple * multiple;
    grown[l] = std::max<Index>(0, down - width);
  }
  std::vector<Index> kept(grown.size(), 0);
  for (const auto& taken : chosen.order)
    if (kept[taken.first] < grown[taken.first])
      s.take(p, taken.first, taken.second), kept[taken.first]++;
  while (true) {
    Candidate best{0, 0, 0};
    std::vector<Candidate> step;
    for (std::size_t l = 0; l < grown.size(); l++) {
      Index width = Index(p.lambda[l].size()), more = multiple - (width + kept[l]) % multiple;
      double energy = double(more) * p.energy[l];
      if (kept[l] + more > std::min(width, p.cap[l]) ||
          s.spent[p.group[l]] + energy > s.budget[p.group[l]] * (1 + 1e-12))
        continue;
      std::vector<Candidate> left;
      for (std::size_t i = 0; i < p.lambda[l].size(); i++)
        if (!s.split[l][i] && p.lambda[l][i] < 0) left.push_back({p.lambda[l][i], l, i});
      if (Index(left.size()) < more) continue;
      std::sort(left.begin(), left.end());
      left.resize(std::size_t(more));
      double sum = 0;
      for (const Candidate& c : left) sum += c.key;
      if (sum / energy < best.key) best.key = sum / energy, step = left;
    }
    if (step.empty()) return s;
    for (const Candidate& c : step) s.take(p, c.layer, c.neuron), kept[c.layer]++;
  }
}

Selection fill_up(const SelectionProblem& p, Selection s, Index multiple, const Keys& keys,
                  bool any, const std::function<bool(const std::vector<Index>& grown)>& fits) {
  while (true) {
    std::vector<Index> grown = s.grown();
    std::vector<Candidate> best;
    double least = 0;
    for (std::size_t l = 0; l < grown.size(); l++) {
      const Index width = Index(p.lambda[l].size()),
                  more = multiple - (width + grown[l]) % multiple;
      std::vector<Candidate> step;
      for (std::size_t i = 0; i < p.lambda[l].size(); i++)
        if (!s.split[l][i] && (any || p.lambda[l][i] < 0)) step.push_back({keys[l][i], l, i});
      if (Index(step.size()) < more || grown[l] + more > p.cap[l]) continue;
      std::sort(step.begin(), step.end());
      step.resize(std::size_t(more));
      double key = 0;
      for (const Candidate& c : step) key += c.key / double(more);
      grown[l] += more;
      if ((best.empty() || key < least) && fits(grown)) least = key, best = std::move(step);
      grown[l] -= more;
    }
    if (best.empty()) return s;
    for (const Candidate& c : best) s.take(p, c.layer, c.neuron);
  }
}

std::string why_nobody(const SelectionProblem& p, const Selection& s, const std::string& unit) {
  std::vector<std::string> why;
  for (std::size_t g = 0; g < s.budget.size(); g++) {
    bool negative = false, room = false;
    double best = 0, cost = 0;  // the first neuron that would have been taken
    for (std::size_t l = 0; l < p.lambda.size(); l++)
      for (double lambda : p.lambda[l]) {
        if (p.group[l] != int(g) || lambda >= 0) continue;
        negative = true;
        if (p.cap[l] == 0) continue;
        room = true;
        if (lambda / p.energy[l] < best) best = lambda / p.energy[l], cost = p.energy[l];
      }
    why.push_back(!negative ? text("no splitting index is negative")
                  : !room   ? text("every layer with a negative splitting index is at its widest")
                            : text("the budget of ", s.budget[g], " ", unit,
                                   " buys none: the first neuron costs ", cost));
  }
  bool same =
      std::all_of(why.begin(), why.end(), [&](const std::string& w) { return w == why[0]; });
  if (same) return why[0];
  std::string all;
  for (std::size_t g = 0; g < why.size(); g++)
    all += text(g ? "; " : "", "group ", g, ": ", why[g]);
  return all;
}

}  // namespace fission
