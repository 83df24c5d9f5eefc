#include "runners/growth/options.h"

#include <algorithm>

#include "runners/common/given_network.h"
#include "tensor/eigen.h"
#include "tensor/threads.h"

namespace fission {
namespace {
Check at_least(double least) { return in_range(least); }
}  // namespace

GrowthOptions::GrowthOptions(DataKind of) : kind(of) {
  if (kind == DataKind::small) return;
  dataset = "imagenet", widths = "imagenet-seed", schedule = "cosine";
  epochs = 120, warmup = 5, smoothing = 0.1, bn_batch = 64, lr_per = 256, decay = "weights";
  run.batch = 256, run.network.size = 224, run.network.stem_stride = 2;
  run.loader_threads = 0;
  settings.grow = 1, settings.threshold = 0.9, settings.solver.rq.decay_every_epoch = true,
  settings.solver.probe.curvature.relu_beta = 1;
}

void GrowthOptions::add_to(CommandLine& app) {
  auto option = [&](const char* name, auto& value, const std::string& text) {
    return app.add_option(name, value, text)->capture_default_str();
  };
  auto paper = [&](const char* cifar, const char* imagenet) {
    return std::string("; the paper: ") + (kind == DataKind::imagenet ? imagenet : cifar);
  };
  app_ = &app;
  app.always_capture_default();
  option("--recipe", recipe,
         "a set of options, which single options override: default (the paper's schedule, this "
         "project's method), "
         "paper (all as published), short (grows at a constant learning rate, anneals once)");
  if (kind == DataKind::small) add_small_images(app);
  app.add_flag("--no-augment", no_augment,
               kind == DataKind::imagenet ? "no random crop, no flip; the paper augments"
                                          : "no pad-crop-flip; the paper augments")
      ->group("Data");

  option(
      "--widths", widths,
      "seed, imagenet-seed, a factor of the full widths (0.5), or 14 (V2: 35) widths (8,8,16,…)" +
          paper("its seed",
                "its seed; MobileNetV1's is not published, imagenet-seed is this project's choice"))
      ->group("Network");
  app.add_option(
         "--start", start,
         "a trained network's file in place of --model, --widths and --activation: its growth "
         "begins with the first split; default: none, a seed is trained, as in the paper")
      ->excludes("--widths")
      ->excludes("--model")
      ->group("Network");
  option("--activation", activation,
         "swish, relu; of --start where its file does not say it (a state_dict of PyTorch); the "
         "paper: swish")
      ->group("Network");

  option("--epochs", epochs, "of training the seed" + paper("160", "120"))
      ->check(at_least(0))
      ->group("Training");
  option("--tune-epochs", tune_epochs,
         "of fine-tuning after a split; -1: as --epochs" + paper("160", "120"))
      ->check(at_least(-1))
      ->group("Training");
  option("--last-epochs", last_epochs,
         "of fine-tuning after the last split; -1: as --tune-epochs" + paper("160", "120"))
      ->check(at_least(-1))
      ->group("Training");
  option("--batch", run.batch, "images a step, of all processes together" + paper("128", "256"))
      ->check(at_least(1))
      ->group("Training");
  option("--lr", lr,
         lr_per ? text("learning rate at ", lr_per, " images a step: times --batch/", lr_per,
                       "; the paper: 0.1")
                : "learning rate; the paper: 0.1")
      ->check(at_least(0))
      ->group("Training");
  option("--tune-lr", tune_lr, "of fine-tuning; -1: as --lr; the paper: 0.1")
      ->check(at_least(-1))
      ->group("Training");
  option(
      "--schedule", schedule,
      "step (x 0.1 at 50 % and 75 % of the epochs), cosine or constant" + paper("step", "cosine"))
      ->group("Training");
  option("--warmup", warmup,
         "epochs of linear warm-up from 0" + paper("0", "5; the authors' code by default: 0"))
      ->check(at_least(0))
      ->group("Training");
  option("--tune-warmup", tune_warmup, "of fine-tuning; -1: as --warmup; the paper: as --warmup")
      ->check(at_least(-1))
      ->group("Training");
  option("--anneal", anneal,
         "which stages lower the learning rate by --schedule: every, or the last alone, after the "
         "last split "
         "(the others keep --lr); the paper: every")
      ->group("Training");
  option("--momentum", momentum, "of SGD; the paper: 0.9")
      ->check(in_range(0.0, 1.0))
      ->group("Training");
  app.add_flag(
         "--nesterov", nesterov,
         "Nesterov momentum" +
             paper("not on CIFAR",
                   "MobileNetV1 only, and so is the default here (--nesterov, --nesterov=false)"))
      ->group("Training");
  option("--weight-decay", weight_decay, "of what --decay names; the paper: 1e-4")
      ->check(at_least(0))
      ->group("Training");
  option("--decay", decay,
         "what weight decay reaches: all; weights (not batch norms and biases); weights+depthwise "
         "(and the depthwise convolutions' scales)" +
             paper("all",
                   "weights; the authors' code of MobileNetV2: weights+depthwise, and so is the "
                   "default here"))
      ->group("Training");
  option("--gamma-l1", gamma_l1,
         "lambda of an L1 penalty on batch norm's scales, so that build/prune finds channels that "
         "are worth little; network slimming: 1e-4 over 160 epochs; the paper: 0")
      ->check(at_least(0))
      ->group("Training");
  option("--gamma-l1-cost", gamma_l1_cost,
         "what each scale's penalty is multiplied by: none (network slimming), macs (MorphNet: the "
         "channel's MACs among living neighbours, over the mean channel's); the paper: none")
      ->check(is_member({"none", "macs"}))
      ->group("Training");
  option("--smoothing", smoothing, "label smoothing" + paper("0 on CIFAR", "0.1"))
      ->check(in_range(0.0, 1.0))
      ->group("Training");
  option("--bn-batch", bn_batch,
         "images in each batch-norm group, a divisor of --batch; images left over at an epoch's "
         "end, too few for a group, are skipped; "
         "0: the whole batch (one process only)" +
             paper("the whole batch", "64, its batch a GPU"))
      ->check(at_least(0))
      ->group("Training");

  option("--rounds", settings.rounds,
         "of splitting" + paper("4 (ImageNet, MobileNetV1)", "4 (MobileNetV1), 3 (MobileNetV2)"))
      ->check(at_least(0))
      ->group("Growth");
  option("--grow", settings.grow,
         "budget of a round: this share of what splitting every neuron would cost; the paper: no "
         "one value")
      ->check(in_range(0.0, 1.0))
      ->group("Growth");
  app.add_option("--target-macs", settings.target_macs,
                 "stay just under so many MACs per image; several, comma-separated: one a round; "
                 "default, as the paper: no target")
      ->delimiter(',')
      ->check(at_least(kind == DataKind::imagenet ? 0 : 1))
      ->group("Growth");
  option("--selection", selection,
         "energy (E12), vanilla (no energy: the least splitting indices), vanilla-paper (those >= "
         "0 and caps ignored), random; the paper: energy")
      ->group("Growth");
  option("--energy", energy,
         "of a neuron, what one more channel adds: exact (MACs), paper (the authors' count), "
         "parameters, picojoules (45 nm, Horowitz 2014), table:FILE (split/energy_table.h); the "
         "paper: paper")
      ->group("Growth");
  option("--energy-scale", energy_scale,
         "none, sqrt or log of the energy" + paper("sqrt on CIFAR", "log"))
      ->group("Growth");
  option("--rounding", rounding,
         "the neuron that fits in part: drop, or paper (kept from " + compact(settings.threshold) +
             " of it on)")
      ->group("Growth");
  option("--multiple", settings.multiple,
         "new widths are multiples of 1, 4 or 8: rounded down, and what that frees buys whole "
         "steps; the paper: 1")
      ->check(at_least(1))
      ->check(is_member({1, 4, 8}))
      ->group("Growth");
  option("--epsilon", settings.surgery.epsilon,
         "the copies' distance from the neuron; the paper: 0.01 (MobileNetV2: 0.1)")
      ->check(at_least(0))
      ->group("Growth");
  option("--budget", budget,
         "groups (each layer group spends its own) or network (the best of all layers)" +
             paper("groups", "groups"))
      ->group("Growth");
  app.add_flag("--epsilon-relative", settings.surgery.relative,
               "epsilon times the norm of the neuron's weights, and splits are valued by it (E3r); "
               "the paper: not")
      ->group("Growth");
  option("--share", settings.surgery.share,
         "of a split neuron's outgoing weight that the first copy keeps, above 0 and below 1; the "
         "steps are "
         "unequal then too (E2w); the paper: 0.5")
      ->check(in_range(0.01, 0.99))
      ->group("Growth");
  option("--share-spread", settings.surgery.spread,
         "each consumer's share is drawn from --share plus or minus this: the function stays, but "
         "the copies are "
         "used differently and part; the paper: 0")
      ->check(in_range(0, 4))
      ->group("Growth");
  app.add_flag(
         "--keep-norms", settings.surgery.keep_norms,
         "scale every neuron's weights back to their length before the split, and its batch norm's "
         "statistics "
         "with them: the same function, and no faster learning of shorter weights; the paper: not")
      ->group("Growth");
  app.add_flag("--fill", settings.fill,
               "with --target-macs: what the budgets leave goes to the neurons of best worth that "
               "still fit; "
               "the paper: not")
      ->group("Growth");
  option("--split-step", split_step,
         "exact (a step of epsilon in function space) or paper (columns of v copied whole)")
      ->group("Growth");
  app.add_flag("--carry-momentum", settings.carry_momentum,
               "carry the momentum of SGD through a split, to both copies; the paper: not, it "
               "starts from 0")
      ->group("Growth");

  option("--matrix", matrix, "the splitting matrix: chain (E6c, exact) or paper (E6, as published)")
      ->group("Solver");
  option("--linear-curvature", linear_curvature,
         "second derivative of no activation (MobileNetV2's linear projections): one, so that they "
         "can be chosen at all, or zero, the truth; the paper: one")
      ->group("Solver");
  option("--solver", solver,
         "rq-sgd, or lanczos (whole passes over one fixed augmentation; needs Eigen); the paper: "
         "rq-sgd")
      ->group("Solver");
  option("--rq-epochs", settings.solver.epochs,
         "epochs of RQ-SGD, passes of Lanczos" + paper("10", "4 (MobileNetV1), 2 (MobileNetV2)"))
      ->check(at_least(1))
      ->group("Solver");
  option("--rq-images", run.rq_images,
         "training images of an epoch of it, the first so many; 0: all; the paper: all")
      ->check(at_least(0))
      ->group("Solver");
  option("--rq-batch", run.rq_batch, "images a step; the paper: 64")
      ->check(at_least(1))
      ->group("Solver");
  option("--rq-lr", settings.solver.rq.lr,
         std::string("learning rate, x 0.2 at every ") +
             (settings.solver.rq.decay_every_epoch ? "epoch after the first" : "even epoch") +
             "; the paper: 0.001")
      ->check(at_least(0))
      ->group("Solver");
  option("--rq-loss", rq_loss,
         "training (label smoothing included) or ce (plain cross-entropy, as the authors)")
      ->group("Solver");
  option("--relu-beta", settings.solver.probe.curvature.relu_beta,
         "sharpness of the softplus surrogate of ReLU's curvature" + paper("3 on CIFAR", "1"))
      ->check(at_least(0))
      ->group("Solver");

  option("--seed", settings.seed, "of initialisation, order, augmentation and directions")
      ->check(at_least(0))
      ->group("Run");
  option("--out", run.directory,
         std::string("the run's folder, default: ") +
             (kind == DataKind::imagenet ? "runs/imagenet-v1, or -v2; baselines stand beside it"
                                         : "runs/ and the data set's name") +
             "; the same command goes on with the run it finds there")
      ->group("Run");
  option("--checkpoint-minutes", run.checkpoint_minutes, "a killed run repeats at most so much")
      ->check(at_least(0))
      ->group("Run");
  option("--check-images", run.check_images,
         "training images on which a split's loss change is predicted and measured")
      ->check(at_least(1))
      ->group("Run");
  option("--loader-threads", run.loader_threads,
         "that prepare batches ahead; 0: as many as --threads 0")
      ->check(in_range(0, 256))
      ->group("Run");
  device.add_to(app);
}

void GrowthOptions::add_small_images(CommandLine& app) {
  auto option = [&](const char* name, auto& value, const std::string& text) {
    return app.add_option(name, value, text)->capture_default_str();
  };
  option("--dataset", dataset,
         "cifar10, cifar100 (both with CIFAR-10's mean and standard deviation, as the authors), "
         "cifar100-own (with its own), fashion-mnist or mnist; the paper: CIFAR-100 (and ImageNet)")
      ->group("Data");
  option("--data", data,
         "folder of its published binary files; default: where the system's package puts it, if "
         "there is one")
      ->group("Data");
  option("--first", first, "use only the first so many training images; 0: all")
      ->check(at_least(0))
      ->group("Data");
  option("--model", run.network.model,
         "mobilenet_v1 or mobilenet_v2 (here with stride 1 in the first convolution); the paper on "
         "CIFAR: mobilenet_v1")
      ->group("Network");
}

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
}  // namespace

namespace {
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
                          {"--multiple", "1"},
                          {"--fill", "false"},
                          {"--epsilon-relative", "false"}};
// A growth in few epochs: constant learning rate until the last split, then one cosine to 0; copies
// that part soon (a large step, unequal shares) at the learning speed of before (norms kept)
const Preset short_preset{
    {"--anneal", "last"},           {"--schedule", "cosine"},  {"--warmup", "0"},
    {"--tune-warmup", "0"},         {"--epochs", "4"},         {"--rounds", "3"},
    {"--tune-epochs", "4"},         {"--last-epochs", "13"},   {"--grow", "1"},
    {"--budget", "network"},        {"--fill", "true"},        {"--epsilon", "0.5"},
    {"--epsilon-relative", "true"}, {"--share-spread", "0.5"}, {"--keep-norms", "true"}};
// Of the directions: eight passes over few images, or where Eigen is missing an epoch of RQ-SGD
const Preset short_lanczos{{"--solver", "lanczos"}, {"--rq-images", "6400"}, {"--rq-epochs", "8"}};
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
  warn_if(start.empty() && train.epochs == 0, "--epochs 0: the seed network is not trained");
  warn_if(settings.rounds > 0 && tune.epochs == 0, "--tune-epochs 0: no network is fine-tuned");
  warn_if(seed > 0 && train.lr == 0, "--lr 0: training the seed changes no weight");
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
  warn_if(settings.rounds > 0 && settings.surgery.epsilon == 0,
          "--epsilon 0: the copies of a neuron are alike, and stay alike");
  warn_if(settings.rounds > 0 && run.network.activation == Activation::relu &&
              settings.solver.probe.curvature.relu_beta == 0,
          "--relu-beta 0: ReLU has no curvature then, and no neuron is worth splitting");
  warn_if(run.batch > train_images, "--batch ", run.batch, ": the data set has ", train_images,
          " training images, a step takes them all");
  warn_if(settings.rounds > 0 && run.rq_batch > train_images, "--rq-batch ", run.rq_batch,
          ": the data set has ", train_images, " training images, a step takes them all");
  warn_if(images.classes == 1, images.name, ": all images are of one class");
}

nlohmann::ordered_json GrowthOptions::with_data(nlohmann::ordered_json config,
                                                const data::ImageSets& images) const {
  config["data"] = {{"train", images.train->fingerprint()}, {"test", images.test->fingerprint()}};
  return config;
}

nlohmann::ordered_json GrowthOptions::training_config() const {
  nlohmann::ordered_json c{
      {"dataset", dataset},           {"first", first},
      {"no-augment", no_augment},     {"model", run.network.model},
      {"widths", run.network.widths}, {"start", start},
      {"activation", activation},     {"epochs", settings.train.schedule.epochs},
      {"batch", run.batch},           {"lr", lr},
      {"schedule", schedule},         {"warmup", warmup},
      {"momentum", momentum},         {"nesterov", nesterov},
      {"weight-decay", weight_decay}, {"decay", decay},
      {"smoothing", smoothing},       {"bn-batch", bn_batch},
      {"seed", settings.seed}};
  if (gamma_l1 > 0) c["gamma-l1"] = gamma_l1, c["gamma-l1-cost"] = gamma_l1_cost;
  return c;
}

nlohmann::ordered_json GrowthOptions::config() const {
  nlohmann::ordered_json c = training_config();
  c.update({{"recipe", recipe},
            {"tune-epochs", settings.tune.schedule.epochs},
            {"last-epochs", settings.last_epochs},
            {"tune-warmup", settings.tune.schedule.warmup_epochs},
            {"anneal", anneal},
            {"epsilon-relative", settings.surgery.relative},
            {"share", settings.surgery.share},
            {"keep-norms", settings.surgery.keep_norms},
            {"share-spread", settings.surgery.spread},
            {"budget", budget},
            {"fill", settings.fill},
            {"rq-images", run.rq_images},
            {"tune-lr", tune_lr < 0 ? lr : tune_lr},
            {"rounds", settings.rounds},
            {"grow", settings.grow},
            {"target-macs", settings.target_macs},
            {"selection", selection},
            {"energy", energy},
            {"energy-scale", energy_scale},
            {"rounding", rounding},
            {"multiple", settings.multiple},
            {"epsilon", settings.surgery.epsilon},
            {"split-step", split_step},
            {"carry-momentum", settings.carry_momentum},
            {"matrix", matrix},
            {"solver", solver},
            {"linear-curvature", linear_curvature},
            {"rq-epochs", settings.solver.epochs},
            {"rq-batch", run.rq_batch},
            {"rq-lr", settings.solver.rq.lr},
            {"rq-loss", rq_loss},
            {"relu-beta", settings.solver.probe.curvature.relu_beta},
            {"check-images", run.check_images}});
  if (!settings.energy.fingerprint.empty())
    c["energy-table"] = settings.energy.fingerprint;  // the same file, not only its name
  return c;
}

}  // namespace fission
