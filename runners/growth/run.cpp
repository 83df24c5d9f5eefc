#include "runners/growth/run.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "nn/io/json.h"
#include "runners/common/renamed.h"
#include "runners/common/signals.h"
#include "runners/growth/checkpoint.h"
#include "tensor/threads.h"

namespace fission {
namespace {

using Json = nlohmann::ordered_json;
bool exists(const std::string& path) {
  struct stat s;
  return stat(path.c_str(), &s) == 0;
}

// what two configurations say differently, by name; words: around the one's value and the other's
std::string differences(const Json& old, const Json& now, const std::array<const char*, 3>& words) {
  std::string text;
  Json all = old;
  all.update(now);
  for (const auto& item : all.items()) {
    auto value_in = [&](const Json& j) {
      return j.contains(item.key()) ? json_text(j.at(item.key())) : std::string("(not there)");
    };
    if (value_in(old) != value_in(now))
      text += (text.empty() ? "--" : ", --") + item.key() + words[0] + value_in(old) + words[1] +
              value_in(now) + words[2];
  }
  return text;
}

// A log's length is counted in lines: their bytes depend on times and rates, which no two runs
// share.
std::uint64_t length_of_lines(const std::string& path, Index lines) {
  if (lines == 0) return 0;
  const std::string all = read_file(path);
  std::size_t end = 0;
  for (Index i = 0; i < lines; i++) {
    end = all.find('\n', end) + 1;
    if (end == 0)
      user_error(path, ": line ", i + 1, ": missing, expected the ", lines,
                 " lines that the checkpoint knows of");
  }
  return end;
}

}  // namespace

Run::Run(const RunOptions& options, const GrowSettings& settings, const Json& config,
         const data::ImageSets& images, Backend& backend, Comm& comm)
    : options_(options),
      settings_(settings),
      config_(config),
      images_(images),
      backend_(backend),
      comm_(comm),
      input_(backend, DType::f32, images.mean, images.std),
      last_checkpoint_(std::chrono::steady_clock::now()) {
  if (options.directory == "-") user_error("--out -: expected a folder's name");
  check_processes();
}

void Run::check_config() const {
  if (exists(path("config.json"))) {
    const std::string expected = "the configuration of a run";
    const Json old = parse_json(read_file(path("config.json")), path("config.json"), expected);
    if (!old.is_object()) user_error(path("config.json"), ": no object, expected ", expected);
    refuse_renamed_settings(old, options_.directory);
    Json now = config_;
    if (!old.contains("data")) now.erase("data");  // of an older version, which kept none
    std::string differ = differences(old, now, {" was ", ", now ", ""});
    if (!differ.empty())
      user_error(options_.directory, " holds another run: ", differ,
                 " (another --out begins a new one)");
  } else if (exists(path("checkpoint.safetensors"))) {
    user_error(options_.directory,
               ": a checkpoint without its config.json; another --out begins a new run");
  }
}

// Of two processes that begin at once, one has the log; what it writes before that, the other could
// overwrite. A folder that can't be written to is none that anybody is at work in.
void Run::lock() {
  const bool going_on = exists(path("checkpoint.safetensors"));
  try {
    log_ = std::make_unique<AppendLog>(
        path("log.jsonl"), going_on ? AppendLog::Open::existing : AppendLog::Open::create);
  } catch (const UserError&) {
    if (!going_on || read_safetensors(path("checkpoint.safetensors")).metadata_at("done") != "1")
      throw;
  }
  check_config();  // another one may have been here since
}

void Run::check_processes() const {
  const Index group = settings_.train.bn_batch, n = comm_.size();
  if (n == 1) return;
  Json all = config_;
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
  const bool going_on = exists(path("checkpoint.safetensors"));
  // nobody writes before all have looked
  comm_.require_same("the run's folder", going_on ? "with a checkpoint" : "without a checkpoint",
                     "--out: a place that all processes see");
  check_config();
  if (comm_.size() > 1)
    std::printf("%d processes, each with its share of every batch\n", comm_.size());
  if (going_on) {
    if (comm_.first()) lock();
    return read_checkpoint();
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
    make_directories(options_.directory);
    lock();
    if (exists(path("checkpoint.safetensors")))
      user_error(
          options_.directory,
          ": another process has begun this run meanwhile; the same command goes on with it");
    write_file_atomically(path("config.json"), json_text(config_, 2) + "\n");
    log_->keep(0);
  }
  state.enter(Stage::train, settings_);
  if (!options_.start.empty())
    state.training_macs = macs_spent(options_.start_file),
    state.epoch = settings_.train.schedule.epochs;  // that network's training is over
  return state;
}

data::LoaderOptions Run::share_of_batches(Index batch) const {
  data::LoaderOptions o;
  o.batch = batch, o.seed = settings_.seed, o.rank = comm_.rank(), o.ranks = comm_.size(),
  o.threads = options_.loader_threads;
  return o;
}

StagePlan Run::plan(Index round, Stage stage) const {
  const Index all = images_.train->shape()[0];
  if (stage == Stage::train)
    return {round > 0 ? "fine-tuning" : "training", settings_.training_of(round).schedule.epochs,
            all, options_.batch, std::max<Index>(1, settings_.train.bn_batch)};
  const bool lanczos = settings_.solver.kind == Solver::lanczos;
  return {lanczos ? "Lanczos" : "RQ-SGD",
          settings_.solver.epochs,
          options_.rq_images > 0 ? std::min(options_.rq_images, all) : all,
          options_.rq_batch,
          1,
          lanczos};  // products of one matrix: the same images in each pass
}

BatchSource& Run::training(Index round, Stage stage) {
  const StagePlan plan = this->plan(round, stage);
  data::LoaderOptions o = share_of_batches(plan.batch);
  o.stage = stage == Stage::train ? data::training_stage(round) : data::solving_stage(round);
  o.augment = options_.augment, o.group = plan.group, o.fixed_key = plan.fixed;
  if (o.fixed_key && loader_stage_ != o.stage)
    std::printf("Lanczos: %ld passes over the same images, augmentation key: seed %lu, stage %ld\n",
                long(plan.epochs), (unsigned long)o.seed, long(o.stage));
  return loader(some_of_training(plan.images), o);
}

// `count` training images: the first ones, or where they lie class by class every so manyth
data::SourcePtr Run::some_of_training(Index count) const {
  const Index all = images_.train->shape()[0];
  if (count == all) return images_.train;
  return data::part_of(images_.train, count,
                       images_.by_class ? std::max<Index>(1, all / count) : 1);
}

// Some images of the training set: what a split's loss change is predicted and measured on
BatchSource& Run::check() {
  data::LoaderOptions o = share_of_batches(options_.batch);
  o.stage = data::check_stage, o.shuffle = false, o.augment = options_.augment, o.fixed_key = true;
  return watched(loader(some_of_training(options_.check_images), o));
}

BatchSource& Run::test() {
  data::LoaderOptions o = share_of_batches(options_.batch);
  o.stage = data::test_stage, o.shuffle = false, o.augment = false;
  return watched(loader(images_.test, o));
}

// One at a time: a ring at 224x224 and batch 256 is 4 * 256 * 150528 B = 154 MB; three would be 462
// MB.
BatchSource& Run::loader(data::SourcePtr images, const data::LoaderOptions& o) {
  if (loader_stage_ == o.stage) return *loader_;
  loader_stage_ = -1, loader_.reset();
  loader_ = std::make_unique<data::Loader>(std::move(images), backend_, o);
  loader_stage_ = o.stage;
  return *loader_;
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

void Run::grow(State& state) {
  const DeferSignals until_saved;
  try {
    fission::grow(state, settings_, *this);
    end_if_requested();
  } catch (const Stopped& stopped) {
    progress_.clear();
    if (!state.done) write_checkpoint(state);
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
  if (log_) log_->append(line.json);
  log_lines_++;
  crash_point("after-log");
  progress_.clear();
  std::printf("%s\n", line.prose.c_str());
  std::fflush(stdout);
  progress_.reset();
}

void Run::save_neurons(Index round, const Network& network, const SplittingIndex& index,
                       const Selection& chosen) {
  if (!comm_.first()) return;
  const std::string file = path("round-" + std::to_string(round) + "-neurons.csv"),
                    csv = neurons_csv(network, index, chosen);
  if (!exists(file) || read_file(file) != csv)
    write_file_atomically(file, csv);  // a resumed run comes here again
}

void Run::save(State& s) {
  progress_.clear();
  std::string name;
  if (s.done) name = "round-" + std::to_string(s.round);
  else if (s.stage == Stage::solve) name = "round-" + std::to_string(s.round - 1);
  else name = "round-" + std::to_string(s.round) + "-split";
  write(grown_network(s, path(name + ".safetensors"), images_.name, settings_.seed));
  if (comm_.first()) write_file_atomically(path("results.csv"), growth_csv(s.history));
  write_checkpoint(s);
  progress_.reset();
}

void Run::write(const TensorFile& file) const {
  if (!comm_.first()) return;
  check_no_nan(file);
  write_safetensors(file.path, file);
}

void Run::write_checkpoint(const State& s) {
  TensorFile file = grown_network(s, path("checkpoint.safetensors"), images_.name, settings_.seed);
  add_position(file, s, comm_);
  file.metadata["log_lines"] = std::to_string(log_lines_);
  write(file);
  last_checkpoint_ = std::chrono::steady_clock::now();
}

State Run::read_checkpoint() {
  const TensorFile file = read_safetensors(path("checkpoint.safetensors"));
  State s = load_state(file, options_.network, images_.name, settings_, backend_, *this);
  log_lines_ = whole(file, "log_lines");
  comm_.require_same("the checkpoint", place(s),
                     "--out: a place that all processes see");  // and the first writes nothing
                                                                // before all have read
  if (comm_.first()) {
    const std::uint64_t length = length_of_lines(path("log.jsonl"), log_lines_);
    if (log_ && !s.done) log_->keep(length);
  }
  std::printf("going on from %s: %s\n", file.path.c_str(), place(s).c_str());
  return s;
}

}  // namespace fission
