// The audit of selections (E12): masks and widths of the authors' linear programs, budgets, objectives, costs.
#include <cmath>

#include "runners/common/audit_reference.h"
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
  Instance(const ReferenceFile& f, const std::string& p) : file(f), prefix(p), widths(f.numbers(p + "cfg")), grow(f.numbers(p + "grow", 1)[0]) {
    for (double w : widths) neurons += std::size_t(w);
    const Index layers = Index(widths.size());
    Numbers lambda = numbers("lambda", Index(neurons)), layer = numbers("layer", Index(neurons)), groups = numbers("split_groups", layers), most = numbers("max_cfg", layers);
    std::vector<std::vector<double>> lambdas(widths.size());
    for (std::size_t i = 0; i < lambda.size(); i++) {
      if (!(layer[i] >= 0 && layer[i] < double(layers))) user_error(f.file().path, ": tensor '", p, "layer': ", layer[i], ", expected 0 to ", layers - 1);
      lambdas[std::size_t(layer[i])].push_back(lambda[i]);
    }
    for (double g : groups)
      if (!(g >= 0 && g < 1000)) user_error(f.file().path, ": tensor '", p, "split_groups': a group ", g, ", expected 0 to 999");
    for (double e : numbers("cost_per_layer", layers))
      if (!(e > 0)) user_error(f.file().path, ": tensor '", p, "cost_per_layer': ", e, ", expected a positive cost");
    problem = make_problem(lambdas, numbers("cost_per_layer", layers), std::vector<int>(groups.begin(), groups.end()), std::vector<Index>(most.begin(), most.end()));
  }
  Numbers numbers(const std::string& name, Index count) const { return file.numbers(prefix + name, count); }
  // neurons that the file's mask has otherwise
  double differing(const Selection& s, const std::string& name) const {
    Numbers mask = numbers(name, Index(neurons));
    double n = 0;
    std::size_t i = 0;
    for (const auto& layer : s.split)
      for (char chosen : layer) n += (mask[i++] != 0) != (chosen != 0);
    return n;
  }
  double widths_off(const Selection& s, const std::string& name) const {
    std::vector<Index> grown = s.grown();
    Numbers now = numbers(name, Index(widths.size()));
    double n = 0;
    for (std::size_t l = 0; l < now.size(); l++) n += now[l] != widths[l] + double(grown[l]);
    return n;
  }
};

// the authors' count of what one more channel costs; what the classifier adds to the last layer's is read off
double costs_off(const Instance& i, bool imagenet) {
  NetworkConfig c;
  c.model = i.file.metadata("network");
  c.widths.assign(i.widths.begin(), i.widths.end());
  c.classes = 1, c.size = imagenet ? 224 : 32, c.stem_stride = imagenet ? 2 : 1;
  Numbers expected = i.numbers("flops_inc_per_layer", Index(i.widths.size()));
  Numbers e = marginal_energies(*make_network(c, open_backend("reference"), DType::f32, 0), parse_energy("paper"));
  double classes = expected.back() - e.back() + 1;
  if (classes >= 2 && classes <= 1e5) e.back() += classes - 1;
  return distance(e, expected);
}

}  // namespace

void audit_select(Findings& f, const ReferenceFile& file) {
  const bool root = file.metadata("cost").find("sqrt") != std::string::npos;
  const double threshold = std::atof(file.metadata("threshold").c_str());
  for (const std::string& prefix : file.prefixes("grow")) {
    if (prefix.empty() || prefix.back() != '/') continue;
    Instance i(file, prefix);
    Selection s = select_by_energy(i.problem, i.grow, Rounding::paper, threshold), dropped = select_by_energy(i.problem, i.grow, Rounding::drop);
    Numbers objective = i.numbers("objective", 5), budget = i.numbers("group_budget", Index(s.budget.size()));
    const std::string what = text(prefix.substr(0, prefix.size() - 1), ", ", i.neurons, " neurons: ");
    f.equal("E12", what + "neurons selected otherwise than by the authors", i.differing(s, "mask_highs"), 0);
    f.equal("E12", what + "layers of another new width", i.widths_off(s, "new_cfg_highs"), 0);
    f.at_most("E12", what + "budgets", relative(s.budget, budget), 1e-12);
    f.at_most("E12", what + "objective of the relaxation", std::abs(s.relaxed_objective / objective[0] - 1), 1e-6);
    f.at_most("E12", what + "objective of the rounded choice", std::abs(s.objective / objective[2] - 1), 1e-6);
    Optimum best = select_optimal(i.problem, i.grow);
    f.at_most("E12", what + (best.proven() ? "0/1 optimum (proven)" : "0/1 optimum (not proven)"), std::abs(best.chosen.objective / objective[4] - 1), 1e-6);
    f.told("E12", what + "what dropping the fraction loses against the 0/1 optimum", std::max(0.0, 1 - dropped.objective / best.chosen.objective));
    if (file.has(prefix + "vanilla_mask")) f.equal("E12", what + "vanilla: neurons selected otherwise", i.differing(select_vanilla(i.problem, i.grow, true), "vanilla_mask"), 0);
    f.equal("E12", what + "the authors' count of a channel's cost, largest difference in MACs", costs_off(i, !root), 0);
  }
}

}  // namespace fission
