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

ProbeSettings authors_probe() {  // the paper's matrix; φ'' = 1 of linear layers
  ProbeSettings p;
  p.matrix = Matrix::paper, p.curvature.linear = 1;
  return p;
}

// the worst layer of a flat buffer against prefix + "Lxx"
template <class Compare>
double worst(const ReferenceFile& file, const Network& n, const Tensor& flat, const std::string& prefix, Compare compare) {
  double most = 0;
  for (std::size_t l = 0; l < n.axes().size(); l++) most = std::max(most, compare(of_axis(n, l, flat), file.of_layer(n, prefix, l)));
  return most;
}
// all neurons' numbers against prefix + "Lxx", one a neuron
double quotients_off(const ReferenceFile& file, const Network& n, const Numbers& got, const std::string& prefix) {
  double most = 0;
  auto from = got.begin();
  for (std::size_t l = 0; l < n.axes().size(); l++) {
    auto to = from + n.axes()[l].width;
    most = std::max(most, relative(Numbers(from, to), file.of_layer(n, prefix, l, 1)));
    from = to;
  }
  return most;
}
double parameters_off(const ReferenceFile& file, const Network& n, const Tensor& flat, bool parameters, const std::string& prefix, int& compared) {
  double most = 0;
  for (const Stored& s : n.stored()) {
    if (s.parameter != parameters || !file.has(prefix + s.name)) continue;
    compared++;
    most = std::max(most, relative(to_pytorch(s, n.view(s, flat).to_host()), file.numbers(prefix + s.name, s.shape.numel())));
  }
  return most;
}

// a whole tensor against the file's of that name
double off(const ReferenceFile& file, const Tensor& got, const std::string& name) { return relative(got.to_host(), file.numbers(name, got.numel())); }
// rows of so many columns
Numbers rows_of(const ReferenceFile& file, const std::string& name, Index columns) {
  const Index count = file.file().at(name).numel();
  return file.numbers(name, (count + columns - 1) / columns * columns);
}

Tensor logits(Network& n, const Tensor& x, bool training = false) {
  GradientMode none(Gradients::none);
  n.set_training(training);
  return n.forward(Variable(x)).value();
}
double loss(Network& n, const Tensor& x, const Tensor& labels) {
  GradientMode none(Gradients::none);
  return cross_entropy(Variable(logits(n, x)), labels, 0).value().item();
}

}  // namespace

void audit_rq_step(Findings& f, const ReferenceFile& file, const Machine& m) {
  auto n = file.network(m);
  RayleighSettings settings;
  settings.probe = authors_probe();
  RayleighDescent descent(*n, settings, 0, 0);
  descent.v() = file.directions(*n, "v/");
  Tensor x = file.pictures(m), labels = file.labels(m);
  descent.begin_epoch();
  Tensor l = descent.step(x, labels, 0);
  f.at_most("E5", "logits", off(file, logits(*n, x), "b/f64/logits"), m.tolerance(5e-5));
  f.at_most("E5", "loss", off(file, l, "b/f64/loss"), m.tolerance(1e-5));
  f.at_most("E8", "S·v of the paper's matrix, worst layer", worst(file, *n, descent.products(), "b/f64/sv/", relative), m.tolerance(2e-4));
  f.at_most("E10", "Rayleigh quotients, worst layer", quotients_off(file, *n, descent.quotients().to_host(), "b/f64/rq/"), m.tolerance(3e-4));
  f.at_most("E11", "their gradient, worst layer", worst(file, *n, descent.gradient(), "b/f64/rq_grad/", relative), m.tolerance(2e-4));
  f.at_most("E11", "directions after one RMSprop step, worst layer", worst(file, *n, descent.v(), "b/f64/v_after_1_step/", relative), m.tolerance(1e-5));
}

void audit_exact(Findings& f, const ReferenceFile& file, const Machine& m) {
  auto n = file.network(m);
  Tensor x = file.pictures(m), labels = file.labels(m);
  auto matrices = [&](Matrix matrix) {
    ExactSettings e;
    e.probe = authors_probe(), e.probe.matrix = matrix;
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
    double s_off = 0, values_off = 0, least_off = 0;
    const std::string least = chain ? "b/full_min_eigval/" : "b/min_eigval/";
    for (const ExactAxis& a : all) {
      std::size_t l = std::size_t(a.axis);
      Numbers s = file.of_layer(*n, "b/S/", l, a.d * a.d), lambda;
      if (chain) {
        Numbers rest = file.of_layer(*n, "b/S_dwterm/", l, a.d * a.d);
        for (std::size_t i = 0; i < s.size(); i++) s[i] += rest[i];
      }
      s_off = std::max(s_off, relative(in_files_order(a, a.s), s));
      if (!chain) {
        double scale = largest(a.eigenvalues);
        values_off = std::max(values_off, distance(a.eigenvalues, file.of_layer(*n, "b/eigvals/", l, a.d)) / scale);
      }
      for (Index o = 0; o < a.neurons; o++) lambda.push_back(a.lambda_min(o));
      least_off = std::max(least_off, distance(lambda, file.of_layer(*n, least, l, 1)) / largest(a.eigenvalues));
    }
    const std::string which = chain ? "the chain's" : "the paper's";
    f.at_most(chain ? "E6c" : "E6", which + " full matrices, worst layer", s_off, m.tolerance(2e-4));
    if (!chain) f.at_most("E3", which + " eigenvalues over the layer's largest", values_off, m.tolerance(1e-4));
    f.at_most("E3", which + " least eigenvalues over the layer's largest", least_off, m.tolerance(1e-4));
  };
  check(matrices(Matrix::paper), false);
  const bool chain = file.has("b/S_dwterm/L00");
  if (chain) check(matrices(Matrix::chain), true);
  if (!chain || !file.has("b/split_check_real") || !m.exact()) return;
  // rows: layer, neuron, ε, λ, uᵀ S_full u, true loss change, ε²/2 λ, ε²/2 uᵀ S_full u
  Numbers rows = rows_of(file, "b/split_check_real", 8);
  Tensor u = file.directions(*n, "b/min_eigvec/");
  double before = loss(*n, x, labels), change_off = 0;
  for (std::size_t r = 0; r + 8 <= rows.size(); r += 8) {
    std::vector<std::vector<char>> split;
    for (const Axis& axis : n->axes()) split.emplace_back(axis.width, 0);
    if (!(rows[r] >= 0 && rows[r] < double(split.size()) && rows[r + 1] >= 0 && rows[r + 1] < double(split[std::size_t(rows[r])].size())))
      user_error(file.file().path, ": tensor 'b/split_check_real': row ", r / 8, ": layer ", rows[r], ", neuron ", rows[r + 1], " are not there");
    split[std::size_t(rows[r])][std::size_t(rows[r + 1])] = 1;
    SurgerySettings settings;
    settings.epsilon = rows[r + 2];
    change_off = std::max(change_off, std::abs(loss(*split_network(*n, split, u, settings), x, labels) - before - rows[r + 5]));
  }
  f.at_most("E2", text("loss changes of ", rows.size() / 8, " really split neurons, absolute"), change_off, 1e-13);
}

void audit_trajectory(Findings& f, const ReferenceFile& file, const Machine& m) {
  auto n = file.network(m);
  RayleighSettings settings;
  settings.probe = authors_probe();
  for (const std::string which : {"b/fixed/", "b/alternating/"}) {
    if (!file.has(which + "loss")) continue;
    RayleighDescent descent(*n, settings, 0, 0);
    descent.v() = file.directions(*n, "v0/");
    descent.begin_epoch();
    Numbers losses, expected = file.numbers(which + "loss"), quotients;
    double v_off = 0;
    for (std::size_t t = 0; t < expected.size(); t++) {
      Index batch = which == "b/fixed/" ? 0 : Index(t) % file.batches();
      losses.push_back(descent.step(file.pictures(m, batch), file.labels(m, batch), 0).item());
      for (double q : descent.quotients().to_host()) quotients.push_back(q);
      std::string after = which + "v_after_" + std::to_string(t + 1) + "/";
      if (t + 1 == expected.size()) after = which + "v_final/";
      if (file.has(after + "L00")) v_off = std::max(v_off, worst(file, *n, descent.v(), after, distance));
    }
    double rq_off = 0;
    std::size_t first = 0, all = quotients.size() / expected.size();
    for (std::size_t l = 0; l < n->axes().size(); l++) {
      std::size_t width = std::size_t(n->axes()[l].width);
      Numbers got;
      for (std::size_t t = 0; t < expected.size(); t++) got.insert(got.end(), quotients.begin() + long(t * all + first), quotients.begin() + long(t * all + first + width));
      rq_off = std::max(rq_off, relative(got, file.of_layer(*n, which + "rq/", l, Index(expected.size()))));
      first += width;
    }
    SplittingIndex index = descent.result();
    double mean_off = 0;
    for (std::size_t l = 0; l < n->axes().size(); l++) mean_off = std::max(mean_off, relative(index.lambda[l], file.of_layer(*n, which + "epoch_avg_rq/", l, 1)));
    const std::string steps = which.substr(2, which.size() - 3) + " batch, " + std::to_string(expected.size()) + " steps: ";
    f.at_most("E5", steps + "losses", relative(losses, expected), m.tolerance(1e-5));
    f.at_most("E10", steps + "quotients, worst layer", rq_off, m.tolerance(5e-4));
    f.at_most("E11", steps + "directions along the way, absolute", v_off, m.tolerance(3e-4));
    f.at_most("E10", steps + "λ̂, their mean", mean_off, m.tolerance(5e-4));
    f.at_most("E11", steps + "v̂, the directions' mean, absolute", worst(file, *n, index.v, which + "epoch_avg_v/", distance), m.tolerance(3e-4));
  }
}

void audit_train_step(Findings& f, const ReferenceFile& file, const Machine& m) {
  for (const std::string& name : file.prefixes("/f64/step1/loss")) {  // "ls0.1_imagenet", "ls0_cifar_lr0.003"
    bool imagenet = name.find("imagenet") != std::string::npos;
    double smoothing = std::atof(name.c_str() + 2), lr = name.find("_lr") == std::string::npos ? 0.1 : std::atof(name.c_str() + name.find("_lr") + 3);
    auto n = file.network(m);
    SgdSettings settings;
    settings.nesterov = imagenet, settings.decay_all = !imagenet;
    Sgd sgd(*n, settings);
    for (int step : {1, 2}) {
      const std::string prefix = name + "/f64/step" + std::to_string(step) + "/", what = name + ", step " + std::to_string(step) + ": ";
      const bool rough = step == 2 && lr >= 0.1;  // ill-conditioned in float32
      n->set_training(true);
      n->begin_step();
      Variable y = n->forward(Variable(file.pictures(m, step - 1))), l = cross_entropy(y, file.labels(m, step - 1), smoothing);
      Tensor logits = y.value(), lost = l.value();
      backward(l);
      n->finish_step();
      f.at_most("E5", what + "logits", off(file, logits, prefix + "logits"), m.tolerance(rough ? 1e-2 : step == 2 ? 3e-4 : 5e-5));
      f.at_most("E5", what + "loss", off(file, lost, prefix + "loss"), m.tolerance(rough ? 1e-2 : step == 2 ? 3e-4 : 1e-5));
      int gradients = 0, parameters = 0, statistics = 0;
      double worst_off = parameters_off(file, *n, n->gradients(), true, prefix + "grad/", gradients);
      if (gradients) f.at_most("", what + text("gradients of ", gradients, " tensors"), worst_off, m.tolerance(rough ? 1e-1 : step == 2 ? 5e-3 : 1e-3));
      sgd.step(lr);
      worst_off = parameters_off(file, *n, n->parameters(), true, prefix + "param_after/", parameters);
      f.at_most("", what + text(parameters, " parameters after the update"), worst_off, m.tolerance(rough ? 3e-2 : step == 2 ? 5e-5 : 3e-4));
      worst_off = parameters_off(file, *n, n->statistics(), false, prefix + "running_after/", statistics);
      f.at_most("E5", what + text(statistics, " running statistics"), worst_off, m.tolerance(rough ? 1e-3 : 1e-5));
    }
  }
}

void audit_split(Findings& f, const ReferenceFile& file, const Machine& m) {
  auto n = file.network(m);
  Tensor x = file.pictures(m), labels = file.labels(m), v = file.directions(*n, "eigvec/");
  std::vector<std::vector<char>> split;
  for (std::size_t l = 0; l < n->axes().size(); l++) {
    Numbers mask = file.of_layer(*n, "mask/", l, 1);
    split.emplace_back(mask.begin(), mask.end());
  }
  auto grown = [&](double epsilon, SplitStep step) { return split_network(*n, split, v, {epsilon, step}); };
  f.at_most("E5", "logits before the split", off(file, logits(*n, x), "before/f64/logits_eval"), m.tolerance(5e-5));
  for (const std::string& name : file.prefixes("/f64/logits_eval")) {
    if (name.rfind("eps", 0) != 0) continue;
    auto g = grown(std::atof(name.c_str() + 3), SplitStep::paper);
    f.at_most("E1", name + ", authors' step: logits, running statistics", off(file, logits(*g, x), name + "/f64/logits_eval"), m.tolerance(5e-5));
    if (file.has(name + "/f64/logits_train"))
      f.at_most("E1", name + ", authors' step: logits, batch statistics", off(file, logits(*g, x, true), name + "/f64/logits_train"), m.tolerance(5e-5));
  }
  for (const char* name : {"eps0", "eps1e-2", "eps1e-1"}) {
    auto g = grown(std::atof(name + 3), SplitStep::paper);
    int compared = 0;
    std::string prefix = std::string(name) + "/f64/new_param/";
    double new_off = std::max(parameters_off(file, *g, g->parameters(), true, prefix, compared), parameters_off(file, *g, g->statistics(), false, prefix, compared));
    if (compared) f.at_most("E1", text(name, ", authors' step: ", compared, " new parameters and statistics"), new_off, m.tolerance(1e-6));
  }
  if (file.has("corrected_eps1e-2/f64/logits_eval"))
    f.at_most("E2", "eps1e-2, halved directions: logits", off(file, logits(*grown(1e-2, SplitStep::exact), x), "corrected_eps1e-2/f64/logits_eval"), m.tolerance(5e-5));
  if (!file.has("loss_change") || !m.exact()) return;
  // rows: ε, loss before, change with the authors' step, with v halved, Σ ε²/2 λ, Σ ε²/2 uᵀ S_full u
  Numbers rows = rows_of(file, "loss_change", 6);
  double before = loss(*n, x, labels), change_off = 0;
  for (std::size_t r = 0; r + 6 <= rows.size(); r += 6)
    change_off = std::max({change_off, std::abs(before - rows[r + 1]), std::abs(loss(*grown(rows[r], SplitStep::paper), x, labels) - before - rows[r + 2]),
                    std::abs(loss(*grown(rows[r], SplitStep::exact), x, labels) - before - rows[r + 3])});
  f.at_most("E4", "loss changes of both steps, absolute", change_off, 1e-13);
}

void audit_reference(Findings& findings, const std::string& path, Backend& device) {
  ReferenceFile file(read_safetensors(path));
  const std::string kind = file.metadata("kind");
  using Audit = void (*)(Findings&, const ReferenceFile&, const Machine&);
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
    audit(findings, file, m);
  }
}

}  // namespace fission
