#include "runners/common/reference_file.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

namespace fission {

std::string layer_module(const std::string& model, std::size_t l) {
  if (model == "mobilenet_v1") return "layers." + std::to_string(l) + (l == 0 ? "" : ".sp_conv");
  if (l == 0 || l == 34) return "features." + std::string(l == 0 ? "0" : "18") + ".sp_conv";
  return "features." + std::to_string((l + 2) / 2) + (l % 2 == 0 ? ".t_pw_conv" : ".b_pw_conv");
}

ReferenceFile::ReferenceFile(TensorFile file) : file_(std::move(file)) {
  const std::set<std::string> counts{"labels", "old_cfg", "new_cfg", "a/long/marks",
                                     "b/long/marks"};
  const auto kind = file_.metadata.find("kind");
  const bool select = kind != file_.metadata.end() && kind->second == "select";  // widths, masks
  for (const auto& [name, tensor] : file_.tensors) {
    if (has_nan(tensor))
      user_error(file_.path, ": tensor '", name, "': a NaN or infinity, expected numbers");
    if (tensor.dtype[0] != 'F' && !select && !counts.count(name))
      user_error(file_.path, ": tensor '", name, "': dtype ", tensor.dtype,
                 ", expected F32 or F64");
  }
}

const StoredTensor& ReferenceFile::at(const std::string& name) const {
  read_.insert(name);
  return file_.at(name);
}

std::vector<double> ReferenceFile::numbers(const std::string& name, const Dims& shape) const {
  const StoredTensor& t = at(name);
  Dims got = t.shape;
  while (got.size() > shape.size() && shape.size() > 1) {  // the last ones as one
    const std::int64_t last = got.back();
    got.pop_back();
    got.back() *= last;
  }
  if (got.empty() && shape == Dims{1}) got = shape;  // one number
  if (got != shape)
    user_error(file_.path, ": tensor '", name, "': shape ", shape_text(t.shape), ", expected ",
               shape_text(shape));
  return t.as_doubles();
}

std::vector<double> ReferenceFile::all(const std::string& name) const {
  return at(name).as_doubles();
}

std::vector<double> ReferenceFile::rows(const std::string& name, Index columns) const {
  const StoredTensor& t = at(name);
  const bool fits = t.numel() > 0 && (columns == 1 ? t.shape.size() == 1
                                                   : t.shape.size() == 2 && t.shape[1] == columns);
  if (!fits)
    user_error(file_.path, ": tensor '", name, "': shape ", shape_text(t.shape), ", expected (rows",
               columns == 1 ? "" : text(", ", columns), "), one at least");
  return t.as_doubles();
}

std::vector<std::pair<std::string, int>> ReferenceFile::unread() const {
  std::vector<std::pair<std::string, int>> families;
  for (const auto& entry : file_.tensors) {
    if (read_.count(entry.first)) continue;
    const std::string family = entry.first.substr(0, entry.first.rfind('/') + 1) +
                               (entry.first.find('/') == std::string::npos ? entry.first : "…");
    if (families.empty() || families.back().first != family) families.push_back({family, 0});
    families.back().second++;
  }
  return families;
}

std::vector<std::string> ReferenceFile::prefixes(const std::string& suffix) const {
  std::set<std::string> found;
  for (const auto& entry : file_.tensors) {
    const std::string& n = entry.first;
    if (n.size() > suffix.size() && n.compare(n.size() - suffix.size(), suffix.size(), suffix) == 0)
      found.insert(n.substr(0, n.size() - suffix.size()));
  }
  return {found.begin(), found.end()};
}

bool ReferenceFile::any(const std::string& prefix) const {
  auto first = file_.tensors.lower_bound(prefix);
  return first != file_.tensors.end() && first->first.compare(0, prefix.size(), prefix) == 0;
}

const std::vector<std::int64_t>& ReferenceFile::image_shape() const {
  const auto& shape = at(inputs()).shape;
  if (shape.size() < 4 || shape.size() > 5)
    user_error(file_.path, ": tensor '", inputs(), "': rank ", shape.size(),
               ", expected 4, or 5 of several batches");
  for (std::int64_t dim : shape)
    if (dim < 1 || dim > 65536)
      user_error(file_.path, ": tensor '", inputs(), "': a dimension of ", dim,
                 ", expected 1 to 65536");
  if (shape.back() != shape[shape.size() - 2])
    user_error(file_.path, ": tensor '", inputs(), "': images of ", shape[shape.size() - 2], "x",
               shape.back(), ", expected squares");
  return shape;
}

NetworkConfig ReferenceFile::config() const {
  NetworkConfig c;
  c.model = metadata("network");
  bool v1 = c.model == "mobilenet_v1";
  if (!v1 && c.model != "mobilenet_v2")
    user_error(file_.path, ": metadata 'network': '", c.model,
               "', expected mobilenet_v1 or mobilenet_v2");
  auto rows_of = [&](const std::string& name, std::size_t rank) {
    const auto& shape = at(name).shape;
    if (shape.size() != rank)
      user_error(file_.path, ": tensor '", name, "': rank ", shape.size(), ", expected ", rank);
    if (shape[0] < 1 || shape[0] > 65536)
      user_error(file_.path, ": tensor '", name, "': ", shape[0], " rows, expected 1 to 65536");
    return shape[0];
  };
  for (std::size_t l = 0; l < (v1 ? 14 : 35); l++)
    c.widths.push_back(rows_of("param/" + layer_module(c.model, l) + ".bn.weight", 1));
  c.classes = rows_of(v1 ? "param/linear.weight" : "param/classifier.weight", 2);
  const auto& image = image_shape();
  c.size = image.back(), c.channels = image[image.size() - 3];
  // The authors' networks: MobileNetV2 for ImageNet alone, MobileNetV1 for CIFAR (32×32) or
  // ImageNet. Where their list of layers is in the metadata with a stride in its first entry, "[(4,
  // 2, 0), …", that is it.
  c.stem_stride = v1 && c.size < 64 ? 1 : 2;
  auto cfg = file_.metadata.find("cfg");
  int width = 0, stride = 0;
  if (cfg != file_.metadata.end() &&
      std::sscanf(cfg->second.c_str(), " [ ( %d , %d", &width, &stride) == 2 &&
      (stride == 1 || stride == 2))
    c.stem_stride = stride;
  if (metadata("activation") != "swish" && metadata("activation") != "relu")
    user_error(file_.path, ": metadata 'activation': '", metadata("activation"),
               "', expected swish or relu");
  c.activation = parse_activation(metadata("activation"));
  return c;
}

double ReferenceFile::relu_beta()
    const {  // 3 in their code for CIFAR and for MobileNetV2, 1 in MobileNetV1 for ImageNet
  NetworkConfig c = config();
  return c.model == "mobilenet_v1" && c.stem_stride == 2 ? 1 : 3;
}

std::unique_ptr<Network> ReferenceFile::network(const Machine& m) const {
  auto network = make_network_in(file_, config(), m.backend, m.type);
  const auto& shape = image_shape();
  const Index positions = network->blocks().back().positions, n = shape[shape.size() - 4];
  if (n * positions < 2)
    user_error(file_.path, ": tensor '", inputs(), "': one image of ", shape.back(), "x",
               shape.back(), " leaves one value a channel in the last layer, expected more",
               " images or larger ones: batch norm takes a variance of two values or more");
  load_parameters(file_, *network, "param/");
  for (const Stored& s : network->stored()) read_.insert("param/" + s.name);
  return network;
}

Index ReferenceFile::batches() const {
  const auto& shape = image_shape();
  return shape.size() > 4 ? shape[0] : 1;
}

Tensor ReferenceFile::images(const Machine& m, Index index) const {
  const StoredTensor& t = at(inputs());
  std::size_t r = image_shape().size();
  if (index >= batches())
    user_error(file_.path, ": tensor '", inputs(), "': ", batches(),
               " batches, expected more than ", index);
  Index n = t.shape[r - 4], c = t.shape[r - 3], hw = t.shape[r - 2] * t.shape[r - 1];
  std::vector<double> in = t.as_doubles(), out(std::size_t(n * c * hw));
  for (Index i = 0; i < n; i++)
    for (Index k = 0; k < c; k++)
      for (Index p = 0; p < hw; p++)
        out[std::size_t((i * hw + p) * c + k)] =
            in[std::size_t(((index * n + i) * c + k) * hw + p)];
  return make_real(m.backend, {n, t.shape[r - 2], t.shape[r - 1], c}, out, m.type);
}

Tensor ReferenceFile::labels(const Machine& m, Index index) const {
  const auto& shape = image_shape();
  Index n = shape[shape.size() - 4], classes = config().classes;
  std::vector<double> all = numbers("labels", shape.size() > 4 ? Dims{batches(), n} : Dims{n});
  for (double label : all)
    if (!(label >= 0 && label < double(classes) && label == double(Index(label))))
      user_error(file_.path, ": tensor 'labels': a label ", label, ", expected 0 to ", classes - 1);
  return Tensor::from(
      m.backend, {n},
      std::vector<std::int32_t>(all.begin() + index * n, all.begin() + (index + 1) * n));
}

std::vector<double> ReferenceFile::of_layer(const Network& network, const std::string& prefix,
                                            std::size_t layer) const {
  const Dims shape = pytorch_shape(neurons(network, layer));
  return numbers(prefix + layer_name(layer), at(prefix + layer_name(layer)).shape.size() == 2
                                                 ? Dims{shape[0], shape[1] * shape[2] * shape[3]}
                                                 : shape);
}
std::vector<double> ReferenceFile::of_layer(const std::string& prefix, std::size_t layer,
                                            const Dims& shape) const {
  return numbers(prefix + layer_name(layer), shape);
}

Tensor ReferenceFile::directions(const Network& network, const std::string& prefix) const {
  Tensor flat = network.like_parameters();
  for (std::size_t l = 0; l < network.axes().size(); l++) {
    const Stored& s = neurons(network, l);
    network.view(s, flat).copy_from(make_real(
        flat.backend(), s.shape, from_pytorch(s, of_layer(network, prefix, l)), flat.dtype()));
  }
  return flat;
}

std::string layer_name(std::size_t l) { return (l < 10 ? "L0" : "L") + std::to_string(l); }
const Stored& neurons(const Network& network, std::size_t axis) {
  return network.stored()[std::size_t(network.producer(network.axes()[axis]).weight)];
}
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
  for (std::size_t i = 0; i < x.size(); i++)
    most = std::max(most, std::isfinite(x[i]) ? std::abs(x[i] - y[i]) : INFINITY);
  return most;
}
double relative(const std::vector<double>& x, const std::vector<double>& y) {
  double d = distance(x, y);
  return d == 0 ? 0 : d / largest(y);
}

}  // namespace fission
