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
  return s.stage == Stage::solve ? "the network before has weights too large for RQ-SGD"
         : s.round == 0          ? "a lower --lr may help"
                                 : "a lower --tune-lr may help";
}

constexpr Index finite_every =
    50;  // steps between looks at the loss: reading it waits for the device

// A step that does not fit: would a smaller one, of whole groups? Nothing of what is tried is kept,
// the run ends.
template <class Step>
[[noreturn]] void out_of_memory(const OutOfMemory& e, const Batch& batch, Index group, Step step) {
  const Index whole = batch.labels.numel();
  Shape some = batch.images.shape();
  while ((some[0] = some[0] / 2 / group * group) > 0) {
    try {
      step({batch.images.slice(0, some), batch.labels.slice(0, {some[0]})});
      break;
    } catch (const OutOfMemory&) {
    }
  }
  throw OutOfMemory(text(e.what(), "; of this step's ", whole, " images ", some[0], " would fit"));
}

template <class Step>
void run_epoch(State& state, Environment& environment, BatchSource& source, Index group,
               Step step) {
  while (state.step < source.steps()) {
    Batch batch = source.next(state.epoch, state.step);
    try {
      step(batch);
    } catch (const OutOfMemory& e) {
      out_of_memory(e, batch, group, step);
    }
    state.step++;
    if (state.step % finite_every == 0 || state.step == source.steps())
      check_finite(state.meter->read(environment.comm()).loss, state, hint_of(state));
    environment.after_step(state);
  }
}

Index images_of(const Batch& batch) { return batch.whole > 0 ? batch.whole : batch.labels.numel(); }

void next_epoch(State& state) {
  state.epoch++;
  state.step = 0;
  state.meter->clear();
}

const char* stage_name(const State& s) {
  return s.stage == Stage::solve ? "solve" : s.round == 0 ? "train" : "tune";
}

}  // namespace

TrainingSettings GrowSettings::training_of(Index round) const {
  TrainingSettings t = round == 0 ? train : tune;
  if (round > 0 && round == rounds) t.schedule.epochs = last_epochs;
  if (anneal == Anneal::last && round < rounds) t.schedule.kind = Schedule::constant;
  return t;
}

void State::enter(Stage next, const GrowSettings& settings) {
  stage = next;
  epoch = step = 0;
  meter = std::make_unique<Meter>(network->backend(), network->dtype());
  solver.reset();
  if (next == Stage::train)
    optimizer = std::make_unique<Sgd>(*network, settings.training_of(round).sgd);
  if (next == Stage::solve) {
    if (!settings.carry_momentum) optimizer.reset();
    solver = make_solver(*network, settings.solver, settings.seed, std::uint64_t(round));
  }
}

void train(State& state, const GrowSettings& settings, Environment& environment) {
  const TrainingSettings training = settings.training_of(state.round);
  const double macs = training_macs(*state.network);
  while (state.epoch < training.schedule.epochs) {
    BatchSource& source = environment.training(state.round, Stage::train);
    const Index steps = source.steps();
    run_epoch(
        state, environment, source, std::max<Index>(1, training.bn_batch), [&](const Batch& batch) {
          double lr = training.schedule.at(state.epoch, state.step, steps);
          train_step(*state.network, *state.optimizer, environment.input()(batch), batch.labels,
                     training, lr, *state.meter, {environment.comm(), batch.whole});
          state.training_macs += macs * double(images_of(batch));
        });
    Score seen = state.meter->read(environment.comm());
    Score test =
        evaluate(*state.network, environment.test(), environment.input(), 0, environment.comm());
    check_finite(test.loss, state, hint_of(state));
    environment.log(Json{{"round", state.round},
                         {"stage", stage_name(state)},
                         {"epoch", state.epoch + 1},
                         {"of", training.schedule.epochs},
                         {"lr", training.schedule.at(state.epoch, 0, steps)},
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
  state.history.back().tuned =
      evaluate(*state.network, environment.test(), environment.input(), 0, environment.comm());
}

SplittingIndex solve(State& state, const GrowSettings& settings, Environment& environment) {
  BatchSource& source = environment.training(state.round, Stage::solve);
  SplittingSolver& solver = *state.solver;
  const double macs = splitting_macs(*state.network, settings.solver.probe.matrix);
  while (state.epoch < settings.solver.epochs) {
    if (state.step == 0) solver.begin_epoch();
    run_epoch(state, environment, source, 1, [&](const Batch& batch) {
      Tensor loss = solver.step(environment.input()(batch), batch.labels, state.epoch,
                                {environment.comm(), batch.whole});
      state.meter->add_loss(loss, batch.labels.numel());
      state.training_macs += macs * double(images_of(batch));
    });
    solver.end_epoch(state.epoch);
    SplittingIndex now = solver.result();
    double least = 0, sum = 0;
    for (const auto& layer : now.lambda)
      for (double l : layer) least = std::min(least, l), sum += std::min(l, 0.0);
    Json line{{"round", state.round},
              {"stage", stage_name(state)},
              {"epoch", state.epoch + 1},
              {"of", settings.solver.epochs},
              {"training_macs", state.training_macs}};
    if (settings.solver.kind == Solver::rq_sgd) line["lr"] = settings.solver.rq.lr_at(state.epoch);
    line["loss"] = state.meter->read(environment.comm()).loss, line["least_lambda"] = least,
    line["sum_of_negative_lambdas"] = sum;
    std::vector<double> residuals;
    for (const auto& layer : now.residual)
      residuals.insert(residuals.end(), layer.begin(), layer.end());
    std::sort(residuals.begin(), residuals.end());
    if (!residuals.empty())
      line["largest_residual"] = residuals.back(),
      line["median_residual"] = residuals[residuals.size() / 2];
    environment.log(line);
    // the means of the last epoch are the result, so the next begin_epoch() waits until there is a
    // next epoch
    next_epoch(state);
  }
  SplittingIndex index = solver.result();
  for (const auto& layer : index.lambda)
    for (double l : layer)
      if (!std::isfinite(l))
        user_error("a splitting index is not finite in round ", state.round,
                   ": stopped; the last checkpoint, if there is one, is good (a lower --rq-lr may",
                   " help)");
  if (index.residual.empty())
    state_residuals(index, *state.network, settings.solver.probe, environment.check(),
                    environment.input(), environment.comm());
  return index;
}

Tensor mean_products(Network& network, const Tensor& v, const ProbeSettings& probe,
                     BatchSource& source, const ImageInput& input, Comm& comm) {
  Tensor s_v = network.like_parameters(), mean = ops::zeros_like(s_v);
  double images = 0;
  for (Index step = 0; step < source.steps(); step++) {
    Batch batch = source.next(0, step);
    if (batch.labels.numel() == 0) continue;
    splitting_products(network, input(batch), batch.labels, v, probe, s_v);
    ops::add_scaled(mean, s_v, double(batch.labels.numel()));
    images += double(batch.labels.numel());
  }
  comm.sum(&images, 1);
  network.backend().sum_over_processes(mean, 1 / images, comm);
  return mean;
}

double quadratic_form(Network& network, const Selection& chosen, const Tensor& v,
                      const std::vector<double>& lengths, const ProbeSettings& probe,
                      BatchSource& source, const ImageInput& input, Comm& comm) {
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
                     BatchSource& source, const ImageInput& input, Comm& comm) {
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
                         const SplittingIndex& index, const GrowSettings& settings,
                         Environment& environment) {
  Network& before = *state.network;
  ProbeSettings truth = settings.solver.probe;
  truth.matrix = Matrix::chain, truth.curvature.linear = 0,
  truth.smoothing = settings.tune.smoothing;
  double half_square = 0.5 * settings.surgery.epsilon * settings.surgery.epsilon;
  const std::vector<double> lengths = step_lengths(before, settings.surgery);
  RoundRecord r;
  r.round = state.round;
  // E4: L_new − L = ½ Σ ε_o² v̂ᵀS v̂ + O(ε⁴)
  r.predicted =
      half_square * quadratic_form(before, chosen, index.v, lengths, truth, environment.check(),
                                   environment.input(), environment.comm());
  double old_loss = evaluate(before, environment.check(), environment.input(), truth.smoothing,
                             environment.comm())
                        .loss;
  r.measured =
      evaluate(after, environment.check(), environment.input(), truth.smoothing, environment.comm())
          .loss -
      old_loss;
  // E4 applies where half a step changes the loss by a quarter, and a quarter by a sixteenth:
  // within a fourth of that, or within what rounding in float32 makes of losses of size 1.
  SurgerySettings nearer = settings.surgery;
  for (double part : {4.0, 16.0}) {
    nearer.epsilon /= 2;
    auto network = split_network(before, chosen.split, index.v, nearer);
    const double change = evaluate(*network, environment.check(), environment.input(),
                                   truth.smoothing, environment.comm())
                              .loss -
                          old_loss;
    r.quadratic = r.quadratic &&
                  std::abs(r.measured - part * change) <= 0.25 * std::abs(r.measured) + part * 1e-6;
  }
  r.split = evaluate(after, environment.test(), environment.input(), 0, environment.comm());
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
  environment.log(Json{{"round", r.round},
                       {"stage", "split"},
                       {"neurons", r.neurons_split},
                       {"grown", chosen.grown()},
                       {"widths", r.widths},
                       {"macs", r.macs},
                       {"parameters", r.parameters},
                       {"budget", chosen.budget},
                       {"spent", chosen.spent},
                       {"energy_unit", scaled_unit(settings.energy, settings.scale)},
                       {"energy_source", settings.energy.source},
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
                     const GrowSettings& settings) {
  Tensor momentum;
  if (settings.carry_momentum)
    momentum = split_buffer(*state.network, *grown, chosen.split, state.optimizer->buffer(),
                            settings.surgery.share);
  state.optimizer.reset(), state.solver.reset();  // they refer to the old network
  state.network = std::move(grown);
  state.enter(Stage::train, settings);
  if (momentum) state.optimizer->buffer().copy_from(momentum);
}

void finish(State& state, Environment& environment) {
  state.done = true;
  environment.save(state);
}

void nothing_to_split(State& state, const Selection& nobody, Environment& environment) {
  environment.log(
      Json{{"round", state.round}, {"stage", "split"}, {"neurons", 0}, {"why", nobody.why_none}});
  state.round--;
  finish(state, environment);
}

}  // namespace fission
