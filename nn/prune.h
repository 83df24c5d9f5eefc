// Pruning over channel axes, the mirror of split/surgery: a channel goes with the rows that make
// it, its entries in what is copied, and the columns that consume it. One rule serves every stored
// tensor, so any network can be pruned. Three methods that are rivals of growing:
//   l1        Li et al., arXiv 1608.08710: within an axis the filters of the producing convolution
//             with the least L1 norm go first. Norms of different layers are not compared: every
//             axis keeps the same share (the paper's one ratio for all layers of a stage, without
//             its choice of sensitive layers by hand).
//   slimming  Liu et al., arXiv 1708.06519: the channels with the least |γ| of the whole network
//             go first, one threshold for all. Training has pulled γ to 0 (nn/gamma.h).
//   morphnet  Gordon et al., arXiv 1711.06798, one turn of its algorithm: channels with |γ| below a
//             threshold are dead; the living widths, all times one factor, give the target. The
//             factor may be above 1 (new channels) or below (the least |γ| of each axis go).
// All end just under a number of MACs: by less than the cheapest channel that could stay. At least
// one channel stays on each axis.
#pragma once
#include "nn/training.h"

namespace fission {

enum class Pruning { l1, slimming, morphnet };

struct PruneSettings {
  Pruning method = Pruning::l1;
  double target_macs = 0;
  double threshold = living_gamma;  // of morphnet
};

struct PruningPlan {
  std::vector<std::vector<double>> worth;  // [axis][channel]: L1 norm, or |γ|
  std::vector<std::vector<Index>> kept;    // [axis]: the old channels that stay, ascending
  std::vector<Index> widths;               // of what is made: the kept channels, then new ones
};

// What it did, with the scores on the test images before it and right after it
struct PruningRecord {
  std::string method;
  std::vector<Index> channels, kept, widths;  // of each axis: before, of them kept, after
  double macs_before, macs, parameters;
  Score before, after;
};

// UserError: a target above the network's MACs or below those of one channel an axis; γ that are
// all alike; morphnet without a dead channel.
PruningPlan plan_pruning(const Network& network, const PruneSettings& settings);

// keep_weights: kept channels as they were, running statistics too, and new ones as `seed`
// initialises them; otherwise all of it is new.
std::unique_ptr<Network> pruned_network(const Network& network, const PruningPlan& plan,
                                        bool keep_weights, std::uint64_t seed);

}  // namespace fission
