// The audit of where solvers end (E10, E11): RQ-SGD given S·v by the oracle's matrices, which are the probe's products, for
// a thousand probes in float64 would take minutes. Two correct programs differ by 6e-6 where RMSprop's steps are signs at
// convergence, on one batch from step 300 on: there the authors' numbers are to be met to 1e-4, all others to 1e-9.
#include <algorithm>
#include <cmath>

#include "runners/common/audit_reference.h"
#include "split/exact.h"
#include "split/rayleigh.h"
#include "tensor/eigen.h"

namespace fission {
namespace {

using Numbers = std::vector<double>;
using Matrices = std::vector<ExactAxis>;
constexpr double memory = 4e8;  // bytes of matrices, each read some hundred times
constexpr Index recipe_epochs = 3, recipe_steps = 200;  // the authors' run that the file has the end of

struct Convergence {
  const ReferenceFile& file;
  const Machine& m;
  const ProbeSettings& probe;
  std::unique_ptr<Network> network;

  double bytes() const {  // of one batch's matrices
    double sum = 0;
    for (std::size_t l = 0; l < network->axes().size(); l++) {
      const double all = double(neurons(*network, l).shape.numel()), width = double(network->axes()[l].width);
      sum += 8 * all * all / width;
    }
    return sum;
  }
  Matrices oracle(Index first, Index end) const {
    ExactSettings settings;
    settings.probe = probe;
    ExactMatrices matrices(*network, settings);
    for (Index b = first; b < end; b++) matrices.add(file.pictures(m, b), file.labels(m, b));
    return matrices.mean();
  }
  RayleighDescent descent() const {
    RayleighSettings settings;
    settings.probe = probe, settings.decay_every_epoch = true;  // 1e-3, 2e-4, 4e-5
    RayleighDescent d(*network, settings, 0, 0);
    d.v() = file.directions(*network, "v0/");
    return d;
  }
  void step(RayleighDescent& d, const Matrices& s, Index epoch) const {
    for (const ExactAxis& a : s) {
      const Stored& w = neurons(*network, std::size_t(a.axis));
      const Numbers in = network->view(w, d.v()).to_host();
      Numbers out(in.size(), 0.0);
      for (std::size_t width = std::size_t(a.d), i = 0; i < in.size(); i++)
        for (std::size_t j = 0; j < width; j++) out[i] += a.s[i * width + j] * in[i / width * width + j];
      network->view(w, d.products()).copy_from(make_real(network->backend(), w.shape, out, network->dtype()));
    }
    d.update(epoch);
  }
  // the worst layer's max|x − y| / max|y| of one number a neuron
  double worst(const std::vector<Numbers>& x, const std::string& prefix) const {
    double most = 0;
    for (std::size_t l = 0; l < x.size(); l++) most = std::max(most, relative(x[l], file.of_layer(*network, prefix, l, 1)));
    return most;
  }
};

Numbers marks_of(const ReferenceFile& file) {
  const Numbers marks = file.rows("b/long/marks", 1);
  for (std::size_t i = 0; i < marks.size(); i++)
    if (!(marks[i] > (i == 0 ? 0 : marks[i - 1]) && marks[i] <= 100000 && marks[i] == std::floor(marks[i])))
      user_error(file.file().path, ": tensor 'b/long/marks': ", marks[i], ", expected rising steps, 1 to 100000");
  return marks;
}

// the worst layer of the quotients at one mark, against the file's row of that mark
double off_at_mark(const Convergence& c, const Numbers& quotients, std::size_t mark, std::size_t marks) {
  double most = 0;
  std::size_t first = 0;
  for (std::size_t l = 0; l < c.network->axes().size(); l++) {
    const long width = long(c.network->axes()[l].width);
    const Numbers all = c.file.of_layer(*c.network, "b/long/rq_at_marks/", l, Index(marks));
    const auto got = quotients.begin() + long(first), want = all.begin() + long(mark) * width;
    most = std::max(most, relative(Numbers(got, got + width), Numbers(want, want + width)));
    first += std::size_t(width);
  }
  return most;
}

void audit_long(Findings& f, const Convergence& c) {
  const Numbers marks = marks_of(c.file);
  const Matrices s = c.oracle(0, 1);
  RayleighDescent d = c.descent();
  Numbers early, late;
  for (Index step = 1, mark = 0; mark < Index(marks.size()); step++) {
    c.step(d, s, 0);
    if (double(step) < marks[std::size_t(mark)]) continue;
    (step < 300 ? early : late).push_back(off_at_mark(c, d.quotients().to_host(), std::size_t(mark), marks.size()));
    mark++;
  }
  const std::string what = text("fixed batch, ", marks.back(), " steps: quotients, worst layer, at ");
  if (!early.empty()) f.at_most("E10", what + text(early.size(), " marks before step 300"), largest(early), 1e-9);
  if (!late.empty()) f.at_most("E10", what + text(late.size(), " marks from step 300 on"), largest(late), 1e-4);
}

void audit_recipe(Findings& f, const Convergence& c) {
  const Index batches = c.file.batches();
  std::vector<Matrices> s;
  for (Index b = 0; b < batches; b++) s.push_back(c.oracle(b, b + 1));
  RayleighDescent d = c.descent();
  for (Index epoch = 0; epoch < recipe_epochs; epoch++) {
    d.begin_epoch();
    for (Index step = 0; step < recipe_steps; step++) c.step(d, s[std::size_t(step % batches)], epoch);
  }
  const SplittingIndex index = d.result();
  const std::string what = text(recipe_epochs, " epochs of ", recipe_steps, " steps, ", batches, " batches: ");
  f.at_most("E10", what + "λ̂, worst layer", c.worst(index.lambda, "b/avg4/recipe_rq/"), 1e-9);
  double v_off = 0;
  for (std::size_t l = 0; l < c.network->axes().size(); l++)
    v_off = std::max(v_off, distance(of_axis(*c.network, l, index.v), c.file.of_layer(*c.network, "b/avg4/recipe_v/", l)));
  f.at_most("E11", what + "v̂, absolute", v_off, 1e-9);
}

void audit_least(Findings& f, const Convergence& c) {
  const std::string what = "least eigenvalues of all batches' mean";
  if (!have_eigen()) return f.told("E3", what, "not looked at: this build is without Eigen");
  Matrices axes = c.oracle(0, c.file.batches());
  for (ExactAxis& a : axes) solve(a);
  f.at_most("E3", what + ", worst layer", c.worst(splitting_index(*c.network, axes).lambda, "b/avg4/min_eigval/"), 1e-9);
}

}  // namespace

void audit_convergence(Findings& f, const ReferenceFile& file, const Machine& m, const ProbeSettings& probe) {
  const Convergence c{file, m, probe, file.network(m)};
  const bool has_long = file.any("b/long/"), has_recipe = file.any("b/avg4/");
  const double needed = c.bytes() * (has_recipe ? double(file.batches()) : 1);
  if (!has_long && !has_recipe) return f.told("E10", "where RQ-SGD ends", "not in this file (b/long/, b/avg4/)");
  if (needed > memory)
    return f.told("E10", "where RQ-SGD ends", text("not looked at: splitting matrices of ", needed / 1e9, " GB, at most ", memory / 1e9));
  if (has_long) audit_long(f, c);
  if (has_recipe) audit_recipe(f, c), audit_least(f, c);
}

}  // namespace fission
