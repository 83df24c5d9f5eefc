#include "runners/common/reference_file.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace fission {

std::string layer_module(const std::string& model, std::size_t l) {
  if (model == "mobilenet_v1") return "layers." + std::to_string(l) + (l == 0 ? "" : ".sp_conv");
  if (l == 0 || l == 34) return "features." + std::string(l == 0 ? "0" : "18") + ".sp_conv";
  return "features." + std::to_string((l + 2) / 2) + (l % 2 == 0 ? ".t_pw_conv" : ".b_pw_conv");
}

ReferenceFile::ReferenceFile(TensorFile file) : file_(std::move(file)) {
  for (const auto& entry : file_.tensors)
    if (has_nan(entry.second)) user_error(file_.path, ": tensor '", entry.first, "': a NaN or infinity, expected numbers");
}

std::vector<double> ReferenceFile::numbers(const std::string& name, Index count) const {
  const StoredTensor& t = file_.at(name);
  if (t.numel() != count) user_error(file_.path, ": tensor '", name, "': ", t.numel(), " numbers, expected ", count);
  return t.as_doubles();
}

std::vector<std::string> ReferenceFile::prefixes(const std::string& suffix) const {
  std::set<std::string> found;
  for (const auto& entry : file_.tensors) {
    const std::string& n = entry.first;
    if (n.size() > suffix.size() && n.compare(n.size() - suffix.size(), suffix.size(), suffix) == 0) found.insert(n.substr(0, n.size() - suffix.size()));
  }
  return {found.begin(), found.end()};
}

NetworkConfig ReferenceFile::config() const {
  NetworkConfig c;
  c.model = metadata("network");
  bool v1 = c.model == "mobilenet_v1";
  if (!v1 && c.model != "mobilenet_v2") user_error(file_.path, ": metadata 'network': '", c.model, "', expected mobilenet_v1 or mobilenet_v2");
  auto shape_of = [&](const std::string& name, std::size_t rank) {
    const auto& shape = file_.at(name).shape;
    if (shape.size() < rank) user_error(file_.path, ": tensor '", name, "': rank ", shape.size(), ", expected at least ", rank);
    return shape;
  };
  for (std::size_t l = 0; l < (v1 ? 14 : 35); l++) c.widths.push_back(shape_of("param/" + layer_module(c.model, l) + ".bn.weight", 1)[0]);
  c.classes = shape_of(v1 ? "param/linear.weight" : "param/classifier.weight", 2)[0];
  auto picture = shape_of(inputs(), 4);
  c.size = picture.back(), c.channels = picture[picture.size() - 3];
  c.stem_stride = v1 && c.size <= 64 ? 1 : 2;  // the authors' networks: MobileNetV2 for ImageNet alone
  c.activation = parse_activation(metadata("activation"));
  return c;
}

std::unique_ptr<Network> ReferenceFile::network(const Machine& m) const {
  auto network = make_network(config(), m.backend, m.type, 0);
  load_parameters(file_, *network, "param/");
  return network;
}

Index ReferenceFile::batches() const {
  const auto& shape = file_.at(inputs()).shape;
  return shape.size() > 4 ? shape[0] : 1;
}

Tensor ReferenceFile::pictures(const Machine& m, Index index) const {
  const StoredTensor& t = file_.at(inputs());
  std::size_t r = t.shape.size();
  Index n = t.shape[r - 4], c = t.shape[r - 3], hw = t.shape[r - 2] * t.shape[r - 1];
  std::vector<double> in = t.as_doubles(), out(std::size_t(n * c * hw));
  for (Index i = 0; i < n; i++)
    for (Index k = 0; k < c; k++)
      for (Index p = 0; p < hw; p++) out[std::size_t((i * hw + p) * c + k)] = in[std::size_t(((index * n + i) * c + k) * hw + p)];
  return make_real(m.backend, {n, t.shape[r - 2], t.shape[r - 1], c}, out, m.type);
}

Tensor ReferenceFile::labels(const Machine& m, Index index) const {
  const auto& shape = file_.at(inputs()).shape;
  Index n = shape[shape.size() - 4], classes = config().classes;
  std::vector<double> all = numbers("labels", n * batches());
  for (double label : all)
    if (!(label >= 0 && label < double(classes) && label == double(Index(label)))) user_error(file_.path, ": tensor 'labels': a label ", label, ", expected 0 to ", classes - 1);
  return Tensor::from(m.backend, {n}, std::vector<std::int32_t>(all.begin() + index * n, all.begin() + (index + 1) * n));
}

std::vector<double> ReferenceFile::of_layer(const Network& network, const std::string& prefix, std::size_t layer, Index a_neuron) const {
  const Stored& s = neurons(network, layer);
  Index width = network.axes()[layer].width;
  return numbers(prefix + layer_name(layer), width * (a_neuron ? a_neuron : s.shape.numel() / width));
}

Tensor ReferenceFile::directions(const Network& network, const std::string& prefix) const {
  Tensor flat = network.like_parameters();
  for (std::size_t l = 0; l < network.axes().size(); l++) {
    const Stored& s = neurons(network, l);
    network.view(s, flat).copy_from(make_real(flat.backend(), s.shape, from_pytorch(s, of_layer(network, prefix, l)), flat.dtype()));
  }
  return flat;
}

std::string layer_name(std::size_t l) { return (l < 10 ? "L0" : "L") + std::to_string(l); }
const Stored& neurons(const Network& network, std::size_t axis) { return network.stored()[std::size_t(network.producer(network.axes()[axis]).weight)]; }
std::vector<double> of_axis(const Network& network, std::size_t axis, const Tensor& flat) {
  const Stored& s = neurons(network, axis);
  return to_pytorch(s, network.view(s, flat).to_host());
}

double largest(const std::vector<double>& v) {
  double most = 0;
  for (double x : v) most = std::max(most, std::abs(x));
  return most;
}
double distance(const std::vector<double>& x, const std::vector<double>& y) {
  if (x.size() != y.size()) return INFINITY;
  double most = 0;
  for (std::size_t i = 0; i < x.size(); i++) most = std::max(most, std::isfinite(x[i]) ? std::abs(x[i] - y[i]) : INFINITY);
  return most;
}
double relative(const std::vector<double>& x, const std::vector<double>& y) {
  double d = distance(x, y);
  return d == 0 ? 0 : d / largest(y);
}

}  // namespace fission
