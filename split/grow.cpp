#include "split/grow.h"

#include "split/measure.h"
#include "split/stages.h"

namespace fission {

// The procedure, section 8 of METHOD.md. A stage goes on from where `state` stands: a resumed run
// enters here too.
void grow(State& state, const GrowSettings& settings, Environment& environment) {
  while (!state.done) {
    if (state.stage == Stage::train) {
      // 1. Train the seed network; in later rounds (5.) fine-tune what was split.
      train(state, settings, environment);
      if (state.round == settings.rounds) return finish(state, environment);
      state.round++;
      state.enter(Stage::solve, settings);
      environment.save(state);
    }

    // 2. RQ-SGD: for every neuron at once the worth λ̂ and the direction v̂ of splitting it (E10,
    // E11).
    SplittingIndex index = solve(state, settings, environment);

    // 3. Select the splits that are worth most for the energy they add (E12).
    Selection chosen = select(*state.network, index, settings, state.round);
    environment.save_neurons(state.round, *state.network, index, chosen);
    if (chosen.count() == 0) return nothing_to_split(state, chosen, environment);

    // 4. Split: w_o ± ε v̂_o where it is made, copies after it, halves where it is used. Beside
    // what E4 predicts, what it did.
    auto grown = split_network(*state.network, chosen, index, settings, environment);
    state.history.push_back(record_split(state, *grown, chosen, index, settings, environment));
    replace_network(state, std::move(grown), chosen, settings);
    environment.save(state);
  }
}

}  // namespace fission
