// The reference numbers of tests/reference/ (its README says where they come from; the audit
// compares with them, tests/runners/audit_reference.cpp), and what many tests share: where to
// compute, and comparison by max|x − y| / max|y|.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "runners/common/reference_file.h"

namespace fission::testing {

using fission::relative;

inline TensorFile reference_file(const std::string& name) {
  return read_safetensors("tests/reference/" + name + ".safetensors");
}
inline std::vector<double> numbers(const TensorFile& file, const std::string& name) {
  return file.at(name).as_doubles();
}

// f64 on the reference backend, where two correct programs agree to rounding; f32 on the best
// backend there is.
inline std::vector<Machine> machines() {
  return {{open_backend("reference"), DType::f64}, {open_backend("auto"), DType::f32}};
}

inline double relative(const Tensor& x, const std::vector<double>& y) {
  return relative(x.to_host(), y);
}

}  // namespace fission::testing
