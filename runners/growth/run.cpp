#include "runners/growth/run.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "nn/io/json.h"
#include "runners/common/renamed.h"
#include "runners/common/signals.h"
#include "runners/growth/options.h"
#include "tensor/hash.h"
#include "tensor/threads.h"

namespace fission {
namespace {

using Json = nlohmann::ordered_json;
constexpr Index check_stage = 1000000,
                test_stage = check_stage + 1;  // of a loader; training's are 2 a round

bool exists(const std::string& path) {
  struct stat s;
  return stat(path.c_str(), &s) == 0;
}

// what no split changes: a checkpoint that says otherwise is another run's
std::string identity(const NetworkConfig& c, const std::vector<Index>& seed_widths,
                     const std::string& dataset, const std::string& seed) {
  return text(c.model, " grown from ", joined(seed_widths), ", ", name_of(c.activation), ", ",
              c.size, "x", c.size, "x", c.channels, " images of ", c.classes, " classes (", dataset,
              "), seed ", seed);
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

std::string place(const State& s) {
  return text("round ", s.round, ", ", s.stage == Stage::train ? "train" : "solve", ", epoch ",
              s.epoch + 1, ", step ", s.step);
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

// Multiply-accumulates: whole numbers, which a double holds up to 9e15 and rounds beyond
std::string exact(double macs) {
  char s[40];
  std::snprintf(s, sizeof s, "%.17g", macs);
  return s;
}
double macs_spent(const TensorFile& file) {  // 0 where it is not known
  const auto found = file.metadata.find("training_macs");
  if (found == file.metadata.end()) return 0;
  char* end = nullptr;
  const double macs = std::strtod(found->second.c_str(), &end);
  if (*end || !(macs >= 0 && macs < 1e300))
    user_error(file.path, ": metadata 'training_macs': '", found->second, "', expected a number");
  return macs;
}

// An epoch's sums so far, each process's own: as many processes go on with the same bits, for any
// other number the first takes them all.
void store_meter(TensorFile& file, Meter& meter, Comm& comm) {
  const std::size_t n = std::size_t(comm.size()), r = std::size_t(comm.rank());
  std::vector<double> loss(n), hits(2 * n), images(n), mine = meter.hits().to_host();
  loss[r] = meter.loss_sum().item(), hits[2 * r] = mine[0], hits[2 * r + 1] = mine[1],
  images[r] = double(meter.count);
  for (auto* all : {&loss, &hits, &images}) comm.sum(all->data(), Index(all->size()));
  Backend& b = meter.hits().backend();
  store_tensor(file, "meter/loss", make_real(b, {Index(n)}, loss, meter.loss_sum().dtype()));
  store_tensor(
      file, "meter/hits",
      Tensor::from(b, {Index(2 * n)}, std::vector<std::int32_t>(hits.begin(), hits.end())));
  file.metadata["images_metered"] = joined({images.begin(), images.end()});
}
// seen: images of the epoch so far
void load_meter(const TensorFile& file, Meter& meter, Index seen, Comm& comm) {
  std::vector<Index> images;
  std::istringstream list(file.metadata_at("images_metered"));
  for (std::string item; std::getline(list, item, ' ');)
    images.push_back(whole(file, "images_metered", item, 0, 999999999999999));
  const Index n = Index(images.size());
  if (n == 0) user_error(file.path, ": metadata 'images_metered': nothing, expected a number");
  Backend& b = meter.hits().backend();
  Tensor loss(b, {n}, meter.loss_sum().dtype()), hits(b, {2 * n}, DType::i32);
  load_tensor(file, "meter/loss", loss), load_tensor(file, "meter/hits", hits);
  const std::vector<double> l = loss.to_host(), h = hits.to_host();
  Index all = 0;
  for (Index i = 0; i < n; i++) {
    all += std::min(images[i], seen + 1);
    for (Index top : {2 * i, 2 * i + 1})
      if (!(h[top] >= 0 && h[top] <= double(images[i])))
        user_error(file.path, ": tensor 'meter/hits' holds ", h[top], ", expected hits among ",
                   images[i], " images");
  }
  if (all != seen)
    user_error(file.path, ": metadata 'images_metered': '", file.metadata_at("images_metered"),
               "', expected ", seen, " in all, as metadata 'step' says");
  const bool each = n == comm.size();
  double sum = 0;
  std::vector<std::int32_t> top{0, 0};
  meter.count = 0;
  for (Index i = each ? comm.rank() : 0; i < (each ? comm.rank() + 1 : comm.first() ? n : 0); i++)
    sum += l[i], top[0] += std::int32_t(h[2 * i]), top[1] += std::int32_t(h[2 * i + 1]),
        meter.count += images[i];
  meter.loss_sum().copy_from(make_real(b, {1}, {sum}, loss.dtype()));
  meter.hits().copy_from(Tensor::from(b, {2}, top));
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
  if (comm_.first()) warn_of_narrow_table(settings_, *state.network);
  if (comm_.first()) {
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

BatchSource& Run::training(Index round, Stage stage) {
  data::LoaderOptions o =
      share_of_batches(stage == Stage::solve ? options_.rq_batch : options_.batch);
  o.stage = 2 * round + (stage == Stage::solve), o.augment = options_.augment;
  if (stage == Stage::train) o.group = std::max<Index>(1, settings_.train.bn_batch);
  o.fixed_key = stage == Stage::solve &&
                settings_.solver.kind ==
                    Solver::lanczos;  // products of one matrix: the same images in each pass
  if (o.fixed_key && loader_stage_ != o.stage)
    std::printf("Lanczos: %ld passes over the same images, augmentation key: seed %lu, stage %ld\n",
                long(settings_.solver.epochs), (unsigned long)o.seed, long(o.stage));
  return loader(stage == Stage::solve ? some_of_training(rq_images()) : images_.train, o);
}

Index Run::rq_images() const {
  const Index all = images_.train->shape()[0];
  return options_.rq_images > 0 ? std::min(options_.rq_images, all) : all;
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
  o.stage = check_stage, o.shuffle = false, o.augment = options_.augment, o.fixed_key = true;
  return watched(loader(some_of_training(options_.check_images), o));
}

BatchSource& Run::test() {
  data::LoaderOptions o = share_of_batches(options_.batch);
  o.stage = test_stage, o.shuffle = false, o.augment = false;
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
  const bool solving = s.stage == Stage::solve;
  auto training = [&](Index round) {
    return double(settings_.training_of(round).schedule.epochs * images_.train->shape()[0]);
  };
  const double rq = double(settings_.solver.epochs * rq_images());
  const double epoch = double(solving ? rq_images() : images_.train->shape()[0]);
  const double batch = double(solving ? options_.rq_batch : options_.batch);
  double left = solving ? rq + training(s.round) : training(s.round);
  left -= double(s.epoch) * epoch + std::min(epoch, double(s.step) * batch);
  for (Index round = s.round + 1; round <= settings_.rounds; round++) left += rq + training(round);
  return left;
}

void Run::after_step(State& s) {
  BatchSource& source = training(s.round, s.stage);
  progress_.add(double(
      std::min<Index>(source.size(),
                      s.step * (s.stage == Stage::train ? options_.batch : options_.rq_batch)) -
      (s.step - 1) * (s.stage == Stage::train ? options_.batch : options_.rq_batch)));
  Index epochs = epochs_of(s);
  double rate = progress_.rate();
  char line[200];
  std::snprintf(
      line, sizeof line, "round %ld %s, epoch %ld of %ld, step %ld of %ld: %.0f images/s, %s left",
      long(s.round),
      s.stage == Stage::solve ? (settings_.solver.kind == Solver::lanczos ? "Lanczos" : "RQ-SGD")
      : s.round               ? "fine-tuning"
                              : "training",
      long(s.epoch + 1), long(epochs), long(s.step), long(source.steps()), rate,
      rate > 0 ? duration(images_left(s) / rate).c_str() : "?");
  progress_.show(line);
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

void Run::log(const Json& line) {
  Json full = line;
  std::string pace;
  if (line.contains("epoch")) {
    pace = text(std::llround(progress_.rate()), " images/s");
    if (progress_.rate() > 0) full["images_per_second"] = std::round(progress_.rate());
    if (const Index skipped = images_.train->skipped(comm_))
      full["skipped_files"] = skipped,
      pace += text("; ", skipped, " broken files skipped since the start");
  }
  full["time"] = std::time(nullptr);
  if (log_) log_->append(json_text(full));
  log_lines_++;
  crash_point("after-log");
  progress_.clear();
  auto number = [&](const char* key) {
    return line.contains(key) ? line.at(key).get<double>() : 0;
  };
  if (line.contains("why")) {
    std::printf("round %.0f: nothing to split: %s\n", number("round"),
                line.at("why").get<std::string>().c_str());
  } else if (line.at("stage") == "split") {
    std::string energy;  // spent, and of which budget, of each group; the baselines have none
    for (std::size_t g = 0; g < line.at("spent").size(); g++) {
      double budget = line.at("budget")[g];
      energy += (g ? " + " : "") + compact(line.at("spent")[g], 4) +
                (budget > 0 ? " of " + compact(budget, 4) : "");
    }
    std::printf(
        "split %.0f neurons for %s %s (%s), now %s MACs: loss %s predicted (E4), %+.4e "
        "measured; test %s\n",
        number("neurons"), energy.c_str(), line.at("energy_unit").get<std::string>().c_str(),
        line.at("energy_source").get<std::string>().c_str(), in_millions(number("macs")).c_str(),
        line.at("quadratic") ? signed_scientific(number("predicted_loss_change")).c_str()
                             : beyond_theory,
        number("measured_loss_change"), percent(number("test_top1")).c_str());
  } else if (line.at("stage") == "prune") {
    std::printf("pruned to %s MACs: test %s before, %s after\n",
                in_millions(number("macs")).c_str(), percent(number("test_top1_before")).c_str(),
                percent(number("test_top1")).c_str());
  } else if (line.contains("largest_residual")) {
    std::printf(
        "round %.0f Lanczos pass %.0f of %.0f: least splitting index %.4e, sum of the negative "
        "ones %.4e, residuals: "
        "largest %.1e, median %.1e; %s\n",
        number("round"), number("epoch"), number("of"), number("least_lambda"),
        number("sum_of_negative_lambdas"), number("largest_residual"), number("median_residual"),
        pace.c_str());
  } else if (line.at("stage") == "solve") {
    std::printf(
        "round %.0f RQ-SGD epoch %.0f of %.0f: least splitting index %.4e, sum of the negative "
        "ones %.4e; %s\n",
        number("round"), number("epoch"), number("of"), number("least_lambda"),
        number("sum_of_negative_lambdas"), pace.c_str());
  } else {
    std::printf("round %.0f %s epoch %.0f of %.0f: loss %.4f, training %s, test %s; %s\n",
                number("round"), line.at("stage") == "train" ? "training" : "fine-tuning",
                number("epoch"), number("of"), number("loss"),
                percent(number("train_top1")).c_str(), percent(number("test_top1")).c_str(),
                pace.c_str());
  }
  std::fflush(stdout);
  progress_.reset();
}

void Run::save_neurons(Index round, const Network& network, const SplittingIndex& index,
                       const Selection& chosen) {
  std::string csv = "axis,neuron,lambda,residual,products,split\n";
  auto number = [](double x) {
    char s[40];
    std::snprintf(s, sizeof s, "%.9g", x);
    return std::string(s);
  };
  for (std::size_t l = 0; l < index.lambda.size(); l++)
    for (std::size_t o = 0; o < index.lambda[l].size(); o++)
      csv += text(network.axes()[l].name, ",", o, ",", number(index.lambda[l][o]), ",",
                  index.residual.empty() ? "" : number(index.residual[l][o]), ",",
                  index.products.empty() ? "" : std::to_string(index.products[l][o]), ",",
                  int(chosen.split[l][o]), "\n");
  if (!comm_.first()) return;
  const std::string file = path("round-" + std::to_string(round) + "-neurons.csv");
  if (!exists(file) || read_file(file) != csv)
    write_file_atomically(file, csv);  // a resumed run comes here again
}

void Run::save(State& s) {
  progress_.clear();
  std::string name;
  if (s.done) name = "round-" + std::to_string(s.round);
  else if (s.stage == Stage::solve) name = "round-" + std::to_string(s.round - 1);
  else name = "round-" + std::to_string(s.round) + "-split";
  TensorFile file;
  file.path = path(name + ".safetensors");
  store_network(file, *s.network);
  file.metadata["seed"] = std::to_string(settings_.seed),
  file.metadata["round"] = std::to_string(s.round);
  file.metadata["training_macs"] = exact(s.training_macs);
  file.metadata["dataset"] = images_.name,
  file.metadata["history"] = json_text(history_to_json(s.history));
  if (comm_.first()) {
    check_no_nan(file);
    write_safetensors(file.path, file);
    write_file_atomically(path("results.csv"), growth_csv(s.history));
  }
  write_checkpoint(s);
  progress_.reset();
}

void Run::write_checkpoint(const State& s) {
  const std::vector<double> parameters = s.network->parameters().to_host();
  auto apart = comm_.disagreement(
      hash_text(hash_bytes(parameters.data(), parameters.size() * sizeof(double))));
  FISSION_CHECK(!apart, "[run] process ", apart->rank,
                " has other parameters than process 0: ", apart->other, ", there ", apart->first);
  TensorFile file;
  file.path = path("checkpoint.safetensors");
  store_network(file, *s.network);
  auto& m = file.metadata;
  m["seed"] = std::to_string(settings_.seed), m["dataset"] = images_.name,
  m["history"] = json_text(history_to_json(s.history));
  m["round"] = std::to_string(s.round), m["stage"] = s.stage == Stage::train ? "train" : "solve",
  m["done"] = s.done ? "1" : "0";
  m["epoch"] = std::to_string(s.epoch), m["step"] = std::to_string(s.step),
  m["log_lines"] = std::to_string(log_lines_), m["training_macs"] = exact(s.training_macs);
  store_meter(file, *s.meter, comm_);
  if (s.optimizer) store_flat(file, *s.network, "sgd/", s.optimizer->buffer());
  if (s.solver) {
    m["solver_steps_in_mean"] = std::to_string(s.solver->in_mean);
    for (auto& entry : s.solver->state()) {
      if (entry.second.shape() == s.network->parameters().shape())
        store_flat(file, *s.network, "rq/" + entry.first + "/", entry.second);
      else store_tensor(file, "rq/" + entry.first, entry.second);
    }
  }
  if (comm_.first()) {
    check_no_nan(file);
    write_safetensors(file.path, file);
  }
  last_checkpoint_ = std::chrono::steady_clock::now();
}

Index Run::epochs_of(const State& s) const {
  return s.stage == Stage::solve ? settings_.solver.epochs
                                 : settings_.training_of(s.round).schedule.epochs;
}
// of an epoch: images in whole batch-norm groups
Index Run::images_of(const State& s) const {
  if (s.stage == Stage::solve) return rq_images();
  const Index all = images_.train->shape()[0];
  return all - all % std::max<Index>(1, settings_.train.bn_batch);
}
Index Run::batch_of(const State& s) const {
  return s.stage == Stage::train ? options_.batch : options_.rq_batch;
}
Index Run::images_before(const State& s) const {
  return std::min(images_of(s), s.step * batch_of(s));
}

// A position that this growth never comes to is refused: it might go on for ever.
void Run::read_position(const TensorFile& file, State& s) const {
  const bool training = file.metadata_at("stage") == "train";  // or solve: it was looked at
  if (file.metadata_at("done") != "0" && file.metadata_at("done") != "1")
    user_error(file.path, ": metadata 'done': '", file.metadata_at("done"), "', expected 0 or 1");
  const bool done = file.metadata_at("done") == "1";
  s.round = whole(file, "round", training || done ? 0 : 1, settings_.rounds);
  // A round is recorded when it is split, a pruned network at once, the seed when it is trained. A
  // growth that found nothing to split is done in Stage::solve, and stands in the round before.
  const bool recorded = done || (training && (s.round > 0 || !s.history.empty()));
  const Index rounds = s.round + recorded;
  if (Index(s.history.size()) != rounds)
    user_error(file.path, ": metadata 'history': ", s.history.size(), " rounds, expected ", rounds,
               " in round ", s.round, ", stage ", file.metadata_at("stage"));
  s.enter(training ? Stage::train : Stage::solve, settings_);
  s.done = done;
  const Index epochs = epochs_of(s), steps = (images_of(s) + batch_of(s) - 1) / batch_of(s);
  s.epoch = whole(file, "epoch", 0, epochs);  // all of them: what comes after is not done yet
  s.step = whole(file, "step", 0, s.epoch == epochs ? 0 : steps);
}

State Run::read_checkpoint() {
  TensorFile file = read_safetensors(path("checkpoint.safetensors"));
  State s;
  s.network = load_network(file, backend_);
  s.history = check_metadata(file, *s.network);
  const std::vector<Index>& seed_widths =
      s.history.empty() ? s.network->config().widths : s.history.front().widths;
  std::string found = identity(s.network->config(), seed_widths, file.metadata_at("dataset"),
                               file.metadata_at("seed"));
  std::string expected = identity(options_.network, options_.network.widths, images_.name,
                                  std::to_string(settings_.seed));
  if (found != expected)
    user_error(file.path, ": metadata: another run's checkpoint: ", found, "; expected ", expected);
  read_position(file, s);
  load_meter(file, *s.meter, images_before(s), comm_);
  if (s.stage == Stage::solve && settings_.carry_momentum)
    s.optimizer = std::make_unique<Sgd>(*s.network, settings_.training_of(s.round).sgd);
  if (s.optimizer) load_flat(file, *s.network, "sgd/", s.optimizer->buffer());
  if (s.solver) {
    // Between epochs it is the last one's, and the result's once all are over.
    const Index summed = settings_.solver.kind == Solver::lanczos ? images_before(s) : s.step;
    s.solver->in_mean = s.step > 0 ? whole(file, "solver_steps_in_mean", summed, summed)
                                   : whole(file, "solver_steps_in_mean", s.epoch > 0);
    for (auto& entry : s.solver->state()) {
      if (entry.second.shape() == s.network->parameters().shape())
        load_flat(file, *s.network, "rq/" + entry.first + "/", entry.second);
      else load_tensor(file, "rq/" + entry.first, entry.second);
      if (entry.first == "squares")
        for (double x : entry.second.to_host())
          if (x < 0)
            user_error(file.path, ": tensor 'rq/squares/…' holds ", x, ", expected 0 or more");
    }
  }
  log_lines_ = whole(file, "log_lines");
  s.training_macs = macs_spent(file);
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
