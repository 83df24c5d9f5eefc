#include "runners/growth/checkpoint.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "nn/io/json.h"
#include "runners/common/console.h"
#include "tensor/hash.h"

namespace fission {
namespace {

// what no split changes: a checkpoint that says otherwise is another run's
std::string identity(const NetworkConfig& c, const std::vector<Index>& seed_widths,
                     const std::string& dataset, const std::string& seed) {
  return text(c.model, " grown from ", joined(seed_widths), ", ", name_of(c.activation), ", ",
              c.size, "x", c.size, "x", c.channels, " images of ", c.classes, " classes (", dataset,
              "), seed ", seed);
}

const char* name_of(Stage stage) { return stage == Stage::train ? "train" : "solve"; }

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

// A position that this growth never comes to is refused: it might go on for ever.
void load_position(const TensorFile& file, State& s, const GrowSettings& settings,
                   const Environment& environment) {
  const bool training = file.metadata_at("stage") == "train";  // or solve: it was looked at
  if (file.metadata_at("done") != "0" && file.metadata_at("done") != "1")
    user_error(file.path, ": metadata 'done': '", file.metadata_at("done"), "', expected 0 or 1");
  const bool done = file.metadata_at("done") == "1";
  s.round = whole(file, "round", training || done ? 0 : 1, settings.rounds);
  // A round is recorded when it is split, a pruned network at once, the seed when it is trained. A
  // growth that found nothing to split is done in Stage::solve, and stands in the round before.
  const bool recorded = done || (training && (s.round > 0 || !s.history.empty()));
  const Index rounds = s.round + recorded;
  if (Index(s.history.size()) != rounds)
    user_error(file.path, ": metadata 'history': ", s.history.size(), " rounds, expected ", rounds,
               " in round ", s.round, ", stage ", file.metadata_at("stage"));
  s.enter(training ? Stage::train : Stage::solve, settings);
  s.done = done;
  const StagePlan plan = environment.plan(s.round, s.stage);
  s.epoch = whole(file, "epoch", 0, plan.epochs);  // all of them: what comes after is not done yet
  s.step = whole(file, "step", 0, s.epoch == plan.epochs ? 0 : plan.steps());
}

}  // namespace

std::string place(const State& s) {
  return text("round ", s.round, ", ", name_of(s.stage), ", epoch ", s.epoch + 1, ", step ",
              s.step);
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

TensorFile grown_network(const State& s, const std::string& path, const std::string& dataset,
                         std::uint64_t seed) {
  TensorFile file;
  file.path = path;
  store_network(file, *s.network);
  auto& m = file.metadata;
  m["seed"] = std::to_string(seed), m["dataset"] = dataset, m["round"] = std::to_string(s.round),
  m["history"] = json_text(history_to_json(s.history));
  // whole numbers, which a double holds up to 9e15 and rounds beyond
  m["training_macs"] = formatted("%.17g", s.training_macs);
  return file;
}

void add_position(TensorFile& file, const State& s, Comm& comm) {
  const std::vector<double> parameters = s.network->parameters().to_host();
  auto apart = comm.disagreement(
      hash_text(hash_bytes(parameters.data(), parameters.size() * sizeof(double))));
  FISSION_CHECK(!apart, "[run] process ", apart->rank,
                " has other parameters than process 0: ", apart->other, ", there ", apart->first);
  auto& m = file.metadata;
  m["stage"] = name_of(s.stage), m["done"] = s.done ? "1" : "0";
  m["epoch"] = std::to_string(s.epoch), m["step"] = std::to_string(s.step);
  store_meter(file, *s.meter, comm);
  if (s.optimizer) store_flat(file, *s.network, "sgd/", s.optimizer->buffer());
  if (s.solver) {
    m["solver_steps_in_mean"] = std::to_string(s.solver->in_mean);
    for (auto& entry : s.solver->state()) {
      if (entry.second.shape() == s.network->parameters().shape())
        store_flat(file, *s.network, "rq/" + entry.first + "/", entry.second);
      else store_tensor(file, "rq/" + entry.first, entry.second);
    }
  }
}

State load_state(const TensorFile& file, const NetworkConfig& seed_network,
                 const std::string& dataset, const GrowSettings& settings, Backend& backend,
                 Environment& environment) {
  State s;
  s.network = load_network(file, backend);
  s.history = check_metadata(file, *s.network);
  const std::vector<Index>& seed_widths =
      s.history.empty() ? s.network->config().widths : s.history.front().widths;
  std::string found = identity(s.network->config(), seed_widths, file.metadata_at("dataset"),
                               file.metadata_at("seed"));
  std::string expected =
      identity(seed_network, seed_network.widths, dataset, std::to_string(settings.seed));
  if (found != expected)
    user_error(file.path, ": metadata: another run's checkpoint: ", found, "; expected ", expected);
  load_position(file, s, settings, environment);
  const Index seen = environment.plan(s.round, s.stage).images_before(s.step);
  load_meter(file, *s.meter, seen, environment.comm());
  if (s.stage == Stage::solve && settings.carry_momentum)
    s.optimizer = std::make_unique<Sgd>(*s.network, settings.training_of(s.round).sgd);
  if (s.optimizer) load_flat(file, *s.network, "sgd/", s.optimizer->buffer());
  if (s.solver) {
    // Between epochs it is the last one's, and the result's once all are over.
    const Index summed = settings.solver.kind == Solver::lanczos ? seen : s.step;
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
  s.training_macs = macs_spent(file);
  return s;
}

}  // namespace fission
