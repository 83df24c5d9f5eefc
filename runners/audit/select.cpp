// The audit of selections (E12): masks and widths of the authors' linear programs, budgets, caps,
// objectives, costs.
#include <algorithm>
#include <cmath>
#include <set>

#include "runners/audit/reference.h"
#include "split/energy.h"
#include "split/select_optimal.h"

namespace fission {
namespace {

using Numbers = std::vector<double>;

struct Instance {
  const ReferenceFile& file;
  std::string prefix;
  Numbers widths;
  SelectionProblem problem;
  double grow;
  std::size_t neurons = 0;
  Instance(const ReferenceFile& f, const std::string& p)
      : file(f), prefix(p), widths(f.all(p + "cfg")), grow(f.numbers(p + "grow", {1})[0]) {
    const std::string network = f.metadata("network");
    const std::size_t expected = parse_widths(network, "seed").size();
    if (widths.size() != expected)
      user_error(f.file().path, ": tensor '", p, "cfg': ", widths.size(), " numbers, expected ",
                 expected, " of a ", network);
    for (double w : widths) {
      if (!(w >= 1 && w <= 65536 && w == std::floor(w)))
        user_error(f.file().path, ": tensor '", p, "cfg': a width of ", w, ", expected 1 to 65536");
      neurons += std::size_t(w);
    }
    if (!(grow >= 0 && grow <= 1))
      user_error(f.file().path, ": tensor '", p, "grow': ", grow, ", expected 0 to 1");
    const Index layers = Index(widths.size());
    Numbers lambda = numbers("lambda", Index(neurons)), layer = numbers("layer", Index(neurons)),
            groups = numbers("split_groups", layers), most = numbers("max_cfg", layers);
    std::vector<std::vector<double>> lambdas(widths.size());
    for (std::size_t i = 0; i < lambda.size(); i++) {
      if (!(layer[i] >= 0 && layer[i] < double(layers)))
        user_error(f.file().path, ": tensor '", p, "layer': ", layer[i], ", expected 0 to ",
                   layers - 1);
      lambdas[std::size_t(layer[i])].push_back(lambda[i]);
    }
    for (std::size_t l = 0; l < widths.size(); l++)
      if (double(lambdas[l].size()) != widths[l])
        user_error(f.file().path, ": tensor '", p, "layer': ", lambdas[l].size(),
                   " neurons of layer ", l, ", expected ", widths[l]);
    if (!std::is_sorted(layer.begin(), layer.end()))
      user_error(f.file().path, ": tensor '", p,
                 "layer': expected rising layers, as the masks are read");
    for (double g : groups)
      if (!(g >= 0 && g < 1000))
        user_error(f.file().path, ": tensor '", p, "split_groups': a group ", g,
                   ", expected 0 to 999");
    for (double e : numbers("cost_per_layer", layers))
      if (!(e > 0))
        user_error(f.file().path, ": tensor '", p, "cost_per_layer': ", e,
                   ", expected a positive cost");
    for (std::size_t l = 0; l < most.size(); l++)
      if (!(most[l] >= 0 && most[l] <= 1e9))
        user_error(f.file().path, ": tensor '", p, "max_cfg': ", most[l], " of layer ", l,
                   ", expected 0 to 1e9");
    problem = make_problem(lambdas, numbers("cost_per_layer", layers),
                           std::vector<int>(groups.begin(), groups.end()),
                           std::vector<Index>(most.begin(), most.end()));
  }
  Numbers numbers(const std::string& name, Index count) const {
    return file.numbers(prefix + name, {count});
  }
  // what their second solver selected: on the largest programs it does not finish
  bool second() const {
    return file.has(prefix + "mask_interior_point") || file.has(prefix + "new_cfg_interior_point");
  }
  // neurons that the file's mask has otherwise
  double differing(const Selection& s, const std::string& name) const {
    Numbers mask = numbers(name, Index(neurons));
    double n = 0;
    std::size_t i = 0;
    for (const auto& layer : s.split)
      for (char chosen : layer) n += (mask[i++] != 0) != (chosen != 0);
    return n;
  }
  double neurons_off() const {
    const Numbers cost = numbers("cost", Index(neurons)), group = numbers("group", Index(neurons));
    double n = 0;
    std::size_t i = 0;
    for (std::size_t l = 0; l < problem.lambda.size(); l++)
      for (std::size_t o = 0; o < problem.lambda[l].size(); o++, i++)
        n += cost[i] != problem.energy[l] || group[i] != problem.group[l];
    return n;
  }
  Selection chosen(const Numbers& mask) const {
    Selection s;
    auto from = mask.begin();
    for (const auto& layer : problem.lambda)
      s.split.emplace_back(from, from + long(layer.size())), from += long(layer.size());
    return s;
  }
  double widths_off(const Selection& s, const std::string& name) const {
    std::vector<Index> grown = s.grown();
    Numbers now = numbers(name, Index(widths.size()));
    double n = 0;
    for (std::size_t l = 0; l < now.size(); l++) n += now[l] != widths[l] + double(grown[l]);
    return n;
  }
};

// The authors' count of what one more channel costs. The file says neither the images' size nor
// the classes: the size of theirs that fits best is taken, and what the classifier adds to the last
// layer's cost is read off; the rest must fit.
double costs_off(const Instance& i) {
  NetworkConfig c;
  c.model = i.file.metadata("network");
  const std::vector<Index> widths(i.widths.begin(), i.widths.end());
  c.widths.assign(widths.size(), 1);  // it is not computed: the file's widths may be of any size
  Numbers expected = i.numbers("flops_inc_per_layer", Index(i.widths.size()));
  double least = INFINITY;
  for (auto [size, stride] : {std::pair<Index, Index>{32, 1}, {64, 1}, {64, 2}, {224, 2}}) {
    c.classes = 1, c.size = size, c.stem_stride = stride;
    Numbers e = authors_count(*make_network(c, open_backend("reference"), DType::f32, 0), widths);
    double classes = expected.back() - e.back() + 1;
    if (classes >= 2 && classes <= 1e5 && classes == std::floor(classes)) e.back() += classes - 1;
    least = std::min(least, distance(e, expected));
  }
  return least;
}

// |x − y| / |y|, which may both be 0: nothing was worth selecting
double share_off(double x, double y) { return x == y ? 0 : std::abs(x - y) / std::abs(y); }

// Σ λ̂ β
double worth(const Instance& i, const Numbers& beta) {
  double sum = 0;
  std::size_t at = 0;
  for (const auto& layer : i.problem.lambda)
    for (double lambda : layer) sum += lambda * beta[at++];
  return sum;
}
// β of the relaxation, in the file's order: 1 of the neurons that fit; the one that a group's
// budget ends in, what is left of it
Numbers relaxation(const Instance& i, const Selection& dropped) {
  const Selection all = select_by_energy(i.problem, i.grow, Rounding::paper, 0);
  Numbers beta;
  for (std::size_t l = 0; l < i.widths.size(); l++) {
    const std::size_t g = std::size_t(i.problem.group[l]);
    const double part = (dropped.budget[g] - dropped.spent[g]) / i.problem.energy[l];
    for (std::size_t o = 0; o < all.split[l].size(); o++)
      beta.push_back(dropped.split[l][o] ? 1 : all.split[l][o] ? part : 0);
  }
  return beta;
}
// The authors' two solvers differ by 6.3e-5 in β, by less than 1e-6 in the objective.
void audit_relaxation(Findings& f, const Instance& i, const std::string& what,
                      const Selection& dropped) {
  const Numbers beta = relaxation(i, dropped);
  for (const std::string solver : {"highs", "interior_point"}) {
    if (solver != "highs" && !i.second() && !i.file.has(i.prefix + "lp_x_" + solver)) continue;
    const Numbers theirs = i.numbers("lp_x_" + solver, Index(i.neurons));
    const std::string solution = what + "their relaxation's solution (" + solver + "): ";
    f.at_most("E12", solution + "objective", share_off(worth(i, theirs), dropped.relaxed_objective),
              1e-6);
    f.at_most("E12", solution + "β, the fractional neurons' too, absolute", distance(beta, theirs),
              1e-4);
  }
}

}  // namespace

void audit_select(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const std::string cost = file.metadata("cost");
  const EnergyScale scale =
      cost.find("sqrt") != std::string::npos ? EnergyScale::sqrt
      : cost.find("ln") != std::string::npos || cost.find("log") != std::string::npos
          ? EnergyScale::log
          : EnergyScale::none;
  const double threshold = std::atof(file.metadata("threshold").c_str());
  if (!(threshold > 0 && threshold <= 1))
    user_error(file.file().path, ": metadata 'threshold': '", file.metadata("threshold"),
               "', expected a number above 0, to 1");
  std::set<std::string> prefixes;  // "seed_g0.25"
  for (const auto& entry : file.file().tensors)
    if (const std::size_t slash = entry.first.find('/'); slash != std::string::npos)
      prefixes.insert(entry.first.substr(0, slash));
  if (prefixes.empty()) user_error(file.file().path, ": no tensor '…/grow', expected a selection");
  for (const std::string& name : prefixes) {
    const std::string prefix = name + "/";
    Instance i(file, prefix);
    Selection s = select_by_energy(i.problem, i.grow, Rounding::paper, threshold),
              dropped = select_by_energy(i.problem, i.grow, Rounding::drop);
    Numbers objective = i.numbers("objective", 5),
            budget = i.numbers("group_budget", Index(s.budget.size()));
    const std::string what = text(name, ", ", i.neurons, " neurons: ");
    f.equal("E12", what + "neurons selected otherwise than by the authors",
            i.differing(s, "mask_highs"), 0);
    f.equal("E12", what + "layers of another new width", i.widths_off(s, "new_cfg_highs"), 0);
    f.at_most("E12", what + "budgets", relative(s.budget, budget), 1e-12);
    f.at_most("E12", what + "objective of the relaxation",
              share_off(s.relaxed_objective, objective[0]), 1e-6);
    audit_relaxation(f, i, what, dropped);
    f.at_most("E12", what + "objective of the rounded choice", share_off(s.objective, objective[2]),
              1e-6);
    if (i.second()) {
      f.equal("E12", what + "neurons selected otherwise than by their second solver",
              i.differing(s, "mask_interior_point"), 0);
      f.equal("E12", what + "layers of another new width there",
              i.widths_off(s, "new_cfg_interior_point"), 0);
      f.at_most("E12", what + "its objectives, relaxed and rounded",
                std::max(share_off(s.relaxed_objective, objective[1]),
                         share_off(s.objective, objective[3])),
                1e-6);
    }
    Optimum best = select_optimal(i.problem, i.grow);
    f.at_most("E12", what + (best.proven() ? "0/1 optimum (proven)" : "0/1 optimum (not proven)"),
              share_off(best.chosen.objective, objective[4]), 1e-6);
    if (r.strict)
      f.at_most("E12", what + "what their 0/1 optimum is better by",
                (best.chosen.objective - objective[4]) / std::abs(objective[4]), 1e-9);
    const Numbers theirs = i.numbers("milp_mask", Index(i.neurons));
    f.at_most("E12", what + "objective of the neurons of their 0/1 optimum",
              share_off(worth(i, theirs), best.chosen.objective), 1e-6);
    f.equal("E12", what + "layers whose new width is not what their 0/1 optimum's neurons make",
            i.widths_off(i.chosen(theirs), "milp_new_cfg"), 0);
    f.note("E12", what + "layers that their 0/1 optimum grows otherwise, as equals may",
           i.widths_off(best.chosen, "milp_new_cfg"));
    const std::string dropping = what + "dropping the fraction: ";
    f.note("E12", dropping + "neurons selected otherwise than by the authors",
           i.differing(dropped, "mask_highs"));
    double beyond = 0;
    for (std::size_t g = 0; g < dropped.budget.size(); g++)
      beyond = std::max(beyond, dropped.spent[g] - dropped.budget[g] * (1 + 1e-12));
    f.equal("E12", dropping + "what it takes beyond a budget", beyond, 0);
    const std::string lost = dropping + "what it loses against their 0/1 optimum";
    const double loss = objective[4] < 0 ? 1 - dropped.objective / objective[4] : 0;
    f.at_least("E12", lost, loss, r.strict ? -1e-9 : -1e-6);
    if (r.strict) f.at_most("E12", lost, loss, 0.0036);
    auto elsewhere =
        [&](const std::string& part) {  // what another case of the file has, this one has too
          return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& other) {
            return file.has(other + "/" + part);
          });
        };
    if (elsewhere("cost") || elsewhere("group"))
      f.equal("E12", what + "neurons whose cost or group is not their layer's", i.neurons_off(), 0);
    if (elsewhere("layer_cap"))
      f.equal("E12", what + "layers' room, largest difference",
              distance(Numbers(i.problem.cap.begin(), i.problem.cap.end()),
                       i.numbers("layer_cap", Index(i.widths.size()))),
              0);
    if (elsewhere("vanilla_mask") || elsewhere("vanilla_new_cfg")) {
      Selection vanilla = select_vanilla(i.problem, i.grow, true);
      f.equal("E12", what + "vanilla: neurons selected otherwise",
              i.differing(vanilla, "vanilla_mask"), 0);
      f.equal("E12", what + "vanilla: layers of another new width",
              i.widths_off(vanilla, "vanilla_new_cfg"), 0);
    }
    f.equal("E12", what + "the authors' count of a channel's cost, largest difference in MACs",
            costs_off(i), 0);
    Numbers energy = i.numbers("flops_inc_per_layer", Index(i.widths.size()));
    for (double& e : energy) e = scaled(e, scale);
    f.at_most("E12", what + "costs from those counts: " + name_of(scale),
              relative(i.problem.energy, energy), r.strict ? 1e-14 : 1e-6);
  }
}

}  // namespace fission
