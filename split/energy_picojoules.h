// --energy picojoules: one image through the network on a 45 nm chip in 32-bit floats, arithmetic
// and memory traffic
// apart. Assumed: batch 1; each parameter is read once from DRAM (batch norm folded, but its two
// numbers a channel read); each layer reads its input image once from, and writes its output once
// to, a 1 MB SRAM; everything between (operands in a product, batch norm, activation, pooling, sums
// of paths) stays in registers and is free. So it is a lower bound of the traffic: perfect reuse.
// Control and leakage are not in it. It refuses nothing.
#pragma once
#include <vector>

#include "nn/network.h"

namespace fission {

// M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, figure
// 1.1.9: 45 nm, 0.9 V
constexpr double pj_multiply = 3.7;  // FP32 multiply
constexpr double pj_add = 0.9;       // FP32 add
constexpr double pj_sram =
    50;  // a 32-bit word of a 1 MB cache: half of the 100 pJ for 64 bits (8 KB: 10, 32 KB: 20)
// a 32-bit word of DRAM: half of the 1.3 nJ for 64 bits is 650; 640 is what S. Han et al.,
// "Learning both Weights and Connections", NIPS 2015, table 1, and EIE, ISCA 2016, made of it, and
// what is cited since
constexpr double pj_dram = 640;

struct Picojoules {
  double arithmetic, parameters, activations;  // pJ per image: products; DRAM; SRAM
  double sum() const { return arithmetic + parameters + activations; }
};

inline Picojoules picojoules(const std::vector<LayerShape>& layers, Index parameter_count) {
  double macs = 0, words = 0;
  for (const LayerShape& l : layers) {
    macs += l.macs();
    words += double(l.side * l.side * l.in) + double(l.positions * l.out);
  }
  return {macs * (pj_multiply + pj_add), double(parameter_count) * pj_dram, words * pj_sram};
}

}  // namespace fission
