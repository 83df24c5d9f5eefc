// An energy table (split/energy_table.h) that holds a network's layers at a few widths, and says
// what `cost` says of them.
#pragma once
#include <set>
#include <sstream>
#include <string>

#include "nn/network.h"

namespace fission::testing {

template <class Cost>
std::string table_of(const Network& network, const std::vector<Index>& widths, Cost cost,
                     const std::string& unit = "kMACs") {
  std::ostringstream out;
  out.precision(17);
  out << "# unit: " << unit
      << "; source: a test\n# a comment\nkind,kernel,stride,side,in,out,cost\n";
  std::set<std::string> known;
  for (LayerShape l : network.layer_shapes(network.widths())) {
    bool stem = l.in == network.config().channels && l.side == network.config().size &&
                l.kind == LayerShape::dense && l.kernel == 3;
    for (Index in : stem ? std::vector<Index>{l.in} : widths)
      for (Index o : l.kind == LayerShape::linear      ? std::vector<Index>{l.out}
                     : l.kind == LayerShape::depthwise ? std::vector<Index>{in}
                                                       : widths) {
        LayerShape at = l;
        at.in = in, at.out = o;
        std::ostringstream line;
        line.precision(17);
        const char* kinds[] = {"dense", "depthwise", "linear"};
        line << kinds[l.kind] << ',' << l.kernel << ',' << l.stride << ',' << l.side << ',' << in
             << ',' << o << ',' << cost(at) << '\n';
        if (known.insert(line.str()).second) out << line.str();
      }
  }
  return out.str();
}

inline double kilo_macs(const LayerShape& l) { return l.macs() / 1000; }

}  // namespace fission::testing
