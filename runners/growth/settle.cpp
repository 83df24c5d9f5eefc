// From what was given on the command line to settings: the recipe's options, words and their
// values, what contradicts, and what is allowed and hardly meant.
#include "runners/common/given_network.h"
#include "runners/growth/options.h"
#include "tensor/eigen.h"
#include "tensor/threads.h"

namespace fission {
namespace {
template <class T>
T one_of(const char* option, const std::string& value,
         std::initializer_list<std::pair<const char*, T>> known) {
  std::string names;
  for (const auto& k : known) {
    if (value == k.first) return k.second;
    names += (names.empty() ? "" : ", ") + std::string(k.first);
  }
  user_error(option, " '", value, "': expected one of ", names);
}

using Preset = std::vector<std::pair<const char*, const char*>>;
// Everything as published: each switch of README's table in the authors' way
const Preset paper_preset{{"--anneal", "every"},
                          {"--matrix", "paper"},
                          {"--energy", "paper"},
                          {"--split-step", "paper"},
                          {"--rounding", "paper"},
                          {"--linear-curvature", "one"},
                          {"--rq-loss", "ce"},
                          {"--solver", "rq-sgd"},
                          {"--carry-momentum", "false"},
                          {"--budget", "groups"},
                          {"--share", "0.5"},
                          {"--share-spread", "0"},
                          {"--keep-norms", "false"},
                          {"--recalibrate", "false"},
                          {"--multiple", "1"},
                          {"--fill", "false"},
                          {"--epsilon-relative", "false"}};
// A growth in few epochs: constant learning rate until the last split, then one cosine to 0; copies
// that part soon (a large step, unequal shares) at the learning speed of before (norms kept)
const Preset short_preset{
    {"--anneal", "last"},           {"--schedule", "cosine"},  {"--warmup", "0"},
    {"--tune-warmup", "0"},         {"--epochs", "4"},         {"--rounds", "3"},
    {"--tune-epochs", "4"},         {"--last-epochs", "15"},   {"--grow", "1"},
    {"--budget", "network"},        {"--fill", "true"},        {"--epsilon", "0.5"},
    {"--epsilon-relative", "true"}, {"--share-spread", "0.5"}, {"--keep-norms", "true"},
    {"--recalibrate", "true"}};
// Of the directions: five passes over few images, or where Eigen is missing an epoch of RQ-SGD
const Preset short_lanczos{{"--solver", "lanczos"}, {"--rq-images", "1280"}, {"--rq-epochs", "5"}};
const Preset short_rq_sgd{{"--solver", "rq-sgd"}, {"--rq-epochs", "1"}};
}  // namespace

void GrowthOptions::apply_recipe() {
  Preset preset = one_of<Preset>(
      "--recipe", recipe, {{"default", {}}, {"paper", paper_preset}, {"short", short_preset}});
  if (recipe == "paper")
    preset.push_back({"--energy-scale", kind == DataKind::imagenet ? "log" : "sqrt"});
  if (recipe == "short") {
    const bool passes = app_->count("--solver") > 0 ? solver == "lanczos" : have_eigen();
    const Preset& rest = passes ? short_lanczos : short_rq_sgd;
    preset.insert(preset.end(), rest.begin(), rest.end());
  }
  for (const auto& setting : preset) {
    Option* option = app_->get_option(setting.first);
    if (option->count() > 0) continue;
    recipe_says += text(" ", setting.first, " ", setting.second);
    option->set(setting.second);
  }
}

void GrowthOptions::settle() {
  for (const auto& [name, value] :
       {std::pair("--tune-lr", tune_lr), {"--tune-warmup", tune_warmup}})
    if (value < 0 && value != -1) user_error(name, " ", value, ": expected at least 0, or -1");
  if (bn_batch > 0 && run.batch % bn_batch != 0)
    user_error("--batch ", run.batch, ": expected a multiple of --bn-batch ", bn_batch,
               ", so that every batch falls into whole groups");
  if (Index(settings.target_macs.size()) > std::max<Index>(1, settings.rounds))
    user_error("--target-macs: ", settings.target_macs.size(),
               " numbers, expected at most one a round, of --rounds ", settings.rounds);
  if (gamma_l1_cost != "none" && gamma_l1 == 0)
    user_error("--gamma-l1-cost ", gamma_l1_cost, ": expected a --gamma-l1 above 0");
  settings.energy = parse_energy(energy), settings.scale = parse_energy_scale(energy_scale);
  settings.rounding = one_of<Rounding>("--rounding", rounding,
                                       {{"drop", Rounding::drop}, {"paper", Rounding::paper}});
  settings.choice = one_of<Choice>("--selection", selection,
                                   {{"energy", Choice::energy},
                                    {"vanilla", Choice::vanilla},
                                    {"vanilla-paper", Choice::vanilla_paper},
                                    {"random", Choice::random}});
  settings.one_budget = one_of<bool>("--budget", budget, {{"groups", false}, {"network", true}});
  settings.surgery.seed = settings.seed;
  settings.surgery.step = one_of<SplitStep>(
      "--split-step", split_step, {{"exact", SplitStep::exact}, {"paper", SplitStep::paper}});
  settings.solver.kind = one_of<Solver>("--solver", solver,
                                        {{"rq-sgd", Solver::rq_sgd}, {"lanczos", Solver::lanczos}});
  if (settings.solver.kind == Solver::lanczos) require_eigen("--solver lanczos");
  settings.solver.probe.matrix = parse_matrix(matrix);
  settings.solver.probe.curvature.linear =
      one_of<double>("--linear-curvature", linear_curvature, {{"one", 1}, {"zero", 0}});
  settings.solver.probe.smoothing =
      one_of<bool>("--rq-loss", rq_loss, {{"training", true}, {"ce", false}}) ? smoothing : 0;
  const double scale = lr_per ? double(run.batch) / double(lr_per) : 1;
  TrainingSettings t;
  t.schedule.kind = parse_schedule(schedule), t.schedule.lr = lr * scale,
  t.schedule.warmup_epochs = warmup, t.schedule.epochs = epochs;
  t.sgd = {momentum, weight_decay, nesterov,
           one_of<Decay>("--decay", decay,
                         {{"all", Decay::all},
                          {"weights", Decay::weights},
                          {"weights+depthwise", Decay::weights_and_depthwise}})};
  t.smoothing = smoothing, t.bn_batch = bn_batch;
  t.gamma = {gamma_l1, gamma_l1_cost == "macs" ? GammaPenalty::macs : GammaPenalty::none};
  settings.train = settings.tune = t;
  if (tune_epochs >= 0) settings.tune.schedule.epochs = tune_epochs;
  settings.last_epochs = last_epochs >= 0 ? last_epochs : settings.tune.schedule.epochs;
  if (tune_warmup >= 0) settings.tune.schedule.warmup_epochs = tune_warmup;
  settings.anneal =
      one_of<Anneal>("--anneal", anneal, {{"every", Anneal::every}, {"last", Anneal::last}});
  if (tune_lr >= 0) settings.tune.schedule.lr = tune_lr * scale;
  run.network.widths = parse_widths(run.network.model, widths);
  run.network.activation = parse_activation(activation);
  if (!start.empty()) {
    run.start = start, run.start_file = read_start();
    run.network = read_config(run.start_file);
    activation = name_of(run.network.activation);
  }
  run.augment = !no_augment;
  const int allowed = threads_allowed(processes()).number;  // all processes ask, and together
  if (run.loader_threads == 0) run.loader_threads = allowed;
  if (run.directory.empty()) run.directory = "runs/" + dataset;
  while (run.directory.size() > 1 && run.directory.back() == '/')
    run.directory.pop_back();  // others' names begin with it
}

TensorFile GrowthOptions::read_start() const {
  GivenNetwork given;
  const Option* option = app_->get_option_no_throw("--activation");  // prune has none
  given.dataset = dataset, given.activation = option && option->count() ? activation : "";
  given.size = kind == DataKind::imagenet ? run.network.size : 0;
  return given.read(start);
}

void GrowthOptions::fit(const data::ImageSets& images) {
  NetworkConfig& n = run.network;
  const Shape p = images.train->shape();
  if (!start.empty() && (n.classes != images.classes || n.size != p[1] || n.channels != p[3]))
    user_error(start, ": a network for ", n.size, "x", n.size, "x", n.channels, " images of ",
               n.classes, " classes; expected ", p[1], "x", p[2], "x", p[3], " and ",
               images.classes, ", as ", images.name, " has");
  n.classes = images.classes, n.size = p[1], n.channels = p[3];
}

void GrowthOptions::warn(const data::ImageSets& images) const {
  if (!processes().first()) return;
  auto warn_if = [](bool so, const auto&... what) {
    if (so) std::fprintf(stderr, "warning: %s\n", one_line(text(what...)).c_str());
  };
  const Schedule &train = settings.train.schedule, &tune = settings.tune.schedule;
  const Index seed = start.empty() ? train.epochs : 0,
              tuned = settings.rounds > 0 ? tune.epochs : 0,
              train_images = images.train->shape()[0];
  warn_if(start.empty() && train.epochs == 0, "--epochs 0: the network is not trained");
  warn_if(settings.rounds > 0 && tune.epochs == 0, "--tune-epochs 0: no network is fine-tuned");
  warn_if(seed > 0 && train.lr == 0, "--lr 0: training changes no weight");
  warn_if(tuned > 0 && tune.lr == 0, tune_lr == 0 ? "--tune-lr" : "--lr",
          " 0: fine-tuning changes no weight");
  warn_if(
      settings.rounds > 0 && settings.solver.kind == Solver::rq_sgd && settings.solver.rq.lr == 0,
      "--rq-lr 0: RQ-SGD leaves every direction as it was drawn");
  warn_if(seed > 0 && train.warmup_epochs >= double(seed), "--warmup ", train.warmup_epochs,
          " is not over in --epochs ", seed, ": the learning rate never comes to --lr");
  warn_if(tuned > 0 && tune.warmup_epochs >= double(tuned),
          tune_warmup < 0 ? "--warmup " : "--tune-warmup ", tune.warmup_epochs,
          " is not over in --tune-epochs ", tuned, ": the learning rate never comes to ",
          tune_lr < 0 ? "--lr" : "--tune-lr");
  warn_if(momentum == 1, "--momentum 1: no step is ever forgotten");
  warn_if(smoothing == 1, "--smoothing 1: every label says the same, nothing can be learned");
  warn_if(settings.rounds > 0 && float(settings.surgery.epsilon) == 0, "--epsilon ",
          settings.surgery.epsilon, ": the copies of a neuron are alike, and stay alike");
  warn_if(settings.rounds > 0 && run.network.activation == Activation::relu &&
              settings.solver.probe.curvature.relu_beta == 0,
          "--relu-beta 0: ReLU has no curvature then, and no neuron is worth splitting");
  warn_if(run.batch > train_images, "--batch ", run.batch, ": the data set has ", train_images,
          " training images, a step takes them all");
  warn_if(settings.rounds > 0 && run.rq_batch > train_images, "--rq-batch ", run.rq_batch,
          ": the data set has ", train_images, " training images, a step takes them all");
  warn_if(images.classes == 1, images.name, ": all images are of one class");
  warn_unused(train_images);
}

void GrowthOptions::warn_unused(Index train_images) const {
  auto unused_if = [&](bool so, const char* why, const std::set<std::string>& options) {
    if (so) app_->warn_unused(options, why);
  };
  const Index rounds = settings.rounds;
  unused_if(rounds == 0, "--rounds 0, nothing is split",
            {"Growth", "Solver", "--tune-epochs", "--last-epochs", "--tune-lr", "--tune-warmup",
             "--anneal", "--check-images"});
  unused_if(!start.empty(), "--start, no seed is trained",
            {tune_epochs < 0 ? "" : "--epochs", tune_lr < 0 ? "" : "--lr",
             tune_warmup < 0 ? "" : "--warmup"});
  unused_if(momentum == 0, "--momentum 0",
            {nesterov ? "--nesterov" : "", settings.carry_momentum ? "--carry-momentum" : ""});
  unused_if(weight_decay == 0, "--weight-decay 0", {"--decay"});
  if (rounds == 0) return;
  unused_if(rounds == 1 && last_epochs >= 0, "--rounds 1, the only split is the last",
            {"--tune-epochs"});
  unused_if(schedule == "constant", "--schedule constant", {"--anneal"});
  unused_if(smoothing == 0, "--smoothing 0, the losses are the same", {"--rq-loss"});
  unused_if(settings.target_macs.empty() && settings.fill, "no --target-macs", {"--fill"});
  unused_if(settings.choice != Choice::energy, "--selection has no use for energy",
            {"--energy", "--energy-scale", "--rounding", "--budget"});
  unused_if(settings.solver.kind == Solver::lanczos, "--solver lanczos", {"--rq-lr"});
  unused_if(run.network.activation != Activation::relu, "no ReLU in the network", {"--relu-beta"});
  unused_if(run.network.model == "mobilenet_v1", "MobileNetV1 has no linear projection",
            {"--linear-curvature"});
  const std::string all = text("there are ", train_images, " training images, all are taken");
  unused_if(run.rq_images > train_images, all.c_str(), {"--rq-images"});
  unused_if(run.check_images > train_images, all.c_str(), {"--check-images"});
}

}  // namespace fission
