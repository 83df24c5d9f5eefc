// The shapes of convolutions and of pooling: named fields instead of six positional integers.
// A square kernel, one stride and one padding for both directions: all that the networks here have.
#pragma once
#include <cstdint>

namespace fission {

using Index = std::int64_t;

struct Conv2dGeometry {
  Index kernel = 1, stride = 1, padding = 0;
  Index out(Index in) const { return (in + 2 * padding - kernel) / stride + 1; }
  bool operator==(const Conv2dGeometry& o) const {
    return kernel == o.kernel && stride == o.stride && padding == o.padding;
  }
};

struct PoolGeometry {
  Index window = 1, stride = 1;  // no padding; out = (in - window) / stride + 1
  Index out(Index in) const { return (in - window) / stride + 1; }
};

}  // namespace fission
