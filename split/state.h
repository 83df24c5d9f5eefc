// What a growth goes by (settings), where it stands (State: all that going on to the same bits
// takes), and what surrounds it (Environment: data, files, progress).
#pragma once
#include <algorithm>
#include <functional>

#include "split/energy.h"
#include "split/rayleigh.h"
#include "split/records.h"
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
  bool recalibrate = false;  // after a split the running statistics are measured anew
  TrainingSettings train, tune;
  Index last_epochs = 160;  // of tuning after the last split
  Anneal anneal = Anneal::every;
  bool fill = false;  // up to the target: see select()
  SolverSettings solver;
  std::uint64_t seed = 1;
  TrainingSettings training_of(Index round) const;  // 0: the seed's
  double target_of(Index round) const {
    return target_macs.empty() ? 0
                               : target_macs[std::min<std::size_t>(target_macs.size(), round) - 1];
  }
};

// A stage as a value
struct StagePlan {
  const char* title;            // training, fine-tuning, RQ-SGD or Lanczos
  Index epochs, images, batch;  // images an epoch
  Index group = 1;  // images that a step takes together (a batch-norm group); too few for one are
                    // left out
  bool fixed = false;  // each epoch has the same batches
  Index used() const { return images - images % group; }
  Index steps() const { return (used() + batch - 1) / batch; }
  Index images_before(Index step) const { return std::min(used(), step * batch); }
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

std::unique_ptr<SplittingSolver> make_solver(Network& network, const SolverSettings& settings,
                                             std::uint64_t seed, std::uint64_t round);
// UserError if it is not; hint: what may have made it so
void require_finite(double loss, const State& state, const char* hint);

class Environment {
 public:
  using Step = std::function<void(const Batch&)>;
  virtual ~Environment() = default;
  virtual StagePlan plan(Index round, Stage stage) const = 0;
  // A source is good until another one is asked for.
  virtual BatchSource& training(Index round, Stage stage) = 0;  // shuffled, augmented
  virtual BatchSource& check() = 0;  // training images under one fixed augmentation key
  virtual BatchSource& test() = 0;
  virtual const ImageInput& input() = 0;
  virtual Comm&
  comm() = 0;  // the processes that share every batch; each of them grows the same network
  // Takes a step; if it does not fit into memory, says what would.
  virtual void take(const Batch& batch, const StagePlan& plan, const Step& step) = 0;
  // Progress; a checkpoint when one is due
  virtual void after_step(State& state, const StagePlan& plan) = 0;
  virtual void save(State& state) = 0;  // a checkpoint now: a stage has ended
  virtual void log(const EpochRecord& record) = 0;
  virtual void log(const SolverRecord& record) = 0;
  virtual void log(const SplitRecord& record) = 0;
  virtual void log(const NoSplitRecord& record) = 0;
  virtual void save_neurons(Index round, const Network& network, const SplittingIndex& index,
                            const Selection& chosen) = 0;  // every neuron's worth
};

}  // namespace fission
