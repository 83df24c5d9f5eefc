// The audit of where solvers end (E10, E11): RQ-SGD given S·v by the oracle's matrices, which are
// the probe's products, for a thousand probes in float64 would take minutes. RMSprop's steps are
// signs at convergence, where the last bits decide: on the files' network two correct programs
// differ by 6e-6 from step 300 on, on others from step 100. So a figure that misses 1e-9 is held to
// a hundred times what other last bits of v0 make of the same descent, and to 1e-4 at most
// (audit_compare.h).
#include <algorithm>
#include <cmath>
#include <optional>

#include "runners/audit/compare.h"
#include "runners/audit/reference.h"
#include "split/exact.h"
#include "split/rayleigh.h"
#include "tensor/eigen.h"
#include "tensor/random.h"

namespace fission {

using namespace audit;

namespace {

using Matrices = std::vector<ExactAxis>;
constexpr double memory = 4e8;  // bytes of matrices, each read some hundred times
constexpr Index recipe_epochs = 3,
                recipe_steps = 200;  // the authors' run that the file has the end of

struct Convergence {
  const ReferenceFile& file;
  const Machine& m;
  const ProbeSettings& probe;
  std::unique_ptr<Network> network;

  double bytes() const {  // of one batch's matrices
    double sum = 0;
    for (std::size_t l = 0; l < network->axes().size(); l++) {
      const double all = double(neurons(*network, l).shape.numel()),
                   width = double(network->axes()[l].width);
      sum += 8 * all * all / width;
    }
    return sum;
  }
  Matrices oracle(Index first, Index end) const {
    ExactSettings settings;
    settings.probe = probe;
    ExactMatrices matrices(*network, settings);
    for (Index b = first; b < end; b++) matrices.add(file.images(m, b), file.labels(m, b));
    return matrices.mean();
  }
  RayleighDescent descent(bool other_last_bits) const {
    SolverSettings settings;
    settings.probe = probe, settings.rq.decay_every_epoch = true;  // 1e-3, 2e-4, 4e-5
    RayleighDescent d(*network, settings, 0, 0);
    d.v() = file.directions(*network, "v0/");
    if (other_last_bits) {
      Random random(1, random_purpose::test, 0);
      Numbers v = d.v().to_host();
      for (std::size_t i = 0; i < v.size(); i++) v[i] *= 1 + 1e-15 * random.normal(i);
      d.v() = make_real(network->backend(), d.v().shape(), v, network->dtype());
    }
    return d;
  }
  void step(RayleighDescent& d, const Matrices& s, Index epoch) const {
    for (const ExactAxis& a : s) {
      const Stored& w = neurons(*network, std::size_t(a.axis));
      const Numbers in = network->view(w, d.v()).to_host();
      Numbers out(in.size(), 0.0);
      for (std::size_t width = std::size_t(a.d), i = 0; i < in.size(); i++)
        for (std::size_t j = 0; j < width; j++)
          out[i] += a.s[i * width + j] * in[i / width * width + j];
      network->view(w, d.products())
          .copy_from(make_real(network->backend(), w.shape, out, network->dtype()));
    }
    d.update(epoch);
  }
};

// the worst layer's max|x − y| / max|y|
double worst(const Layers& x, const Layers& y) {
  double most = 0;
  for (std::size_t l = 0; l < x.size(); l++) most = std::max(most, relative(x[l], y[l]));
  return most;
}

Numbers marks_of(const ReferenceFile& file) {
  const Numbers marks = file.rows("b/long/marks", 1);
  for (std::size_t i = 0; i < marks.size(); i++)
    if (!(marks[i] > (i == 0 ? 0 : marks[i - 1]) && marks[i] <= 100000 &&
          marks[i] == std::floor(marks[i])))
      user_error(file.file().path, ": tensor 'b/long/marks': ", marks[i],
                 ", expected rising steps, 1 to 100000");
  return marks;
}

// quotients at the marks
std::vector<Layers> descend(const Convergence& c, const Matrices& s, const Numbers& marks,
                            bool other_last_bits) {
  RayleighDescent d = c.descent(other_last_bits);
  std::vector<Layers> at;
  for (Index step = 1; at.size() < marks.size(); step++) {
    c.step(d, s, 0);
    if (double(step) >= marks[at.size()])
      at.push_back(singles(*c.network, d.quotients().to_host()));
  }
  return at;
}

void audit_long(Findings& f, const Convergence& c) {
  const Numbers marks = marks_of(c.file);
  const Matrices s = c.oracle(0, 1);
  const std::vector<Layers> got = descend(c, s, marks, false);
  std::vector<Layers> want(marks.size()), moved;
  for (std::size_t l = 0; l < c.network->axes().size(); l++) {
    const long width = long(c.network->axes()[l].width);
    const Numbers all =
        c.file.of_layer("b/long/rq_at_marks/", l, {std::int64_t(marks.size()), width});
    for (std::size_t mark = 0; mark < marks.size(); mark++)
      want[mark].emplace_back(all.begin() + long(mark) * width,
                              all.begin() + long(mark + 1) * width);
  }
  for (std::size_t mark = 0; mark < marks.size(); mark++)
    hold(f, c.m, "E10", text("fixed batch: quotients of step ", marks[mark], ", worst layer"),
         worst(got[mark], want[mark]), tight, [&] {
           if (moved.empty()) moved = descend(c, s, marks, true);
           double most = 0;  // so far
           for (std::size_t i = 0; i <= mark; i++) most = std::max(most, worst(moved[i], got[i]));
           return most;
         });
}

SplittingIndex recipe(const Convergence& c, const std::vector<Matrices>& s, bool other_last_bits) {
  RayleighDescent d = c.descent(other_last_bits);
  for (Index epoch = 0; epoch < recipe_epochs; epoch++) {
    d.begin_epoch();
    for (Index step = 0; step < recipe_steps; step++)
      c.step(d, s[std::size_t(step) % s.size()], epoch);
  }
  return d.result();
}

void audit_recipe(Findings& f, const Convergence& c) {
  const Index batches = c.file.batches();
  std::vector<Matrices> s;
  for (Index b = 0; b < batches; b++) s.push_back(c.oracle(b, b + 1));
  const SplittingIndex index = recipe(c, s, false);
  std::optional<SplittingIndex> other;
  auto moved = [&]() -> const SplittingIndex& {
    if (!other) other = recipe(c, s, true);
    return *other;
  };
  const std::string what =
      text(recipe_epochs, " epochs of ", recipe_steps, " steps, ", batches, " batches: ");
  hold(f, c.m, "E10", what + "λ̂, worst layer",
       worst(index.lambda, singles(c.file, *c.network, "b/avg4/recipe_rq/")), tight,
       [&] { return worst(moved().lambda, index.lambda); });
  auto apart = [&](const Layers& x, const Layers& y) {
    return judged(neurons_off(*c.network, x, y, Over::one), true);
  };
  const Layers v = weights(*c.network, index.v);
  hold(f, c.m, "E11", what + "v̂, absolute",
       apart(v, weights(c.file, *c.network, "b/avg4/recipe_v/")), tight,
       [&] { return apart(weights(*c.network, moved().v), v); });
}

void audit_least(Findings& f, const Convergence& c) {
  const std::string what = "least eigenvalues of all batches' mean";
  if (!have_eigen()) return f.note("E3", what, "not looked at: this build is without Eigen");
  Matrices axes = c.oracle(0, c.file.batches());
  for (ExactAxis& a : axes) solve(a);
  f.at_most("E3", what + ", worst layer",
            worst(splitting_index(*c.network, axes).lambda,
                  singles(c.file, *c.network, "b/avg4/min_eigval/")),
            tight);
}

}  // namespace

void audit_convergence(Findings& f, const ReferenceFile& file, const Machine& m,
                       const ProbeSettings& probe) {
  const Convergence c{file, m, probe, file.network(m)};
  const bool has_long = file.any("b/long/"), has_recipe = file.any("b/avg4/");
  const double needed = c.bytes() * (has_recipe ? double(file.batches()) : 1);
  if (!has_long && !has_recipe)
    return f.note("E10", "where RQ-SGD ends", "not in this file (b/long/, b/avg4/)");
  if (needed > memory)
    return f.note(
        "E10", "where RQ-SGD ends",
        text("not looked at: splitting matrices of ", needed / 1e9, " GB, at most ", memory / 1e9));
  if (has_long) audit_long(f, c);
  if (has_recipe) audit_recipe(f, c), audit_least(f, c);
}

}  // namespace fission
