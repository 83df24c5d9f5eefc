#include "split/energy.h"

#include <cmath>

#include "split/energy_picojoules.h"
#include "split/energy_table.h"

namespace fission {

const char* name_of(EnergyScale s) {
  return s == EnergyScale::none ? "none" : s == EnergyScale::sqrt ? "sqrt" : "log";
}
EnergyScale parse_energy_scale(const std::string& name) {
  for (EnergyScale s : {EnergyScale::none, EnergyScale::sqrt, EnergyScale::log})
    if (name == name_of(s)) return s;
  user_error("unknown energy scale '", name, "'; there are: none, sqrt, log");
}

double scaled(double e, EnergyScale scale) {
  return scale == EnergyScale::none ? e : scale == EnergyScale::sqrt ? std::sqrt(e) : std::log(e);
}
std::string scaled_unit(const EnergyModel& model, EnergyScale scale) {
  return (scale == EnergyScale::none ? "" : scale == EnergyScale::sqrt ? "√" : "ln ") + model.unit;
}

EnergyModel parse_energy(const std::string& name) {
  if (name == "exact")
    return {name, "MACs", "products of all convolutions and of the classifier",
            [](const Network& n, const std::vector<Index>& widths) { return n.macs(widths); }};
  if (name == "paper") return {name, "MACs", "the authors' count of arXiv 1910.03103", {}};
  if (name == "parameters")
    return {name, "parameters", "weights, batch norms' scales and shifts, the classifier's bias",
            [](const Network& n, const std::vector<Index>& widths) {
              return double(n.parameter_count(widths));
            }};
  if (name == "picojoules")
    return {name, "pJ", "Horowitz 2014, 45 nm, 32-bit floats, each parameter once from DRAM",
            [](const Network& n, const std::vector<Index>& widths) {
              return picojoules(n.layer_shapes(widths), n.parameter_count(widths)).sum();
            }};
  if (name.rfind("table:", 0) == 0 && name.size() > 6) {
    EnergyTable table = read_energy_table(name.substr(6));
    return {name, table.unit, table.source,
            [table](const Network& n, const std::vector<Index>& widths) {
              return table.cost(n.layer_shapes(widths));
            },
            table.fingerprint};
  }
  user_error(
      "unknown energy '", name,
      "'; there are: exact (MACs), paper (the authors' count), parameters, picojoules, table:FILE");
}

namespace {
// Section 6 of METHOD.md, MobileNetV2, r the side of a layer's output: stem (27 + 1) r²; expansion
// r² c_in + r_next²; output r² (c_in + width of the next expansion, or of the head); head r² c_in +
// classes. No skip convolution, no 3×3.
std::vector<double> authors_count_v2(const Network& network, const std::vector<Index>& widths) {
  const auto& axes = network.axes();
  std::vector<double> e;
  auto squared_side = [&](std::size_t l) { return double(network.producer(axes[l]).positions); };
  for (std::size_t l = 0; l < axes.size(); l++) {
    double before = squared_side(l) *
                    (l == 0 ? 9.0 * double(network.config().channels) : double(widths[l - 1]));
    bool stem = l == 0, head = l + 1 == axes.size(), output = l % 2 == 1;
    e.push_back(before + (stem     ? squared_side(0)
                          : head   ? double(network.config().classes)
                          : output ? squared_side(l) * double(widths[l + 1])
                                   : squared_side(l + 1)));
  }
  return e;
}
// Section 6 of METHOD.md, MobileNetV1: first layer 27 r₀² + r₁²; layer ℓ: r_ℓ² (width_{ℓ−1} + 9) +
// r_{ℓ+1}²; the last has `classes` in place of r_{ℓ+1}². r_ℓ: the side of layer ℓ's output. It
// charges the depthwise filter BEFORE the layer, and 1 a position for the next block: no network's
// whole cost has these differences.
std::vector<double> authors_count_v1(const Network& network, const std::vector<Index>& widths) {
  const auto& axes = network.axes();
  std::vector<double> e;
  auto squared_side = [&](std::size_t l) { return double(network.producer(axes[l]).positions); };
  for (std::size_t l = 0; l < axes.size(); l++) {
    double before = l == 0 ? 9.0 * double(network.config().channels) : double(widths[l - 1]) + 9;
    double after = l + 1 < axes.size() ? squared_side(l + 1) : double(network.config().classes);
    e.push_back(squared_side(l) * before + after);
  }
  return e;
}
}  // namespace

std::vector<double> authors_count(const Network& network, const std::vector<Index>& widths) {
  return network.config().model == "mobilenet_v2" ? authors_count_v2(network, widths)
                                                  : authors_count_v1(network, widths);
}

// e of E12
std::vector<double> marginal_energies(const Network& network, const EnergyModel& model) {
  if (!model.cost) return authors_count(network, network.widths());
  std::vector<double> e;
  std::vector<Index> widths = network.widths();
  double now = model.cost(network, widths);
  for (std::size_t l = 0; l < widths.size(); l++) {
    widths[l]++;
    e.push_back(model.cost(network, widths) - now);
    widths[l]--;
  }
  return e;
}

std::vector<double> scaled_energies(const Network& network, const EnergyModel& model,
                                    EnergyScale scale) {
  std::vector<double> e = marginal_energies(network, model);
  for (std::size_t l = 0; l < e.size(); l++) {
    double least = scale == EnergyScale::log ? 1 : 0;  // ln e is an energy only for e > 1
    if (!(e[l] > least))
      user_error("--energy ", model.name, ", --energy-scale ", name_of(scale),
                 ": one more channel on axis ", network.axes()[l].name, " (",
                 network.axes()[l].width, " now) costs ", e[l], " ", model.unit,
                 "; expected more than ", least);
    e[l] = scaled(e[l], scale);
  }
  return e;
}

void check_reach(const EnergyModel& model, const Network& network, Index rounds) {
  if (model.fingerprint.empty() || rounds == 0) return;
  std::vector<Index> most;
  for (const Axis& axis : network.axes()) {
    Index width = axis.width;
    for (Index round = 0; round < rounds && width < axis.max_width; round++)
      width = std::min(2 * width, axis.max_width);
    most.push_back(std::max(width, axis.width));
  }
  model.cost(network, most);
  for (std::size_t a = 0; a < most.size() && rounds > 1; a++) {
    std::vector<Index> more = most;  // and of one more, as long as there is a round to come
    more[a]++;
    model.cost(network, more);
  }
}

}  // namespace fission
