// ImageNet's own side of a growth: the authors' recipe of either network, the published rows
// (section 8 of METHOD.md), the widths that are trained beside it, the table of both, and what to
// say where there are no images yet.
#pragma once
#include <map>

#include "runners/growth/options.h"

namespace fission {

struct Published {
  std::string name;         // "Splitting-1", "0.75" (of the full widths), "AMC"
  double macs, top1, top5;  // percent; 0: not published
};

struct Recipe {
  const char *name, *model, *title;  // "v1", "mobilenet_v1", "MobileNetV1"
  Index rounds, rq_epochs;
  double epsilon;
  bool nesterov;
  const char* decay;
  std::vector<Published> growth, baselines;  // growth: of round 0, 1, …
};
const Recipe& recipe_of(const std::string& name);  // UserError

struct ImagenetOptions {
  GrowthOptions growth{DataKind::imagenet};
  std::string model = "v1", val_labels, devkit_mapping;
  std::vector<std::string> baselines{"0.5", "0.75", "1.0"};
  bool check_data = false;
  Index size = 224;
  double most_broken = 0.001;  // of training's files

  void add_to(CommandLine& app);
  void settle(const CommandLine& app);  // the recipe's values for what was not given; UserError
  // What stands in no configuration, but leads processes that were told otherwise apart: UserError
  void check_processes(Comm& comm) const;
  const Recipe& recipe() const { return recipe_of(model); }
  nlohmann::ordered_json with_data(nlohmann::ordered_json config,
                                   const data::ImageSets& images) const;
  // The same training of a network that is not grown, in a folder of its own: --out with
  // "-baseline-0.5" after it
  GrowthOptions baseline(const std::string& factor) const;
};

data::ImageSets open_images(const ImagenetOptions& options);
// Decodes every file and prints the paths of those that can't be; UserError if there are any
void check_images(const ImagenetOptions& options);

// Ours beside the published ones, each cell marked measured, published or not run. baselines: by
// their factor. What --start grew stands in rows of its own.
std::string imagenet_table(const ImagenetOptions& options, const std::vector<RoundRecord>& growth,
                           const std::map<std::string, RoundRecord>& baselines);

// What to download, the layout, the disk it takes, and how long an epoch takes on this device
// (measured, some seconds)
std::string imagenet_guide(const ImagenetOptions& options, Backend& backend);

}  // namespace fission
