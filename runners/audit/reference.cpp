#include "runners/audit/reference.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "split/rayleigh.h"
#include "tensor/eigen.h"

namespace fission {

using namespace audit;

ProbeSettings authors_probe(const Reference& r, Matrix matrix) {
  ProbeSettings p;
  p.matrix = matrix, p.curvature.linear = 1,
  p.curvature.relu_beta = r.relu_beta.value_or(r.file.relu_beta());
  return p;
}
void Reference::hold(Findings& f, const std::string& equation, const std::string& what,
                     double figure, double bound, const std::function<double()>& spread) const {
  if (strict) f.at_most(equation, what, figure, bound);
  else audit::hold(f, m, equation, what, figure, bound, spread);
}
std::vector<ExactAxis> exact_matrices(const Reference& r, Network& n, Matrix matrix, Index first,
                                      Index end) {
  const Machine m{n.backend(), n.dtype()};
  ExactSettings settings;
  settings.probe = authors_probe(r, matrix);
  ExactMatrices matrices(n, settings);
  for (Index b = first; b < end; b++) matrices.add(r.file.images(m, b), r.file.labels(m, b));
  return matrices.mean();
}
std::vector<ExactAxis> solved(std::vector<ExactAxis> axes) {
  for (ExactAxis& a : axes) solve(a);
  return axes;
}
Tensor logits(Network& n, const Tensor& x, bool training) {
  GradientMode none(Gradients::none);
  n.set_training(training);
  return n.forward(Variable(x)).value();
}

namespace {

struct RqStep {
  Layers logits, loss, products, quotients, gradient, v;
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
  return {{logits(*n, x).to_host()},       {loss},
          weights(*n, descent.products()), singles(*n, descent.quotients().to_host()),
          weights(*n, descent.gradient()), weights(*n, descent.v())};
}
RqStep rq_step_of_file(const ReferenceFile& file, const Network& n, Index images,
                       const std::string& precision) {
  const std::string prefix = "b/" + precision + "/";
  return {{file.numbers(prefix + "logits", {images, n.config().classes})},
          {file.numbers(prefix + "loss", {1})},
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
  auto spread = [&]() -> const std::pair<RqStep, RqStep>& {
    const Machine f64{open_backend("reference"), DType::f64};
    if (!rounded && m.exact()) rounded = {rq_step(r, m, 1e-15), got};
    else if (!rounded && file.any("b/f32/"))
      rounded = {rq_step_of_file(file, *n, images, "f32"), want};
    else if (!rounded) rounded = {rq_step(r, f64, 6e-8), rq_step(r, f64, 0)};
    return *rounded;
  };
  auto held = [&](const std::string& equation, const std::string& what, double f32,
                  Layers RqStep::*part, Over over, bool every_neuron) {
    const Network* median = every_neuron ? nullptr : n.get();
    r.hold(f, equation, what, off(got.*part, want.*part, over, median), m.tolerance(f32),
           [&] { return off(spread().first.*part, spread().second.*part, over, median); });
  };
  held("E5", "logits", 5e-5, &RqStep::logits, Over::layer, true);
  held("E5", "loss", 1e-5, &RqStep::loss, Over::layer, true);
  if (file.has("plain_eval_forward/f64/logits"))
    f.at_most("E5", "logits of the plain network in evaluation mode, which these are",
              relative(file.numbers("plain_eval_forward/f64/logits", {images, n->config().classes}),
                       want.logits[0]),
              tight);
  const std::string who = whose(r.smooth());
  const bool v2 = file.config().model == "mobilenet_v2";
  held("E8", "S·v of the paper's matrix, " + who, v2 ? 1e-4 : 2e-4, &RqStep::products, Over::layer,
       r.smooth());
  held("E10", "Rayleigh quotients, " + who, v2 ? 1e-4 : 3e-4, &RqStep::quotients, Over::layer,
       r.smooth());
  held("E11", "their gradient, " + who, v2 ? 1e-4 : 2e-4, &RqStep::gradient, r.layer(), r.smooth());
  held("E11",
       text("directions after one RMSprop step, ", r.strict ? "" : "absolute, ",
            whose(r.every_neuron())),
       1e-5, &RqStep::v, r.strict ? Over::layer : Over::one, r.every_neuron());
}

void audit_exact(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  auto n = file.network(m);
  Tensor x = file.images(m), labels = file.labels(m);
  // what a float32's rounding of the parameters does to matrices and eigenvalues, over the layer's
  // largest
  auto spread = [&](Matrix matrix) {
    const Machine f64{open_backend("reference"), DType::f64};
    auto exact = file.network(f64), rounded = file.network(f64);
    jitter(*rounded, 6e-8);
    const std::vector<ExactAxis> a = solved(exact_matrices(r, *exact, matrix)),
                                 b = solved(exact_matrices(r, *rounded, matrix));
    double most = 0;
    for (std::size_t i = 0; i < a.size(); i++)
      most = std::max(
          {most, fraction(distance(b[i].s, a[i].s), largest(a[i].s)),
           fraction(distance(b[i].eigenvalues, a[i].eigenvalues), largest(a[i].eigenvalues))});
    return most;
  };
  // the files order a neuron's weights (I,K,K), the program (K,K,I)
  auto in_files_order = [&](const ExactAxis& a) {
    const Index in = neurons(*n, std::size_t(a.axis)).shape[3], d = a.d, kk = d / in;
    Numbers s;
    auto place = [&](Index i) { return i % kk * in + i / kk; };
    for (Index o = 0; o < a.neurons; o++)
      for (Index i = 0; i < d; i++)
        for (Index j = 0; j < d; j++)
          s.push_back(a.s[std::size_t((o * d + place(i)) * d + place(j))]);
    return s;
  };
  auto check = [&](Matrix matrix) {
    const bool chain = matrix == Matrix::chain;
    const std::string least = chain ? "b/full_min_eigval/" : "b/min_eigval/",
                      vectors = chain ? "b/full_min_eigvec/" : "b/min_eigvec/";
    const bool with_vectors = !chain || file.any("b/S_dwterm/") || file.any(vectors);
    std::vector<Tensor> v, s_v;  // by the probe: of random ones, and of the file's u
    for (std::uint64_t item = 0; item < 3; item++) v.push_back(random_directions(*n, 5, item));
    if (with_vectors) v.push_back(file.directions(*n, vectors));
    for (const Tensor& one : v) {
      s_v.push_back(n->like_parameters());
      splitting_products(*n, x, labels, one, authors_probe(r, matrix), s_v.back());
    }
    double s_off = 0, products_off = 0, values_off = 0, least_off = 0, residual = 0, own = 0,
           apart = 0;
    auto raise = [](double& most, const Numbers& got, const Numbers& want, double scale) {
      most = std::max(most, fraction(distance(got, want), scale));
    };
    for (const ExactAxis& a : solved(exact_matrices(r, *n, matrix))) {
      const std::size_t l = std::size_t(a.axis), d = std::size_t(a.d);
      const ReferenceFile::Dims square{a.neurons, a.d, a.d};
      Numbers s = file.of_layer("b/S/", l, square), lambda;
      if (chain) {
        Numbers rest = file.of_layer("b/S_dwterm/", l, square);
        for (std::size_t i = 0; i < s.size(); i++) s[i] += rest[i];
      }
      const double scale =
          largest(a.eigenvalues);  // all may be 0: neurons that no gradient reaches
      raise(s_off, in_files_order(a), s, largest(s));
      for (std::size_t i = 0; i < v.size(); i++) {
        const Numbers want = times(s, of_axis(*n, l, v[i]));
        raise(products_off, of_axis(*n, l, s_v[i]), want, largest(want));
      }
      if (!chain)
        raise(values_off, a.eigenvalues, file.of_layer("b/eigvals/", l, {a.neurons, a.d}), scale);
      for (Index o = 0; o < a.neurons; o++) lambda.push_back(a.lambda_min(o));
      const Numbers theirs = file.of_layer(least, l, {a.neurons});
      raise(least_off, lambda, theirs, scale);
      if (!with_vectors) continue;
      // S u − λ u, not u itself: two least eigenvalues may be close
      Numbers expected = of_axis(*n, l, v.back());
      for (std::size_t i = 0; i < expected.size(); i++) expected[i] *= theirs[i / d];
      raise(residual, of_axis(*n, l, s_v.back()), expected, m.exact() ? largest(s) : scale);
      const Numbers u = rows(*n, a.axis, v.back()), s_w = times(a.s, a.v_min);
      for (Index o = 0; o < a.neurons; o++) {
        const double* values = &a.eigenvalues[std::size_t(o) * d];
        const double most = std::max(std::abs(values[0]), std::abs(values[d - 1]));
        for (std::size_t i = std::size_t(o) * d; i < std::size_t(o + 1) * d; i++)
          own = std::max(own, fraction(std::abs(s_w[i] - values[0] * a.v_min[i]), most));
        if (d > 1 && values[1] - values[0] > 1e-4 * most)
          apart = std::max(apart, std::abs(dot(a.v_min, u, o * a.d, a.d) - 1));
      }
    }
    const std::string which = chain ? "the chain's" : "the paper's";
    auto held = [&](const char* equation, const std::string& what, double figure, double f32) {
      r.hold(f, equation, which + what, figure, m.tolerance(f32),
             [&] { return m.exact() ? 0 : spread(matrix); });
    };
    held(chain ? "E6c" : "E6", " full matrices, worst layer", s_off, 2e-4);
    held(chain ? "E6c" : "E9", " S·v by the probe, beside these matrices, worst layer",
         products_off, 2e-4);
    if (!chain) held("E3", " eigenvalues over the layer's largest", values_off, 1e-4);
    held("E3", " least eigenvalues over the layer's largest", least_off, 1e-4);
    if (!with_vectors) return;
    held("E3",
         " Su − λu by the probe, of the file's least eigenvectors u, over the layer's largest",
         residual, 3e-4);
    if (!m.exact()) return;
    f.at_most("E3", which + " Sw − λw of least eigenvectors w, over the neuron's largest", own,
              1e-10);
    f.at_most("E3", which + " w·u less 1, where the next eigenvalue is not about the same", apart,
              tight);
  };
  check(Matrix::paper);
  if (file.any("b/S_dwterm/") || file.any("b/full_min_eig")) check(Matrix::chain);
  else f.note("E6c", "the chain's matrix", "not in this file (b/S_dwterm/)");
  if (m.exact()) audit_single_splits(f, r);
}

void audit_trajectory(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  auto n = file.network(m);
  SolverSettings settings;
  settings.probe = authors_probe(r);
  const Network* median = r.every_neuron() ? nullptr : n.get();
  if (!file.any("b/fixed/") && !file.any("b/alternating/") && !file.any("b/long/") &&
      !file.any("b/avg4/"))
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
    Numbers losses, expected = file.rows(which + "loss", 1);
    const std::size_t count = expected.size();
    std::vector<Layers> quotients;  // of each step
    double v_off = 0;
    int marks = 0;
    auto apart = [&](const Tensor& v, const std::string& theirs) {
      return off(weights(*n, v), weights(file, *n, theirs), Over::one, median);
    };
    for (std::size_t t = 0; t < count; t++) {
      Index batch = which == "b/fixed/" ? 0 : Index(t) % file.batches();
      losses.push_back(descent.step(file.images(m, batch), file.labels(m, batch), 0).item());
      quotients.push_back(singles(*n, descent.quotients().to_host()));
      std::string after = which + "v_after_" + std::to_string(t + 1) + "/";
      if (t + 1 == count) after = which + "v_final/";
      else if (!file.any(after) && !file.any(other + "v_after_" + std::to_string(t + 1) + "/"))
        continue;
      v_off = std::max(v_off, apart(descent.v(), after)), marks++;
    }
    SplittingIndex index = descent.result();
    Layers rq, their_rq;  // neuron by neuron, their steps
    for (std::size_t l = 0; l < n->axes().size(); l++) {
      const std::size_t width = std::size_t(n->axes()[l].width);
      const Numbers all =
          file.of_layer(which + "rq/", l, {std::int64_t(count), std::int64_t(width)});
      rq.emplace_back(), their_rq.emplace_back();
      for (std::size_t i = 0; i < all.size(); i++)
        rq[l].push_back(quotients[i % count][l][i / count]),
            their_rq[l].push_back(all[i % count * width + i / count]);
    }
    const std::string steps = which.substr(2, which.size() - 3) + " batch, " +
                              std::to_string(count) + " steps: ",
                      who = whose(r.every_neuron());
    f.at_most("E5", steps + "losses", relative(losses, expected), m.tolerance(1e-5));
    f.at_most("E10", steps + "quotients over their layer's largest, " + who,
              off(rq, their_rq, Over::layer, median), m.tolerance(5e-4));
    f.at_most("E11", steps + text("directions at ", marks, " marks, absolute, ", who), v_off,
              m.tolerance(3e-4));
    f.at_most("E10", steps + "λ̂, their mean, " + who,
              off(index.lambda, singles(file, *n, which + "epoch_avg_rq/"), Over::layer, median),
              m.tolerance(5e-4));
    f.at_most("E11", steps + "v̂, the directions' mean, absolute, " + who,
              apart(index.v, which + "epoch_avg_v/"), m.tolerance(3e-4));
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
          off(weights(*n, tensor), weights(file, *n, theirs), r.layer()),
          squares || r.strict ? tight : 1e-8);
    }
  }
  if (m.exact() || r.strict) audit_convergence(f, r);
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
                     std::optional<double> relu_beta, bool strict) {
  ReferenceFile file(read_safetensors(path));
  const std::string kind = file.metadata("kind");
  const std::map<std::string, void (*)(Findings&, const Reference&)> audits{
      {"rq_step", audit_rq_step},       {"exact", audit_exact}, {"trajectory", audit_trajectory},
      {"train_step", audit_train_step}, {"split", audit_split}, {"select", audit_select}};
  const auto audit = audits.find(kind);
  if (audit == audits.end())
    user_error(path, ": metadata 'kind': '", kind,
               "', expected rq_step, exact, trajectory, train_step, select or split");
  if (kind == "exact") require_eigen("audit of exact splitting matrices");
  const bool select = kind == "select";  // computes nothing on a backend
  for (const Machine& m :
       {Machine{open_backend("reference"), DType::f64}, Machine{device, DType::f32}}) {
    if (select && !m.exact()) continue;
    findings.section(select ? path + ": selections"
                            : path + ": " + kind + " of a " + file.metadata("network") + " on " +
                                  m.name() + "; max|x − y| / max|y| unless it says otherwise");
    audit->second(findings, {file, m, relu_beta, strict});
  }
  tell_unread(findings, file);
}

}  // namespace fission
