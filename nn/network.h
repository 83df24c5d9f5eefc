// Network: blocks over channel axes, all parameters in one flat buffer (weights first, then batch
// norm and biases), running statistics in another; named tensors are views. Any list of widths
// makes a network of the same kind. It refuses widths below 1; the widest allowed are the
// selection's business.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nn/conv_block.h"

namespace fission {

struct NetworkConfig {
  std::string model = "mobilenet_v1";
  std::vector<Index> widths;  // one an axis
  Index classes = 10, size = 32, channels = 3;
  Index stem_stride = 1;  // of the first convolution: 1 on CIFAR, 2 on ImageNet; all other strides
                          // are the network's own
  Activation activation = Activation::swish;
};

// What the cost of a layer depends on: one image, at some widths.
struct LayerShape {
  enum Kind { dense, depthwise, linear } kind;
  Index kernel, stride, side;  // side: of its input; linear: 1, 1, 1
  Index positions;             // of its output
  Index in, out;
  double macs() const {
    return double(kind == depthwise ? 1 : in) * double(out) * double(kernel * kernel) *
           double(positions);
  }
};

class Network {
 public:
  virtual ~Network() = default;
  Network(const Network&) = delete;

  // x (N,size,size,channels), normalised → logits (N,classes). Trace: every block, in forward
  // order.
  virtual Variable forward(const Variable& x, Trace* trace = nullptr) = 0;

  // The same kind of network at other widths, with fresh weights: what surgery fills. The default
  // asks make_network(); a network that has no name there makes its own.
  virtual std::unique_ptr<Network> with_widths(const std::vector<Index>& widths) const;

  const NetworkConfig& config() const { return config_; }
  Backend& backend() const { return backend_; }
  DType dtype() const { return dtype_; }
  void set_training(
      bool training,
      Index groups = 1);  // batch statistics (in `groups` groups of the batch), or running ones

  const std::vector<Axis>& axes() const { return axes_; }
  const std::vector<ConvBlock>& blocks() const { return blocks_; }
  const std::vector<SkipConv>& skips() const { return skips_; }
  const ConvBlock& producer(const Axis& axis) const { return blocks_[axis.producer]; }
  const std::vector<Stored>& stored() const { return stored_; }
  std::vector<Index> widths() const { return config_.widths; }

  // Flat buffers. Others of the same layout (momentum, directions v) are made by like_parameters().
  Tensor parameters() const { return parameters_; }  // (P)
  Tensor gradients() const { return gradients_; }    // (P)
  Tensor statistics() const { return statistics_; }
  Tensor exchanged() const {
    return exchanged_;
  }  // gradients, then statistics: what processes average after a step, in one buffer
  // Parameters in the order that weight decay asks for: the weights, then the depthwise
  // convolutions' γ, then all other vectors
  Index weight_count() const { return weight_count_; }
  Index depthwise_gamma_count() const { return gamma_end_ - weight_count_; }
  Tensor like_parameters() const { return ops::zeros(backend_, parameters_.shape(), dtype_); }
  Tensor view(const Stored& s, const Tensor& flat) const { return flat.slice(s.offset, s.shape); }
  void begin_step();   // no gradient has arrived
  void finish_step();  // parameters that no gradient reached get zero

  // The neurons: every row of every axis's producer, in the order of axes. (R,2) i32 first element
  // and length in (P).
  const Tensor& neuron_rows() const { return rows_; }

  // Multiply-accumulates for one image: products of all convolutions and of the classifier; no
  // bias, batch norm, activation, pooling. For any widths of this kind of network.
  double macs(const std::vector<Index>& widths) const;
  double macs() const { return macs(config_.widths); }
  std::vector<LayerShape> layer_shapes(
      const std::vector<Index>& widths) const;  // every convolution, then the classifier
  Index parameter_count(const std::vector<Index>& widths) const;
  Index parameter_count() const { return parameters_.numel(); }

 protected:
  Network(NetworkConfig config, Backend& backend, DType dtype);
  int add_axis(const std::string& name, Index max_width,
               int group);  // width: the next of config.widths
  // bn: name of its batch norm; in_axis −1: the image
  int add_block(const std::string& conv, const std::string& bn, int in_axis, int out_axis,
                bool depthwise, Conv2dGeometry g, Activation activation,
                Index& side);  // side: in, then out
  void add_skip(const std::string& name, int in_axis, int out_axis, Index side);
  LinearLayer add_linear(const std::string& name, int in_axis, Index outputs);
  void allocate();  // after the last add_…: buffers, views, axes' chains
  void initialise(std::uint64_t seed);
  // standard deviation of a normal, or half-width of a uniform distribution, for one weight
  struct Init {
    bool normal;
    double scale;
  };
  virtual Init init_of(const Stored& s) const;

  std::vector<ConvBlock> blocks_;
  std::vector<SkipConv> skips_;

 private:
  int add_stored(Stored s);
  NetworkConfig config_;
  Backend& backend_;
  DType dtype_;
  std::vector<Axis> axes_;
  std::vector<Stored> stored_;
  std::vector<LinearLayer> linears_;
  Tensor parameters_, exchanged_, gradients_, statistics_, rows_;
  Index weight_count_ = 0, gamma_end_ = 0;

 protected:
  void bind(LinearLayer& layer) const;
};

// nn/models.cpp: makes the network that config.model names, initialised from the seed (section 8 of
// METHOD.md).
std::unique_ptr<Network> make_network(const NetworkConfig& config, Backend& backend, DType dtype,
                                      std::uint64_t seed);
std::vector<Index> parse_widths(
    const std::string& model,
    const std::string& text);  // "seed" | "imagenet-seed" | factor | "8,8,16,…"; UserError

const char* name_of(Activation activation);
Activation parse_activation(const std::string& name);  // UserError listing the names

}  // namespace fission
