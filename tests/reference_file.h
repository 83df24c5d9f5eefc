// The reference numbers of tests/reference/ (its README says where they come from), and what the
// tests of them share: their small networks, their layouts (NCHW, OIHW) as ours, and comparison by
// max|x − y| / max|y|.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "runners/common/reference_file.h"

namespace fission::testing {

using fission::distance, fission::largest, fission::layer_module, fission::layer_name,
    fission::Machine, fission::neurons, fission::of_axis, fission::relative;

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

inline std::unique_ptr<Network> reference_network(const TensorFile& file, const Machine& m) {
  return ReferenceFile(file).network(m);
}
// Batch `index` of (…,N,C,H,W) as (N,H,W,C)
inline Tensor images(const TensorFile& file, const std::string&, const Machine& m,
                     Index index = 0) {
  return ReferenceFile(file).images(m, index);
}
inline Tensor labels(const TensorFile& file, const Machine& m, Index index = 0) {
  return ReferenceFile(file).labels(m, index);
}
// A flat buffer from one tensor an axis, prefix + "Lxx"
inline Tensor directions(const Network& network, const TensorFile& file,
                         const std::string& prefix) {
  return ReferenceFile(file).directions(network, prefix);
}

inline double relative(const Tensor& x, const std::vector<double>& y) {
  return relative(x.to_host(), y);
}
// the worst axis of a flat buffer against prefix + "Lxx"
inline double relative(const Network& network, const Tensor& flat, const TensorFile& file,
                       const std::string& prefix) {
  double most = 0;
  for (std::size_t l = 0; l < network.axes().size(); l++)
    most =
        std::max(most, relative(of_axis(network, l, flat), numbers(file, prefix + layer_name(l))));
  return most;
}

}  // namespace fission::testing
