// Run: a directory runs/NAME that a growth lives in, and the Environment around grow(): data, log,
// checkpoints, progress; one of the processes writes.
//    config.json   what the run is; another configuration is refused with what differs
//    log.jsonl     a line an epoch and a split; going on cuts it to what the checkpoint knows
//    checkpoint.safetensors   to go on from; there before the first step
//    round-R.safetensors, round-R-split.safetensors, results.csv
//    round-R-neurons.csv  what the R-th split was chosen by: every neuron's λ̂, its residual,
//                         products S·v, and whether it was split
#pragma once
#include "nn/io/checkpoint.h"
#include "runners/common/console.h"
#include "runners/growth/batches.h"
#include "runners/growth/directory.h"
#include "runners/growth/records.h"
#include "split/grow.h"

namespace fission {

struct RunOptions : BatchOptions {
  std::string directory;
  NetworkConfig network;  // classes, size, channels: from the data
  std::string start;      // a trained network's file: no training of a seed
  TensorFile start_file;  // what it holds
  double checkpoint_minutes = 5;
};

class Run : public Environment {
 public:
  // Refuses processes with other options or data than the first, and a batch that does not fall
  // into a batch-norm group at least for each of them.
  // config: everything that the result depends on.
  Run(const RunOptions& options, const GrowSettings& settings, const nlohmann::ordered_json& config,
      const data::ImageSets& images, Backend& backend, Comm& comm = processes());
  // A new state in a new directory, or the one of the last checkpoint. Refuses a directory that
  // holds another run, or that another process is at work in.
  State begin();
  // Of a new run: from here on there is a checkpoint, whenever it is killed. Before any line of its
  // log; grow() begins with it.
  void write_first(const State& state);
  // To the end of the growth. A signal (runners/common/signals.h) ends it after the step, or before
  // the batch of an evaluation, with a checkpoint: Stopped, and the same command goes on.
  void grow(State& state);

  StagePlan plan(Index round, Stage stage) const override { return batches_.plan(round, stage); }
  BatchSource& training(Index round, Stage stage) override {
    return batches_.training(round, stage);
  }
  BatchSource& check() override { return watched(batches_.check()); }
  BatchSource& test() override { return watched(batches_.test()); }
  const ImageInput& input() override { return input_; }
  Comm& comm() override { return comm_; }
  void take(const Batch& batch, const StagePlan& plan, const Step& step) override;
  void after_step(State& state, const StagePlan& plan) override;
  void save(State& state) override;
  void log(const EpochRecord& record) override { write(line_of(record, pace())); }
  void log(const SolverRecord& record) override { write(line_of(record, pace())); }
  void log(const SplitRecord& record) override { write(line_of(record)); }
  void log(const NoSplitRecord& record) override { write(line_of(record)); }
  void log(const PruningRecord& record) { write(line_of(record)); }
  void save_neurons(Index round, const Network& network, const SplittingIndex& index,
                    const Selection& chosen) override;

 private:
  std::string path(const std::string& name) const { return directory_.path(name); }
  void check_processes() const;
  class Watched;
  BatchSource& watched(BatchSource& source);
  void end_if_requested();
  [[noreturn]] void stop();
  void write(const TensorFile& file) const;
  void write(const Line& line);
  Pace pace() const { return {progress_.rate(), images_.train->skipped(comm_)}; }
  void write_checkpoint(const State& state);
  State read_checkpoint();
  void restore_files(const State& state) const;
  double images_left(const State& state) const;

  RunOptions options_;
  GrowSettings settings_;
  data::ImageSets images_;
  Backend& backend_;
  Comm& comm_;
  RunDirectory directory_;
  Batches batches_;
  ImageInput input_;
  std::unique_ptr<BatchSource> watched_;
  Progress progress_;
  bool new_ = false;  // and nothing is written but config.json
  std::chrono::steady_clock::time_point last_checkpoint_;
};

}  // namespace fission
