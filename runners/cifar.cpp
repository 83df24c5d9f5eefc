// The main job on small images: raw files in, a trained seed network, rounds of RQ-SGD,
// selection, splitting and fine-tuning, a table out. CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST.
// `make demo` is this program on Fashion-MNIST. Expected: RESULTS.md. The procedure itself is
// split/grow.cpp.
#include "runners/growth/options.h"

int main(int argc, char** argv) {
  using namespace fission;
  CommandLine app{
      "Grows an energy-efficient network by splitting neurons (arXiv 1910.03103) on CIFAR-10, "
      "CIFAR-100, MNIST or Fashion-MNIST.",
      "cifar"};
  GrowthOptions options;
  options.add_to(app);
  auto body = [&] {
    options.apply_recipe();
    options.settle();
    Backend& backend = options.device.open(processes());
    options.device.print_threads();

    data::Dataset train =
        data::load_dataset(options.dataset, options.data, data::Split::train, options.first);
    data::Dataset test = data::load_dataset(options.dataset, options.data, data::Split::test);
    data::ImageSets images = data::image_sets(train, test);
    options.fit(images);
    Run run(options.run, options.settings, options.with_data(options.config(), images), images,
            backend);
    State state = run.begin();
    options.warn(images);
    for (const auto& [set, split] :
         {std::pair{&train, data::Split::train}, {&test, data::Split::test}})
      for (const std::string& line : data::oddities(*set, split))
        if (processes().first()) std::fprintf(stderr, "warning: %s\n", line.c_str());

    if (!options.recipe_says.empty())
      std::printf("recipe %s:%s\n", options.recipe.c_str(), options.recipe_says.c_str());
    std::printf(
        "%s: %ld training and %ld test images; %s\nnetwork: widths %s, %s MACs per "
        "image, %ld parameters; run: %s\n",
        train.name.c_str(), long(train.count), long(test.count),
        name_of(state.network->config().activation), joined(state.network->widths()).c_str(),
        in_millions(state.network->macs()).c_str(), long(state.network->parameter_count()),
        one_line(options.run.directory).c_str());

    run.grow(state);
    std::printf("\n%s", growth_table(state.history).c_str());
  };
  return run_program(app, argc, argv, body, processes);
}
