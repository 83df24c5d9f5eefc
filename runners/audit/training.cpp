// The audit of ordinary training steps (E5's network, its gradients, SGD), and of the surgery (E1).
#include <algorithm>
#include <cmath>

#include "nn/optimizer.h"
#include "runners/audit/reference.h"
#include "split/surgery.h"

namespace fission {

using namespace audit;

namespace {

struct Step {
  Layers logits, loss, gradients, parameters, statistics;
};

// The steps of one setting, "ls0.1_imagenet", "ls0_cifar_lr0.003": computed by a network of ours,
// or as the file has them
struct Training {
  const ReferenceFile& file;
  std::string name;
  bool imagenet() const { return name.find("imagenet") != std::string::npos; }
  double smoothing() const { return std::atof(name.c_str() + 2); }
  double lr() const {
    return name.find("_lr") == std::string::npos ? 0.1
                                                 : std::atof(name.c_str() + name.find("_lr") + 3);
  }
  std::string at(const std::string& precision, int step) const {
    return name + "/" + precision + "/step" + std::to_string(step) + "/";
  }
  std::string after(const std::string& precision, int steps) const {
    return name + "/" + precision + "/eval_logits_after_" + std::to_string(steps) + "_steps";
  }
  // two settings may share a first gradient; a later one is there if any setting has it
  bool gradients(const std::string& precision, int step) const {
    const std::string part = "/" + precision + "/step" + std::to_string(step) + "/grad/" +
                             layer_module(file.config().model, 0) + ".conv2d.weight";
    return file.any(at(precision, step) + "grad/") || (step > 1 && !file.prefixes(part).empty());
  }
  int steps() const {
    int n = 1;
    while (file.any(at("f64", n + 1)) || file.has(after("f64", n + 1))) n++;
    return n;
  }
  // Section 8 of METHOD.md: of MobileNetV2 the authors decay the depthwise scales too. Their script
  // of it takes no Nesterov step, the files' metadata say that ImageNet's do: of MobileNetV2 the
  // file's own first step says which.
  bool v2() const { return file.config().model == "mobilenet_v2"; }
  SgdSettings sgd(bool nesterov) const {
    SgdSettings s;
    s.nesterov = nesterov, s.decay = !imagenet() ? Decay::all
                                     : v2()      ? Decay::weights_and_depthwise
                                                 : Decay::weights;
    return s;
  }

  std::vector<Step> run(const Machine& m, bool nesterov, double jitter_by,
                        Numbers* evaluated) const {
    auto n = file.network(m);
    if (jitter_by > 0) jitter(*n, jitter_by);
    Sgd optimizer(*n, sgd(nesterov));
    std::vector<Step> all;
    for (int i = 0; i < steps(); i++) {
      n->set_training(true);
      n->begin_step();
      Variable y = n->forward(Variable(file.images(m, i)));
      Loss l = cross_entropy(y, file.labels(m, i), smoothing());
      Step s;
      s.logits = {y.value().to_host()}, s.loss = {l.value().to_host()};
      backward(l);
      n->finish_step();
      s.gradients = own_tensors(*n, n->gradients(), true);
      optimizer.step(lr());
      s.parameters = own_tensors(*n, n->parameters(), true),
      s.statistics = own_tensors(*n, n->statistics(), false);
      all.push_back(std::move(s));
    }
    *evaluated = fission::logits(*n, file.images(m)).to_host();
    return all;
  }
  Step read(const Network& n, const std::string& precision, int step, Index images) const {
    const std::string prefix = at(precision, step);
    Step s;
    s.logits = {file.numbers(prefix + "logits", {images, n.config().classes})},
    s.loss = {file.numbers(prefix + "loss", {1})};
    if (gradients(precision, step)) s.gradients = file_tensors(file, n, true, prefix + "grad/");
    s.parameters = file_tensors(file, n, true, prefix + "param_after/");
    s.statistics = file_tensors(file, n, false, prefix + "running_after/");
    return s;
  }
};

double finite(double x) {
  return std::isfinite(x) ? x : 0;
}  // gradients that one precision has and the other not

struct Row {
  const char *equation, *what;
  Layers Step::*part;
  double f32, first, small_rate, great_rate;  // strictly: of the first step, and of later ones
};

}  // namespace

void audit_train_step(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  const std::vector<std::string> names = file.prefixes("/f64/step1/loss");
  if (names.empty())
    user_error(file.file().path, ": no tensor '…/f64/step1/loss', expected a training step");
  const Row rows[] = {
      {"E5", "logits", &Step::logits, 3e-4, 5e-5, 3e-4, 1e-2},
      {"E5", "loss", &Step::loss, 1e-4, 5e-5, 3e-4, 1e-2},
      {"", "gradients", &Step::gradients, 1e-3, 1e-3, 5e-3, 1e-1},
      {"", "parameters after the update", &Step::parameters, 3e-4, 3e-4, 5e-5, 3e-2},
      {"E5", "running statistics", &Step::statistics, 1e-5, 1e-5, 1e-5, 1e-3}};
  for (const std::string& name : names) {
    if (name.compare(0, 2, "ls") != 0)
      user_error(file.file().path, ": tensor '", name,
                 "/f64/step1/loss': expected a name such as ls0.1_cifar, with the label smoothing");
    const Training t{file, name};
    auto n = file.network(m);
    const Index images = file.images(m).dim(0);
    Numbers evaluated, moved_evaluated;
    bool nesterov = t.imagenet();
    std::vector<Step> got = t.run(m, nesterov, 0, &evaluated);
    if (nesterov && t.v2()) {
      const Step first = t.read(*n, "f64", 1, images);
      Numbers plain_evaluated;
      std::vector<Step> plain = t.run(m, false, 0, &plain_evaluated);
      if (off(plain[0].parameters, first.parameters, r.layer()) <
          off(got[0].parameters, first.parameters, r.layer()))
        nesterov = false, got = plain, evaluated = plain_evaluated;
      f.note("", name + ": Nesterov's step, by the file's first", nesterov ? "yes" : "no");
    }
    std::vector<Step> moved;  // the same from parameters with other last bits
    auto last_bits = [&]() -> const std::vector<Step>& {
      if (moved.empty()) moved = t.run(m, nesterov, 1e-15, &moved_evaluated);
      return moved;
    };
    const bool in_f32 = file.any(name + "/f32/");
    for (int step = 1; step <= t.steps(); step++) {
      const std::size_t at = std::size_t(step - 1);
      const Step want = t.read(*n, "f64", step, images);
      for (const Row& row : rows) {
        const std::string what = text(name, ", step ", step, ": ", row.what);
        if ((want.*row.part).empty()) {
          f.note(row.equation, what, "not in this file");
          continue;
        }
        auto apart = [&](const Step& a, const Step& b) {
          return off(a.*row.part, b.*row.part, r.layer());
        };
        const double figure = apart(got[at], want);
        auto spread = [&] {
          return m.exact() ? apart(last_bits()[at], got[at])
                 : in_f32  ? finite(apart(t.read(*n, "f32", step, images), want))
                           : 0;
        };
        const double strict = step == 1      ? row.first
                              : t.lr() < 0.1 ? row.small_rate
                                             : row.great_rate;
        if (r.every_neuron() || (step == 1 && r.smooth()))
          r.hold(f, row.equation, what, figure, m.tolerance(r.strict ? strict : row.f32), spread);
        else f.note(row.equation, what, figure);
      }
    }
    const int steps = t.steps();
    const std::string what =
        text(name, ": logits of batch 0 after ", steps, " steps, running statistics");
    if (!file.any(name + "/f64/eval_logits_after_")) {
      f.note("E5", what, "not in this file");
      continue;
    }
    const double off =
        relative(evaluated, file.numbers(t.after("f64", steps), {images, n->config().classes}));
    if (r.every_neuron())
      r.hold(f, "E5", what, off, m.tolerance(t.lr() < 0.1 ? 3e-3 : 4e-2),
             [&] { return last_bits(), relative(moved_evaluated, evaluated); });
    else f.note("E5", what, off);
  }
}

void audit_split(Findings& f, const Reference& r) {
  const ReferenceFile& file = r.file;
  const Machine& m = r.m;
  auto n = file.network(m);
  Tensor x = file.images(m), labels = file.labels(m), v = file.directions(*n, "eigvec/");
  const Layers masks = singles(file, *n, "mask/");
  std::vector<std::vector<char>> split;
  for (std::size_t l = 0; l < masks.size(); l++) {
    for (double chosen : masks[l])
      if (chosen != 0 && chosen != 1)
        user_error(file.file().path, ": tensor 'mask/", layer_name(l), "': ", chosen,
                   ", expected 0 or 1");
    split.emplace_back(masks[l].begin(), masks[l].end());
  }
  if (file.has("new_cfg")) {  // widths; MobileNetV2: (width, stride, …)
    const std::vector<Index> widths = split_network(*n, split, v, {})->widths();
    const ReferenceFile::Dims shape = file.file().at("new_cfg").shape;
    const std::size_t columns = shape.size() == 2 ? std::size_t(shape[1]) : 1;
    const Numbers rows =
        columns == 1 ? file.rows("new_cfg", 1) : file.rows("new_cfg", Index(columns));
    if (rows.size() != columns * widths.size())
      user_error(file.file().path, ": tensor 'new_cfg': ", rows.size() / columns,
                 " layers, expected ", widths.size());
    double other = 0;
    for (std::size_t l = 0; l < widths.size(); l++) other += rows[l * columns] != double(widths[l]);
    f.equal("E1", "layers of another new width", other, 0);
  }
  const std::string running = "/logits_eval", batch = "/logits_train", lost = "/loss_eval",
                    parameters = "/new_param/";
  auto somewhere = [&](const std::string& what) { return !file.prefixes("/f64" + what).empty(); };
  const bool with_batch = somewhere(batch), with_loss = somewhere(lost);
  auto compare = [&](const std::string& name, const std::string& what, const std::string& part,
                     const Numbers& got, double bound) {
    const ReferenceFile::Dims shape =
        part == lost ? ReferenceFile::Dims{1} : ReferenceFile::Dims{x.dim(0), n->config().classes};
    const Numbers want = file.numbers(name + "/f64" + part, shape);
    r.hold(f, name == "before" ? "E5" : "E1", what, relative(got, want), bound, [&] {
      return !m.exact() && file.has(name + "/f32" + part)
                 ? relative(file.numbers(name + "/f32" + part, shape), want)
                 : 0;
    });
  };
  auto outputs = [&](const std::string& name, const std::string& what,
                     const std::function<std::unique_ptr<Network>()>& make, bool also) {
    const Tensor y = logits(*make(), x);
    compare(name, what + "logits, running statistics", running, y.to_host(), m.tolerance(5e-5));
    if (!also) return;  // halved directions: the files have these logits alone
    if (with_loss)
      compare(name, what + "loss", lost, cross_entropy(Variable(y), labels, 0).value().to_host(),
              m.tolerance(1e-5));
    if (with_batch)
      compare(name, what + "logits, batch statistics", batch, logits(*make(), x, true).to_host(),
              m.tolerance(r.strict ? 5e-5 : 3e-4));
  };
  outputs(
      "before", "before the split: ", [&] { return file.network(m); }, true);
  int cases = 0, with_parameters = 0;
  std::set<std::string> names;
  for (const std::string& part : {running, batch, lost})
    for (const std::string& name : file.prefixes("/f64" + part))
      names.insert(name);  // "before", "eps1e-2", "corrected_eps1e-2"
  for (const std::string& name : names) {
    const bool halved = name.compare(0, 13, "corrected_eps") == 0;
    if (!halved && name.compare(0, 3, "eps") != 0) continue;
    cases++;
    const double epsilon = std::atof(name.c_str() + name.find("eps") + 3);
    const std::string what = name + (halved ? ", halved directions: " : ", authors' step: "),
                      theirs = name + "/f64" + parameters;
    auto grown = [&] {
      return split_network(*n, split, v, {epsilon, halved ? SplitStep::exact : SplitStep::paper});
    };
    outputs(name, what, grown, !halved);
    if (!file.any(theirs)) continue;
    with_parameters++;
    auto g = grown();
    // of a split without a step the files keep what differs from others: the neurons
    auto wanted = [&](const std::string& stored) {
      if (epsilon != 0 || file.has(theirs + stored)) return true;
      for (std::size_t l = 0; l < g->axes().size(); l++)
        if (neurons(*g, l).name == stored) return true;
      return false;
    };
    const Layers p = own_tensors(*g, g->parameters(), true, wanted),
                 s = own_tensors(*g, g->statistics(), false, wanted);
    f.at_most(
        "E1", text(what, p.size() + s.size(), " new parameters and statistics"),
        std::max(off(p, file_tensors(file, *g, true, theirs, wanted), r.layer()),
                 s.empty() ? 0 : off(s, file_tensors(file, *g, false, theirs, wanted), r.layer())),
        m.tolerance(1e-6));
  }
  if (cases == 0 || with_parameters == 0)
    user_error(file.file().path, ": no tensor 'eps…/f64", cases == 0 ? running : parameters + "…",
               "', expected a split");
  if (!m.exact()) return;
  // ReLU's predictions are a surrogate's, and of MobileNetV2 the files have none
  const bool promised = file.config().model == "mobilenet_v1" &&
                        file.config().activation == Activation::swish && file.any("corrected_eps");
  if (file.has("loss_change") || promised) audit_loss_change(f, r, split);
  else f.note("E4", "loss changes of this split", "not in this file (loss_change)");
}

}  // namespace fission
