#include "split/stages.h"

#include <algorithm>
#include <cmath>

#include "split/measure.h"

namespace fission {
namespace {

// steps between looks at the loss: reading it waits for the device
constexpr Index finite_every = 50;

// A stage to its end, from where the state stands
template <class Step, class End>
void carry_out(State& state, const StagePlan& plan, Environment& environment, double macs,
               const char* hint, Step step, End end_of_epoch) {
  while (state.epoch < plan.epochs) {
    BatchSource& source = environment.training(state.round, state.stage);
    while (state.step < plan.steps()) {
      const Batch batch = source.next(state.epoch, state.step);
      environment.take(batch, plan, step);
      state.training_macs += macs * double(batch.whole > 0 ? batch.whole : batch.labels.numel());
      state.step++;
      if (state.step % finite_every == 0 || state.step == plan.steps())
        require_finite(state.meter->read(environment.comm()).loss, state, hint);
      environment.after_step(state, plan);
    }
    end_of_epoch();
    state.epoch++, state.step = 0;
    state.meter->clear();
  }
}

}  // namespace

void train(State& state, const GrowSettings& settings, Environment& environment) {
  const TrainingSettings training = settings.training_of(state.round);
  const StagePlan plan = environment.plan(state.round, Stage::train);
  const char* hint = state.round == 0 ? "a lower --lr may help" : "a lower --tune-lr may help";
  auto lr = [&](Index step) { return training.schedule.at(state.epoch, step, plan.steps()); };
  auto test = [&] {
    return evaluate(*state.network, environment.test(), environment.input(), 0, environment.comm());
  };
  carry_out(
      state, plan, environment, training_macs(*state.network), hint,
      [&](const Batch& batch) {
        train_step(*state.network, *state.optimizer, environment.input()(batch), batch.labels,
                   training, lr(state.step), *state.meter, {environment.comm(), batch.whole});
      },
      [&] {
        const Score seen = state.meter->read(environment.comm());
        const EpochRecord epoch{
            state.round, state.epoch + 1, plan.epochs, state.training_macs, lr(0), seen, test()};
        require_finite(epoch.test.loss, state, hint);
        environment.log(epoch);
      });
  if (state.history.empty()) {
    const Network& n = *state.network;
    state.history.push_back(
        {0, 0, n.widths(), n.macs(), double(n.parameter_count()), {}, {}, true, 0, 0, 0});
  }
  state.history.back().training_macs = state.training_macs;
  state.history.back().tuned = test();
}

SplittingIndex solve(State& state, const GrowSettings& settings, Environment& environment) {
  const SolverSettings& how = settings.solver;
  const StagePlan plan = environment.plan(state.round, Stage::solve);
  SplittingSolver& solver = *state.solver;
  carry_out(
      state, plan, environment, splitting_macs(*state.network, how.probe.matrix),
      "the network before has weights too large for RQ-SGD",
      [&](const Batch& batch) {
        // The means of the last epoch are the result: they are kept until there is a next one.
        if (state.step == 0) solver.begin_epoch();
        state.meter->add_loss(solver.step(environment.input()(batch), batch.labels, state.epoch,
                                          {environment.comm(), batch.whole}),
                              batch.labels.numel());
      },
      [&] {
        solver.end_epoch(state.epoch);
        const SplittingIndex now = solver.result();
        const double loss = state.meter->read(environment.comm()).loss;
        SolverRecord epoch{how.kind,    state.round,         state.epoch + 1,
                           plan.epochs, state.training_macs, how.rq.lr_at(state.epoch),
                           loss};
        std::vector<double> residuals;
        for (const auto& layer : now.lambda)
          for (double l : layer)
            epoch.least_lambda = std::min(epoch.least_lambda, l),
            epoch.negative_sum += std::min(l, 0.0);
        for (const auto& layer : now.residual)
          residuals.insert(residuals.end(), layer.begin(), layer.end());
        std::sort(residuals.begin(), residuals.end());
        if (!residuals.empty())
          epoch.largest_residual = residuals.back(),
          epoch.median_residual = residuals[residuals.size() / 2];
        environment.log(epoch);
      });
  SplittingIndex index = solver.result();
  for (const auto& layer : index.lambda)
    for (double l : layer)
      if (!std::isfinite(l))
        user_error("a splitting index is not finite in round ", state.round,
                   ": stopped; the last checkpoint, if there is one, is good (a lower --rq-lr may",
                   " help)");
  if (index.residual.empty())
    state_residuals(index, *state.network, how.probe, environment.check(), environment.input(),
                    environment.comm());
  return index;
}

std::unique_ptr<Network> split_network(const Network& network, const Selection& chosen,
                                       const SplittingIndex& index, const GrowSettings& settings,
                                       Environment& environment) {
  auto grown = split_network(network, chosen.split, index.v, settings.surgery);
  if (settings.recalibrate)
    measure_statistics(*grown, environment.check(), environment.input(), environment.comm());
  return grown;
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
  environment.log(NoSplitRecord{state.round, nobody.why_none});
  state.round--;
  finish(state, environment);
}

}  // namespace fission
