// The whole procedure (section 8 of METHOD.md): train, find what each split is worth,
// select, split, fine-tune, repeat. grow() reads like the paper; what surrounds it (data, files,
// progress) is an Environment's, so that the same lines run anywhere. State is the position and
// everything needed to go on from it to the same bits.
#pragma once
#include <algorithm>
#include <nlohmann/json_fwd.hpp>

#include "nn/training.h"
#include "split/energy.h"
#include "split/rayleigh.h"
#include "split/select.h"
#include "split/surgery.h"

namespace fission {

enum class Choice { energy, vanilla, vanilla_paper, random };
enum class Anneal {
  every,
  last
};  // which training ends with a lowered learning rate: each, or the last
enum class Stage { train, solve };  // train: the seed in round 0, fine-tuning after a split

struct GrowSettings {
  Index rounds = 2;
  double grow = 0.3;  // τ_g = grow · Σ e: "what splitting this share of every layer would cost"
  std::vector<double> target_macs;  // MACs that each round stays under, the last for all later
                                    // ones; empty: no target
  Choice choice = Choice::energy;
  EnergyModel energy = parse_energy("exact");
  EnergyScale scale = EnergyScale::none;
  bool one_budget = false;  // τ is the whole network's, not each layer group's
  Rounding rounding = Rounding::drop;
  double threshold = 0.99;  // of Rounding::paper
  Index multiple = 1;       // new widths are multiples of it
  bool carry_momentum = false;
  SurgerySettings surgery;
  TrainingSettings train, tune;
  Index last_epochs = 160;  // of tuning after the last split
  Anneal anneal = Anneal::every;
  bool fill = false;  // up to the target: see select() in split/stages.h
  SolverSettings solver;
  std::uint64_t seed = 1;
  TrainingSettings training_of(Index round) const;  // 0: the seed's
  double target_of(Index round) const {
    return target_macs.empty() ? 0
                               : target_macs[std::min<std::size_t>(target_macs.size(), round) - 1];
  }
};

struct RoundRecord {
  Index round = 0, neurons_split = 0;
  std::vector<Index> widths;
  double macs = 0, parameters = 0;
  Score split, tuned;     // on the test images: right after the split, after tuning
  bool quadratic = true;  // ε is small enough for E4: the loss change at ε/2 is a quarter of it
  double training_macs = 0;  // spent since the seed's first step, when this round's tuning ended
  double predicted = 0,
         measured = 0;  // loss change of the split on the check images: E4's, and the real one
};

struct State {
  std::unique_ptr<Network> network;
  std::unique_ptr<Sgd>
      optimizer;  // in Stage::train; kept through Stage::solve if its momentum is to be carried
  std::unique_ptr<SplittingSolver> solver;  // in Stage::solve
  std::unique_ptr<Meter> meter;
  Index round = 0;  // of the split that is being prepared or tuned; 0: the seed
  Stage stage = Stage::train;
  Index epoch = 0, step = 0;  // the next step to take
  double training_macs = 0;   // multiply-accumulates of every step so far, RQ-SGD's included
  bool done = false;
  std::vector<RoundRecord> history;  // one a round, the current one last
  void enter(Stage next,
             const GrowSettings& settings);  // epoch 0, step 0, fresh optimiser or directions
};

class Environment {
 public:
  virtual ~Environment() = default;
  // A source is good until another one is asked for.
  virtual BatchSource& training(Index round, Stage stage) = 0;  // shuffled, augmented
  virtual BatchSource& check() = 0;  // training images under one fixed augmentation key
  virtual BatchSource& test() = 0;
  virtual const ImageInput& input() = 0;
  virtual Comm&
  comm() = 0;  // the processes that share every batch; each of them grows the same network
  virtual void after_step(State& state) = 0;  // progress; a checkpoint when one is due
  virtual void save(State& state) = 0;        // a checkpoint now: a stage has ended
  virtual void log(const nlohmann::ordered_json& line) = 0;
  virtual void save_neurons(Index round, const Network& network, const SplittingIndex& index,
                            const Selection& chosen) = 0;  // every neuron's worth
};

void grow(State& state, const GrowSettings& settings, Environment& environment);

}  // namespace fission
