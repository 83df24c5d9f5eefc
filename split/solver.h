// What selection and surgery ask of whoever solves for the least eigenvalues: RQ-SGD, Lanczos, or the exact oracle.
#pragma once
#include <vector>

#include "tensor/tensor.h"

namespace fission {

struct SplittingIndex {
  std::vector<std::vector<double>> lambda;  // [axis][neuron]: λ̂
  Tensor v;                                 // (P): v̂, each in its neuron's row; not normalised
};

}  // namespace fission
