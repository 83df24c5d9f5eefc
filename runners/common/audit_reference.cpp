#include "runners/common/audit_reference.h"

#include <algorithm>
#include <cmath>

#include "nn/optimizer.h"
#include "split/exact.h"
#include "split/rayleigh.h"
#include "split/surgery.h"
#include "tensor/eigen.h"

namespace fission {
namespace {

using Numbers = std::vector<double>;
Numbers part(const Numbers& v, std::size_t from, std::size_t count) { return Numbers(v.begin() + long(from), v.begin() + long(from + count)); }

constexpr double may_cancel = 0.01;
double share(double x, double of) { return x == 0 ? 0 : x / of; }

struct Reference {
  const ReferenceFile& file;
  const Machine& m;
  double relu_beta;
  // In float32 a ReLU whose input is about 0 may be on the other side of its kink, which a neuron of few positions feels.
  bool smooth() const { return m.exact() || file.config().activation == Activation::swish; }
};

ProbeSettings authors_probe(const Reference& r) {  // the paper's matrix; φ'' = 1 of linear layers
  ProbeSettings p;
  p.matrix = Matrix::paper, p.curvature.linear = 1, p.curvature.relu_beta = r.relu_beta;
  return p;
}

// largest difference of each neuron's numbers in a flat buffer from those under prefix + "Lxx": absolute, or over the
// layer's largest (or a share of the network's largest, for numbers that may cancel altogether)
enum class Over { one, layer, layer_or_share };
Numbers neurons_off(const ReferenceFile& file, const Network& n, const Tensor& flat, const std::string& prefix, Over over) {
  double most = 0;
  std::vector<Numbers> want;
  for (std::size_t l = 0; l < n.axes().size(); l++) want.push_back(file.of_layer(n, prefix, l)), most = std::max(most, largest(want[l]));
  Numbers off;
  for (std::size_t l = 0; l < n.axes().size(); l++) {
    const Numbers got = of_axis(n, l, flat);
    const std::size_t d = got.size() / std::size_t(n.axes()[l].width);
    const double scale = over == Over::one ? 1 : over == Over::layer ? largest(want[l]) : std::max(largest(want[l]), may_cancel * most);
    for (std::size_t i = 0; i < got.size(); i += d) off.push_back(share(distance(part(got, i, d), part(want[l], i, d)), scale));
  }
  return off;
}
// the same of numbers that are one a neuron, over their layer's largest
Numbers quotients_off(const ReferenceFile& file, const Network& n, const Numbers& got, const std::string& prefix) {
  Numbers off;
  for (std::size_t l = 0; l < n.axes().size(); l++) {
    const Numbers want = file.of_layer(n, prefix, l, 1);
    for (double w : want) off.push_back(share(distance({got[off.size()]}, {w}), largest(want)));
  }
  return off;
}
double judged(Numbers off, bool strictly) {
  std::sort(off.begin(), off.end());
  return off.empty() ? INFINITY : off[strictly ? off.size() - 1 : (off.size() - 1) / 2];
}
std::string whose(bool strictly) { return strictly ? "worst neuron" : "median neuron"; }

// Tensors whose numbers may cancel altogether (the gradient of a bias before a batch norm, of the Rayleigh quotient in one
// dimension) are then rounding and nothing else: each is compared over its own largest number, or 1 % of the largest of all.
class Tensors {
 public:
  void add(Numbers got, Numbers want) { all_.push_back({std::move(got), std::move(want)}); }
  std::size_t count() const { return all_.size(); }
  double off() const {
    double most = 0, scale = 0;
    for (const auto& [got, want] : all_) scale = std::max(scale, largest(want));
    for (const auto& [got, want] : all_)
      most = std::max(most, share(distance(got, want), std::max(largest(want), may_cancel * scale)));
    return most;
  }

 private:
  std::vector<std::pair<Numbers, Numbers>> all_;
};
// a network's parameters, or its statistics, under prefix; `some`: those that the file has
Tensors parameters_of(const ReferenceFile& file, const Network& n, const Tensor& flat, bool parameters, const std::string& prefix, bool some = false) {
  Tensors t;
  for (const Stored& s : n.stored())
    if (s.parameter == parameters && !(some && !file.has(prefix + s.name)))
      t.add(to_pytorch(s, n.view(s, flat).to_host()), file.numbers(prefix + s.name, s.shape.numel()));
  return t;
}

// a whole tensor against the file's of that name
double off(const ReferenceFile& file, const Tensor& got, const std::string& name) { return relative(got.to_host(), file.numbers(name, got.numel())); }

Tensor logits(Network& n, const Tensor& x, bool training = false) {
  GradientMode none(Gradients::none);
  n.set_training(training);
  return n.forward(Variable(x)).value();
}

void audit_rq_step(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  auto n = file.network(m);
  RayleighSettings settings;
  settings.probe = authors_probe(r);
  RayleighDescent descent(*n, settings, 0, 0);
  descent.v() = file.directions(*n, "v/");
  Tensor x = file.pictures(m), labels = file.labels(m);
  descent.begin_epoch();
  Tensor l = descent.step(x, labels, 0);
  f.at_most("E5", "logits", off(file, logits(*n, x), "b/f64/logits"), m.tolerance(5e-5));
  f.at_most("E5", "loss", off(file, l, "b/f64/loss"), m.tolerance(1e-5));
  const bool strictly = r.smooth();
  f.at_most("E8", "S·v of the paper's matrix, " + whose(strictly), judged(neurons_off(file, *n, descent.products(), "b/f64/sv/", Over::layer), strictly), m.tolerance(2e-4));
  f.at_most("E10", "Rayleigh quotients, " + whose(strictly), judged(quotients_off(file, *n, descent.quotients().to_host(), "b/f64/rq/"), strictly), m.tolerance(3e-4));
  f.at_most("E11", "their gradient, " + whose(strictly), judged(neurons_off(file, *n, descent.gradient(), "b/f64/rq_grad/", Over::layer_or_share), strictly), m.tolerance(2e-4));
  f.at_most("E11", "directions after one RMSprop step, absolute, " + whose(m.exact()), judged(neurons_off(file, *n, descent.v(), "b/f64/v_after_1_step/", Over::one), m.exact()), m.tolerance(1e-5));
}

void audit_exact(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  auto n = file.network(m);
  Tensor x = file.pictures(m), labels = file.labels(m);
  auto matrices = [&](Matrix matrix) {
    ExactSettings e;
    e.probe = authors_probe(r), e.probe.matrix = matrix;
    ExactMatrices exact(*n, e);
    exact.add(x, labels);
    std::vector<ExactAxis> all = exact.mean();
    for (ExactAxis& a : all) solve(a);
    return all;
  };
  // the files order a neuron's weights (I,K,K), the program (K,K,I)
  auto in_files_order = [&](const ExactAxis& a, const Numbers& s) {
    const Stored& w = neurons(*n, std::size_t(a.axis));
    Index kk = w.shape[1] * w.shape[2], in = w.shape[3], d = a.d;
    Numbers out(s.size());
    auto place = [&](Index i) { return (i % in) * kk + i / in; };
    for (Index o = 0; o < a.neurons; o++)
      for (Index i = 0; i < d; i++)
        for (Index j = 0; j < d; j++) out[std::size_t((o * d + place(i)) * d + place(j))] = s[std::size_t((o * d + i) * d + j)];
    return out;
  };
  auto check = [&](const std::vector<ExactAxis>& all, bool chain) {
    double s_off = 0, values_off = 0, least_off = 0, residual = 0;
    const std::string least = chain ? "b/full_min_eigval/" : "b/min_eigval/", vectors = chain ? "b/full_min_eigvec/" : "b/min_eigvec/";
    const bool with_vectors = file.any(vectors);
    for (const ExactAxis& a : all) {
      std::size_t l = std::size_t(a.axis);
      Numbers s = file.of_layer(*n, "b/S/", l, a.d * a.d), lambda;
      if (chain) {
        Numbers rest = file.of_layer(*n, "b/S_dwterm/", l, a.d * a.d);
        for (std::size_t i = 0; i < s.size(); i++) s[i] += rest[i];
      }
      const Numbers ours = in_files_order(a, a.s);
      const double scale = largest(a.eigenvalues);  // all may be 0: neurons that no gradient reaches
      s_off = std::max(s_off, relative(ours, s));
      if (!chain) values_off = std::max(values_off, share(distance(a.eigenvalues, file.of_layer(*n, "b/eigvals/", l, a.d)), scale));
      for (Index o = 0; o < a.neurons; o++) lambda.push_back(a.lambda_min(o));
      least_off = std::max(least_off, share(distance(lambda, file.of_layer(*n, least, l, 1)), scale));
      if (!with_vectors) continue;
      Numbers u = file.of_layer(*n, vectors, l), rest(u.size());  // S u − λ u, not u itself: two least eigenvalues may be close
      for (std::size_t i = 0, d = std::size_t(a.d); i < u.size(); i++) {
        rest[i] = -lambda[i / d] * u[i];
        for (std::size_t j = 0; j < d; j++) rest[i] += ours[i * d + j] * u[i / d * d + j];
      }
      residual = std::max(residual, share(distance(rest, Numbers(rest.size())), scale));
    }
    const std::string which = chain ? "the chain's" : "the paper's";
    f.at_most(chain ? "E6c" : "E6", which + " full matrices, worst layer", s_off, m.tolerance(2e-4));
    if (!chain) f.at_most("E3", which + " eigenvalues over the layer's largest", values_off, m.tolerance(1e-4));
    f.at_most("E3", which + " least eigenvalues over the layer's largest", least_off, m.tolerance(1e-4));
    if (with_vectors) f.at_most("E3", which + " Su − λu of the file's least eigenvectors u over the layer's largest eigenvalue", residual, m.tolerance(3e-4));
  };
  check(matrices(Matrix::paper), false);
  if (file.any("b/S_dwterm/")) check(matrices(Matrix::chain), true);
  else f.told("E6c", "the chain's matrix", "not in this file (b/S_dwterm/)");
  if (m.exact()) audit_single_splits(f, file, m, authors_probe(r));
}

void audit_trajectory(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  auto n = file.network(m);
  RayleighSettings settings;
  settings.probe = authors_probe(r);
  auto in_file = [&](const char* which) { return file.any(which); };
  const char* trajectories[] = {"b/fixed/", "b/alternating/", "b/long/", "b/avg4/"};
  if (std::none_of(std::begin(trajectories), std::end(trajectories), in_file))
    user_error(file.file().path, ": no tensor under 'b/fixed/', 'b/alternating/', 'b/long/' or 'b/avg4/', expected a trajectory");
  for (const std::string which : {"b/fixed/", "b/alternating/"}) {
    if (!file.any(which)) continue;
    RayleighDescent descent(*n, settings, 0, 0);
    descent.v() = file.directions(*n, "v0/");
    descent.begin_epoch();
    Numbers losses, expected = file.rows(which + "loss", 1), quotients;
    double v_off = 0;
    int marks = 0;
    for (std::size_t t = 0; t < expected.size(); t++) {
      Index batch = which == "b/fixed/" ? 0 : Index(t) % file.batches();
      losses.push_back(descent.step(file.pictures(m, batch), file.labels(m, batch), 0).item());
      for (double q : descent.quotients().to_host()) quotients.push_back(q);
      std::string after = which + "v_after_" + std::to_string(t + 1) + "/";
      if (t + 1 == expected.size()) after = which + "v_final/";
      else if (!file.any(after)) continue;
      v_off = std::max(v_off, judged(neurons_off(file, *n, descent.v(), after, Over::one), m.exact())), marks++;
    }
    SplittingIndex index = descent.result();
    Numbers rq_off, means;
    std::size_t first = 0, all = quotients.size() / expected.size();
    for (std::size_t l = 0; l < n->axes().size(); l++) {
      const std::size_t width = std::size_t(n->axes()[l].width);
      const Numbers rq = file.of_layer(*n, which + "rq/", l, Index(expected.size()));
      for (std::size_t o = 0; o < width; o++) {
        Numbers got, want;
        for (std::size_t t = 0; t < expected.size(); t++) got.push_back(quotients[t * all + first + o]), want.push_back(rq[t * width + o]);
        rq_off.push_back(share(distance(got, want), largest(rq)));
      }
      first += width;
      means.insert(means.end(), index.lambda[l].begin(), index.lambda[l].end());
    }
    const Numbers mean_off = quotients_off(file, *n, means, which + "epoch_avg_rq/");
    const std::string steps = which.substr(2, which.size() - 3) + " batch, " + std::to_string(expected.size()) + " steps: ";
    f.at_most("E5", steps + "losses", relative(losses, expected), m.tolerance(1e-5));
    f.at_most("E10", steps + "quotients over their layer's largest, " + whose(m.exact()), judged(rq_off, m.exact()), m.tolerance(5e-4));
    f.at_most("E11", steps + text("directions at ", marks, " marks, absolute, ", whose(m.exact())), v_off, m.tolerance(3e-4));
    f.at_most("E10", steps + "λ̂, their mean, " + whose(m.exact()), judged(mean_off, m.exact()), m.tolerance(5e-4));
    f.at_most("E11", steps + "v̂, the directions' mean, absolute, " + whose(m.exact()), judged(neurons_off(file, *n, index.v, which + "epoch_avg_v/", Over::one), m.exact()), m.tolerance(3e-4));
    if (!m.exact()) continue;  // float32 is judged by what comes of them
    for (const auto& [name, tensor] : descent.state()) {
      const bool squares = name == "squares";
      if (!squares && name != "buffer") continue;
      const std::string theirs = which + (squares ? "rmsprop_square_avg/" : "rmsprop_momentum_buffer/");
      f.at_most("E11", steps + "RMSprop's " + (squares ? "squares" : "momentum") + " over their layer's largest", judged(neurons_off(file, *n, tensor, theirs, Over::layer), true), 1e-9);
    }
  }
  if (m.exact()) audit_convergence(f, file, m, settings.probe);
}

void audit_train_step(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  const std::vector<std::string> names = file.prefixes("/f64/step1/loss");  // "ls0.1_imagenet", "ls0_cifar_lr0.003"
  if (names.empty()) user_error(file.file().path, ": no tensor '…/f64/step1/loss', expected a training step");
  for (const std::string& name : names) {
    if (name.compare(0, 2, "ls") != 0) user_error(file.file().path, ": tensor '", name, "/f64/step1/loss': expected a name such as ls0.1_cifar, with the label smoothing");
    bool imagenet = name.find("imagenet") != std::string::npos;
    double smoothing = std::atof(name.c_str() + 2), lr = name.find("_lr") == std::string::npos ? 0.1 : std::atof(name.c_str() + name.find("_lr") + 3);
    auto n = file.network(m);
    SgdSettings settings;
    settings.nesterov = imagenet, settings.decay = imagenet ? Decay::weights : Decay::all;
    Sgd sgd(*n, settings);
    auto say = [&](int step, const char* equation, const std::string& what, double off, double f32) {
      if (m.exact() || (step == 1 && r.smooth())) f.at_most(equation, name + what, off, m.tolerance(f32));
      else f.told(equation, name + what, off);
    };
    int step = 1;
    for (; file.any(name + "/f64/step" + std::to_string(step) + "/"); step++) {
      const std::string prefix = name + "/f64/step" + std::to_string(step) + "/", what = ", step " + std::to_string(step) + ": ";
      n->set_training(true);
      n->begin_step();
      Variable y = n->forward(Variable(file.pictures(m, step - 1))), l = cross_entropy(y, file.labels(m, step - 1), smoothing);
      Tensor logits = y.value(), lost = l.value();
      backward(l);
      n->finish_step();
      say(step, "E5", what + "logits", off(file, logits, prefix + "logits"), 3e-4);
      say(step, "E5", what + "loss", off(file, lost, prefix + "loss"), 1e-4);
      if (file.any(prefix + "grad/")) {  // two settings may share a first gradient, which is there once
        Tensors gradients = parameters_of(file, *n, n->gradients(), true, prefix + "grad/");
        say(step, "", what + text("gradients of ", gradients.count(), " tensors"), gradients.off(), 1e-3);
      }
      sgd.step(lr);
      Tensors parameters = parameters_of(file, *n, n->parameters(), true, prefix + "param_after/"), statistics = parameters_of(file, *n, n->statistics(), false, prefix + "running_after/");
      say(step, "", what + text(parameters.count(), " parameters after the update"), parameters.off(), 3e-4);
      say(step, "E5", what + text(statistics.count(), " running statistics"), statistics.off(), 1e-5);
    }
    const std::string last = name + "/f64/eval_logits_after_" + std::to_string(step - 1) + "_steps";
    if (file.any(name + "/f64/eval_logits_after_")) say(step - 1, "E5", text(": logits of batch 0 after ", step - 1, " steps, running statistics"), off(file, logits(*n, file.pictures(m)), last), 5e-5);
  }
}

void audit_split(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  auto n = file.network(m);
  Tensor x = file.pictures(m), labels = file.labels(m), v = file.directions(*n, "eigvec/");
  std::vector<std::vector<char>> split;
  for (std::size_t l = 0; l < n->axes().size(); l++) {
    Numbers mask = file.of_layer(*n, "mask/", l, 1);
    for (double chosen : mask)
      if (chosen != 0 && chosen != 1) user_error(file.file().path, ": tensor 'mask/", layer_name(l), "': ", chosen, ", expected 0 or 1");
    split.emplace_back(mask.begin(), mask.end());
  }
  auto grown = [&](double epsilon, SplitStep step) { return split_network(*n, split, v, {epsilon, step}); };
  const std::string running = "/f64/logits_eval", batch = "/f64/logits_train";
  f.at_most("E5", "logits before the split", off(file, logits(*n, x), "before" + running), m.tolerance(5e-5));
  if (file.has("before" + batch)) f.at_most("E5", "logits before the split, batch statistics", off(file, logits(*file.network(m), x, true), "before" + batch), m.tolerance(3e-4));
  int cases = 0, with_parameters = 0;
  for (const std::string& name : file.prefixes(running)) {  // "before", "eps1e-2", "corrected_eps1e-2"
    const bool halved = name.compare(0, 13, "corrected_eps") == 0;
    if (!halved && name.compare(0, 3, "eps") != 0) continue;
    cases++;
    const double epsilon = std::atof(name.c_str() + name.find("eps") + 3);
    const std::string what = name + (halved ? ", halved directions: " : ", authors' step: ");
    auto g = grown(epsilon, halved ? SplitStep::exact : SplitStep::paper);
    f.at_most("E1", what + "logits, running statistics", off(file, logits(*g, x), name + running), m.tolerance(5e-5));
    if (file.any(name + "/f64/new_param/")) {
      with_parameters++;
      const bool some = epsilon == 0;  // of a split without a step the files keep what differs from others: the neurons
      Tensors parameters = parameters_of(file, *g, g->parameters(), true, name + "/f64/new_param/", some),
              statistics = parameters_of(file, *g, g->statistics(), false, name + "/f64/new_param/", some);
      f.at_most("E1", text(what, parameters.count() + statistics.count(), " new parameters and statistics"), std::max(parameters.off(), statistics.off()), m.tolerance(1e-6));
    }
    if (file.has(name + batch)) f.at_most("E1", what + "logits, batch statistics", off(file, logits(*g, x, true), name + batch), m.tolerance(3e-4));
  }
  if (cases == 0 || with_parameters == 0) user_error(file.file().path, ": no tensor 'eps…", cases == 0 ? running : "/f64/new_param/…", "', expected a split");
  if (file.has("loss_change") && m.exact()) audit_loss_change(f, file, m, authors_probe(r), split);
}

}  // namespace

void audit_reference(Findings& findings, const std::string& path, Backend& device, std::optional<double> relu_beta) {
  ReferenceFile file(read_safetensors(path));
  const std::string kind = file.metadata("kind");
  using Audit = void (*)(Findings&, const Reference&);
  Audit audit = kind == "rq_step" ? audit_rq_step : kind == "exact" ? audit_exact : kind == "trajectory" ? audit_trajectory
                : kind == "train_step" ? audit_train_step : kind == "split" ? audit_split : nullptr;
  if (!audit && kind != "select") user_error(path, ": metadata 'kind': '", kind, "', expected rq_step, exact, trajectory, train_step, select or split");
  if (kind == "exact") require_eigen("audit of exact splitting matrices");
  if (kind == "select") {
    findings.section(path + ": selections");
    return audit_select(findings, file);
  }
  for (const Machine& m : {Machine{open_backend("reference"), DType::f64}, Machine{device, DType::f32}}) {
    findings.section(path + ": " + kind + " of a " + file.metadata("network") + " on " + m.name() + "; max|x − y| / max|y| unless it says otherwise");
    audit(findings, {file, m, relu_beta.value_or(file.relu_beta())});
  }
}

}  // namespace fission
