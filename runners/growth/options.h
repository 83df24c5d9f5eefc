// The options of a growth, with this project's defaults and the paper's values beside them; and the
// configuration they make.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "runners/common/program.h"
#include "runners/growth/run.h"

namespace fission {

enum class DataKind {
  small,
  imagenet
};  // whose defaults, and which of the paper's settings --help names

struct GrowthOptions {
  explicit GrowthOptions(DataKind kind = DataKind::small);
  DataKind kind;
  std::string dataset = "cifar10", data, widths = "seed", start, activation = "swish";
  Index first = 0;
  std::string energy = "exact", energy_scale = "none", rounding = "drop", selection = "energy",
              matrix = "chain", linear_curvature = "one", split_step = "exact";
  std::string schedule = "step", solver = "rq-sgd", rq_loss = "training";
  std::string recipe = "default", anneal = "every", budget = "groups";
  double tune_warmup = -1;
  Index epochs = 160, tune_epochs = -1, last_epochs = -1;
  double lr = 0.1, tune_lr = -1, weight_decay = 1e-4, momentum = 0.9, warmup = 0, smoothing = 0;
  std::string decay = "all", gamma_l1_cost = "none";
  double gamma_l1 = 0;
  bool nesterov = false, no_augment = false;
  Index bn_batch = 0, lr_per = 0;  // lr_per: learning rates are of steps of so many images, and
                                   // scaled to --batch; 0: of any step
  GrowSettings settings;
  RunOptions run;
  DeviceOptions device;

  void add_to(CommandLine& app);
  std::string recipe_says;        // what apply_recipe() set
  void apply_recipe();            // gives the options of --recipe that were not given; first
  TensorFile read_start() const;  // of --start
  void settle();                  // checks names, fills `settings` and `run`; UserError
  void fit(const data::ImageSets& images);  // the network's classes, size and channels;
                                            // UserError if --start's has others
  // What is allowed and hardly meant (a learning rate of 0, one class in the data): a line each, on
  // stderr
  void warn(const data::ImageSets& images) const;
  // And whose images it is trained on: a growth does not go on with others.
  nlohmann::ordered_json with_data(nlohmann::ordered_json config,
                                   const data::ImageSets& images) const;
  nlohmann::ordered_json config() const;  // everything that the result depends on, by option name
  nlohmann::ordered_json training_config()
      const;  // the part of it that a network's training alone depends on

 private:
  CommandLine* app_ = nullptr;
  void add_small_images(CommandLine& app);
  void warn_unused(Index train_images) const;  // options that change nothing beside others
};

}  // namespace fission
