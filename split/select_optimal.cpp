#include "split/select_optimal.h"

#include <algorithm>
#include <cstdint>

namespace fission {
namespace {

struct Item {
  double worth;  // −λ̂ > 0
  std::size_t layer, neuron;
};
// Layers of one group that cost the same are one choice: how many of their items, the best ones
// first.
struct Class {
  double energy;
  std::vector<Item> items;
  std::vector<double> worth;        // of the first k
  std::size_t least = 0, most = 0;  // what the optimum may take
};
struct State {
  double energy, worth;
  std::int32_t parent, count;
};
// The relaxation over the classes from one on: the least of each, then single items by
// worth/energy.
struct Rest {
  double energy = 0, worth = 0;
  std::vector<double> energies{0}, worths{0};  // of the first so many items
  std::vector<std::size_t> of;                 // their classes
};

class Group {
 public:
  Group(std::vector<Class> classes, double budget) : classes_(std::move(classes)), budget_(budget) {
    std::sort(classes_.begin(), classes_.end(),
              [](const Class& a, const Class& b) { return a.energy > b.energy; });
    for (Class& c : classes_) {
      std::sort(c.items.begin(), c.items.end(), [](const Item& a, const Item& b) {
        return a.worth != b.worth   ? a.worth > b.worth
               : a.layer != b.layer ? a.layer < b.layer
                                    : a.neuron < b.neuron;
      });
      c.worth.assign(1, 0);
      for (const Item& i : c.items) c.worth.push_back(c.worth.back() + i.worth);
      c.most = c.items.size();
    }
    best_.assign(classes_.size(), 0);
  }

  void solve() {
    Rest all = rest_from(0);
    std::size_t whole = fitting(all, budget_);
    relaxed_ = bound_ = bound(all, budget_);
    offer(0, nullptr, all, whole);
    if (whole == all.of.size()) return;  // everything fits
    double price = (all.worths[whole + 1] - all.worths[whole]) /
                   (all.energies[whole + 1] - all.energies[whole]);
    for (std::size_t limit : {std::size_t(1000), std::size_t(30000)}) {
      narrow(price);
      bound_ = std::max(best_worth_, search(limit));
      if (bound_ == best_worth_) return;
    }
  }
  double worth() const { return best_worth_; }
  double bound() const { return bound_; }
  void mark(const SelectionProblem& p, Selection& s) const {
    for (std::size_t c = 0; c < classes_.size(); c++)
      for (std::size_t i = 0; i < best_[c]; i++)
        s.take(p, classes_[c].items[i].layer, classes_[c].items[i].neuron);
  }

 private:
  Rest rest_from(std::size_t first) const {
    Rest r;
    struct Step {
      double ratio, worth, energy;
      std::size_t of;
    };
    std::vector<Step> steps;
    for (std::size_t c = first; c < classes_.size(); c++) {
      const Class& k = classes_[c];
      r.energy += double(k.least) * k.energy, r.worth += k.worth[k.least];
      for (std::size_t i = k.least; i < k.most; i++)
        steps.push_back({k.items[i].worth / k.energy, k.items[i].worth, k.energy, c});
    }
    std::stable_sort(steps.begin(), steps.end(),
                     [](const Step& a, const Step& b) { return a.ratio > b.ratio; });
    for (const Step& s : steps)
      r.energies.push_back(r.energies.back() + s.energy),
          r.worths.push_back(r.worths.back() + s.worth), r.of.push_back(s.of);
    return r;
  }
  static std::size_t fitting(const Rest& r, double room) {  // how many items, whole
    return std::size_t(std::upper_bound(r.energies.begin(), r.energies.end(), room - r.energy) -
                       r.energies.begin()) -
           1;
  }
  // the most that the rest may be worth within the room; room ≥ r.energy
  static double bound(const Rest& r, double room) {
    std::size_t n = fitting(r, room);
    double worth = r.worth + r.worths[n];
    if (n == r.of.size()) return worth;
    return worth + (room - r.energy - r.energies[n]) * (r.worths[n + 1] - r.worths[n]) /
                       (r.energies[n + 1] - r.energies[n]);
  }
  // Lagrange: at the relaxation's price an optimum gives up less than what lies between the
  // relaxation and the best choice known.
  void narrow(double price) {
    double gap = relaxed_ * (1 + 1e-12) - best_worth_;
    for (Class& c : classes_) {
      auto at = [&](std::size_t k) { return c.worth[k] - price * c.energy * double(k); };
      double top = 0;
      for (std::size_t k = 0; k < c.worth.size(); k++) top = std::max(top, at(k));
      while (c.least < c.most && top - at(c.least) > gap) c.least++;
      while (c.most > c.least && top - at(c.most) > gap) c.most--;
    }
  }
  // A choice: counts of the classes before `next` (from a state's line of parents), then the least
  // of the others and n items more
  void offer(std::size_t next, const State* state, const Rest& r, std::size_t n) {
    double worth = (state ? state->worth : 0) + r.worth + r.worths[n];
    if (worth <= best_worth_) return;
    best_worth_ = worth;
    for (std::size_t c = next; c-- > 0;) {
      best_[c] = std::size_t(state->count);
      if (c > 0) state = &lists_[c - 1][std::size_t(state->parent)];
    }
    for (std::size_t c = next; c < classes_.size(); c++) best_[c] = classes_[c].least;
    for (std::size_t i = 0; i < n; i++) best_[r.of[i]]++;
  }
  // Returns the most that a state left out for the limit's sake could have come to; 0: none was
  // left out.
  double search(std::size_t limit) {
    double left_out = 0;
    lists_.assign(classes_.size(), {});
    std::vector<State> start{{0, 0, -1, 0}};
    for (std::size_t c = 0; c < classes_.size(); c++) {
      const Class& k = classes_[c];
      const std::vector<State>& from = c == 0 ? start : lists_[c - 1];
      std::vector<State>& to = lists_[c];
      Rest r = rest_from(c + 1);
      for (std::size_t s = 0; s < from.size(); s++)
        for (std::size_t n = k.least; n <= k.most; n++) {
          State next{from[s].energy + double(n) * k.energy, from[s].worth + k.worth[n],
                     std::int32_t(s), std::int32_t(n)};
          double room = budget_ - next.energy;
          if (room < r.energy) break;
          if (next.worth + bound(r, room) <= best_worth_ * (1 + 1e-12)) continue;
          to.push_back(next);
          offer(c + 1, &to.back(), r, fitting(r, room));
          if (to.size() > 8 * limit) left_out = std::max(left_out, trim(to, r, limit));
        }
      left_out = std::max(left_out, trim(to, r, limit));
    }
    return left_out;
  }
  // Keeps what nothing of less energy dominates and what may still beat the best; then the `limit`
  // most promising.
  double trim(std::vector<State>& list, const Rest& r, std::size_t limit) const {
    std::sort(list.begin(), list.end(), [](const State& a, const State& b) {
      return a.energy != b.energy ? a.energy < b.energy : a.worth > b.worth;
    });
    double worth = -1;
    std::size_t kept = 0;
    auto reach = [&](const State& s) { return s.worth + bound(r, budget_ - s.energy); };
    for (const State& s : list) {
      if (s.worth <= worth || reach(s) <= best_worth_ * (1 + 1e-12)) continue;
      worth = s.worth, list[kept++] = s;
    }
    list.resize(kept);
    if (kept <= limit) return 0;
    std::nth_element(list.begin(), list.begin() + std::ptrdiff_t(limit), list.end(),
                     [&](const State& a, const State& b) { return reach(a) > reach(b); });
    double out = reach(list[limit]);
    list.resize(limit);
    return out;
  }

  std::vector<Class> classes_;
  double budget_, relaxed_ = 0, bound_ = 0, best_worth_ = 0;
  std::vector<std::size_t> best_;  // the counts of the best choice known
  std::vector<std::vector<State>> lists_;
};

}  // namespace

// E12 with β in {0, 1}
Optimum select_optimal(const SelectionProblem& p, double grow) {
  Selection rounded = select_by_energy(p, grow, Rounding::drop);
  Optimum optimum;
  Selection& s = optimum.chosen;
  s.budget = rounded.budget, s.relaxed_objective = rounded.relaxed_objective;
  s.spent.assign(s.budget.size(), 0);
  for (const auto& layer : p.lambda) s.split.emplace_back(layer.size(), 0);
  for (std::size_t g = 0; g < s.budget.size(); g++) {
    std::vector<Class> classes;
    for (std::size_t l = 0; l < p.lambda.size(); l++) {
      if (p.group[l] != int(g)) continue;
      std::vector<Item> items;
      for (std::size_t i = 0; i < p.lambda[l].size(); i++)
        if (p.lambda[l][i] < 0) items.push_back({-p.lambda[l][i], l, i});
      std::stable_sort(items.begin(), items.end(),
                       [](const Item& a, const Item& b) { return a.worth > b.worth; });
      if (items.size() > std::size_t(p.cap[l])) items.resize(std::size_t(p.cap[l]));
      auto same = std::find_if(classes.begin(), classes.end(),
                               [&](const Class& c) { return c.energy == p.energy[l]; });
      if (same == classes.end()) same = classes.insert(same, {p.energy[l], {}, {}});
      same->items.insert(same->items.end(), items.begin(), items.end());
    }
    Group group(std::move(classes), s.budget[g] * (1 + 1e-12));
    group.solve();
    group.mark(p, s);
    optimum.bound -= group.bound();
  }
  return optimum;
}

}  // namespace fission
