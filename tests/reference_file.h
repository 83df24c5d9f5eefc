// The reference numbers of tests/reference/ (its README says where they come from), and what the tests of them share:
// their small networks, their layouts (NCHW, OIHW) as ours, and comparison by max|x − y| / max|y|.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "nn/checkpoint.h"

namespace fission::testing {

inline TensorFile reference_file(const std::string& name) { return read_safetensors("tests/reference/" + name + ".safetensors"); }
inline std::vector<double> numbers(const TensorFile& file, const std::string& name) { return file.at(name).as_doubles(); }

// f64 on the reference backend, where two correct programs agree to rounding; f32 on the best backend there is.
struct Machine {
  Backend& backend;
  DType type;
  bool exact() const { return type == DType::f64; }
  double tolerance(double f32, double f64 = 1e-9) const { return exact() ? f64 : f32; }
  std::string name() const { return backend.name() + " " + name_of(type); }
};
inline std::vector<Machine> machines() { return {{open_backend("reference"), DType::f64}, {open_backend("auto"), DType::f32}}; }

inline std::string layer_name(std::size_t l) { return (l < 10 ? "L0" : "L") + std::to_string(l); }

// the module that makes axis l: its convolution is NAME.conv2d, its batch norm NAME.bn
inline std::string layer_module(const std::string& model, std::size_t l) {
  if (model == "mobilenet_v1") return "layers." + std::to_string(l) + (l == 0 ? "" : ".sp_conv");
  if (l == 0 || l == 34) return "features." + std::string(l == 0 ? "0" : "18") + ".sp_conv";
  return "features." + std::to_string((l + 2) / 2) + (l % 2 == 0 ? ".t_pw_conv" : ".b_pw_conv");
}
inline NetworkConfig reference_config(const TensorFile& file) {
  NetworkConfig c;
  c.model = file.metadata_at("network");
  bool v1 = c.model == "mobilenet_v1";
  c.widths.assign(v1 ? 14 : 35, 0);
  for (std::size_t l = 0; l < c.widths.size(); l++) c.widths[l] = file.at("param/" + layer_module(c.model, l) + ".bn.weight").shape[0];
  if (!v1) c.classes = 1000, c.size = 64, c.stem_stride = 2;
  c.activation = parse_activation(file.metadata_at("activation"));
  return c;
}
inline std::unique_ptr<Network> reference_network(const TensorFile& file, const Machine& m) {
  auto network = make_network(reference_config(file), m.backend, m.type, 0);
  load_parameters(file, *network, "param/");
  return network;
}

// Batch `index` of (…,N,C,H,W) as (N,H,W,C)
inline Tensor pictures(const TensorFile& file, const std::string& name, const Machine& m, Index index = 0) {
  const StoredTensor& t = file.at(name);
  std::size_t r = t.shape.size();
  Index n = t.shape[r - 4], c = t.shape[r - 3], hw = t.shape[r - 2] * t.shape[r - 1];
  std::vector<double> in = t.as_doubles(), out(n * c * hw);
  for (Index i = 0; i < n; i++)
    for (Index k = 0; k < c; k++)
      for (Index p = 0; p < hw; p++) out[(i * hw + p) * c + k] = in[((index * n + i) * c + k) * hw + p];
  return make_real(m.backend, {n, t.shape[r - 2], t.shape[r - 1], c}, out, m.type);
}
inline Tensor labels(const TensorFile& file, const Machine& m, Index index = 0) {
  const StoredTensor& t = file.at("labels");
  Index n = t.shape.back();
  std::vector<double> all = t.as_doubles();
  return Tensor::from(m.backend, {n}, std::vector<std::int32_t>(all.begin() + index * n, all.begin() + (index + 1) * n));
}

inline const Stored& neurons(const Network& network, std::size_t axis) {
  return network.stored()[network.producer(network.axes()[axis]).weight];
}
// What lies in an axis's neurons in a flat buffer, as the file has it (OIHW)
inline std::vector<double> of_axis(const Network& network, std::size_t axis, const Tensor& flat) {
  const Stored& s = neurons(network, axis);
  return to_pytorch(s, network.view(s, flat).to_host());
}
// A flat buffer from one tensor an axis, prefix + "Lxx"
inline Tensor directions(const Network& network, const TensorFile& file, const std::string& prefix) {
  Tensor flat = network.like_parameters();
  for (std::size_t l = 0; l < network.axes().size(); l++) {
    const Stored& s = neurons(network, l);
    std::vector<double> v = from_pytorch(s, numbers(file, prefix + layer_name(l)));
    network.view(s, flat).copy_from(make_real(flat.backend(), s.shape, v, flat.dtype()));
  }
  return flat;
}

inline double largest(const std::vector<double>& v) {
  double most = 0;
  for (double x : v) most = std::max(most, std::abs(x));
  return most;
}
// max|x − y|; NaN counts as infinitely far
inline double distance(const std::vector<double>& x, const std::vector<double>& y) {
  REQUIRE(x.size() == y.size());
  double most = 0;
  for (std::size_t i = 0; i < x.size(); i++) most = std::max(most, std::isfinite(x[i]) ? std::abs(x[i] - y[i]) : INFINITY);
  return most;
}
// max|x − y| / max|y|: the "rel" of the reference's tables
inline double relative(const std::vector<double>& x, const std::vector<double>& y) {
  double scale = largest(y), d = distance(x, y);
  return d == 0 ? 0 : d / scale;
}
inline double relative(const Tensor& x, const std::vector<double>& y) { return relative(x.to_host(), y); }
// the worst axis of a flat buffer against prefix + "Lxx"
inline double relative(const Network& network, const Tensor& flat, const TensorFile& file, const std::string& prefix) {
  double most = 0;
  for (std::size_t l = 0; l < network.axes().size(); l++)
    most = std::max(most, relative(of_axis(network, l, flat), numbers(file, prefix + layer_name(l))));
  return most;
}

}  // namespace fission::testing
