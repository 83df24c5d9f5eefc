// The audit of where solvers end (E10, E11): RQ-SGD given S·v by the oracle's matrices, which are
// the probe's products, for a thousand probes in float64 would take minutes. RMSprop's steps are
// signs at convergence, where the last bits decide: on the files' network two correct programs
// differ by 6e-6 from step 300 on, on others from step 100. So a figure that misses 1e-9 is held to
// a hundred times what other last bits of v0 make of the same descent, and to 1e-4 at most
// (compare.h). In float32, which is judged strictly alone, it is the real thing.
#include <algorithm>
#include <cmath>
#include <optional>

#include "runners/audit/reference.h"
#include "split/lanczos.h"
#include "split/rayleigh.h"
#include "tensor/eigen.h"

namespace fission {

using namespace audit;

namespace {

using Matrices = std::vector<ExactAxis>;
constexpr double memory = 4e8;  // bytes of matrices, each read some hundred times
constexpr Index recipe_epochs = 3,
                recipe_steps = 200;  // the authors' run that the file has the end of

struct Convergence {
  const Reference& r;
  const ReferenceFile& file;
  std::unique_ptr<Network> network;
  std::vector<Matrices> s = {};  // of each batch; none: by the probe

  double bytes() const {  // of one batch's matrices
    double sum = 0;
    for (std::size_t l = 0; l < network->axes().size(); l++) {
      const double all = double(neurons(*network, l).shape.numel()),
                   width = double(network->axes()[l].width);
      sum += 8 * all * all / width;
    }
    return sum;
  }
  RayleighDescent descent(bool other_last_bits) const {
    SolverSettings settings;
    settings.probe = authors_probe(r), settings.rq.decay_every_epoch = true;  // 1e-3, 2e-4, 4e-5
    RayleighDescent d(*network, settings, 0, 0);
    d.v() = file.directions(*network, "v0/");
    if (other_last_bits) d.v() = jittered(d.v(), 1e-15);
    return d;
  }
  void step(RayleighDescent& d, Index batch, Index epoch) const {
    if (s.empty()) {
      d.step(file.images(r.m, batch), file.labels(r.m, batch), epoch);
      return;
    }
    for (const ExactAxis& a : s[std::size_t(batch)]) {
      const Stored& w = neurons(*network, std::size_t(a.axis));
      const Numbers out = times(a.s, rows(*network, a.axis, d.v()));
      network->view(w, d.products())
          .copy_from(make_real(network->backend(), w.shape, out, network->dtype()));
    }
    d.update(epoch);
  }
};

double worst(const Layers& x, const Layers& y) { return off(x, y, Over::layer); }

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
std::vector<Layers> descend(const Convergence& c, const Numbers& marks, bool other_last_bits) {
  RayleighDescent d = c.descent(other_last_bits);
  std::vector<Layers> at;
  for (Index step = 1; at.size() < marks.size(); step++) {
    c.step(d, 0, 0);
    if (double(step) >= marks[at.size()])
      at.push_back(singles(*c.network, d.quotients().to_host()));
  }
  return at;
}

void audit_long(Findings& f, const Convergence& c) {
  const Numbers marks = marks_of(c.file);
  const std::vector<Layers> got = descend(c, marks, false);
  std::vector<Layers> want(marks.size()), moved;
  for (std::size_t l = 0; l < c.network->axes().size(); l++) {
    const long width = long(c.network->axes()[l].width);
    const Numbers all =
        c.file.of_layer("b/long/rq_at_marks/", l, {std::int64_t(marks.size()), width});
    for (std::size_t mark = 0; mark < marks.size(); mark++)
      want[mark].emplace_back(all.begin() + long(mark) * width,
                              all.begin() + long(mark + 1) * width);
  }
  for (std::size_t mark = 0; mark < marks.size(); mark++) {
    const std::string what = text("fixed batch: quotients of step ", marks[mark], ", worst layer");
    const double off = worst(got[mark], want[mark]);
    const bool signs = marks[mark] >= 300;
    if (!c.r.m.exact() && marks[mark] > 30 && !signs) f.note("E10", what, off);
    else
      c.r.hold(f, "E10", what, off, c.r.m.tolerance(5e-4, c.r.strict && signs ? 1e-4 : tight), [&] {
        if (moved.empty()) moved = descend(c, marks, true);
        double most = 0;  // so far
        for (std::size_t i = 0; i <= mark; i++) most = std::max(most, worst(moved[i], got[i]));
        return most;
      });
  }
}

SplittingIndex recipe(const Convergence& c, bool other_last_bits) {
  RayleighDescent d = c.descent(other_last_bits);
  for (Index epoch = 0; epoch < recipe_epochs; epoch++) {
    d.begin_epoch();
    for (Index step = 0; step < recipe_steps; step++) c.step(d, step % c.file.batches(), epoch);
  }
  return d.result();
}

void audit_recipe(Findings& f, const Convergence& c) {
  const SplittingIndex index = recipe(c, false);
  std::optional<SplittingIndex> other;
  auto moved = [&]() -> const SplittingIndex& {
    if (!other) other = recipe(c, true);
    return *other;
  };
  const std::string what =
      text(recipe_epochs, " epochs of ", recipe_steps, " steps, ", c.file.batches(), " batches: ");
  const double bound = c.r.strict ? 1e-4 : tight;
  c.r.hold(f, "E10", what + "λ̂, worst layer",
           worst(index.lambda, singles(c.file, *c.network, "b/avg4/recipe_rq/")), bound,
           [&] { return worst(moved().lambda, index.lambda); });
  const Layers v = weights(*c.network, index.v);
  c.r.hold(f, "E11", what + "v̂, absolute",
           off(v, weights(c.file, *c.network, "b/avg4/recipe_v/"), Over::one), bound,
           [&] { return off(weights(*c.network, moved().v), v, Over::one); });
}

// by the matrices; in float32 by Lanczos, as many passes as a neuron has weights at most
void audit_least(Findings& f, const Convergence& c) {
  const std::string what = "least eigenvalues of all batches' mean";
  if (!have_eigen()) return f.note("E3", what, "not looked at: this build is without Eigen");
  const Layers want = singles(c.file, *c.network, "b/avg4/min_eigval/");
  if (c.r.m.exact()) {
    const Matrices axes =
        solved(exact_matrices(c.r, *c.network, Matrix::paper, 0, c.file.batches()));
    f.at_most("E3", what + ", worst layer", worst(splitting_index(*c.network, axes).lambda, want),
              tight);
    return f.note("E10", what + ": how far from them the published recipe ends, worst layer",
                  worst(singles(c.file, *c.network, "b/avg4/recipe_rq/"), want));
  }
  constexpr Index passes = 27;
  Lanczos lanczos(*c.network, authors_probe(c.r), passes, 1, 0);
  for (Index pass = 0; pass < passes; pass++) {
    lanczos.begin_epoch();
    for (Index b = 0; b < c.file.batches(); b++)
      lanczos.step(c.file.images(c.r.m, b), c.file.labels(c.r.m, b), pass);
    lanczos.end_epoch(pass);
  }
  f.at_most("E10", text(what, ", by ", passes, " passes of Lanczos, worst layer"),
            worst(lanczos.result().lambda, want), 1e-4);
}

}  // namespace

void audit_convergence(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  Convergence c{r, file, file.network(r.m)};
  const bool has_long = file.any("b/long/"), has_recipe = file.any("b/avg4/"), exact = r.m.exact();
  const Index batches = has_recipe ? file.batches() : 1;
  const double needed = c.bytes() * double(batches);
  if (!has_long && !has_recipe)
    return f.note("E10", "where RQ-SGD ends", "not in this file (b/long/, b/avg4/)");
  if (needed > memory)
    return f.note(
        "E10", "where RQ-SGD ends",
        text("not looked at: splitting matrices of ", needed / 1e9, " GB, at most ", memory / 1e9));
  for (Index b = 0; exact && b < batches; b++)
    c.s.push_back(exact_matrices(r, *c.network, Matrix::paper, b, b + 1));
  if (has_long) audit_long(f, c);
  if (has_recipe && exact) audit_recipe(f, c);
  if (has_recipe) audit_least(f, c);
}

}  // namespace fission
