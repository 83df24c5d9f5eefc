// Which splitting matrix, and which φ'' (section 3 of METHOD.md).
//   paper  E6:  Σ_p δ φ''(z) c² x xᵀ of the producing layer's own activation, as published
//    chain  E6c: the sum over every activation between the neuron and the next mixing layer: the
//   exact second-order
//               form of a real split, and the default
#pragma once
#include <string>

#include "tensor/backend.h"

namespace fission {

enum class Matrix { chain, paper };

inline const char* name_of(Matrix m) { return m == Matrix::chain ? "chain" : "paper"; }
inline Matrix parse_matrix(const std::string& name) {
  if (name == "chain") return Matrix::chain;
  if (name == "paper") return Matrix::paper;
  user_error("unknown splitting matrix '", name,
             "'; there are: chain (E6c, exact), paper (E6, as published)");
}

}  // namespace fission
