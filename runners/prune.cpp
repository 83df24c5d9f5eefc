// The pruned rivals of a growth on small images: a trained network in, channels taken away until
// it has a given number of MACs, fine-tuned by cifar's training options; a run's files out, as
// cifar writes them. What goes is decided in nn/prune.h.
#include "nn/prune.h"

#include <algorithm>

#include "runners/growth/options.h"
#include "tensor/hash.h"

namespace {
using namespace fission;

// A growth's options, without those of its seed network, of growing and of rounds
void leave_training(CommandLine& app) {
  app.remove_options({"Network", "Growth", "Solver"},
                     {"--recipe", "--tune-epochs", "--last-epochs", "--tune-lr", "--tune-warmup",
                      "--anneal", "--check-images"});
}

std::string hash_of(const Network& network) {
  std::uint64_t hash = hash_start;
  for (const Tensor& t : {network.parameters(), network.statistics()}) {
    const std::vector<double> values = t.to_host();
    hash = hash_bytes(values.data(), values.size() * sizeof(double), hash);
  }
  return hash_text(hash);
}

// Each axis: how many channels stay, how many are new, and what the last that stays and the first
// that goes are worth
std::string plan_table(const Network& network, const PruningPlan& plan, const std::string& worth) {
  std::vector<std::vector<std::string>> rows{
      {"axis", "channels", "kept", "new", worth + ": least kept", "greatest pruned"}};
  for (std::size_t a = 0; a < plan.kept.size(); a++) {
    std::vector<double> gone = plan.worth[a], stay;
    for (auto i = plan.kept[a].rbegin(); i != plan.kept[a].rend(); ++i)
      stay.push_back(gone[std::size_t(*i)]), gone.erase(gone.begin() + *i);
    rows.push_back({network.axes()[a].name, std::to_string(network.axes()[a].width),
                    std::to_string(stay.size()),
                    std::to_string(plan.widths[a] - Index(stay.size())),
                    number(*std::min_element(stay.begin(), stay.end()), 4),
                    gone.empty() ? "–" : number(*std::max_element(gone.begin(), gone.end()), 4)});
  }
  return table(rows);
}

// What pruning did, in the log, with the accuracy on the test images before it and right after it
RoundRecord record_pruning(Network& before, Network& after, const PruningPlan& plan,
                           const std::string& method, Run& run) {
  RoundRecord r;
  r.widths = after.widths(), r.macs = after.macs(), r.parameters = double(after.parameter_count());
  auto score = [&](Network& n) { return evaluate(n, run.test(), run.input(), 0, run.comm()); };
  const Score old = score(before);
  r.split = score(after);
  std::vector<Index> kept;
  for (const auto& axis : plan.kept) kept.push_back(Index(axis.size()));
  run.log(PruningRecord{method, before.widths(), kept, r.widths, before.macs(), r.macs,
                        r.parameters, old, r.split});
  return r;
}

}  // namespace

int main(int argc, char** argv) {
  CommandLine app{
      "Prunes a trained network to a number of MACs (the least L1 norms, network slimming or "
      "MorphNet), and fine-tunes it on CIFAR-10, CIFAR-100, Fashion-MNIST or MNIST.",
      "prune"};
  std::string checkpoint, method = "l1", weights;
  PruneSettings settings;
  GrowthOptions options;
  options.add_to(app);
  leave_training(app);
  app.add_option("checkpoint", checkpoint,
                 "a trained network's .safetensors file, such as a run's round-0.safetensors")
      ->required();
  app.add_option("--method", method,
                 "l1 (the same share of each layer, least L1 norms of filters first), slimming "
                 "(least scales of batch norm of the whole network first), morphnet (scales below "
                 "--gamma-threshold, then all widths times one factor)")
      ->check(is_member({"l1", "slimming", "morphnet"}))
      ->group("Pruning");
  app.add_option("--target-macs", settings.target_macs,
                 "end just under so many MACs per image; default: none, it must be given")
      ->required()
      ->check(in_range(1))
      ->group("Pruning");
  app.add_option("--gamma-threshold", settings.threshold,
                 "morphnet: a channel with a smaller scale of batch norm is dead")
      ->check(in_range(0))
      ->group("Pruning");
  app.add_option("--weights", weights,
                 "kept (channels that stay keep theirs) or fresh (all are drawn anew and trained "
                 "from scratch); default: as each paper, fresh for morphnet, else kept")
      ->check(is_member({"kept", "fresh"}))
      ->group("Pruning");
  app.get_option("--epochs")->description("of fine-tuning, or of training from scratch");
  app.get_option("--out")->description(
      "the run's folder, default: runs/, the data set's name, prune and the method; the same "
      "command goes on with the run it finds there");

  auto body = [&] {
    TensorFile file = read_safetensors(checkpoint);
    if (file.metadata_at("dataset") != options.dataset)
      user_error(checkpoint, ": trained on ", file.metadata_at("dataset"), ", expected ",
                 options.dataset, ", as --dataset says");
    options.start = checkpoint, options.settings.rounds = 0;
    if (options.run.directory.empty())
      options.run.directory = "runs/" + options.dataset + "-prune-" + method;
    options.settle();
    settings.method = method == "l1"         ? Pruning::l1
                      : method == "slimming" ? Pruning::slimming
                                             : Pruning::morphnet;
    if (weights.empty()) weights = method == "morphnet" ? "fresh" : "kept";

    data::Dataset train =
        data::load_dataset(options.dataset, options.data, data::Split::train, options.first);
    data::Dataset test = data::load_dataset(options.dataset, options.data, data::Split::test);
    data::ImageSets images = data::image_sets(train, test);
    options.fit(images);

    Backend& backend = options.device.open(processes());
    options.device.print_threads();
    auto network = load_network(file, backend);
    PruningPlan plan;
    try {
      plan = plan_pruning(*network, settings);
    } catch (const UserError& e) {
      user_error(checkpoint, ": ", e.what());
    }
    options.run.network.widths = plan.widths;
    nlohmann::ordered_json config = options.with_data(options.training_config(), images);
    config.erase("start");
    config.update({{"checkpoint", checkpoint},
                   {"checkpoint-hash", hash_of(*network)},  // the same network, not only its name
                   {"method", method},
                   {"target-macs", settings.target_macs},
                   {"gamma-threshold", settings.threshold},
                   {"weights", weights}});

    Run run(options.run, options.settings, config, images, backend);
    State state = run.begin();
    options.start.clear();  // what follows is a training
    options.warn(images);
    if (method != "morphnet") app.warn_unused({"--gamma-threshold"}, "--method " + method);
    auto pruned = pruned_network(*network, plan, weights == "kept", options.settings.seed);
    std::printf(
        "%s: %ld training and %ld test images\n%s: %s MACs per image, %ld "
        "parameters; by %s: %s MACs, %ld parameters, weights %s; run: %s\n%s",
        train.name.c_str(), long(train.count), long(test.count), one_line(checkpoint).c_str(),
        in_millions(network->macs()).c_str(), long(network->parameter_count()), method.c_str(),
        in_millions(pruned->macs()).c_str(), long(pruned->parameter_count()), weights.c_str(),
        one_line(options.run.directory).c_str(),
        plan_table(*network, plan, method == "l1" ? "L1 norm" : "scale").c_str());
    if (state.history.empty()) {  // a new run
      state.network = std::move(pruned);
      state.enter(Stage::train, options.settings);
      run.write_first(state);
      state.history.push_back(record_pruning(*network, *state.network, plan, method, run));
    }
    network.reset();
    run.grow(state);
    const RoundRecord& r = state.history.front();
    std::printf("\n%s\ntop-1 after pruning %s, after fine-tuning %s\n",
                growth_table(state.history).c_str(), percent(r.split.top1).c_str(),
                percent(r.tuned.top1).c_str());
  };
  return run_program(app, argc, argv, body, processes);
}
