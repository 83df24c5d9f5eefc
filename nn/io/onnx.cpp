#include "nn/io/onnx.h"

#include <cstring>

#include "nn/io/checkpoint.h"

namespace fission {
namespace {

using Names = std::vector<std::string>;
using Sizes = std::vector<Index>;

// protobuf's wire format (protobuf.dev/programming-guides/encoding): a field is a varint number · 8
// + type, then its contents; a nested message is bytes. Field numbers below are those of
// onnx.proto, with the field's name behind them.
class Message {
 public:
  Message& number(int field, std::uint64_t value) {
    return varint(std::uint64_t(field) << 3), varint(value);
  }
  Message& real(int field, float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    varint(std::uint64_t(field) << 3 | 5);
    for (int shift = 0; shift < 32; shift += 8) bytes_ += char(bits >> shift & 255);
    return *this;
  }
  Message& bytes(int field, const std::string& value) {
    varint(std::uint64_t(field) << 3 | 2), varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return bytes(field, value.bytes_); }
  const std::string& str() const { return bytes_; }

 private:
  Message& varint(
      std::uint64_t value) {  // seven bits a byte, the least first; the eighth: more follow
    for (; value > 127; value >>= 7) bytes_ += char((value & 127) | 128);
    bytes_ += char(value);
    return *this;
  }
  std::string bytes_;
};

Message attribute(const std::string& name, Index value) {
  return Message().bytes(1, name).number(3 /* i */, std::uint64_t(value)).number(20 /* type */, 2);
}
Message attribute(const std::string& name, float value) {
  return Message().bytes(1, name).real(2 /* f */, value).number(20, 1);
}
Message attribute(const std::string& name, const Sizes& values) {
  Message m = Message().bytes(1, name);
  for (Index v : values) m.number(8 /* ints */, std::uint64_t(v));
  return m.number(20, 7);
}

int element_type(DType type) {
  return type == DType::f64 ? 11 : 1;
}  // TensorProto.DataType: DOUBLE, FLOAT

// ValueInfoProto; batch 0: the dimension "N"
Message value_info(const std::string& name, DType type, Index batch, const Sizes& rest) {
  Message shape;
  shape.message(1, batch ? Message().number(1 /* dim_value */, std::uint64_t(batch))
                         : Message().bytes(2 /* dim_param */, "N"));
  for (Index d : rest) shape.message(1, Message().number(1, std::uint64_t(d)));
  Message tensor = Message()
                       .number(1 /* elem_type */, std::uint64_t(element_type(type)))
                       .message(2 /* shape */, shape);
  return Message().bytes(1, name).message(2 /* type */,
                                          Message().message(1 /* tensor_type */, tensor));
}

std::string before_dot(const std::string& name) {
  return name.substr(0, name.rfind('.'));
}  // "linear.weight" → "linear"

class Graph {
 public:
  Graph(const Network& network, const TensorFile& tensors) : network_(network), tensors_(tensors) {
    for (const Stored& s : network.stored())
      if (s.parameter) parameters_[&s.variable.node()] = &s;
    for (const ConvBlock& b : network.blocks()) blocks_[&b.w.node()] = blocks_[&b.g.node()] = &b;
  }
  void name(const Variable& v, const std::string& name) { names_[&v.node()] = name; }

  // The name of v's value; the nodes that make it are written before it
  std::string value(const Variable& v) {
    auto known = names_.find(&v.node());
    return known != names_.end() ? known->second : names_[&v.node()] = function(v);
  }
  std::string node(const std::string& operation, const std::string& name, const Names& inputs,
                   const std::vector<Message>& attributes = {}) {
    Message m;
    for (const std::string& input : inputs) m.bytes(1, input);
    m.bytes(2 /* output */, name).bytes(3, name).bytes(4 /* op_type */, operation);
    for (const Message& a : attributes) m.message(5, a);
    nodes_.message(1, m);
    return name;
  }
  std::string initialiser(const std::string& name, const StoredTensor& t) {
    Message m;
    for (std::int64_t d : t.shape) m.number(1 /* dims */, std::uint64_t(d));
    m.number(2 /* data_type */, std::uint64_t(element_type(network_.dtype()))).bytes(8, name);
    initialisers_.message(5,
                          m.bytes(9 /* raw_data */, std::string(t.bytes.begin(), t.bytes.end())));
    return name;
  }
  std::string bytes() const { return nodes_.str() + initialisers_.str(); }  // of GraphProto

 private:
  std::string function(const Variable& v) {
    const std::vector<Variable>& in = v.node().inputs;
    switch (v.node().function) {
      case Function::leaf: return stored(parameter(v));
      case Function::conv2d:
      case Function::depthwise_conv2d: return convolution(v, in[0], in[1]);
      case Function::batch_norm_act: return norm(in[0], in[1], in[2]);
      case Function::linear:
        return node("Gemm", "logits", {value(in[0]), value(in[1]), value(in[2])},
                    {attribute("transB", Index(1))});
      case Function::average_pool:
        FISSION_CHECK(v.shape()[1] == 1 && v.shape()[2] == 1, "[onnx] pooling to ", v.shape(),
                      " is not global");
        return node("GlobalAveragePool", value(in[0]) + ".mean", {value(in[0])});
      case Function::reshape:
        FISSION_CHECK(v.shape().rank() == 2 && v.shape()[1] == in[0].shape()[3], "[onnx] ",
                      in[0].shape(), " as ", v.shape());
        return node("Flatten", value(in[0]) + ".flat", {value(in[0])});
      case Function::add: return node("Add", value(in[1]) + ".sum", {value(in[0]), value(in[1])});
      case Function::norm_act_depthwise:
      case Function::cross_entropy:
      case Function::count: break;
    }
    FISSION_CHECK(false, "[onnx] a function that no network's forward pass has");
    return "";
  }

  const Stored& parameter(const Variable& v) const {
    auto known = parameters_.find(&v.node());
    FISSION_CHECK(known != parameters_.end(), "[onnx] a constant of shape ", v.shape(),
                  " that is no parameter");
    return *known->second;
  }
  std::string stored(const Stored& s) { return initialiser(s.name, tensors_.at(s.name)); }

  std::string convolution(const Variable& v, const Variable& x, const Variable& w) {
    auto block = blocks_.find(&w.node());
    Conv2dGeometry g = block == blocks_.end()
                           ? Conv2dGeometry{}
                           : block->second->geometry;  // a skip convolution is bare
    Index groups = v.node().function == Function::depthwise_conv2d ? v.shape()[3] : 1,
          p = g.padding;
    FISSION_CHECK(v.shape()[1] == g.out(x.shape()[1]), "[onnx] a convolution from ", x.shape(),
                  " to ", v.shape());
    std::string name = before_dot(parameter(w).name);
    return node("Conv", name, {value(x), value(w)},
                {attribute("kernel_shape", Sizes{g.kernel, g.kernel}),
                 attribute("strides", Sizes{g.stride, g.stride}),
                 attribute("pads", Sizes{p, p, p, p}), attribute("group", groups)});
  }

  std::string norm(const Variable& y, const Variable& gamma, const Variable& beta) {
    const ConvBlock& block = *blocks_.at(&gamma.node());
    std::string name = before_dot(parameter(gamma).name);
    Names inputs{value(y), value(gamma), value(beta), stored(network_.stored()[block.running_mean]),
                 stored(network_.stored()[block.running_var])};
    node("BatchNormalization", name, inputs, {attribute("epsilon", float(block.norm.eps))});
    switch (block.activation) {
      case Activation::none: return name;
      case Activation::relu: return node("Relu", name + ".relu", {name});
      case Activation::swish:
        return node("Mul", name + ".swish", {name, node("Sigmoid", name + ".sigmoid", {name})});
    }
    return name;
  }

  const Network& network_;
  const TensorFile& tensors_;
  std::map<const Node*, const Stored*> parameters_;
  std::map<const Node*, const ConvBlock*> blocks_;  // by weight and by γ
  std::map<const Node*, std::string> names_;
  Message nodes_, initialisers_;
};

StoredTensor a_colour(const std::vector<double>& values, DType type) {  // (1,C,1,1)
  std::vector<std::int64_t> shape{1, std::int64_t(values.size()), 1, 1};
  return type == DType::f64
             ? StoredTensor::of(shape, values)
             : StoredTensor::of(shape, std::vector<float>(values.begin(), values.end()));
}

}  // namespace

std::string onnx_of(Network& network, const OnnxSettings& settings) {
  const NetworkConfig& c = network.config();
  const DType type = network.dtype();
  std::uint64_t weights = std::uint64_t(network.parameter_count()) * size_of(type), rest = 1 << 20;
  if (weights + rest > settings.largest)
    user_error("[onnx] a network with ", weights,
               " bytes of weights; expected less than protobuf's limit of ", settings.largest,
               ": export narrower widths");
  TensorFile tensors;
  store_network(tensors, network);
  Graph graph(network, tensors);

  GradientMode record(Gradients::activations);
  network.set_training(false);
  Variable x(ops::zeros(network.backend(), {1, c.size, c.size, c.channels}, type));
  Variable logits = network.forward(x);
  std::string input = "input";
  if (!settings.mean.empty()) {
    FISSION_CHECK(
        Index(settings.mean.size()) == c.channels && settings.std.size() == settings.mean.size(),
        "[onnx] ", settings.mean.size(), " means, ", settings.std.size(), " deviations, ",
        c.channels, " colours");
    std::string centred = graph.node(
        "Sub", "input.centred", {input, graph.initialiser("mean", a_colour(settings.mean, type))});
    input = graph.node("Div", "input.normalised",
                       {centred, graph.initialiser("std", a_colour(settings.std, type))});
  }
  graph.name(x, input);
  FISSION_CHECK(graph.value(logits) == "logits", "[onnx] the forward pass ends in ",
                graph.value(logits));

  Message g;
  g.bytes(2, c.model)
      .message(11 /* input */,
               value_info("input", type, settings.batch, {c.channels, c.size, c.size}));
  g.message(12 /* output */, value_info("logits", type, settings.batch, {c.classes}));
  Message model;
  model.number(1, onnx_ir_version)
      .bytes(2 /* producer_name */, "fission")
      .bytes(7 /* graph */, graph.bytes() + g.str());
  model.message(8 /* opset_import */, Message().bytes(1 /* domain */, "").number(2, onnx_opset));
  std::map<std::string, std::string> metadata = tensors.metadata;
  metadata.erase("format");  // the checkpoint's
  for (const auto& m : settings.metadata) metadata[m.first] = m.second;
  for (const auto& m : metadata) model.message(14, Message().bytes(1, m.first).bytes(2, m.second));
  return model.str();
}

}  // namespace fission
