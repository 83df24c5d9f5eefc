// --energy table:FILE: costs of layers from a file (measured latencies, joules), interpolated in
// the widths.
//    # unit: ms; source: Cortex-A72, one thread, median of 100     the first line; later lines with
//   # are comments
//    kind,kernel,stride,side,in,out,cost                           then this one; side: of the
//   layer's input image
//    dense,3,1,32,3,8,0.21                                         dense | depthwise (in = out) |
//   linear (1,1,1,in,classes)
// A kind,kernel,stride,side has a grid: every `in` with every `out`. Between its points the cost is
// bilinear. It refuses,
// naming the file: lines that are not so, grids with holes, layers that are not there, widths
// outside (no extrapolation).
#pragma once
#include <array>
#include <map>
#include <string>
#include <vector>

#include "nn/network.h"

namespace fission {

struct EnergyTable {
  struct Grid {
    std::vector<Index> in, out;  // ascending; depthwise: out is {1}
    std::vector<double> cost;    // (in, out)
  };
  std::string path, unit, source, fingerprint;
  std::map<std::array<Index, 4>, Grid> grids;                // by kind, kernel, stride, side
  double cost(const std::vector<LayerShape>& layers) const;  // UserError
};
EnergyTable read_energy_table(const std::string& path);  // UserError

}  // namespace fission
