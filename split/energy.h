// What one more channel on an axis costs: e of E12 (section 6 of METHOD.md). A model prices
// the whole network at any widths, and the marginal is the price with one more channel there − the
// price now. --energy names it:
//   exact | parameters | picojoules (energy_picojoules.h) | table:FILE (energy_table.h)
//   paper: the authors' count, a marginal only; reference numbers and published selections use it
// It refuses marginals that are not positive, or that the scale (none | sqrt: authors, CIFAR | log:
// ImageNet) makes so.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "nn/network.h"

namespace fission {

struct EnergyModel {
  std::string name, unit, source;  // as --energy has it; of a cost; where its numbers are from
  std::function<double(const Network&, const std::vector<Index>& widths)>
      cost;                      // of one image; paper has none
  std::string fingerprint = {};  // of a file that the costs come from
};
EnergyModel parse_energy(const std::string& name);  // UserError

enum class EnergyScale { none, sqrt, log };
const char* name_of(EnergyScale s);
EnergyScale parse_energy_scale(const std::string& name);  // UserError
double scaled(double e, EnergyScale scale);
std::string scaled_unit(const EnergyModel& model, EnergyScale scale);  // "√MACs"

// e for each axis. The authors' count is of any widths of this kind of network.
std::vector<double> authors_count(const Network& network, const std::vector<Index>& widths);
std::vector<double> marginal_energies(const Network& network, const EnergyModel& model);
std::vector<double> scaled_energies(const Network& network, const EnergyModel& model,
                                    EnergyScale scale);  // UserError
// A cost table need not reach as far as doubling every layer in every round would. UserError where
// it ends before: a growth that gets there stops in that round.
void check_reach(const EnergyModel& model, const Network& network, Index rounds);

}  // namespace fission
