#include "runners/audit/network.h"

#include <algorithm>
#include <cmath>

#include "runners/audit/compare.h"
#include "runners/audit/numbers.h"
#include "split/surgery.h"
#include "tensor/eigen.h"

namespace fission {

using namespace audit;

double NetworkAudit::Side::loss(Network& n) const {
  GradientMode none(Gradients::none);
  n.set_training(false);
  return cross_entropy(n.forward(Variable(x)), labels, 0).value().item();
}
Tensor NetworkAudit::Side::logits(Network& n) const {
  GradientMode none(Gradients::none);
  n.set_training(false);
  return n.forward(Variable(x)).value();
}

double NetworkAudit::rounding(double loss, double predicted) const {
  return 1e-15 * (1 + std::abs(loss)) / std::abs(predicted);
}
void NetworkAudit::real_at_most(const std::string& equation, const std::string& what, double figure,
                                double bound) {
  if (f64_.network->config().activation == Activation::swish)
    findings_.at_most(equation, what, figure, bound);
  else
    findings_.note(equation, what + " (ReLU's curvature is a surrogate's: not judged)",
                   std::isfinite(figure) ? plain(figure) : "none");
}

std::unique_ptr<data::Loader> NetworkAudit::loader(const data::Dataset& images, Backend& backend,
                                                   Index batch) const {
  data::LoaderOptions o;
  o.batch = batch, o.seed = settings_.seed, o.stage = data::check_stage, o.shuffle = false,
  o.augment = settings_.augment, o.fixed_key = true;
  return std::make_unique<data::Loader>(images, backend, o);
}

NetworkAudit::NetworkAudit(Findings& findings, const TensorFile& checkpoint,
                           const data::Dataset& images, Backend& device, AuditSettings settings)
    : findings_(findings), images_(images), many_(images), settings_(std::move(settings)) {
  require_eigen("audit");
  many_.count = std::min(many_.count, settings_.batches * settings_.batch);
  many_.images.resize(std::size_t(many_.count * many_.bytes_per_image())),
      many_.labels.resize(std::size_t(many_.count));
  auto make = [&](Backend& backend, DType type) {
    Side s;
    s.network = load_network(checkpoint, backend, type);
    auto source = loader(many_, backend, settings_.few);
    Batch batch = source->next(0, 0);
    settings_.few = Index(batch.labels.dim(0));  // no more than there are
    s.x = ImageInput(backend, type, images_.mean, images_.std)(batch), s.labels = batch.labels;
    return s;
  };
  f32_ = make(device, DType::f32), f64_ = make(open_backend("reference"), DType::f64);
}

// The layers whose matrices cost the least, as many as there is work for: neurons · d² · positions
// · images products an activation
std::vector<int> NetworkAudit::affordable(Index images, const char* what) {
  const Network& n = *f32_.network;
  std::vector<std::pair<double, int>> cost;
  for (std::size_t l = 0; l < n.axes().size(); l++) {
    const Axis& a = n.axes()[l];
    double d = double(neurons(n, l).shape.numel() / a.width),
           positions = double(n.producer(a).positions);
    for (int block : a.chain) positions += double(n.blocks()[std::size_t(block)].positions);
    cost.push_back({double(a.width) * d * d * positions * double(images), int(l)});
  }
  std::sort(cost.begin(), cost.end());
  std::vector<int> axes;
  std::string left;
  double work = 0, memory = 0;
  for (auto [c, l] : cost) {
    Index d = neurons(n, std::size_t(l)).shape.numel() / n.axes()[std::size_t(l)].width;
    double bytes = 8.0 * double(n.axes()[std::size_t(l)].width * d * d);
    if (work + c > settings_.work || memory + bytes > settings_.memory)
      left += (left.empty() ? "" : " ") + n.axes()[std::size_t(l)].name;
    else axes.push_back(l), work += c, memory += bytes;
  }
  std::sort(axes.begin(), axes.end());
  if (axes.empty())
    user_error("no layer's splitting matrices are within --work ", settings_.work, " and --memory ",
               settings_.memory, " for ", images, " images");
  if (!left.empty())
    findings_.note("", text("layers that the oracle leaves out for ", what, " (--work, --memory)"),
                   left);
  return axes;
}

std::vector<ExactAxis> NetworkAudit::oracle(Side& s, Matrix matrix, double linear) const {
  ExactSettings e;
  e.probe.matrix = matrix, e.probe.curvature = settings_.curvature,
  e.probe.curvature.linear = linear;
  e.axes = axes_, e.memory = settings_.memory;
  ExactMatrices m(*s.network, e);
  m.add(s.x, s.labels);
  return m.mean();
}

void NetworkAudit::preservation() {
  findings_.section(
      "The split preserves the function: every neuron in two, ε = 0; largest difference of logits "
      "over the largest logit");
  for (Side* s : {&f64_, &f32_}) {
    Masks all = nobody(*s->network);
    for (auto& layer : all) layer.assign(layer.size(), 1);
    auto grown = split_network(*s->network, all, random_directions(*s->network, settings_.seed, 0),
                               {0, SplitStep::exact});
    bool exact = s == &f64_;
    findings_.at_most("E1",
                      text("all ", s->network->neuron_rows().dim(0), " neurons split, ",
                           exact ? "float64" : "float32"),
                      relative(s->logits(*grown).to_host(), s->logits(*s->network).to_host()),
                      exact ? 1e-12 : 3e-5);
  }
}

// What a float32's rounding of the parameters does to S·v, worst layer
double NetworkAudit::rounding_of_products(const ProbeSettings& p) const {
  Network& n = *f64_.network;
  Tensor v = random_directions(n, settings_.seed, 1), exact = n.like_parameters(),
         rounded = n.like_parameters();
  auto other = split_network(n, nobody(n), v, {0, SplitStep::exact});  // a copy
  jitter(*other, 6e-8);
  splitting_products(n, f64_.x, f64_.labels, v, p, exact);
  splitting_products(*other, f64_.x, f64_.labels, v, p, rounded);
  double worst = 0;
  for (int axis : axes_)
    worst = std::max(worst, relative(rows(n, axis, rounded), rows(n, axis, exact)));
  return worst;
}

void NetworkAudit::products() {
  findings_.section(text("S·v of one backward pass (E7-E9) against the full matrix, ",
                         settings_.few,
                         " images, random v; max|S·v − Sv| / max|S·v| of the worst layer"));
  for (Side* s : {&f64_, &f32_})
    for (Matrix matrix : {Matrix::paper, Matrix::chain}) {
      Tensor v = random_directions(*s->network, settings_.seed, 1),
             s_v = s->network->like_parameters();
      ProbeSettings p;
      p.matrix = matrix, p.curvature = settings_.curvature;
      splitting_products(*s->network, s->x, s->labels, v, p, s_v);
      double worst = 0;
      std::string where;
      for (const ExactAxis& a : oracle(*s, matrix, settings_.curvature.linear)) {
        double off =
            relative(rows(*s->network, a.axis, s_v), times(a.s, rows(*s->network, a.axis, v)));
        if (!(off <= worst)) worst = off, where = s->network->axes()[std::size_t(a.axis)].name;
      }
      const bool exact = s == &f64_;
      hold(findings_, {s->network->backend(), s->network->dtype()},
           matrix == Matrix::paper ? "E6" : "E6c",
           text(axes_.size(), " layers, ", name_of(matrix), "'s matrix, ",
                exact ? "float64" : "float32", where.empty() ? "" : ", worst " + where),
           worst, exact ? 1e-12 : 1e-5, [&] { return exact ? 0 : rounding_of_products(p); });
    }
}

// E11 against central differences of E10 along a random direction, all neurons at once, float64
void NetworkAudit::quotients() {
  findings_.section("The Rayleigh quotient and its gradient, float64");
  Network& n = *f64_.network;
  const Tensor& all = n.neuron_rows();
  auto quotient = [&](const Tensor& v, Tensor* gradient) {
    Tensor s_v = n.like_parameters(), q(n.backend(), {all.dim(0)}, n.dtype()),
           g = n.like_parameters();
    splitting_products(n, f64_.x, f64_.labels, v, {Matrix::chain, settings_.curvature, 0}, s_v);
    ops::rayleigh(v, s_v, all, q, g);
    if (gradient) *gradient = g;
    return q.to_host();
  };
  Tensor v = random_directions(n, settings_.seed, 2), r = random_directions(n, settings_.seed, 3),
         gradient, plus = v.clone(), minus = v.clone();
  quotient(v, &gradient);
  const double h = 1e-5;
  ops::add_scaled(plus, r, h), ops::add_scaled(minus, r, -h);
  Numbers up = quotient(plus, nullptr), down = quotient(minus, nullptr), numeric, analytic;
  std::size_t row = 0;
  for (const Numbers& layer : dots(n, gradient, r))
    for (double along : layer)
      analytic.push_back(along), numeric.push_back((up[row] - down[row]) / (2 * h)), row++;
  findings_.at_most("E11",
                    text("its gradient against central differences, ", analytic.size(),
                         " neurons, over the largest"),
                    relative(analytic, numeric), 1e-6);
  double below = 0, scale = 0;  // R(v) ≥ λ_min, with equality at v_min
  SplittingIndex index = splitting_index(n, truth_);
  ProbeSettings p;
  p.curvature = settings_.curvature, p.curvature.linear = 0;
  Tensor s_v = n.like_parameters();
  splitting_products(n, f64_.x, f64_.labels, index.v, p, s_v);
  const std::vector<Numbers> forms = dots(n, index.v, s_v);
  for (const ExactAxis& a : truth_)
    for (Index o = 0; o < a.neurons; o++)
      below =
          std::max(below, std::abs(forms[std::size_t(a.axis)][std::size_t(o)] - a.lambda_min(o))),
      scale = std::max(scale, std::abs(a.lambda_min(o)));
  findings_.at_most(
      "E10", "R(v_min) is λ_min for every neuron: largest difference over the largest |λ_min|",
      scale > 0 ? below / scale : 0, 1e-9);
}

// E2 and E4 are of small ε: ratio(ε), of the change to what is predicted, tends to 1, and its
// distance from 1 falls as ε². From 0.01 on a third each time, until that is seen or rounding would
// show in the distance: what is predicted wrongly, or falls more slowly, is so at every ε.
NetworkAudit::Limit NetworkAudit::limit(const std::function<double(double)>& ratio,
                                        const std::function<double(double)>& noise) const {
  Limit l{1e-2, ratio(1e-2), ratio(1e-2 / 3), noise(1e-2 / 3)};
  auto off = [](double r) { return std::abs(r - 1); };
  while (!(off(l.coarse) <= 0.01 && off(l.fine) <= 0.15 * off(l.coarse)) &&
         noise(l.epsilon / 9) <= 0.02 * std::min(off(l.fine), 0.1))
    l = {l.epsilon / 3, l.fine, ratio(l.epsilon / 9), noise(l.epsilon / 9)};
  return l;
}
void NetworkAudit::judge(const std::string& equation, const std::string& who, const Limit& l) {
  const double coarse = std::abs(l.coarse - 1), fine = std::abs(l.fine - 1);
  real_at_most(equation,
               text(who, ", ε = ", plain(l.epsilon / 3), ": change over what is predicted, ",
                    plain(l.fine), ", its distance from 1"),
               fine, 0.01 + l.noise);
  const std::string what = who + ": that distance over the one at three times this ε (theory: 1/9)";
  if (l.noise <= 0.05 * coarse) real_at_most(equation, what, fine / coarse, 0.2 + l.noise / coarse);
  else findings_.note(equation, what, "not told from rounding");
}

void NetworkAudit::one_neuron() {
  findings_.section(text("One neuron really split along v_min, float64, ", settings_.few,
                         " images: the loss against ε"));
  Network& n = *f64_.network;
  SplittingIndex index = splitting_index(n, truth_);
  double before = f64_.loss(n);
  std::vector<std::pair<int, std::size_t>>
      chosen;  // the best neuron of layers spread over the network
  for (const ExactAxis& a : truth_) {
    const Numbers& lambda = index.lambda[std::size_t(a.axis)];
    std::size_t best = std::size_t(std::min_element(lambda.begin(), lambda.end()) - lambda.begin());
    if (lambda[best] < 0 && rounding(before, 0.5e-4 / 9 * lambda[best]) <= 0.01)
      chosen.push_back({a.axis, best});
  }
  if (chosen.empty())
    return findings_.note(
        "E2", "no layer has a λ_min < 0 whose split changes the loss by more than rounding",
        "nothing to split");
  double step = std::max(1.0, double(chosen.size()) / double(settings_.neurons));
  for (double at = 0; at < double(chosen.size()); at += step) {
    const auto axis = chosen[std::size_t(at)].first;
    const auto neuron = chosen[std::size_t(at)].second;
    double lambda = index.lambda[std::size_t(axis)][neuron];
    auto ratio = [&](double epsilon) {
      Masks split = nobody(n);
      split[std::size_t(axis)][neuron] = 1;
      return (f64_.loss(*split_network(n, split, index.v, {epsilon, SplitStep::exact})) - before) /
             (0.5 * epsilon * epsilon * lambda);
    };
    const Limit l = limit(ratio, [&](double e) { return rounding(before, 0.5 * e * e * lambda); });
    const std::string who =
        text(n.axes()[std::size_t(axis)].name, ", neuron ", neuron, ", λ ", plain(lambda));
    real_at_most(
        "E2",
        text(who, ": fitted order from ε = ", plain(l.epsilon), " to a third, distance from 2"),
        std::abs(std::log(l.coarse / l.fine) / std::log(3.0)), 0.05 + l.noise);
    judge("E2", who, l);
  }
}

void NetworkAudit::many_neurons() {
  findings_.section(
      "All neurons with λ_min < 0 split at once, float64: measured over predicted loss change");
  Network& n = *f64_.network;
  SplittingIndex index = splitting_index(n, truth_);
  Masks split = nobody(n);
  double sum = 0, paper = 0, before = f64_.loss(n);
  Index count = 0;
  for (const ExactAxis& a : truth_)
    for (Index o = 0; o < a.neurons; o++)
      if (a.lambda_min(o) < 0)
        split[std::size_t(a.axis)][std::size_t(o)] = 1, sum += a.lambda_min(o), count++;
  if (count == 0)
    return findings_.note("E3", "no neuron has λ_min < 0", "the network is splitting stable");
  if (rounding(before, 0.5e-4 / 9 * sum) > 0.01)
    return findings_.note(
        "E4", text("Σ λ_min of ", count, " neurons, too little for a loss change beyond rounding"),
        sum);
  for (const ExactAxis& a : oracle(f64_, Matrix::paper, 0)) {
    Numbers v = rows(n, a.axis, index.v);
    for (Index o = 0; o < a.neurons; o++) {
      if (!split[std::size_t(a.axis)][std::size_t(o)]) continue;
      for (Index i = 0; i < a.d; i++)
        for (Index j = 0; j < a.d; j++)
          paper += v[std::size_t(o * a.d + i)] * a.s[std::size_t((o * a.d + i) * a.d + j)] *
                   v[std::size_t(o * a.d + j)];
    }
  }
  auto change = [&](double epsilon, SplitStep step) {
    return f64_.loss(*split_network(n, split, index.v, {epsilon, step})) - before;
  };
  auto ratio = [&](double e) { return change(e, SplitStep::exact) / (0.5 * e * e * sum); };
  const Limit l = limit(ratio, [&](double e) { return rounding(before, 0.5 * e * e * sum); });
  const double small = l.epsilon / 3, half = 0.5 * small * small;
  const std::string at = "ε = " + plain(small) + ": ";
  findings_.note("E4",
                 text(count, " neurons, chain's matrix, ε = ", plain(l.epsilon), ": the ratio"),
                 plain(l.coarse));
  judge("E4", text(count, " neurons, chain's matrix"), l);
  findings_.note("E4",
                 "the same by the paper's matrix, which leaves the chain out, " + at + "the ratio",
                 plain(change(small, SplitStep::exact) / (half * paper)));
  findings_.note("E4", "with the authors' step (v̂'s columns not halved), " + at + "the ratio",
                 plain(change(small, SplitStep::paper) / (half * sum)));
}

void NetworkAudit::all() {
  axes_ = affordable(settings_.few, "the few images");
  truth_ = oracle(f64_, Matrix::chain, 0);
  for (ExactAxis& a : truth_) solve(a);
  preservation();
  products();
  quotients();
  one_neuron();
  many_neurons();
  solvers();
}

}  // namespace fission
