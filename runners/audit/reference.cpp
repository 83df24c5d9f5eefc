#include "runners/audit/reference.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "runners/audit/compare.h"
#include "split/exact.h"
#include "split/rayleigh.h"
#include "tensor/eigen.h"

namespace fission {

using namespace audit;

ProbeSettings authors_probe(const Reference& r) {
  ProbeSettings p;
  p.matrix = Matrix::paper, p.curvature.linear = 1, p.curvature.relu_beta = r.relu_beta;
  return p;
}
Tensor logits(Network& n, const Tensor& x, bool training) {
  GradientMode none(Gradients::none);
  n.set_training(training);
  return n.forward(Variable(x)).value();
}

namespace {

struct RqStep {
  Numbers logits, loss;
  Layers products, quotients, gradient, v;
};
RqStep rq_step(const Reference& r, const Machine& m, double jitter_by) {
  auto n = r.file.network(m);
  if (jitter_by > 0) jitter(*n, jitter_by);
  SolverSettings settings;
  settings.probe = authors_probe(r);
  RayleighDescent descent(*n, settings, 0, 0);
  descent.v() = r.file.directions(*n, "v/");
  Tensor x = r.file.images(m);
  descent.begin_epoch();
  const Numbers loss = descent.step(x, r.file.labels(m), 0).to_host();
  return {logits(*n, x).to_host(),         loss,
          weights(*n, descent.products()), singles(*n, descent.quotients().to_host()),
          weights(*n, descent.gradient()), weights(*n, descent.v())};
}
RqStep rq_step_of_file(const ReferenceFile& file, const Network& n, Index images,
                       const std::string& precision) {
  const std::string prefix = "b/" + precision + "/";
  return {file.numbers(prefix + "logits", {images, n.config().classes}),
          file.numbers(prefix + "loss", {1}),
          weights(file, n, prefix + "sv/"),
          singles(file, n, prefix + "rq/"),
          weights(file, n, prefix + "rq_grad/"),
          weights(file, n, prefix + "v_after_1_step/")};
}

void audit_rq_step(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  auto n = file.network(m);
  const Index images = file.images(m).dim(0);
  const RqStep got = rq_step(r, m, 0), want = rq_step_of_file(file, *n, images, "f64");
  // float32 beside float64: the file's own, or else what rounding the parameters to float32 does
  std::optional<std::pair<RqStep, RqStep>> rounded;
  auto spread = [&](const std::function<double(const RqStep&, const RqStep&)>& off) {
    const Machine f64{open_backend("reference"), DType::f64};
    if (!rounded && m.exact()) rounded = {rq_step(r, m, 1e-15), got};
    else if (!rounded && file.any("b/f32/"))
      rounded = {rq_step_of_file(file, *n, images, "f32"), want};
    else if (!rounded) rounded = {rq_step(r, f64, 6e-8), rq_step(r, f64, 0)};
    return off(rounded->first, rounded->second);
  };
  auto held = [&](const std::string& equation, const std::string& what, double f32,
                  const std::function<double(const RqStep&, const RqStep&)>& off) {
    hold(f, m, equation, what, off(got, want), m.tolerance(f32), [&] { return spread(off); });
  };
  held("E5", "logits", 5e-5,
       [](const RqStep& a, const RqStep& b) { return relative(a.logits, b.logits); });
  held("E5", "loss", 1e-5,
       [](const RqStep& a, const RqStep& b) { return relative(a.loss, b.loss); });
  if (file.has("plain_eval_forward/f64/logits"))
    f.at_most("E5", "logits of the plain network in evaluation mode, which these are",
              relative(file.numbers("plain_eval_forward/f64/logits", {images, n->config().classes}),
                       want.logits),
              tight);
  auto neurons = [&](Layers RqStep::*part, Over over, bool strictly) {
    return [&n, part, over, strictly](const RqStep& a, const RqStep& b) {
      return judged(neurons_off(*n, a.*part, b.*part, over), strictly);
    };
  };
  const std::string who = whose(r.smooth());
  held("E8", "S·v of the paper's matrix, " + who, 2e-4,
       neurons(&RqStep::products, Over::layer, r.smooth()));
  held("E10", "Rayleigh quotients, " + who, 3e-4,
       neurons(&RqStep::quotients, Over::layer, r.smooth()));
  held("E11", "their gradient, " + who, 2e-4,
       neurons(&RqStep::gradient, Over::layer_or_share, r.smooth()));
  held("E11", "directions after one RMSprop step, absolute, " + whose(m.exact()), 1e-5,
       neurons(&RqStep::v, Over::one, m.exact()));
}

void audit_exact(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  auto n = file.network(m);
  Tensor x = file.images(m), labels = file.labels(m);
  auto matrices_of = [&](Network& network, const Machine& where, Matrix matrix) {
    ExactSettings e;
    e.probe = authors_probe(r), e.probe.matrix = matrix;
    ExactMatrices exact(network, e);
    exact.add(file.images(where), file.labels(where));
    std::vector<ExactAxis> all = exact.mean();
    for (ExactAxis& a : all) solve(a);
    return all;
  };
  auto matrices = [&](Matrix matrix) { return matrices_of(*n, m, matrix); };
  // what a float32's rounding of the parameters does to matrices and eigenvalues, over the layer's
  // largest
  auto spread = [&](Matrix matrix) {
    const Machine f64{open_backend("reference"), DType::f64};
    auto exact = file.network(f64), rounded = file.network(f64);
    jitter(*rounded, 6e-8);
    const std::vector<ExactAxis> a = matrices_of(*exact, f64, matrix),
                                 b = matrices_of(*rounded, f64, matrix);
    double most = 0;
    for (std::size_t i = 0; i < a.size(); i++)
      most = std::max(
          {most, fraction(distance(b[i].s, a[i].s), largest(a[i].s)),
           fraction(distance(b[i].eigenvalues, a[i].eigenvalues), largest(a[i].eigenvalues))});
    return most;
  };
  // the files order a neuron's weights (I,K,K), the program (K,K,I)
  auto in_files_order = [&](const ExactAxis& a, const Numbers& s) {
    const Stored& w = neurons(*n, std::size_t(a.axis));
    Index kk = w.shape[1] * w.shape[2], in = w.shape[3], d = a.d;
    Numbers out(s.size());
    auto place = [&](Index i) { return (i % in) * kk + i / in; };
    for (Index o = 0; o < a.neurons; o++)
      for (Index i = 0; i < d; i++)
        for (Index j = 0; j < d; j++)
          out[std::size_t((o * d + place(i)) * d + place(j))] = s[std::size_t((o * d + i) * d + j)];
    return out;
  };
  auto check = [&](const std::vector<ExactAxis>& all, bool chain) {
    double s_off = 0, values_off = 0, least_off = 0, residual = 0;
    const std::string least = chain ? "b/full_min_eigval/" : "b/min_eigval/",
                      vectors = chain ? "b/full_min_eigvec/" : "b/min_eigvec/";
    const bool with_vectors = !chain || file.any("b/S_dwterm/") || file.any(vectors);
    for (const ExactAxis& a : all) {
      std::size_t l = std::size_t(a.axis);
      const ReferenceFile::Dims square{a.neurons, a.d, a.d};
      Numbers s = file.of_layer("b/S/", l, square), lambda;
      if (chain) {
        Numbers rest = file.of_layer("b/S_dwterm/", l, square);
        for (std::size_t i = 0; i < s.size(); i++) s[i] += rest[i];
      }
      const Numbers ours = in_files_order(a, a.s);
      const double scale =
          largest(a.eigenvalues);  // all may be 0: neurons that no gradient reaches
      s_off = std::max(s_off, fraction(distance(ours, s), largest(s)));
      if (!chain)
        values_off = std::max(
            values_off,
            fraction(distance(a.eigenvalues, file.of_layer("b/eigvals/", l, {a.neurons, a.d})),
                     scale));
      for (Index o = 0; o < a.neurons; o++) lambda.push_back(a.lambda_min(o));
      least_off = std::max(least_off,
                           fraction(distance(lambda, file.of_layer(least, l, {a.neurons})), scale));
      if (!with_vectors) continue;
      Numbers u = file.of_layer(*n, vectors, l),
              rest(u.size());  // S u − λ u, not u itself: two least eigenvalues may be close
      for (std::size_t i = 0, d = std::size_t(a.d); i < u.size(); i++) {
        rest[i] = -lambda[i / d] * u[i];
        for (std::size_t j = 0; j < d; j++) rest[i] += ours[i * d + j] * u[i / d * d + j];
      }
      residual = std::max(residual, fraction(distance(rest, Numbers(rest.size())), scale));
    }
    const std::string which = chain ? "the chain's" : "the paper's";
    auto held = [&](const char* equation, const std::string& what, double figure, double f32) {
      hold(f, m, equation, which + what, figure, m.tolerance(f32),
           [&] { return m.exact() ? 0 : spread(chain ? Matrix::chain : Matrix::paper); });
    };
    held(chain ? "E6c" : "E6", " full matrices, worst layer", s_off, 2e-4);
    if (!chain) held("E3", " eigenvalues over the layer's largest", values_off, 1e-4);
    held("E3", " least eigenvalues over the layer's largest", least_off, 1e-4);
    if (with_vectors)
      held("E3", " Su − λu of the file's least eigenvectors u over the layer's largest eigenvalue",
           residual, 3e-4);
  };
  check(matrices(Matrix::paper), false);
  if (file.any("b/S_dwterm/") || file.any("b/full_min_eig")) check(matrices(Matrix::chain), true);
  else f.note("E6c", "the chain's matrix", "not in this file (b/S_dwterm/)");
  if (m.exact()) audit_single_splits(f, file, m, authors_probe(r));
}

void audit_trajectory(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  auto n = file.network(m);
  SolverSettings settings;
  settings.probe = authors_probe(r);
  auto in_file = [&](const char* which) { return file.any(which); };
  const char* trajectories[] = {"b/fixed/", "b/alternating/", "b/long/", "b/avg4/"};
  if (std::none_of(std::begin(trajectories), std::end(trajectories), in_file))
    user_error(file.file().path,
               ": no tensor under 'b/fixed/', 'b/alternating/', 'b/long/' or 'b/avg4/', expected a "
               "trajectory");
  for (const std::string which : {"b/fixed/", "b/alternating/"}) {
    const std::string other = which == "b/fixed/" ? "b/alternating/" : "b/fixed/";
    if (!file.any(which)) {
      f.note("E11", "trajectory of " + which.substr(2), "not in this file");
      continue;
    }
    RayleighDescent descent(*n, settings, 0, 0);
    descent.v() = file.directions(*n, "v0/");
    descent.begin_epoch();
    Numbers losses, expected = file.rows(which + "loss", 1), quotients;
    double v_off = 0;
    int marks = 0;
    for (std::size_t t = 0; t < expected.size(); t++) {
      Index batch = which == "b/fixed/" ? 0 : Index(t) % file.batches();
      losses.push_back(descent.step(file.images(m, batch), file.labels(m, batch), 0).item());
      for (double q : descent.quotients().to_host()) quotients.push_back(q);
      std::string after = which + "v_after_" + std::to_string(t + 1) + "/";
      if (t + 1 == expected.size()) after = which + "v_final/";
      else if (!file.any(after) && !file.any(other + "v_after_" + std::to_string(t + 1) + "/"))
        continue;
      v_off = std::max(v_off, judged(neurons_off(*n, weights(*n, descent.v()),
                                                 weights(file, *n, after), Over::one),
                                     m.exact())),
      marks++;
    }
    SplittingIndex index = descent.result();
    Numbers rq_off;
    std::size_t first = 0, all = quotients.size() / expected.size();
    for (std::size_t l = 0; l < n->axes().size(); l++) {
      const std::size_t width = std::size_t(n->axes()[l].width);
      const Numbers rq =
          file.of_layer(which + "rq/", l, {std::int64_t(expected.size()), std::int64_t(width)});
      for (std::size_t o = 0; o < width; o++) {
        Numbers got, want;
        for (std::size_t t = 0; t < expected.size(); t++)
          got.push_back(quotients[t * all + first + o]), want.push_back(rq[t * width + o]);
        rq_off.push_back(fraction(distance(got, want), largest(rq)));
      }
      first += width;
    }
    const Numbers mean_off =
        neurons_off(*n, index.lambda, singles(file, *n, which + "epoch_avg_rq/"), Over::layer);
    const std::string steps = which.substr(2, which.size() - 3) + " batch, " +
                              std::to_string(expected.size()) + " steps: ";
    f.at_most("E5", steps + "losses", relative(losses, expected), m.tolerance(1e-5));
    f.at_most("E10", steps + "quotients over their layer's largest, " + whose(m.exact()),
              judged(rq_off, m.exact()), m.tolerance(5e-4));
    f.at_most("E11", steps + text("directions at ", marks, " marks, absolute, ", whose(m.exact())),
              v_off, m.tolerance(3e-4));
    f.at_most("E10", steps + "λ̂, their mean, " + whose(m.exact()), judged(mean_off, m.exact()),
              m.tolerance(5e-4));
    f.at_most("E11", steps + "v̂, the directions' mean, absolute, " + whose(m.exact()),
              judged(neurons_off(*n, weights(*n, index.v),
                                 weights(file, *n, which + "epoch_avg_v/"), Over::one),
                     m.exact()),
              m.tolerance(3e-4));
    if (!m.exact()) continue;  // float32 is judged by what comes of them
    // momentum is of g/(√s + 1e-8): where g vanishes exactly (E11 in one dimension), its rounding
    // over 1e-8
    for (const auto& [name, tensor] : descent.state()) {
      const bool squares = name == "squares";
      if (!squares && name != "buffer") continue;
      const std::string theirs =
          which + (squares ? "rmsprop_square_avg/" : "rmsprop_momentum_buffer/");
      f.at_most(
          "E11",
          steps + "RMSprop's " + (squares ? "squares" : "momentum") + " over their layer's largest",
          judged(
              neurons_off(*n, weights(*n, tensor), weights(file, *n, theirs), Over::layer_or_share),
              true),
          squares ? tight : 1e-8);
    }
  }
  if (m.exact()) audit_convergence(f, file, m, settings.probe);
}

// what the file has beyond the statements above
void tell_unread(Findings& f, const ReferenceFile& file) {
  std::map<std::string, int> families;
  int count = 0;
  for (const auto& [family, n] : file.unread()) {
    const bool variant = family.compare(0, 2, "a/") == 0,
               f32 = family.find("/f32/") != std::string::npos;
    families[variant ? "variant a" : f32 ? "their float32" : family] += n, count += n;
  }
  std::string list;
  for (const auto& [family, n] : families)
    list += (list.empty() ? "" : ", ") + text(family, " (", n, ")");
  if (count)
    f.note("", text(count, " of ", file.file().tensors.size(), " tensors that no statement reads"),
           list);
}

}  // namespace

void audit_reference(Findings& findings, const std::string& path, Backend& device,
                     std::optional<double> relu_beta) {
  ReferenceFile file(read_safetensors(path));
  const std::string kind = file.metadata("kind");
  using Audit = void (*)(Findings&, const Reference&);
  Audit audit = kind == "rq_step"      ? audit_rq_step
                : kind == "exact"      ? audit_exact
                : kind == "trajectory" ? audit_trajectory
                : kind == "train_step" ? audit_train_step
                : kind == "split"      ? audit_split
                                       : nullptr;
  if (!audit && kind != "select")
    user_error(path, ": metadata 'kind': '", kind,
               "', expected rq_step, exact, trajectory, train_step, select or split");
  if (kind == "exact") require_eigen("audit of exact splitting matrices");
  if (kind == "select") {
    findings.section(path + ": selections");
    audit_select(findings, file);
    return tell_unread(findings, file);
  }
  for (const Machine& m :
       {Machine{open_backend("reference"), DType::f64}, Machine{device, DType::f32}}) {
    findings.section(path + ": " + kind + " of a " + file.metadata("network") + " on " + m.name() +
                     "; max|x − y| / max|y| unless it says otherwise");
    audit(findings, {file, m, relu_beta.value_or(file.relu_beta())});
  }
  tell_unread(findings, file);
}

}  // namespace fission
