// Prints what a checkpoint holds: network, widths, MACs, parameters, where its run stands, and the
// history of its growth.
#include <nlohmann/json.hpp>

#include "nn/io/json.h"
#include "runners/common/console.h"
#include "runners/common/given_network.h"
#include "runners/common/program.h"
#include "runners/growth/history.h"
#include "split/energy.h"

int main(int argc, char** argv) {
  using namespace fission;
  CommandLine app{"Prints a checkpoint: network, widths per layer, MACs, parameters, history.",
                  "inspect"};
  std::string checkpoint, energy = "exact";
  GivenNetwork given;
  bool json = false;
  app.add_option("checkpoint", checkpoint, "a .safetensors file that fission wrote")->required();
  app.add_flag("--json", json, "one JSON object instead of prose");
  app.add_option(
         "--energy", energy,
         "price under this model: exact, paper, parameters, picojoules, table:FILE (as cifar's)")
      ->capture_default_str();
  given.add_to(app);
  return run_program(app, argc, argv, [&] {
    TensorFile file = given.read(checkpoint);
    auto network = load_network(file, open_backend("reference"));
    const NetworkConfig& c = network->config();
    EnergyModel model = parse_energy(energy);
    std::vector<double> e = marginal_energies(*network, model);
    const std::vector<RoundRecord> history = check_metadata(file, *network);
    if (json) {
      nlohmann::ordered_json j{{"checkpoint", checkpoint},
                               {"model", c.model},
                               {"widths", c.widths},
                               {"classes", c.classes},
                               {"size", c.size},
                               {"channels", c.channels},
                               {"activation", name_of(c.activation)},
                               {"macs", network->macs()},
                               {"parameters", network->parameter_count()},
                               {"history", history_to_json(history)}};
      j["energy"] = {{"name", model.name},
                     {"unit", model.unit},
                     {"source", model.source},
                     {"one_more_channel", e}};
      if (model.cost) j["energy"]["cost"] = model.cost(*network, c.widths);
      for (const char* key : {"seed", "dataset", "round", "stage", "epoch", "step"})
        if (file.metadata.count(key)) j[key] = file.metadata_at(key);
      std::printf("%s\n", json_text(j).c_str());
      return;
    }
    std::printf("%s: %s, %s, %ldx%ldx%ld images, %ld classes\n", one_line(checkpoint).c_str(),
                c.model.c_str(), name_of(c.activation), long(c.size), long(c.size),
                long(c.channels), long(c.classes));
    std::printf(
        "MACs per image: %.0f (products of all convolutions and of the classifier; no bias, batch "
        "norm, activation, pooling)\nparameters: %ld\n",
        network->macs(), long(network->parameter_count()));
    if (model.cost && energy != "exact")
      std::printf("energy per image: %.6g %s (%s)\n", model.cost(*network, c.widths),
                  model.unit.c_str(), model.source.c_str());
    if (!model.cost) std::printf("energy of one more channel: %s\n", model.source.c_str());
    for (const char* key : {"dataset", "seed", "round", "stage", "epoch", "step"})
      if (file.metadata.count(key)) std::printf("%s: %s\n", key, file.metadata_at(key).c_str());
    std::vector<std::vector<std::string>> rows{
        {"axis", "producer", "width", "widest", "group",
         model.cost ? model.unit + " that one more channel adds" : "the authors' count for it"}};
    for (std::size_t a = 0; a < network->axes().size(); a++) {
      const Axis& axis = network->axes()[a];
      rows.push_back({axis.name, network->producer(axis).name, std::to_string(axis.width),
                      std::to_string(axis.max_width), std::to_string(axis.group), compact(e[a])});
    }
    std::printf("\n%s", table(rows).c_str());
    if (!history.empty()) std::printf("\n%s", growth_table(history).c_str());
  });
}
