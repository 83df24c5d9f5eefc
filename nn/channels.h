// Channel axes: how a network can be rewired without anyone knowing which network it is.
// An axis is one set of channels that keeps one width. Every stored tensor says what its first and
// its last dimension are to which axis; surgery, costs, caps and printed widths are written once,
// over axes.
#pragma once
#include <string>
#include <vector>

#include "tensor/geometry.h"

namespace fission {

enum class Use {
  none,      // not a channel dimension (classes, the image's colours)
  produced,  // rows that make the channel, and that a split moves apart: w_o ± ε v
  copied,    // one entry a channel, copied by a split: batch norm, depthwise filters, skip rows
  consumed,  // input columns of the next mixing layer, halved by a split
};

struct AxisUse {
  int axis = -1;
  Use use = Use::none;
};

struct Axis {
  std::string name;  // the producing layer's
  Index width = 0;
  Index max_width = 0;     // a split may not pass it
  int group = 0;           // of the energy budget (E12)
  int producer = -1;       // index of the block whose rows are the neurons
  std::vector<int> chain;  // the depthwise blocks between it and its consumers (E6c walks them)
};

}  // namespace fission
