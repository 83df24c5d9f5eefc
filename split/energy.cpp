#include "split/energy.h"

#include <cmath>

namespace fission {

const char* name_of(Energy e) { return e == Energy::exact ? "exact" : "paper"; }
const char* name_of(EnergyScale s) { return s == EnergyScale::none ? "none" : s == EnergyScale::sqrt ? "sqrt" : "log"; }
Energy parse_energy(const std::string& name) {
  for (Energy e : {Energy::exact, Energy::paper})
    if (name == name_of(e)) return e;
  user_error("unknown energy '", name, "'; there are: exact (ΔMACs), paper (the authors' count)");
}
EnergyScale parse_energy_scale(const std::string& name) {
  for (EnergyScale s : {EnergyScale::none, EnergyScale::sqrt, EnergyScale::log})
    if (name == name_of(s)) return s;
  user_error("unknown energy scale '", name, "'; there are: none, sqrt, log");
}

double scaled(double e, EnergyScale scale) {
  return scale == EnergyScale::none ? e : scale == EnergyScale::sqrt ? std::sqrt(e) : std::log(e);
}

namespace {
// Section 6, MobileNetV1: first layer 27 r₀² + r₁²; layer ℓ: r_ℓ² (width_{ℓ−1} + 9) + r_{ℓ+1}²; the last has `classes`
// in place of r_{ℓ+1}². r_ℓ: the side of layer ℓ's output.
std::vector<double> authors_count(const Network& network) {
  const auto& axes = network.axes();
  if (network.config().model != "mobilenet_v1") user_error("--energy paper: the authors' count of ", network.config().model, " is not there yet");
  std::vector<double> e;
  auto squared_side = [&](std::size_t l) { return double(network.producer(axes[l]).positions); };
  for (std::size_t l = 0; l < axes.size(); l++) {
    double before = l == 0 ? 9.0 * double(network.config().channels) : double(axes[l - 1].width) + 9;
    double after = l + 1 < axes.size() ? squared_side(l + 1) : double(network.config().classes);
    e.push_back(squared_side(l) * before + after);
  }
  return e;
}
}  // namespace

std::vector<double> marginal_energies(const Network& network, Energy energy) {
  if (energy == Energy::paper) return authors_count(network);
  std::vector<double> e;
  std::vector<Index> widths = network.widths();
  double now = network.macs();
  for (std::size_t l = 0; l < widths.size(); l++) {
    widths[l]++;
    e.push_back(network.macs(widths) - now);
    widths[l]--;
  }
  return e;
}

}  // namespace fission
