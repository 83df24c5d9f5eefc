#include "runners/growth/records.h"

#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "nn/io/json.h"
#include "runners/common/console.h"

namespace fission {
namespace {

using Json = nlohmann::ordered_json;

Line line(Json json, const std::string& prose) {
  json["time"] = std::time(nullptr);
  return {json_text(json), prose};
}
Line line(Json json, std::string prose, const Pace& pace) {
  if (pace.rate > 0) json["images_per_second"] = std::round(pace.rate);
  prose += text("; ", std::llround(pace.rate), " images/s");
  if (pace.skipped)
    json["skipped_files"] = pace.skipped,
    prose += text("; ", pace.skipped, " broken files skipped since the start");
  return line(std::move(json), prose);
}

}  // namespace

Line line_of(const EpochRecord& r, const Pace& pace) {
  const bool seed = r.round == 0;
  return line({{"round", r.round},
               {"stage", seed ? "train" : "tune"},
               {"epoch", r.epoch},
               {"of", r.epochs},
               {"lr", r.lr},
               {"training_macs", r.training_macs},
               {"loss", r.seen.loss},
               {"train_top1", r.seen.top1},
               {"test_loss", r.test.loss},
               {"test_top1", r.test.top1},
               {"test_top5", r.test.top5}},
              text("round ", r.round, seed ? " training" : " fine-tuning", " epoch ", r.epoch,
                   " of ", r.epochs, ": loss ", number(r.seen.loss, 4), ", training ",
                   percent(r.seen.top1), ", test ", percent(r.test.top1)),
              pace);
}

Line line_of(const SolverRecord& r, const Pace& pace) {
  const bool lanczos = r.solver == Solver::lanczos;
  Json json{{"round", r.round},
            {"stage", "solve"},
            {"epoch", r.epoch},
            {"of", r.epochs},
            {"training_macs", r.training_macs}};
  std::string prose = text("round ", r.round, lanczos ? " Lanczos pass " : " RQ-SGD epoch ",
                           r.epoch, " of ", r.epochs,
                           formatted(": least splitting index %.4e, sum of the negative ones %.4e",
                                     r.least_lambda, r.negative_sum));
  if (!lanczos) json["lr"] = r.lr;
  json["loss"] = r.loss, json["least_lambda"] = r.least_lambda,
  json["sum_of_negative_lambdas"] = r.negative_sum;
  if (lanczos)
    json["largest_residual"] = r.largest_residual, json["median_residual"] = r.median_residual,
    prose +=
        formatted(", residuals: largest %.1e, median %.1e", r.largest_residual, r.median_residual);
  return line(json, prose, pace);
}

Line line_of(const SplitRecord& r) {
  const RoundRecord& round = r.round;
  std::string energy;  // spent, and of which budget, of each group; the baselines have none
  for (std::size_t g = 0; g < r.chosen.spent.size(); g++) {
    const double budget = r.chosen.budget[g];
    energy += (g ? " + " : "") + compact(r.chosen.spent[g], 4) +
              (budget > 0 ? " of " + compact(budget, 4) : "");
  }
  return line({{"round", round.round},
               {"stage", "split"},
               {"neurons", round.neurons_split},
               {"grown", r.chosen.grown()},
               {"widths", round.widths},
               {"macs", round.macs},
               {"parameters", round.parameters},
               {"budget", r.chosen.budget},
               {"spent", r.chosen.spent},
               {"energy_unit", r.energy_unit},
               {"energy_source", r.energy_source},
               {"sum_of_lambdas", r.chosen.objective},
               {"bound_of_sum", r.chosen.relaxed_objective},
               {"loss", r.loss},
               {"predicted_loss_change", round.predicted},
               {"measured_loss_change", round.measured},
               {"quadratic", round.quadratic},
               {"loss_change_by_lambda", r.by_lambda},
               {"training_macs", r.training_macs},
               {"test_loss", round.split.loss},
               {"test_top1", round.split.top1},
               {"test_top5", round.split.top5}},
              text("split ", round.neurons_split, " neurons for ", energy, " ", r.energy_unit, " (",
                   r.energy_source, "), now ", in_millions(round.macs), " MACs: loss ",
                   round.quadratic ? formatted("%+.4e predicted (E4), ", round.predicted)
                                   : "without a prediction (beyond E4), ",
                   formatted("%+.4e measured; test ", round.measured), percent(round.split.top1)));
}

Line line_of(const NoSplitRecord& r) {
  return line({{"round", r.round}, {"stage", "split"}, {"neurons", 0}, {"why", r.why}},
              text("round ", r.round, ": nothing to split: ", r.why));
}

Line line_of(const PruningRecord& r) {
  return line({{"round", 0},
               {"stage", "prune"},
               {"method", r.method},
               {"channels", r.channels},
               {"kept", r.kept},
               {"widths", r.widths},
               {"macs_before", r.macs_before},
               {"macs", r.macs},
               {"parameters", r.parameters},
               {"test_top1_before", r.before.top1},
               {"test_loss", r.after.loss},
               {"test_top1", r.after.top1},
               {"test_top5", r.after.top5}},
              text("pruned to ", in_millions(r.macs), " MACs: test ", percent(r.before.top1),
                   " before, ", percent(r.after.top1), " after"));
}

std::string neurons_csv(const Network& network, const SplittingIndex& index,
                        const Selection& chosen) {
  std::string csv = "axis,neuron,lambda,residual,products,split\n";
  for (std::size_t l = 0; l < index.lambda.size(); l++)
    for (std::size_t o = 0; o < index.lambda[l].size(); o++)
      csv += text(network.axes()[l].name, ",", o, ",", compact(index.lambda[l][o]), ",",
                  index.residual.empty() ? "" : compact(index.residual[l][o]), ",",
                  index.products.empty() ? "" : std::to_string(index.products[l][o]), ",",
                  int(chosen.split[l][o]), "\n");
  return csv;
}

}  // namespace fission
