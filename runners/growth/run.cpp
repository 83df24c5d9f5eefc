#include "runners/growth/run.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "nn/io/json.h"
#include "runners/common/signals.h"
#include "runners/growth/checkpoint.h"
#include "runners/growth/run_folder.h"
#include "tensor/threads.h"

namespace fission {

using Json = nlohmann::ordered_json;

Run::Run(const RunOptions& options, const GrowSettings& settings, const Json& config,
         const data::ImageSets& images, Backend& backend, Comm& comm)
    : options_(options),
      settings_(settings),
      images_(images),
      backend_(backend),
      comm_(comm),
      directory_(options.directory, config),
      batches_(options, settings, images, backend, comm),
      input_(backend, DType::f32, images.mean, images.std),
      last_checkpoint_(std::chrono::steady_clock::now()) {
  if (options.directory == "-") user_error("--out -: expected a folder's name");
  check_processes();
}

void Run::check_processes() const {
  const Index group = settings_.train.bn_batch, n = comm_.size();
  if (n == 1) return;
  Json all = directory_.config;
  all.erase("data");  // below
  all["out"] = options_.directory, all["device"] = backend_.name(),
  all["threads"] = compute_threads();
  if (auto d = comm_.disagreement(json_text(all)))
    user_error("process ", d->rank, " was given other options than process 0: ",
               differences(Json::parse(d->first), Json::parse(d->other),
                           {" is ", " there, ", text(" in process ", d->rank).c_str()}));
  comm_.require_same("the training data", images_.train->fingerprint(),
                     "--data: the same files for each");
  comm_.require_same("the test data", images_.test->fingerprint(),
                     "--data: the same files for each");
  if (group == 0)
    user_error("--bn-batch 0, one batch-norm group of the whole batch, with ", n,
               " processes; expected a group for each, such as --bn-batch ",
               std::max<Index>(1, options_.batch / n));
  if (options_.batch / group < n)
    user_error("--batch ", options_.batch, " holds ", options_.batch / group,
               " batch-norm groups of --bn-batch ", group,
               "; expected at least one for each of the ", n, " processes");
}

State Run::begin() {
  const bool going_on = directory_.begun();
  // nobody writes before all have looked
  comm_.require_same("the run's folder", going_on ? "with a checkpoint" : "without a checkpoint",
                     "--out: a place that all processes see");
  directory_.check_config();
  if (comm_.size() > 1)
    std::printf("%d processes, each with its share of every batch\n", comm_.size());
  if (going_on) {
    if (comm_.first()) directory_.lock();
    State state = read_checkpoint();
    if (comm_.first()) restore_files(state);
    return state;
  }
  State state;
  state.network = options_.start.empty()
                      ? make_network(options_.network, backend_, DType::f32, settings_.seed)
                      : load_network(options_.start_file, backend_);
  double least = state.network->macs();
  for (double target : settings_.target_macs) {
    if (target < least)
      user_error("--target-macs ", Index(target), ": expected at least the ", Index(least),
                 " MACs of the network before");
    least = target;
  }
  scaled_energies(
      *state.network, settings_.energy,
      settings_.scale);  // a table that lacks its layers is refused now, not after the training
  if (comm_.first()) {
    try {
      check_reach(settings_.energy, *state.network, settings_.rounds);
    } catch (const UserError& e) {
      std::fprintf(stderr,
                   "warning: the cost table ends before the widths that --rounds %ld could reach, "
                   "and a growth that gets there stops: %s\n",
                   long(settings_.rounds), e.what());
    }
    directory_.create();
  }
  state.enter(Stage::train, settings_);
  if (!options_.start.empty())
    state.training_macs = macs_spent(options_.start_file),
    state.epoch = settings_.train.schedule.epochs;  // that network's training is over
  new_ = true;
  return state;
}

// An evaluation, which is no part of a state and is begun anew after a stop
class Run::Watched : public BatchSource {
 public:
  Watched(Run& run, BatchSource& source) : run_(run), source_(source) {}
  Index size() const override { return source_.size(); }
  Index steps() const override { return source_.steps(); }
  Batch next(Index epoch, Index step) override {
    run_.end_if_requested();
    return source_.next(epoch, step);
  }

 private:
  Run& run_;
  BatchSource& source_;
};
BatchSource& Run::watched(BatchSource& source) {
  watched_ = std::make_unique<Watched>(*this, source);
  return *watched_;
}

// What one process was asked to do, all do, in the same step.
void Run::end_if_requested() {
  double asked = end_requested();
  comm_.sum(&asked, 1);
  if (asked > 0) stop();
}
void Run::stop() {
  std::vector<double> signals(std::size_t(comm_.size()), 0.0);
  signals[std::size_t(comm_.rank())] = end_requested();
  comm_.sum(signals.data(), Index(signals.size()));
  throw Stopped(int(*std::max_element(signals.begin(), signals.end())));
}

void Run::write_first(const State& state) {
  if (std::exchange(new_, false)) write_checkpoint(state);
}

void Run::grow(State& state) {
  const DeferSignals until_saved;
  write_first(state);
  try {
    fission::grow(state, settings_, *this);
    end_if_requested();
  } catch (const Stopped& stopped) {
    progress_.clear();
    if (state.done) throw;  // and nothing goes on
    write_checkpoint(state);
    comm_.barrier();  // the first that ends would take the others with it
    throw Stopped(stopped.signal, text(": saved in ", options_.directory, ": ", place(state),
                                       "; the same command goes on"));
  }
}

double Run::images_left(const State& s) const {
  auto all = [&](Index round, Stage stage) {
    const StagePlan p = plan(round, stage);
    return double(p.epochs * p.used());
  };
  const StagePlan now = plan(s.round, s.stage);
  double left = all(s.round, s.stage) - double(s.epoch * now.used() + now.images_before(s.step));
  if (s.stage == Stage::solve) left += all(s.round, Stage::train);
  for (Index round = s.round + 1; round <= settings_.rounds; round++)
    left += all(round, Stage::solve) + all(round, Stage::train);
  return left;
}

void Run::take(const Batch& batch, const StagePlan& plan, const Step& step) {
  try {
    return step(batch);
  } catch (const OutOfMemory& e) {
    // Would a smaller one fit, of whole groups? Nothing of what is tried is kept, the run ends.
    const Index whole = batch.labels.numel();
    Shape some = batch.images.shape();
    while ((some[0] = some[0] / 2 / plan.group * plan.group) > 0) {
      try {
        step({batch.images.slice(0, some), batch.labels.slice(0, {some[0]})});
        break;
      } catch (const OutOfMemory&) {
      }
    }
    throw OutOfMemory(
        text(e.what(), "; of this step's ", whole, " images ", some[0], " would fit"));
  }
}

void Run::after_step(State& s, const StagePlan& plan) {
  progress_.add(double(plan.images_before(s.step) - plan.images_before(s.step - 1)));
  const double rate = progress_.rate();
  progress_.show(formatted(
      "round %ld %s, epoch %ld of %ld, step %ld of %ld: %.0f images/s, %s left", long(s.round),
      plan.title, long(s.epoch + 1), long(plan.epochs), long(s.step), long(plan.steps()), rate,
      rate > 0 ? duration(images_left(s) / rate).c_str() : "?"));
  auto now = std::chrono::steady_clock::now();
  const bool due = std::chrono::duration<double>(now - last_checkpoint_).count() >=
                   60 * options_.checkpoint_minutes;
  double requests[] = {double(comm_.first() && due), double(end_requested())};
  comm_.sum(requests, 2);  // the first process's clock is everyone's
  if (requests[1] > 0) stop();
  if (requests[0] > 0) {
    write_checkpoint(s);
    progress_.pause();
  }
}

void Run::write(const Line& line) {
  directory_.append(line.json);
  progress_.clear();
  std::printf("%s\n", line.prose.c_str());
  std::fflush(stdout);
  progress_.reset();
}

void Run::save_neurons(Index round, const Network& network, const SplittingIndex& index,
                       const Selection& chosen) {
  if (!comm_.first()) return;
  const std::string file = text("round-", round, "-neurons.csv"),
                    csv = neurons_csv(network, index, chosen);
  if (!directory_.holds(file) || read_file(path(file)) != csv)
    write_file_atomically(path(file), csv);  // a resumed run comes here again
}

void Run::save(State& s) {
  progress_.clear();
  const bool split = !s.done && s.stage == Stage::train;
  const std::string name = text("round-", s.round - (!s.done && !split), split ? "-split" : "");
  write(grown_network(s, path(name + ".safetensors"), images_.name, settings_.seed));
  write_checkpoint(s);
  // never further than the checkpoint; restore_files makes up for a kill in between
  if (comm_.first()) write_file_atomically(path("results.csv"), growth_csv(s.history));
  progress_.reset();
}

// Files that somebody removed or exchanged: results.csv is made again, of rounds' files it is said.
void Run::restore_files(const State& s) const {
  if (s.history.empty()) return;
  std::string gone;
  auto look_for = [&](const std::string& file, const std::function<bool()>& right) {
    bool found = !directory_.lacks(file);
    try {
      found = found && right();
    } catch (const UserError&) {
      found = false;
    }
    if (!found) gone += (gone.empty() ? "" : ", ") + file;
  };
  const std::string csv = growth_csv(s.history), results = path("results.csv");
  try {
    if (directory_.lacks("results.csv") || read_file(results) != csv)
      write_file_atomically(results, csv);
  } catch (const UserError&) {
    look_for("results.csv", [] { return false; });  // a folder that is only read
  }
  for (const RoundRecord& r : s.history) {
    const std::string round = text("round-", r.round);
    auto network = [&](const std::string& file) {
      look_for(file, [&] {
        const TensorFile saved = read_safetensors(path(file));
        return read_config(saved).widths == r.widths &&
               saved.metadata_at("seed") == std::to_string(settings_.seed);
      });
    };
    if (r.round > 0)
      look_for(round + "-neurons.csv",
               [&] { return read_neurons(path(round + "-neurons.csv"), r).size() > 0; }),
          network(round + "-split.safetensors");
    if (s.done || r.round < s.round) network(round + ".safetensors");
  }
  if (!gone.empty())
    std::fprintf(stderr, "warning: %s: missing, broken or another run's, and not made again: %s\n",
                 one_line(options_.directory).c_str(), gone.c_str());
}

void Run::write(const TensorFile& file) const {
  if (!comm_.first()) return;
  check_no_nan(file);
  write_safetensors(file.path, file);
}

void Run::write_checkpoint(const State& s) {
  TensorFile file = grown_network(s, path("checkpoint.safetensors"), images_.name, settings_.seed);
  add_position(file, s, comm_);
  file.metadata["log_lines"] = std::to_string(directory_.lines);
  write(file);
  last_checkpoint_ = std::chrono::steady_clock::now();
}

State Run::read_checkpoint() {
  const TensorFile file = read_safetensors(path("checkpoint.safetensors"));
  State s = load_state(file, options_.network, images_.name, settings_, backend_, *this);
  directory_.lines = whole(file, "log_lines");
  comm_.require_same("the checkpoint", place(s),
                     "--out: a place that all processes see");  // and the first writes nothing
                                                                // before all have read
  if (comm_.first()) directory_.cut_log(s.history, s.done);
  std::printf("going on from %s: %s\n", one_line(file.path).c_str(), place(s).c_str());
  return s;
}

}  // namespace fission
