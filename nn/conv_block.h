// ConvBlock: convolution (dense or depthwise, no bias) + batch norm + activation: the unit that
// splits (E5).
// SkipConv: the 1×1 convolution of a skip path, bare. LinearLayer: the classifier.
// Trace: what a forward pass went through, for those who watch gradients pass (split/probe).
#pragma once
#include <string>
#include <vector>

#include "autograd/functions.h"
#include "nn/channels.h"

namespace fission {

// A named tensor of a network: a parameter or a running statistic. Layout: see tensor/tensor.h's
// legend.
struct Stored {
  std::string name;  // the authors' (PyTorch) name
  Shape shape;
  enum Kind { dense, depthwise, matrix, vector } kind = vector;  // (O,K,K,I), (K,K,C), (O,I), (C)
  AxisUse first, last;
  bool parameter = true;
  Index offset = 0;   // in the flat buffer of parameters, or of statistics
  Variable variable;  // parameters only
  Tensor value;       // a view into the flat buffer
};

struct ConvBlock;
struct TraceEntry {
  const ConvBlock* block;
  Variable x, y;  // input, convolution's output
  NormAct a;      // activation's output
};
using Trace = std::vector<TraceEntry>;

struct ConvBlock {
  std::string name;
  bool depthwise = false;
  Conv2dGeometry geometry;
  Activation activation = Activation::none;
  int in_axis = -1, out_axis = -1;  // in_axis −1: the image's colours
  Index in_channels = 0;            // as built
  Index side = 0;                   // of its input image
  Index positions = 0;              // output positions H'·W' of one image
  int weight = -1, gamma = -1, beta = -1, running_mean = -1, running_var = -1;  // indices of Stored
  Variable w, g, b;                                                             // weight, γ, β
  BatchNormState norm;

  // With a trace every activation has a gradient of its own, for those who watch it pass.
  NormAct operator()(const NormAct& x, Trace* trace = nullptr) {
    Variable y = !depthwise ? conv2d(x, w, geometry)
                 : trace    ? depthwise_conv2d(x, w, geometry)
                            : norm_act_depthwise(x, w, geometry);
    NormAct a = batch_norm_act(y, g, b, norm, activation);
    if (trace) trace->push_back({this, x, y, a});
    return a;
  }
};

// From a block's input to its output, where both are added: consumes the one axis, and its rows are
// copied, never moved apart, when the other splits (the project convolution's rows are).
struct SkipConv {
  int in_axis = -1, out_axis = -1;
  Index side = 0;  // of the image, in and out
  int weight = -1;
  Variable w;
  Variable operator()(const Variable& x) const { return conv2d(x, w, {}); }
};

struct LinearLayer {
  int in_axis = -1;
  Index outputs = 0;
  int weight = -1, bias = -1;
  Variable w, b;
  Variable operator()(const Variable& x) const { return linear(x, w, b); }
};

}  // namespace fission
