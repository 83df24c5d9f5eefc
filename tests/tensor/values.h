// Numbers for tests: reproducible random tensors, and comparison of a tensor with what is expected.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "tensor/ops.h"
#include "tensor/random.h"

namespace fission::testing {

inline Backend& reference() { return open_backend("reference"); }

// offset + scale · normal; `item` tells the tensors of one test apart
inline Tensor random_tensor(Backend& backend, const Shape& shape, std::uint64_t item,
                            double scale = 1, double offset = 0, DType real = DType::f32) {
  Random random(1, random_purpose::test, item);
  std::vector<double> values(shape.numel());
  for (std::size_t i = 0; i < values.size(); i++) values[i] = offset + scale * random.normal(i);
  return make_real(backend, shape, values, real);
}

// batch-norm tensors as they are after some training; mean and var are those of y
inline NormTensors random_norm(const Tensor& y, Index groups, Activation activation,
                               std::uint64_t item) {
  NormTensors norm;
  Index channels = y.dim(3);
  ops::moments(y, groups, norm.mean, norm.var);
  norm.gamma = random_tensor(y.backend(), {channels}, item, 0.2, 1, y.dtype());
  norm.beta = random_tensor(y.backend(), {channels}, item + 1, 0.5, 0, y.dtype());
  norm.activation = activation;
  return norm;
}

inline Tensor f64(Backend& backend, const Shape& shape, const std::vector<double>& values) {
  return Tensor::from(backend, shape, values);
}
inline Tensor i32(Backend& backend, const Shape& shape, const std::vector<std::int32_t>& values) {
  return Tensor::from(backend, shape, values);
}

// default: a few roundings of doubles of size one
inline void check_values(const Tensor& t, const std::vector<double>& expected,
                         double tolerance = 1e-14) {
  std::vector<double> got = t.to_host();
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); i++) {
    INFO("element ", i, " of ", t.shape().str(), ": got ", got[i], ", expected ", expected[i]);
    CHECK(std::abs(got[i] - expected[i]) <= tolerance);
  }
}

// E9's product alone, δ ⊙ φ''(z) ⊙ c² ⊙ u: probe_activation without h
inline Tensor curvature(const Tensor& delta, const Tensor& y, const NormTensors& norm,
                        const Curvature& k, const Tensor& u) {
  Tensor out = y.like();
  ops::probe_activation(delta, y, norm, k, u, nullptr, out, nullptr);
  return out;
}

inline double dot(const Tensor& a, const Tensor& b) {
  std::vector<double> x = a.to_host(), y = b.to_host();
  REQUIRE(x.size() == y.size());
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); i++) sum += x[i] * y[i];
  return sum;
}

}  // namespace fission::testing
