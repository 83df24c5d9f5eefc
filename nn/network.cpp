#include "nn/network.h"

#include <cmath>
#include <cstdint>

#include "tensor/random.h"

namespace fission {

Network::Network(NetworkConfig config, Backend& backend, DType dtype)
    : config_(std::move(config)), backend_(backend), dtype_(dtype) {
  for (Index w : config_.widths) FISSION_CHECK(w > 0, "[network] a width of ", w);
}

std::unique_ptr<Network> Network::with_widths(const std::vector<Index>& widths) const {
  NetworkConfig config = config_;
  config.widths = widths;
  return make_network(config, backend_, dtype_, 0);
}

int Network::add_axis(const std::string& name, Index max_width, int group) {
  FISSION_CHECK(axes_.size() < config_.widths.size(), "[network] more axes than widths");
  axes_.push_back({name, config_.widths[axes_.size()], max_width, group, -1, {}});
  return int(axes_.size()) - 1;
}

int Network::add_stored(Stored s) {
  stored_.push_back(std::move(s));
  return int(stored_.size()) - 1;
}

int Network::add_block(const std::string& conv, const std::string& bn, int in_axis, int out_axis,
                       bool depthwise, Conv2dGeometry g, Activation activation, Index& side) {
  ConvBlock b;
  b.name = conv, b.depthwise = depthwise, b.geometry = g, b.activation = activation,
  b.in_axis = in_axis, b.out_axis = out_axis;
  b.in_channels = in_axis < 0 ? config_.channels : axes_[in_axis].width;
  b.side = side;
  FISSION_CHECK(g.out(side) > 0, "[network] ", conv, ": no output position from a side of ", side);
  side = g.out(side);
  b.positions = side * side;
  Index o = axes_[out_axis].width, k = g.kernel;
  if (depthwise) {
    b.weight = add_stored({conv + ".weight",
                           {k, k, o},
                           Stored::depthwise,
                           {},
                           {out_axis, Use::copied},
                           true,
                           0,
                           {},
                           {}});
    axes_[out_axis].chain.push_back(int(blocks_.size()));
  } else {
    AxisUse columns = in_axis < 0 ? AxisUse{} : AxisUse{in_axis, Use::consumed};
    b.weight = add_stored({conv + ".weight",
                           {o, k, k, b.in_channels},
                           Stored::dense,
                           {out_axis, Use::produced},
                           columns,
                           true,
                           0,
                           {},
                           {}});
    axes_[out_axis].producer = int(blocks_.size());
  }
  auto vector = [&](const char* suffix, bool parameter) {
    return add_stored(
        {bn + suffix, {o}, Stored::vector, {out_axis, Use::copied}, {}, parameter, 0, {}, {}});
  };
  b.gamma = vector(".weight", true), b.beta = vector(".bias", true);
  b.running_mean = vector(".running_mean", false), b.running_var = vector(".running_var", false);
  blocks_.push_back(b);
  return int(blocks_.size()) - 1;
}

void Network::add_skip(const std::string& name, int in_axis, int out_axis, Index side) {
  SkipConv s;
  s.in_axis = in_axis, s.out_axis = out_axis, s.side = side;
  s.weight = add_stored({name + ".weight",
                         {axes_[out_axis].width, 1, 1, axes_[in_axis].width},
                         Stored::dense,
                         {out_axis, Use::copied},
                         {in_axis, Use::consumed},
                         true,
                         0,
                         {},
                         {}});
  skips_.push_back(s);
}

LinearLayer Network::add_linear(const std::string& name, int in_axis, Index outputs) {
  LinearLayer l;
  l.in_axis = in_axis, l.outputs = outputs;
  l.weight = add_stored({name + ".weight",
                         {outputs, axes_[in_axis].width},
                         Stored::matrix,
                         {},
                         {in_axis, Use::consumed},
                         true,
                         0,
                         {},
                         {}});
  l.bias = add_stored({name + ".bias", {outputs}, Stored::vector, {}, {}, true, 0, {}, {}});
  linears_.push_back(l);
  return l;
}

void Network::allocate() {
  FISSION_CHECK(axes_.size() == config_.widths.size(), "[network] ", axes_.size(), " axes, ",
                config_.widths.size(), " widths");
  Index parameters = 0, statistics = 0;
  std::vector<int> turn(
      stored_.size(),
      2);  // weights; scales of depthwise convolutions' batch norms; all other vectors
  for (std::size_t i = 0; i < stored_.size(); i++)
    if (stored_[i].kind != Stored::vector) turn[i] = 0;
  for (const ConvBlock& b : blocks_)
    if (stored_[b.weight].kind == Stored::depthwise) turn[b.gamma] = 1;
  for (int now : {0, 1, 2}) {
    for (std::size_t i = 0; i < stored_.size(); i++)
      if (stored_[i].parameter && turn[i] == now)
        stored_[i].offset = parameters, parameters += stored_[i].shape.numel();
    if (now == 0) weight_count_ = parameters;
    if (now == 1) gamma_end_ = parameters;
  }
  for (Stored& s : stored_)
    if (!s.parameter) s.offset = statistics, statistics += s.shape.numel();
  if (parameters + statistics > INT32_MAX)  // as rows' offsets are kept
    user_error("a ", config_.model, " of these widths has ", parameters + statistics,
               " numbers, expected at most ", INT32_MAX);
  parameters_ = ops::zeros(backend_, {parameters}, dtype_);
  exchanged_ = ops::zeros(backend_, {parameters + statistics}, dtype_);
  gradients_ = exchanged_.slice(0, {parameters}),
  statistics_ = exchanged_.slice(parameters, {statistics});
  for (Stored& s : stored_) {
    s.value = view(s, s.parameter ? parameters_ : statistics_);
    if (s.parameter) s.variable = Variable::parameter(s.value, view(s, gradients_));
  }
  for (ConvBlock& b : blocks_) {
    b.w = stored_[b.weight].variable, b.g = stored_[b.gamma].variable,
    b.b = stored_[b.beta].variable;
    b.norm.running_mean = stored_[b.running_mean].value,
    b.norm.running_var = stored_[b.running_var].value;
  }
  for (SkipConv& s : skips_) s.w = stored_[s.weight].variable;
  std::vector<std::int32_t> rows;
  for (const Axis& axis : axes_) {
    const Stored& w = stored_[producer(axis).weight];
    Index length = w.shape.numel() / axis.width;
    for (Index o = 0; o < axis.width; o++)
      rows.push_back(std::int32_t(w.offset + o * length)), rows.push_back(std::int32_t(length));
  }
  rows_ = Tensor::from(backend_, {Index(rows.size() / 2), 2}, rows);
}

void Network::bind(LinearLayer& layer) const {
  layer.w = stored_[layer.weight].variable, layer.b = stored_[layer.bias].variable;
}

// Section 8 of METHOD.md, MobileNetV1: dense and pointwise normal, std √(2/(k·k·C_out)); depthwise
// and linear (and its bias) uniform ±1/√fan_in
Network::Init Network::init_of(const Stored& s) const {
  switch (s.kind) {
    case Stored::dense:
      return {true, std::sqrt(2.0 / double(s.shape[1] * s.shape[2] * s.shape[0]))};
    case Stored::depthwise: return {false, 1 / std::sqrt(double(s.shape[0] * s.shape[1]))};
    case Stored::matrix: return {false, 1 / std::sqrt(double(s.shape[1]))};
    case Stored::vector:
      return {
          false,
          1 / std::sqrt(double(axes_[linears_.back().in_axis].width))};  // the classifier's bias
  }
  return {false, 0};
}

void Network::initialise(std::uint64_t seed) {
  for (std::size_t i = 0; i < stored_.size(); i++) {
    Stored& s = stored_[i];
    std::vector<double> values(s.shape.numel(), 0.0);
    if (s.parameter && (s.kind != Stored::vector || s.first.use == Use::none)) {
      Random random(seed, random_purpose::initialisation, i);
      Init init = init_of(s);
      for (std::size_t j = 0; j < values.size(); j++)
        values[j] = init.scale * (init.normal ? random.normal(j) : 2 * random.uniform(j) - 1);
    } else {
      bool one = false;  // γ and the running variance start at 1, β and the running mean at 0
      for (const ConvBlock& b : blocks_) one = one || int(i) == b.gamma || int(i) == b.running_var;
      if (one) values.assign(values.size(), 1.0);
    }
    s.value.copy_from(make_real(backend_, s.shape, values, dtype_));
  }
}

void Network::set_training(bool training, Index groups) {
  for (ConvBlock& b : blocks_) b.norm.training = training, b.norm.groups = groups;
}

void Network::begin_step() {
  for (Stored& s : stored_)
    if (s.parameter) s.variable.clear_grad();
}
void Network::finish_step() {
  for (Stored& s : stored_)
    if (s.parameter && !s.variable.grad()) {
      Tensor g = view(s, gradients_);
      ops::fill(g, 0);
    }
}

std::vector<LayerShape> Network::layer_shapes(const std::vector<Index>& widths) const {
  FISSION_CHECK(widths.size() == axes_.size(), "[macs] ", widths.size(), " widths, ", axes_.size(),
                " axes");
  std::vector<LayerShape> shapes;
  for (const ConvBlock& b : blocks_)
    shapes.push_back({b.depthwise ? LayerShape::depthwise : LayerShape::dense, b.geometry.kernel,
                      b.geometry.stride, b.side, b.positions,
                      b.in_axis < 0 ? config_.channels : widths[b.in_axis], widths[b.out_axis]});
  for (const SkipConv& k : skips_)
    shapes.push_back(
        {LayerShape::dense, 1, 1, k.side, k.side * k.side, widths[k.in_axis], widths[k.out_axis]});
  for (const LinearLayer& l : linears_)
    shapes.push_back({LayerShape::linear, 1, 1, 1, 1, widths[l.in_axis], l.outputs});
  return shapes;
}

double Network::macs(const std::vector<Index>& widths) const {
  double total = 0;
  for (const LayerShape& layer : layer_shapes(widths)) total += layer.macs();
  return total;
}

Index Network::parameter_count(const std::vector<Index>& widths) const {
  FISSION_CHECK(widths.size() == axes_.size(), "[parameter_count] ", widths.size(), " widths, ",
                axes_.size(), " axes");
  Index total = 0;
  for (const Stored& s : stored_) {
    if (!s.parameter) continue;
    Index elements = s.shape.numel();
    for (int axis : {s.first.axis, s.last.axis})
      if (axis >= 0) elements = elements / axes_[axis].width * widths[axis];
    total += elements;
  }
  return total;
}

}  // namespace fission
