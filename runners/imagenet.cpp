// The paper's ImageNet tables from the raw folders: a seed network is trained, split and fine-tuned
// round by round, then the width-scaled networks that it is compared with, by the same recipe; each
// in a run folder of its own. `make imagenet DATA=DIR` is this program; the same command goes on
// where it was. Expected: runners/README.md, "ImageNet". The procedure is split/grow.cpp.
#include <filesystem>

#include "runners/growth/imagenet.h"

namespace {
using namespace fission;

// One run folder: its growth to the end, or, with no rounds, one network's training.
std::vector<RoundRecord> carry_out(const GrowthOptions& options,
                                   const nlohmann::ordered_json& config,
                                   const data::ImageSets& images, Backend& backend, bool warn) {
  Run run(options.run, options.settings, config, images, backend);
  State state = run.begin();
  if (warn) options.warn(images);
  std::printf("\n%s: widths %s, %s MACs per image, %ld parameters\n",
              one_line(options.run.directory).c_str(), joined(state.network->widths()).c_str(),
              in_millions(state.network->macs()).c_str(), long(state.network->parameter_count()));
  run.grow(state);
  return state.history;
}

}  // namespace

int main(int argc, char** argv) {
  CommandLine app{
      "Grows MobileNetV1 or MobileNetV2 on ImageNet's raw images by splitting neurons (arXiv "
      "1910.03103), trains the networks it is\n"
      "compared with, and prints the paper's table. By default training is the authors' recipe, "
      "and where the method's theory and\n"
      "the published practice part, theory holds (README has the table). The paper's MobileNetV1 "
      "seed is not published:\n"
      "imagenet-seed is this project's choice, 0.3 of the full widths in multiples of 4 (59.2 M "
      "MACs).",
      "imagenet"};
  ImagenetOptions options;
  options.add_to(app);
  auto body = [&] {
    options.settle(app);
    options.check_processes(processes());
    GrowthOptions& growth = options.growth;
    Backend& backend = growth.device.open(processes());
    if (growth.data.empty()) {
      std::printf("%s", imagenet_guide(options, backend).c_str());
      user_error("--data: no folder given; expected one with train/ and val/, as above");
    }
    if (options.check_data) return check_images(options);
    growth.device.print_threads();

    data::ImageSets images = open_images(options);
    growth.fit(images);
    const Shape train = images.train->shape(), val = images.test->shape();
    std::printf("%s: %ld training and %ld validation images of %ld classes, %ldx%ld\n",
                growth.data.c_str(), long(train[0]), long(val[0]), long(images.classes),
                long(train[1]), long(train[2]));

    if (!growth.recipe_says.empty())
      std::printf("recipe %s:%s\n", growth.recipe.c_str(), growth.recipe_says.c_str());
    std::vector<RoundRecord> grown =
        carry_out(growth, options.with_data(growth.config(), images), images, backend, true);
    std::map<std::string, RoundRecord> baselines;
    for (const std::string& factor : options.baselines) {
      std::printf("\n%s",
                  imagenet_table(options, grown, baselines).c_str());  // what there is so far
      GrowthOptions baseline = options.baseline(factor);
      baselines[factor] = carry_out(baseline, options.with_data(baseline.training_config(), images),
                                    images, backend, false)
                              .front();
    }
    std::printf("\n%s\n%s", growth_table(grown).c_str(),
                imagenet_table(options, grown, baselines).c_str());
    const std::string file = growth.run.directory + "/table.txt",
                      table = imagenet_table(options, grown, baselines);
    std::error_code none;  // the folder of a run that is done may be one that can't be written to
    if (processes().first() && !(std::filesystem::exists(file, none) && read_file(file) == table))
      write_file_atomically(file, table);
  };
  return run_program(app, argc, argv, body, processes);
}
