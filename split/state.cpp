#include "split/state.h"

#include <cmath>

#include "split/lanczos.h"

namespace fission {

TrainingSettings GrowSettings::training_of(Index round) const {
  TrainingSettings t = round == 0 ? train : tune;
  if (round > 0 && round == rounds) t.schedule.epochs = last_epochs;
  if (anneal == Anneal::last && round < rounds) t.schedule.kind = Schedule::constant;
  return t;
}

std::unique_ptr<SplittingSolver> make_solver(Network& network, const SolverSettings& settings,
                                             std::uint64_t seed, std::uint64_t round) {
  if (settings.kind == Solver::lanczos)
    return std::make_unique<Lanczos>(network, settings.probe, settings.epochs, seed, round);
  return std::make_unique<RayleighDescent>(network, settings, seed, round);
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

void require_finite(double loss, const State& state, const char* hint) {
  if (!std::isfinite(loss))
    user_error("the loss is not finite in round ", state.round, ", epoch ", state.epoch + 1,
               ", step ", state.step, ": stopped; the last checkpoint, if there is one, is good (",
               hint, ")");
}

}  // namespace fission
