// Networks of other widths made out of a stored one: every tensor is gathered along its first and
// its last dimension, the two that can be an axis's channels. Splitting and pruning both do it.
#pragma once
#include "nn/network.h"

namespace fission {

// Where the channels of a new dimension come from, and what each is multiplied by.
struct Wiring {
  std::vector<std::int32_t> from;
  std::vector<double> scale;
};

// Every layout as (first dimension, what lies between, last dimension)
Shape as_rows_and_columns(const Stored& s);
// Values laid out as s is → (rows, what lies between, columns)
Tensor rewired(const Stored& s, const Tensor& values, const Wiring& rows, const Wiring& columns);

}  // namespace fission
