#include "runners/common/run.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>

namespace fission {
namespace {

using Json = nlohmann::ordered_json;
bool exists(const std::string& path) {
  struct stat s;
  return stat(path.c_str(), &s) == 0;
}

Json score_to_json(const Score& s) { return {{"loss", s.loss}, {"top1", s.top1}, {"top5", s.top5}, {"count", s.count}}; }
Score score_from_json(const Json& j) { return {j.at("loss"), j.at("top1"), j.at("top5"), j.at("count")}; }

// what no split changes: a checkpoint that says otherwise is another run's
std::string identity(const NetworkConfig& c, const std::vector<Index>& seed_widths, const std::string& dataset, const std::string& seed) {
  return text(c.model, " grown from ", joined(seed_widths), ", ", name_of(c.activation), ", ", c.size, "x", c.size, "x", c.channels,
              " pictures of ", c.classes, " classes (", dataset, "), seed ", seed);
}

// what the old and the new configuration say differently, by name
std::string differences(const Json& old, const Json& now) {
  std::string text;
  Json all = old;
  all.update(now);
  for (const auto& item : all.items()) {
    auto said = [&](const Json& j) { return j.contains(item.key()) ? j.at(item.key()).dump() : std::string("(not there)"); };
    if (said(old) != said(now)) text += (text.empty() ? "--" : ", --") + item.key() + " was " + said(old) + ", now " + said(now);
  }
  return text;
}

// A log's length is counted in lines: their bytes depend on times and rates, which no two runs share.
std::uint64_t length_of_lines(const std::string& path, Index lines) {
  if (lines == 0) return 0;
  const std::string all = read_file(path);
  std::size_t end = 0;
  for (Index i = 0; i < lines; i++) {
    end = all.find('\n', end) + 1;
    if (end == 0) user_error(path, ": line ", i + 1, ": missing, expected the ", lines, " lines that the checkpoint knows of");
  }
  return end;
}

Index whole(const TensorFile& file, const std::string& key) {
  const std::string& t = file.metadata_at(key);
  if (t.empty() || t.size() > 15 || t.find_first_not_of("0123456789") != std::string::npos)
    user_error(file.path, ": metadata '", key, "': '", t, "', expected a whole number");
  return std::stoll(t);
}

}  // namespace

Json history_to_json(const std::vector<RoundRecord>& history) {
  Json rounds = Json::array();
  for (const RoundRecord& r : history)
    rounds.push_back({{"round", r.round}, {"neurons_split", r.neurons_split}, {"widths", r.widths}, {"macs", r.macs}, {"parameters", r.parameters},
                      {"split", score_to_json(r.split)}, {"tuned", score_to_json(r.tuned)}, {"predicted", r.predicted}, {"measured", r.measured}});
  return rounds;
}

std::vector<RoundRecord> history_from_json(const std::string& text, const std::string& path) {
  try {
    std::vector<RoundRecord> history;
    for (const Json& j : Json::parse(text)) {
      RoundRecord r;
      r.round = j.at("round"), r.neurons_split = j.at("neurons_split"), r.widths = j.at("widths").get<std::vector<Index>>();
      r.macs = j.at("macs"), r.parameters = j.at("parameters"), r.predicted = j.at("predicted"), r.measured = j.at("measured");
      r.split = score_from_json(j.at("split")), r.tuned = score_from_json(j.at("tuned"));
      history.push_back(r);
    }
    return history;
  } catch (const Json::exception& e) {
    user_error(path, ": metadata 'history': ", e.what(), ", expected the rounds of a growth");
  }
}

Run::Run(const RunOptions& options, const GrowSettings& how, const Json& config, const data::PictureSets& pictures, Backend& backend)
    : options_(options), how_(how), config_(config), pictures_(pictures), backend_(backend),
      input_(backend, DType::f32, pictures.mean, pictures.std), last_checkpoint_(std::chrono::steady_clock::now()) {
  if (exists(path("config.json"))) {
    Json old;
    try {
      old = Json::parse(read_file(path("config.json")));
    } catch (const Json::exception& e) {
      user_error(path("config.json"), ": ", e.what(), ", expected the configuration of a run");
    }
    std::string differ = differences(old, config);
    if (!differ.empty()) user_error(options.directory, " holds another run: ", differ, " (another --out begins a new one)");
  } else if (exists(path("checkpoint.safetensors"))) {
    user_error(options.directory, ": a checkpoint without its config.json; another --out begins a new run");
  }
}

State Run::begin() {
  if (exists(path("checkpoint.safetensors"))) return read_checkpoint();
  State state;
  state.network = options_.start.empty() ? make_network(options_.network, backend_, DType::f32, how_.seed)
                                         : load_network(read_safetensors(options_.start), backend_);
  double least = state.network->macs();
  for (double target : how_.target_macs) {
    if (target < least) user_error("--target-macs ", Index(target), ": expected at least the ", Index(least), " MACs of the network before");
    least = target;
  }
  scaled_energies(*state.network, how_.energy, how_.scale);  // a table that lacks its layers is refused now, not after the training
  make_directories(options_.directory);
  write_file_atomically(path("config.json"), config_.dump(2) + "\n");
  state.enter(Stage::train, how_);
  if (!options_.start.empty()) state.epoch = how_.train.schedule.epochs;  // that network's training is over
  log_ = std::make_unique<AppendLog>(path("log.jsonl"), 0);
  return state;
}

BatchSource& Run::training(Index round, Stage stage) {
  Index key = 2 * round + (stage == Stage::rayleigh);
  if (key != loader_key_) {
    data::LoaderOptions o;
    o.batch = stage == Stage::rayleigh ? options_.rq_batch : options_.batch;
    o.seed = how_.seed, o.stage = key, o.augment = options_.augment, o.threads = options_.loader_threads;
    o.fixed_key = stage == Stage::rayleigh && how_.solver == Solver::lanczos;  // products of one matrix: the same pictures in each pass
    if (o.fixed_key) std::printf("Lanczos: %ld passes over the same pictures, augmentation key: seed %lu, stage %ld\n", long(how_.rayleigh.epochs), (unsigned long)o.seed, long(o.stage));
    training_loader_.reset();
    training_loader_ = std::make_unique<data::Loader>(pictures_.train, backend_, o);
    loader_key_ = key;
  }
  return *training_loader_;
}

// Some pictures of the training set: what a split's loss change is predicted and measured on
BatchSource& Run::check() {
  data::LoaderOptions o;
  o.batch = options_.batch, o.seed = how_.seed, o.stage = 1000000, o.shuffle = false, o.augment = options_.augment, o.fixed_key = true;
  o.threads = options_.loader_threads;
  Index stride = pictures_.by_class ? std::max<Index>(1, pictures_.train->shape()[0] / options_.check_pictures) : 1;
  if (!check_loader_) check_loader_ = std::make_unique<data::Loader>(data::part_of(pictures_.train, options_.check_pictures, stride), backend_, o);
  return *check_loader_;
}

BatchSource& Run::test() {
  data::LoaderOptions o;
  o.batch = options_.batch, o.shuffle = false, o.augment = false, o.threads = options_.loader_threads;
  if (!test_loader_) test_loader_ = std::make_unique<data::Loader>(pictures_.test, backend_, o);
  return *test_loader_;
}

double Run::pictures_left(const State& s) const {
  double epoch = double(pictures_.train->shape()[0]), tune = double(how_.tune.schedule.epochs) * epoch, rq = double(how_.rayleigh.epochs) * epoch;
  double batch = double(s.stage == Stage::train ? options_.batch : options_.rq_batch);
  double stage = s.stage == Stage::rayleigh ? rq : s.round == 0 ? double(how_.train.schedule.epochs) * epoch : tune;
  double left = stage - double(s.epoch) * epoch - std::min(epoch, double(s.step) * batch);
  return left + (s.stage == Stage::rayleigh ? tune : 0) + double(how_.rounds - s.round) * (rq + tune);
}

void Run::after_step(State& s) {
  BatchSource& source = training(s.round, s.stage);
  progress_.add(double(std::min<Index>(source.size(), s.step * (s.stage == Stage::train ? options_.batch : options_.rq_batch)) -
                       (s.step - 1) * (s.stage == Stage::train ? options_.batch : options_.rq_batch)));
  Index epochs = s.stage == Stage::rayleigh ? how_.rayleigh.epochs : s.round == 0 ? how_.train.schedule.epochs : how_.tune.schedule.epochs;
  double rate = progress_.rate();
  char line[200];
  std::snprintf(line, sizeof line, "  round %ld %s, epoch %ld of %ld, step %ld of %ld: %.0f pictures/s, %s left at this rate", long(s.round),
                s.stage == Stage::rayleigh ? (how_.solver == Solver::lanczos ? "Lanczos" : "RQ-SGD") : s.round ? "fine-tuning" : "training", long(s.epoch + 1), long(epochs), long(s.step),
                long(source.steps()), rate, rate > 0 ? duration(pictures_left(s) / rate).c_str() : "?");
  progress_.show(line);
  auto now = std::chrono::steady_clock::now();
  if (std::chrono::duration<double>(now - last_checkpoint_).count() >= 60 * options_.checkpoint_minutes) {
    write_checkpoint(s);
    progress_.pause();
  }
}

void Run::log(const Json& line) {
  Json full = line;
  if (progress_.rate() > 0 && line.contains("epoch")) full["pictures_per_second"] = std::round(progress_.rate());
  full["time"] = std::time(nullptr);
  log_->append(full.dump());
  log_lines_++;
  crash_point("after-log");
  progress_.clear();
  auto number = [&](const char* key) { return line.contains(key) ? line.at(key).get<double>() : 0; };
  if (line.contains("why")) {
    std::printf("round %.0f: nothing to split: %s\n", number("round"), line.at("why").get<std::string>().c_str());
  } else if (line.at("stage") == "split") {
    std::string energy;  // spent, and of which budget, of each group; the baselines have none
    for (std::size_t g = 0; g < line.at("spent").size(); g++) {
      double budget = line.at("budget")[g];
      energy += (g ? " + " : "") + compact(line.at("spent")[g], 4) + (budget > 0 ? " of " + compact(budget, 4) : "");
    }
    std::printf("split %.0f neurons for %s %s (%s), now %s MACs: loss %+.4e predicted (E4), %+.4e measured; test %s\n", number("neurons"),
                energy.c_str(), line.at("energy_unit").get<std::string>().c_str(), line.at("energy_source").get<std::string>().c_str(),
                in_millions(number("macs")).c_str(), number("predicted_loss_change"), number("measured_loss_change"), percent(number("test_top1")).c_str());
  } else if (line.contains("largest_residual")) {
    std::printf("round %.0f Lanczos pass %.0f of %.0f: least splitting index %.4e, sum of the negative ones %.4e, residuals: largest %.1e, median %.1e; %.0f pictures/s\n",
                number("round"), number("epoch"), number("of"), number("least_lambda"), number("sum_of_negative_lambdas"), number("largest_residual"),
                number("median_residual"), progress_.rate());
  } else if (line.at("stage") == "rq") {
    std::printf("round %.0f RQ-SGD epoch %.0f of %.0f: least splitting index %.4e, sum of the negative ones %.4e; %.0f pictures/s\n", number("round"),
                number("epoch"), number("of"), number("least_lambda"), number("sum_of_negative_lambdas"), progress_.rate());
  } else {
    std::printf("round %.0f %s epoch %.0f of %.0f: loss %.4f, training %s, test %s; %.0f pictures/s\n", number("round"),
                line.at("stage") == "train" ? "training" : "fine-tuning", number("epoch"), number("of"), number("loss"),
                percent(number("train_top1")).c_str(), percent(number("test_top1")).c_str(), progress_.rate());
  }
  std::fflush(stdout);
  progress_.reset();
}

void Run::tell(Index round, const Network& network, const SplittingIndex& index, const Selection& chosen) {
  std::string csv = "axis,neuron,lambda,residual,products,split\n";
  auto number = [](double x) {
    char s[40];
    std::snprintf(s, sizeof s, "%.9g", x);
    return std::string(s);
  };
  for (std::size_t l = 0; l < index.lambda.size(); l++)
    for (std::size_t o = 0; o < index.lambda[l].size(); o++)
      csv += text(network.axes()[l].name, ",", o, ",", number(index.lambda[l][o]), ",", index.residual.empty() ? "" : number(index.residual[l][o]), ",",
                  index.products.empty() ? "" : std::to_string(index.products[l][o]), ",", int(chosen.split[l][o]), "\n");
  const std::string file = path("round-" + std::to_string(round) + "-neurons.csv");
  if (!exists(file) || read_file(file) != csv) write_file_atomically(file, csv);  // a resumed run comes here again
}

void Run::save(State& s) {
  progress_.clear();
  std::string name;
  if (s.done) name = "round-" + std::to_string(s.round);
  else if (s.stage == Stage::rayleigh) name = "round-" + std::to_string(s.round - 1);
  else name = "round-" + std::to_string(s.round) + "-split";
  TensorFile file;
  file.path = path(name + ".safetensors");
  store_network(file, *s.network);
  file.metadata["seed"] = std::to_string(how_.seed), file.metadata["round"] = std::to_string(s.round);
  file.metadata["dataset"] = pictures_.name, file.metadata["history"] = history_to_json(s.history).dump();
  check_no_nan(file);
  write_safetensors(file.path, file);
  write_file_atomically(path("results.csv"), growth_csv(s.history));
  write_checkpoint(s);
  progress_.reset();
}

void Run::write_checkpoint(const State& s) {
  TensorFile file;
  file.path = path("checkpoint.safetensors");
  store_network(file, *s.network);
  auto& m = file.metadata;
  m["seed"] = std::to_string(how_.seed), m["dataset"] = pictures_.name, m["history"] = history_to_json(s.history).dump();
  m["round"] = std::to_string(s.round), m["stage"] = s.stage == Stage::train ? "train" : "rayleigh", m["done"] = s.done ? "1" : "0";
  m["epoch"] = std::to_string(s.epoch), m["step"] = std::to_string(s.step), m["log_lines"] = std::to_string(log_lines_);
  m["pictures_metered"] = std::to_string(s.meter->count);
  store_tensor(file, "meter/loss", s.meter->loss_sum());
  store_tensor(file, "meter/hits", s.meter->hits());
  if (s.optimizer) store_flat(file, *s.network, "sgd/", s.optimizer->buffer());
  if (s.descent) {
    m["rq_steps_in_mean"] = std::to_string(s.descent->in_mean);
    for (auto& entry : s.descent->state()) {
      if (entry.second.shape() == s.network->parameters().shape()) store_flat(file, *s.network, "rq/" + entry.first + "/", entry.second);
      else store_tensor(file, "rq/" + entry.first, entry.second);
    }
  }
  check_no_nan(file);
  write_safetensors(file.path, file);
  last_checkpoint_ = std::chrono::steady_clock::now();
}

State Run::read_checkpoint() {
  TensorFile file = read_safetensors(path("checkpoint.safetensors"));
  State s;
  s.network = load_network(file, backend_);
  s.history = history_from_json(file.metadata_at("history"), file.path);
  const std::vector<Index>& seed_widths = s.history.empty() ? s.network->config().widths : s.history.front().widths;
  std::string found = identity(s.network->config(), seed_widths, file.metadata_at("dataset"), file.metadata_at("seed"));
  std::string expected = identity(options_.network, options_.network.widths, pictures_.name, std::to_string(how_.seed));
  if (found != expected) user_error(file.path, ": metadata: another run's checkpoint: ", found, "; expected ", expected);
  s.round = whole(file, "round");
  const std::string& stage = file.metadata_at("stage");
  if (stage != "train" && stage != "rayleigh") user_error(file.path, ": metadata 'stage': '", stage, "', expected train or rayleigh");
  s.enter(stage == "train" ? Stage::train : Stage::rayleigh, how_);
  s.epoch = whole(file, "epoch"), s.step = whole(file, "step"), s.done = file.metadata_at("done") == "1";
  s.meter->count = whole(file, "pictures_metered");
  load_tensor(file, "meter/loss", s.meter->loss_sum());
  load_tensor(file, "meter/hits", s.meter->hits());
  if (s.stage == Stage::rayleigh && how_.carry_momentum) s.optimizer = std::make_unique<Sgd>(*s.network, how_.tune.sgd);
  if (s.optimizer) load_flat(file, *s.network, "sgd/", s.optimizer->buffer());
  if (s.descent) {
    s.descent->in_mean = whole(file, "rq_steps_in_mean");
    for (auto& entry : s.descent->state()) {
      if (entry.second.shape() == s.network->parameters().shape()) load_flat(file, *s.network, "rq/" + entry.first + "/", entry.second);
      else load_tensor(file, "rq/" + entry.first, entry.second);
    }
  }
  log_lines_ = whole(file, "log_lines");
  log_ = std::make_unique<AppendLog>(path("log.jsonl"), length_of_lines(path("log.jsonl"), log_lines_));
  std::printf("going on from %s: round %ld, %s, epoch %ld, step %ld\n", file.path.c_str(), long(s.round), stage.c_str(),
              long(s.epoch + 1), long(s.step));
  return s;
}

}  // namespace fission
