#include "nn/io/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace fission {
namespace {

const char* const format = "fission 1";

// element i of our layout ↔ element at(i) of PyTorch's
template <class Visit>
void each_element(const Stored& s, Visit visit) {
  Index n = s.shape.numel();
  if (s.kind == Stored::dense) {
    Index o = s.shape[0], k = s.shape[1] * s.shape[2], c = s.shape[3];
    for (Index i = 0; i < o; i++)
      for (Index j = 0; j < k; j++)
        for (Index l = 0; l < c; l++) visit((i * k + j) * c + l, (i * c + l) * k + j);
  } else if (s.kind == Stored::depthwise) {
    Index k = s.shape[0] * s.shape[1], c = s.shape[2];
    for (Index j = 0; j < k; j++)
      for (Index l = 0; l < c; l++) visit(j * c + l, l * k + j);
  } else {
    for (Index i = 0; i < n; i++) visit(i, i);
  }
}

const char* dtype_name(DType type) {
  switch (type) {
    case DType::f32: return "F32";
    case DType::f64: return "F64";
    case DType::i32: return "I32";
    case DType::u8: return "U8";
  }
  return "?";
}

StoredTensor stored_as(DType type, const std::vector<std::int64_t>& shape,
                       const std::vector<double>& v) {
  switch (type) {
    case DType::f64: return StoredTensor::of(shape, v);
    case DType::i32: return StoredTensor::of(shape, std::vector<std::int32_t>(v.begin(), v.end()));
    case DType::u8: return StoredTensor::of(shape, std::vector<std::uint8_t>(v.begin(), v.end()));
    default: return StoredTensor::of(shape, std::vector<float>(v.begin(), v.end()));
  }
}

std::string joined(const std::vector<Index>& v) {
  std::string s;
  for (Index w : v) s += (s.empty() ? "" : ",") + std::to_string(w);
  return s;
}

Index positive(const TensorFile& file, const std::string& key, Index most) {
  const std::string& text = file.metadata_at(key);
  Index value = 0;
  bool digits = !text.empty() && text.size() < 10 &&
                text.find_first_not_of("0123456789") == std::string::npos;
  if (digits) value = std::stoll(text);
  if (!digits || value < 1 || value > most)
    user_error(file.path, ": metadata '", key, "': '", text,
               "', expected a whole number from 1 to ", most);
  return value;
}

// f32 files load into f64 networks exactly; f64 files don't load into f32 networks
void load_into(const TensorFile& file, const std::string& name,
               const std::vector<std::int64_t>& shape, DType type,
               const std::function<void(const std::vector<double>&)>& set) {
  const StoredTensor& t = file.at(name);
  const char* want = type == DType::f64 && t.dtype == "F32" ? "F32" : dtype_name(type);
  set(file.expect(name, want, shape).as_doubles());
}

// All that the file holds: no network of more is made.
Index numbers_in(const TensorFile& file) {
  Index held = 0;
  for (const auto& t : file.tensors) held += t.second.numel();
  return held;
}

bool ends_with(const std::string& s, const std::string& end) {
  return s.size() >= end.size() && s.compare(s.size() - end.size(), end.size(), end) == 0;
}

void check_finite(const TensorFile& file, const std::string& name,
                  const std::vector<double>& values) {
  if (!std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); }))
    user_error(file.path, ": tensor '", name, "' holds NaN or infinity, expected finite numbers");
}

void load_stored(const TensorFile& file, const std::string& name, const Stored& s, Tensor place) {
  load_into(file, name, pytorch_shape(s), place.dtype(), [&](const std::vector<double>& values) {
    check_finite(file, name, values);
    place.copy_from(make_real(place.backend(), s.shape, from_pytorch(s, values), place.dtype()));
  });
}

}  // namespace

std::vector<std::int64_t> pytorch_shape(const Stored& s) {
  switch (s.kind) {
    case Stored::dense: return {s.shape[0], s.shape[3], s.shape[1], s.shape[2]};
    case Stored::depthwise: return {s.shape[2], 1, s.shape[0], s.shape[1]};
    case Stored::matrix: return {s.shape[0], s.shape[1]};
    case Stored::vector: return {s.shape[0]};
  }
  return {};
}
std::vector<double> to_pytorch(const Stored& s, const std::vector<double>& values) {
  std::vector<double> out(values.size());
  each_element(s, [&](Index ours, Index theirs) { out[theirs] = values[ours]; });
  return out;
}
std::vector<double> from_pytorch(const Stored& s, const std::vector<double>& values) {
  std::vector<double> out(values.size());
  each_element(s, [&](Index ours, Index theirs) { out[ours] = values[theirs]; });
  return out;
}

void store_network(TensorFile& file, const Network& network) {
  const NetworkConfig& c = network.config();
  auto& m = file.metadata;
  m["format"] = format, m["model"] = c.model, m["widths"] = joined(c.widths),
  m["classes"] = std::to_string(c.classes);
  m["size"] = std::to_string(c.size), m["channels"] = std::to_string(c.channels),
  m["stem_stride"] = std::to_string(c.stem_stride);
  m["activation"] = name_of(c.activation), m["macs"] = std::to_string(std::int64_t(network.macs()));
  for (const Stored& s : network.stored())
    file.tensors[s.name] =
        stored_as(network.dtype(), pytorch_shape(s), to_pytorch(s, s.value.to_host()));
}

NetworkConfig read_config(const TensorFile& file) {
  if (file.metadata_at("format") != format)
    user_error(file.path, ": metadata 'format': '", file.metadata_at("format"), "', expected '",
               format, "'");
  NetworkConfig c;
  c.model = file.metadata_at("model");
  try {
    c.widths = parse_widths(c.model, file.metadata_at("widths"));
    c.activation = parse_activation(file.metadata_at("activation"));
  } catch (const UserError& e) {
    std::string what = e.what();
    if (what.rfind("--widths", 0) == 0) what.replace(0, 8, "'widths'");  // no option was given
    user_error(file.path, ": metadata: ", what);
  }
  c.classes = positive(file, "classes", 1000000), c.size = positive(file, "size", 4096);
  c.channels = positive(file, "channels", 4096), c.stem_stride = positive(file, "stem_stride", 2);
  return c;
}

std::unique_ptr<Network> make_network_in(const TensorFile& file, const NetworkConfig& config,
                                         Backend& backend, DType dtype) {
  NetworkConfig narrow = config;  // a network of the kind, which takes next to no memory
  narrow.widths.assign(config.widths.size(), 1);
  const Index wanted = make_network(narrow, open_backend("reference"), DType::f32, 0)
                           ->parameter_count(config.widths),
              held = numbers_in(file);
  // Of somewhat more the first tensor that does not fit is named.
  if (wanted > 2 * held + (1 << 20))
    user_error(file.path, ": a ", config.model, " of such widths, ", config.classes,
               " classes and ", config.channels,
               config.channels == 1 ? " colour has " : " colours has ", wanted,
               " parameters, expected no more than the file's ", held, " numbers");
  return make_network(config, backend, dtype, 0);
}

void load_parameters(const TensorFile& file, Network& network, const std::string& prefix) {
  for (const Stored& s : network.stored()) load_stored(file, prefix + s.name, s, s.value);
  for (const ConvBlock& b : network.blocks()) {
    const std::string name = prefix + network.stored()[std::size_t(b.running_var)].name;
    for (double x : file.at(name).as_doubles())
      if (x < 0)
        user_error(file.path, ": tensor '", name, "' holds ", x,
                   ", expected variances, which are 0 or more");
  }
}

std::unique_ptr<Network> load_network(const TensorFile& file, Backend& backend, DType dtype,
                                      const std::vector<std::string>& owned) {
  const NetworkConfig config = read_config(file);
  auto network = make_network_in(file, config, backend, dtype);
  load_parameters(file, *network);
  std::set<std::string> known;
  for (const Stored& s : network->stored()) known.insert(s.name);
  for (const auto& entry : file.tensors) {
    bool mine = known.count(entry.first) != 0;
    for (const std::string& o : owned) mine = mine || entry.first.rfind(o + "/", 0) == 0;
    mine = mine || ends_with(entry.first, ".num_batches_tracked");  // PyTorch counts, nobody asks
    if (!mine)
      user_error(file.path, ": tensor '", entry.first, "' is no part of a ", config.model,
                 " with widths ", file.metadata_at("widths"));
  }
  if (file.metadata.count("macs") &&
      file.metadata_at("macs") != std::to_string(std::int64_t(network->macs())))
    user_error(file.path, ": metadata 'macs': '", file.metadata_at("macs"), "', expected ",
               std::int64_t(network->macs()), ", as these widths make");
  return network;
}

void store_flat(TensorFile& file, const Network& network, const std::string& prefix,
                const Tensor& flat) {
  for (const Stored& s : network.stored())
    if (s.parameter)
      file.tensors[prefix + s.name] =
          stored_as(flat.dtype(), pytorch_shape(s), to_pytorch(s, network.view(s, flat).to_host()));
}
void load_flat(const TensorFile& file, const Network& network, const std::string& prefix,
               Tensor& flat) {
  for (const Stored& s : network.stored())
    if (s.parameter) load_stored(file, prefix + s.name, s, network.view(s, flat));
}

void store_tensor(TensorFile& file, const std::string& name, const Tensor& tensor) {
  std::vector<std::int64_t> shape;
  for (int i = 0; i < tensor.shape().rank(); i++) shape.push_back(tensor.dim(i));
  file.tensors[name] = stored_as(tensor.dtype(), shape, tensor.to_host());
}
void load_tensor(const TensorFile& file, const std::string& name, Tensor& tensor) {
  std::vector<std::int64_t> shape;
  for (int i = 0; i < tensor.shape().rank(); i++) shape.push_back(tensor.dim(i));
  load_into(file, name, shape, tensor.dtype(), [&](const std::vector<double>& v) {
    check_finite(file, name, v);
    if (tensor.dtype() == DType::i32)
      tensor.copy_from(Tensor::from(tensor.backend(), tensor.shape(),
                                    std::vector<std::int32_t>(v.begin(), v.end())));
    else tensor.copy_from(make_real(tensor.backend(), tensor.shape(), v, tensor.dtype()));
  });
}

void check_no_nan(const TensorFile& file) {
  for (const auto& t : file.tensors)
    for (double x : t.second.as_doubles())
      if (!std::isfinite(x))
        user_error(file.path, ": tensor '", t.first,
                   "' holds NaN or infinity: not written; the last good checkpoint stays");
}

}  // namespace fission
