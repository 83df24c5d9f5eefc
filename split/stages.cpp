#include "split/stages.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace fission {
namespace {

using Json = nlohmann::ordered_json;

// hint: what may have made it so
void check_finite(double loss, const State& state, const char* hint) {
  if (!std::isfinite(loss))
    user_error("the loss is not finite in round ", state.round, ", epoch ", state.epoch + 1,
               ", step ", state.step, ": stopped; the last checkpoint, if there is one, is good (",
               hint, ")");
}
const char* hint_of(const State& s) {
  return s.stage == Stage::rayleigh ? "the network before has weights too large for RQ-SGD"
         : s.round == 0             ? "a lower --lr may help"
                                    : "a lower --tune-lr may help";
}

constexpr Index finite_every =
    50;  // steps between looks at the loss: reading it waits for the device

// A step that does not fit: would a smaller one, of whole groups? Nothing of what is tried is kept,
// the run ends.
template <class Step>
[[noreturn]] void out_of_memory(const OutOfMemory& e, const Batch& batch, Index group, Step step) {
  const Index whole = batch.labels.numel();
  Shape some = batch.pictures.shape();
  while ((some[0] = some[0] / 2 / group * group) > 0) {
    try {
      step({batch.pictures.slice(0, some), batch.labels.slice(0, {some[0]})});
      break;
    } catch (const OutOfMemory&) {
    }
  }
  throw OutOfMemory(
      text(e.what(), "; of this step's ", whole, " pictures ", some[0], " would fit"));
}

template <class Step>
void run_epoch(State& state, Workshop& work, BatchSource& source, Index group, Step step) {
  while (state.step < source.steps()) {
    Batch batch = source.next(state.epoch, state.step);
    try {
      step(batch);
    } catch (const OutOfMemory& e) {
      out_of_memory(e, batch, group, step);
    }
    state.step++;
    if (state.step % finite_every == 0 || state.step == source.steps())
      check_finite(state.meter->read(work.comm()).loss, state, hint_of(state));
    work.after_step(state);
  }
}

Index images_of(const Batch& batch) { return batch.whole > 0 ? batch.whole : batch.labels.numel(); }

void next_epoch(State& state) {
  state.epoch++;
  state.step = 0;
  state.meter->clear();
}

const char* stage_name(const State& s) {
  return s.stage == Stage::rayleigh ? "rq" : s.round == 0 ? "train" : "tune";
}

}  // namespace

TrainingSettings GrowSettings::training_of(Index round) const {
  TrainingSettings t = round == 0 ? train : tune;
  if (round > 0 && round == rounds) t.schedule.epochs = last_epochs;
  if (anneal == Anneal::last && round < rounds) t.schedule.kind = Schedule::constant;
  return t;
}

void State::enter(Stage next, const GrowSettings& how) {
  stage = next;
  epoch = step = 0;
  meter = std::make_unique<Meter>(network->backend(), network->dtype());
  descent.reset();
  if (next == Stage::train) optimizer = std::make_unique<Sgd>(*network, how.training_of(round).sgd);
  if (next == Stage::rayleigh) {
    if (!how.carry_momentum) optimizer.reset();
    descent = make_solver(how.solver, *network, how.rayleigh, how.seed, std::uint64_t(round));
  }
}

void train(State& state, const GrowSettings& how, Workshop& work) {
  const TrainingSettings settings = how.training_of(state.round);
  const double macs = training_macs(*state.network);
  while (state.epoch < settings.schedule.epochs) {
    BatchSource& source = work.training(state.round, Stage::train);
    const Index steps = source.steps();
    run_epoch(state, work, source, std::max<Index>(1, settings.bn_batch), [&](const Batch& batch) {
      double lr = settings.schedule.at(state.epoch, state.step, steps);
      train_step(*state.network, *state.optimizer, work.input()(batch), batch.labels, settings, lr,
                 *state.meter, {work.comm(), batch.whole});
      state.training_macs += macs * double(images_of(batch));
    });
    Score seen = state.meter->read(work.comm());
    Score test = evaluate(*state.network, work.test(), work.input(), 0, work.comm());
    check_finite(test.loss, state, hint_of(state));
    work.log(Json{{"round", state.round},
                  {"stage", stage_name(state)},
                  {"epoch", state.epoch + 1},
                  {"of", settings.schedule.epochs},
                  {"lr", settings.schedule.at(state.epoch, 0, steps)},
                  {"training_macs", state.training_macs},
                  {"loss", seen.loss},
                  {"train_top1", seen.top1},
                  {"test_loss", test.loss},
                  {"test_top1", test.top1},
                  {"test_top5", test.top5}});
    next_epoch(state);
  }
  if (state.history.empty()) {
    const Network& n = *state.network;
    state.history.push_back(
        {0, 0, n.widths(), n.macs(), double(n.parameter_count()), {}, {}, true, 0, 0, 0});
  }
  state.history.back().training_macs = state.training_macs;
  state.history.back().tuned = evaluate(*state.network, work.test(), work.input(), 0, work.comm());
}

SplittingIndex descend(State& state, const GrowSettings& how, Workshop& work) {
  BatchSource& source = work.training(state.round, Stage::rayleigh);
  SplittingSolver& descent = *state.descent;
  const double macs = splitting_macs(*state.network, how.rayleigh.probe.matrix);
  while (state.epoch < how.rayleigh.epochs) {
    if (state.step == 0) descent.begin_epoch();
    run_epoch(state, work, source, 1, [&](const Batch& batch) {
      Tensor loss =
          descent.step(work.input()(batch), batch.labels, state.epoch, {work.comm(), batch.whole});
      state.meter->add_loss(loss, batch.labels.numel());
      state.training_macs += macs * double(images_of(batch));
    });
    descent.end_epoch(state.epoch);
    SplittingIndex now = descent.result();
    double least = 0, sum = 0;
    for (const auto& layer : now.lambda)
      for (double l : layer) least = std::min(least, l), sum += std::min(l, 0.0);
    Json line{{"round", state.round},
              {"stage", stage_name(state)},
              {"epoch", state.epoch + 1},
              {"of", how.rayleigh.epochs},
              {"training_macs", state.training_macs}};
    if (how.solver == Solver::rq_sgd) line["lr"] = how.rayleigh.lr_at(state.epoch);
    line["loss"] = state.meter->read(work.comm()).loss, line["least_lambda"] = least,
    line["sum_of_negative_lambdas"] = sum;
    std::vector<double> residuals;
    for (const auto& layer : now.residual)
      residuals.insert(residuals.end(), layer.begin(), layer.end());
    std::sort(residuals.begin(), residuals.end());
    if (!residuals.empty())
      line["largest_residual"] = residuals.back(),
      line["median_residual"] = residuals[residuals.size() / 2];
    work.log(line);
    // the means of the last epoch are the result, so the next begin_epoch() waits until there is a
    // next epoch
    next_epoch(state);
  }
  SplittingIndex index = descent.result();
  for (const auto& layer : index.lambda)
    for (double l : layer)
      if (!std::isfinite(l))
        user_error("a splitting index is not finite in round ", state.round,
                   ": stopped; the last checkpoint, if there is one, is good (a lower --rq-lr may",
                   " help)");
  if (index.residual.empty())
    state_residuals(index, *state.network, how.rayleigh.probe, work.check(), work.input(),
                    work.comm());
  return index;
}

Tensor mean_products(Network& network, const Tensor& v, const ProbeSettings& probe,
                     BatchSource& source, const PictureInput& input, Comm& comm) {
  Tensor s_v = network.like_parameters(), mean = ops::zeros_like(s_v);
  double pictures = 0;
  for (Index step = 0; step < source.steps(); step++) {
    Batch batch = source.next(0, step);
    if (batch.labels.numel() == 0) continue;
    splitting_products(network, input(batch), batch.labels, v, probe, s_v);
    ops::add_scaled(mean, s_v, double(batch.labels.numel()));
    pictures += double(batch.labels.numel());
  }
  comm.sum(&pictures, 1);
  network.backend().sum_over_processes(mean, 1 / pictures, comm);
  return mean;
}

double quadratic_form(Network& network, const Selection& chosen, const Tensor& v,
                      const std::vector<double>& lengths, const ProbeSettings& probe,
                      BatchSource& source, const PictureInput& input, Comm& comm) {
  const Tensor& rows = network.neuron_rows();
  Tensor unit = v.clone();
  ops::normalise_rows(unit, rows);
  Tensor s_v = mean_products(network, unit, probe, source, input, comm), gradient = s_v.like(),
         quotient(network.backend(), {rows.dim(0)}, network.dtype());
  ops::rayleigh(unit, s_v, rows, quotient, gradient);
  double total = 0;
  std::size_t row = 0;
  const std::vector<double> forms = quotient.to_host();
  for (const auto& layer : chosen.split)
    for (char split : layer) total += split ? lengths[row] * lengths[row] * forms[row] : 0, row++;
  return total;
}

void state_residuals(SplittingIndex& index, Network& network, const ProbeSettings& probe,
                     BatchSource& source, const PictureInput& input, Comm& comm) {
  Tensor unit = index.v.clone();
  ops::normalise_rows(unit, network.neuron_rows());
  const Tensor s_v = mean_products(network, unit, probe, source, input, comm);
  for (std::size_t l = 0; l < network.axes().size(); l++) {
    const Stored& w = network.stored()[std::size_t(network.producer(network.axes()[l]).weight)];
    const std::vector<double> u = network.view(w, unit).to_host(),
                              su = network.view(w, s_v).to_host();
    const std::size_t d = u.size() / std::size_t(network.axes()[l].width);
    std::vector<double> squares(u.size() / d, 0.0);
    for (std::size_t i = 0; i < u.size(); i++)
      squares[i / d] += std::pow(su[i] - index.lambda[l][i / d] * u[i], 2);
    for (double& s : squares) s = std::sqrt(s);
    index.residual.push_back(squares);
  }
}

RoundRecord record_split(const State& state, Network& after, const Selection& chosen,
                         const SplittingIndex& index, const GrowSettings& how, Workshop& work) {
  Network& before = *state.network;
  ProbeSettings truth = how.rayleigh.probe;
  truth.matrix = Matrix::chain, truth.curvature.linear = 0, truth.smoothing = how.tune.smoothing;
  double half_square = 0.5 * how.surgery.epsilon * how.surgery.epsilon;
  const std::vector<double> lengths = step_lengths(before, how.surgery);
  RoundRecord r;
  r.round = state.round;
  // E4: L_new − L = ½ Σ ε_o² v̂ᵀS v̂ + O(ε⁴)
  r.predicted = half_square * quadratic_form(before, chosen, index.v, lengths, truth, work.check(),
                                             work.input(), work.comm());
  double old_loss = evaluate(before, work.check(), work.input(), truth.smoothing, work.comm()).loss;
  r.measured =
      evaluate(after, work.check(), work.input(), truth.smoothing, work.comm()).loss - old_loss;
  // E4 applies where half a step changes the loss by a quarter, and a quarter by a sixteenth:
  // within a fourth of that, or within what rounding in float32 makes of losses of size 1.
  SurgerySettings nearer = how.surgery;
  for (double part : {4.0, 16.0}) {
    nearer.epsilon /= 2;
    auto network = split_network(before, chosen.split, index.v, nearer);
    const double change =
        evaluate(*network, work.check(), work.input(), truth.smoothing, work.comm()).loss -
        old_loss;
    r.quadratic = r.quadratic &&
                  std::abs(r.measured - part * change) <= 0.25 * std::abs(r.measured) + part * 1e-6;
  }
  r.split = evaluate(after, work.test(), work.input(), 0, work.comm());
  check_finite(r.split.loss + r.measured + r.predicted, state,
               "the split's own doing: a smaller --epsilon may help");
  r.widths = after.widths(), r.macs = after.macs(), r.parameters = double(after.parameter_count()),
  r.neurons_split = chosen.count();
  double by_lambda = 0;
  std::size_t row = 0;
  for (std::size_t l = 0; l < chosen.split.size(); l++)
    for (std::size_t i = 0; i < chosen.split[l].size(); i++, row++)
      if (chosen.split[l][i])
        by_lambda += half_square * lengths[row] * lengths[row] * index.lambda[l][i];
  work.log(Json{{"round", r.round},
                {"stage", "split"},
                {"neurons", r.neurons_split},
                {"grown", chosen.grown()},
                {"widths", r.widths},
                {"macs", r.macs},
                {"parameters", r.parameters},
                {"budget", chosen.budget},
                {"spent", chosen.spent},
                {"energy_unit", scaled_unit(how.energy, how.scale)},
                {"energy_source", how.energy.source},
                {"sum_of_lambdas", chosen.objective},
                {"bound_of_sum", chosen.relaxed_objective},
                {"loss", old_loss},
                {"predicted_loss_change", r.predicted},
                {"measured_loss_change", r.measured},
                {"quadratic", r.quadratic},
                {"loss_change_by_lambda", by_lambda},
                {"training_macs", state.training_macs},
                {"test_loss", r.split.loss},
                {"test_top1", r.split.top1},
                {"test_top5", r.split.top5}});
  return r;
}

void replace_network(State& state, std::unique_ptr<Network> grown, const Selection& chosen,
                     const GrowSettings& how) {
  Tensor momentum;
  if (how.carry_momentum)
    momentum = split_buffer(*state.network, *grown, chosen.split, state.optimizer->buffer(),
                            how.surgery.share);
  state.optimizer.reset(), state.descent.reset();  // they refer to the old network
  state.network = std::move(grown);
  state.enter(Stage::train, how);
  if (momentum) state.optimizer->buffer().copy_from(momentum);
}

void finish(State& state, Workshop& work) {
  state.done = true;
  work.save(state);
}

void nothing_to_split(State& state, const Selection& nobody, Workshop& work) {
  work.log(
      Json{{"round", state.round}, {"stage", "split"}, {"neurons", 0}, {"why", nobody.why_none}});
  state.round--;
  finish(state, work);
}

}  // namespace fission
