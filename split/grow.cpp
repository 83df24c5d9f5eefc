#include "split/grow.h"

#include "split/stages.h"

namespace fission {

// The procedure, section 8 of METHOD.md. A stage goes on from where `state` stands: a resumed run
// enters here too.
void grow(State& state, const GrowSettings& how, Workshop& work) {
  while (!state.done) {
    if (state.stage == Stage::train) {
      // 1. Train the seed network to convergence; 5. after a split, fine-tune: the same schedule
      // from the split weights.
      train(state, how, work);
      if (state.round == how.rounds) return finish(state, work);
      state.round++;
      state.enter(Stage::rayleigh, how);
      work.save(state);
    }

    // 2. RQ-SGD: for every neuron at once the worth λ̂ and the direction v̂ of splitting it (E10,
    // E11).
    SplittingIndex index = descend(state, how, work);

    // 3. Select the splits that are worth most for the energy they add (E12).
    Selection chosen = select(*state.network, index, how, state.round);
    work.tell(state.round, *state.network, index, chosen);
    if (chosen.count() == 0) return nothing_to_split(state, chosen, work);

    // 4. Split: w_o ± ε v̂_o where it is made, copies after it, halves where it is used. Beside
    // what E4 predicts, what it did.
    auto grown = split_network(*state.network, chosen.split, index.v, how.surgery);
    state.history.push_back(record_split(state, *grown, chosen, index, how, work));
    replace_network(state, std::move(grown), chosen, how);
    work.save(state);
  }
}

}  // namespace fission
