// A growth's state in a file and back, to the same bits.
#pragma once
#include "runners/growth/history.h"
#include "split/state.h"

namespace fission {

std::string place(const State& state);      // "round 1, solve, epoch 2, step 30"
double macs_spent(const TensorFile& file);  // 0 where it is not known

// The network, and what its metadata say of its growth
TensorFile grown_network(const State& state, const std::string& path, const std::string& dataset,
                         std::uint64_t seed);
// What going on takes besides. Every process calls it.
void add_position(TensorFile& file, const State& state, Comm& comm);
// UserError if the file is another growth's, or of a place that this one never comes to
State load_state(const TensorFile& file, const NetworkConfig& seed_network,
                 const std::string& dataset, const GrowSettings& settings, Backend& backend,
                 Environment& environment);

}  // namespace fission
