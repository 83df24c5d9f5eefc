// The audit's second half: what the solvers find against the exact eigenvalues, whether it changes
// the selection, and the split that is made of it.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "runners/audit/network.h"
#include "runners/audit/numbers.h"
#include "runners/common/console.h"
#include "split/lanczos.h"
#include "split/measure.h"
#include "split/rayleigh.h"
#include "split/select_optimal.h"
#include "split/stages.h"
#include "split/surgery.h"

namespace fission {

using namespace audit;

namespace {

// Spearman's: Pearson's correlation of the ranks, ties sharing theirs
Numbers ranks(const Numbers& x) {
  for (double value : x)
    if (!std::isfinite(value))
      user_error("an eigenvalue is ", value,
                 "; expected a network whose weights are not too large for float32");
  std::vector<std::size_t> order(x.size());
  for (std::size_t i = 0; i < x.size(); i++) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return x[a] < x[b]; });
  Numbers r(x.size());
  for (std::size_t i = 0, j; i < x.size(); i = j) {
    for (j = i; j < x.size() && x[order[j]] == x[order[i]];) j++;
    for (std::size_t k = i; k < j; k++) r[order[k]] = double(i + j - 1) / 2;
  }
  return r;
}
double rank_correlation(const Numbers& a, const Numbers& b) {
  Numbers x = ranks(a), y = ranks(b);
  double mean = double(x.size() - 1) / 2, xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); i++)
    xy += (x[i] - mean) * (y[i] - mean), xx += (x[i] - mean) * (x[i] - mean),
        yy += (y[i] - mean) * (y[i] - mean);
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 1;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void NetworkAudit::solvers() {
  Network& n = *f32_.network;
  std::vector<int> axes = affordable(many_.count, "the solvers");
  findings_.section(text("λ̂ against the exact λ_min: ", many_.count,
                         " images, augmentation key (seed ", settings_.seed, ", stage ",
                         data::check_stage, "), float32, chain's matrix, ", axes.size(),
                         " layers"));
  ImageInput input(n.backend(), DType::f32, many_.mean, many_.std);
  ExactSettings e;
  e.probe.curvature = settings_.curvature, e.axes = axes, e.memory = settings_.memory;
  auto start = std::chrono::steady_clock::now();
  auto source = loader(many_, n.backend(), settings_.batch);
  std::vector<ExactAxis> matrices = exact(n, *source, input, e);
  findings_.note("E6c", "seconds of the exact oracle", seconds_since(start));
  SplittingIndex truth = splitting_index(n, matrices);
  SolverSettings published;
  published.epochs = settings_.passes, published.probe = e.probe;
  RayleighDescent descent(n, published, settings_.seed, 1);
  Lanczos lanczos(n, e.probe, settings_.passes, settings_.seed, 1);
  SplittingIndex last;
  for (SplittingSolver* solver :
       {static_cast<SplittingSolver*>(&descent), static_cast<SplittingSolver*>(&lanczos)}) {
    bool rq = solver == &descent;
    std::string name = rq ? "RQ-SGD" : "Lanczos";
    auto batches = loader(many_, n.backend(), rq ? settings_.rq_batch : settings_.batch);
    start = std::chrono::steady_clock::now();
    for (Index pass = 0; pass < settings_.passes; pass++) {
      solver->begin_epoch();
      for (Index step = 0; step < batches->steps(); step++) {
        Batch batch = batches->next(pass, step);
        solver->step(input(batch), batch.labels, pass);
      }
      solver->end_epoch(pass);
    }
    double seconds = seconds_since(start);
    SplittingIndex found = solver->result();
    Numbers all, all_true;
    std::string layers, worst_layer;
    double worst = 0;
    for (int l : axes) {
      const Numbers &got = found.lambda[std::size_t(l)], &want = truth.lambda[std::size_t(l)];
      all.insert(all.end(), got.begin(), got.end()),
          all_true.insert(all_true.end(), want.begin(), want.end());
      layers += text(layers.empty() ? "" : ", ", n.axes()[std::size_t(l)].name, " ",
                     number(rank_correlation(got, want), 3));
      double off = relative(got, want);
      if (off > worst) worst = off, worst_layer = n.axes()[std::size_t(l)].name;
    }
    std::string recipe =
        text(name, ", ", settings_.passes, " passes",
             rq ? text(" of ", batches->steps(), " batches (published recipe)") : "");
    findings_.note("E10", recipe + ": seconds", seconds);
    findings_.note("E10", name + ": rank correlation a layer", layers);
    double overall = rank_correlation(all, all_true);
    if (rq || settings_.passes < 10)
      findings_.note("E10", name + ": rank correlation overall",
                     overall);  // 10: the published recipe's passes
    else findings_.at_least("E10", name + ": rank correlation overall", overall, 0.99);
    findings_.note(
        "E10",
        name + ": worst neuron, |λ̂ − λ_min| over the layer's largest |λ_min|, in " + worst_layer,
        worst);
    double residual = 0;
    for (int l : axes)
      if (!found.residual.empty())
        residual = std::max(residual, largest(found.residual[std::size_t(l)]) /
                                          largest(truth.lambda[std::size_t(l)]));
    if (!found.residual.empty())
      findings_.note(
          "E10", name + ": worst neuron's own residual ‖Sv̂ − λ̂v̂‖ over the layer's largest |λ_min|",
          residual);
    selection(truth, found, name);
    last = found;
  }
  real_split(last);
}

void NetworkAudit::selection(const SplittingIndex& truth, const SplittingIndex& found,
                             const std::string& solver) {
  const Network& n = *f32_.network;
  Numbers energy = marginal_energies(n, parse_energy("exact"));
  auto choose = [&](const SplittingIndex& index) {
    return select_by_energy(selection_problem(n, index.lambda, energy), settings_.grow,
                            Rounding::drop);
  };
  Selection by_truth = choose(truth), by_found = choose(found);
  Index same = 0;
  double worth = 0;
  for (std::size_t l = 0; l < n.axes().size(); l++)
    for (std::size_t o = 0; o < by_truth.split[l].size(); o++)
      same += by_truth.split[l][o] && by_found.split[l][o],
          worth += by_found.split[l][o] ? truth.lambda[l][o] : 0;
  findings_.note("E12", solver + ": of the neurons that the exact λ_min selects, it selects",
                 text(same, " of ", by_truth.count()));
  findings_.note("E12", solver + ": share of the exact selection's Σ λ_min that its own is worth",
                 percent(by_truth.objective < 0 ? worth / by_truth.objective : 1));
}

void NetworkAudit::real_split(const SplittingIndex& found) {
  Network& n = *f64_.network;
  findings_.section(text("The split that the selection makes (E12, grow ", settings_.grow,
                         ", ε = ", settings_.epsilon, "), float64"));
  SelectionProblem problem =
      selection_problem(n, found.lambda, marginal_energies(n, parse_energy("exact")));
  Selection chosen = select_by_energy(problem, settings_.grow, Rounding::drop),
            best = select_optimal(problem, settings_.grow).chosen;
  const double scale = std::max(std::abs(best.objective), std::abs(chosen.relaxed_objective));
  findings_.at_most(
      "E12", "the relaxation is a lower bound of the 0/1 optimum: (relaxed − optimum)/|relaxed|",
      scale > 0 ? (chosen.relaxed_objective - best.objective) / scale : 0, 1e-9);
  std::vector<double> one(
      chosen.budget.size());  // the fraction that rounding drops: of one neuron a group
  for (std::size_t l = 0; l < problem.lambda.size(); l++)
    for (double lambda : problem.lambda[l])
      one[std::size_t(problem.group[l])] = std::max(one[std::size_t(problem.group[l])], -lambda);
  double neuron = 0;
  for (double lambda : one) neuron += lambda;
  const double lost = chosen.objective - chosen.relaxed_objective;
  findings_.at_most("E12", "what rounding loses of the relaxation, over one neuron a group",
                    neuron > 0 ? lost / neuron : lost, 1 + 1e-9);
  findings_.note("E12", "what rounding loses against the 0/1 optimum, share",
                 best.objective < 0 ? std::max(0.0, 1 - chosen.objective / best.objective) : 0);
  if (chosen.count() == 0)
    return findings_.note(
        "E12", "nothing is selected",
        chosen.why_none.empty() ? why_nobody(problem, chosen, "MACs") : chosen.why_none);
  Tensor v = make_real(n.backend(), {n.parameter_count()}, found.v.to_host(), n.dtype()),
         s_v = n.like_parameters();
  ops::normalise_rows(v, n.neuron_rows());
  ProbeSettings truth;
  truth.curvature = settings_.curvature, truth.curvature.linear = 0;
  splitting_products(n, f64_.x, f64_.labels, v, truth, s_v);
  double form = 0, sizes = 0;
  const std::vector<Numbers> forms = dots(n, v, s_v);
  for (std::size_t l = 0; l < forms.size(); l++)
    for (std::size_t o = 0; o < forms[l].size(); o++)
      if (chosen.split[l][o]) form += forms[l][o], sizes += std::abs(forms[l][o]);
  const double half = settings_.epsilon * settings_.epsilon / 2, before = f64_.loss(n);
  const double measured =
      f64_.loss(*split_network(n, chosen.split, v, {settings_.epsilon, SplitStep::exact})) - before;
  findings_.note("E4",
                 text("loss change of ", chosen.count(), " neurons on ", settings_.few,
                      " images, predicted and measured"),
                 plain(half * form) + ", " + plain(measured));
  // λ̂ is of other images, so that some of these neurons may raise this loss: the error is over
  // the sum of the sizes
  const std::string what = "measured − predicted over ½ε² Σ|v̂ᵀSv̂|";
  if (!(half * sizes > 0) || rounding(before, half * sizes) > 0.01)
    return findings_.note("E4", what, "too little for a loss change beyond rounding");
  const double off = std::abs(measured - half * form) / (half * sizes);
  if (settings_.epsilon <= 1e-2) real_at_most("E4", what, off, 0.1);
  else findings_.note("E4", what + " (ε above 0.01: not judged)", off);
}

}  // namespace fission
