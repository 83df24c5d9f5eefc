#include "runners/growth/options.h"

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
      ->check(is_member({"swish", "relu"}))
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
  app.add_flag("--recalibrate", settings.recalibrate,
               "after a split measure batch norms' running statistics anew, on --check-images: "
               "a large --epsilon changes them; the paper: not")
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
      ->check(in_range(0, 999999999999999.0))  // as a checkpoint's
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
            {"recalibrate", settings.recalibrate},
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
