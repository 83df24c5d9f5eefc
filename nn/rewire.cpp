#include "nn/rewire.h"

namespace fission {

Shape as_rows_and_columns(const Stored& s) {
  switch (s.kind) {
    case Stored::dense: return {s.shape[0], s.shape[1] * s.shape[2], s.shape[3]};
    case Stored::depthwise: return {1, s.shape[0] * s.shape[1], s.shape[2]};
    case Stored::matrix: return {s.shape[0], 1, s.shape[1]};
    case Stored::vector: return {s.shape[0], 1, 1};
  }
  return {};
}

Tensor rewired(const Stored& s, const Tensor& values, const Wiring& rows, const Wiring& columns) {
  Backend& b = values.backend();
  auto indices = [&](const Wiring& w) { return Tensor::from(b, {Index(w.from.size())}, w.from); };
  auto scales = [&](const Wiring& w) {
    return make_real(b, {Index(w.scale.size())}, w.scale, values.dtype());
  };
  return ops::gather(values.reshape(as_rows_and_columns(s)), indices(rows), scales(rows),
                     indices(columns), scales(columns));
}

}  // namespace fission
