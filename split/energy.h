// What one more channel on an axis costs: e of E12 (section 6 of arXiv 1910.03103).
//   exact  ΔMACs = MACs of the network with one more channel there − MACs now (Network::macs's convention)
//   paper  the authors' count for MobileNetV1: it charges the depthwise filter before the layer, and 1 a position for
//          the next block; reference numbers and published selections use it
// scale: none | sqrt (authors, CIFAR) | log (natural; authors, ImageNet), applied to e.
#pragma once
#include <string>
#include <vector>

#include "nn/network.h"

namespace fission {

enum class Energy { exact, paper };
enum class EnergyScale { none, sqrt, log };
const char* name_of(Energy e);
const char* name_of(EnergyScale s);
Energy parse_energy(const std::string& name);            // UserError
EnergyScale parse_energy_scale(const std::string& name);  // UserError

// e for each axis, in MACs a picture (before the scale)
std::vector<double> marginal_energies(const Network& network, Energy energy);
double scaled(double e, EnergyScale scale);

}  // namespace fission
