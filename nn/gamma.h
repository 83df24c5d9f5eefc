// The scales γ of batch norm as the worth of channels, and the penalty that pulls them to 0 in
// training: network slimming (Liu et al., arXiv 1708.06519) and MorphNet (Gordon et al., arXiv
// 1711.06798).
// A channel passes through several batch norms where depthwise blocks lie on its axis. The γ that
// counts is the last one's before the consumers: it scales what they see. A scale before it is
// divided out again by the statistics of the next batch norm, so it says little, and a penalty on
// it costs the loss nothing.
#pragma once
#include "nn/network.h"

namespace fission {

// MorphNet's indicators A and B: a channel is alive from this |γ| on
constexpr double living_gamma = 0.01;

struct GammaPenalty {
  double l1 = 0;  // λ; 0: no penalty
  // none: λ Σ |γ|, slimming's.
  // macs: λ Σ c |γ|, MorphNet's: c is what the channel costs with the living channels of its
  // neighbours, on the input's and on the output's side, over the mean cost of a channel of the
  // whole network (theirs is not divided: λ means the same for every network here).
  enum Cost { none, macs } cost = none;
};

const Stored& gamma_of(const Network& network, const Axis& axis);
std::vector<std::vector<double>> gamma_sizes(const Network& network);  // |γ| [axis][channel]

double gamma_penalty(const Network& network, const GammaPenalty& penalty);
// Its (sub)gradient joins the network's gradients; sign(0) = 0, and c is taken as constant, as in
// the papers. γ is read from the device: a step waits for it.
void add_gamma_gradient(Network& network, const GammaPenalty& penalty);

}  // namespace fission
