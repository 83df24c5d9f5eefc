// A network as an ONNX file: one forward pass is run, and what autograd recorded of it is written
// function by function, so that no network is described a second time. Weights and batch norms keep
// the checkpoint's names and numbers to the bit: a runtime folds batch norm into the convolutions
// when it loads the file. Own writer: of protobuf's wire format a file takes twenty lines, where
// libonnx and libprotobuf would take the export from every cluster that lacks them. It refuses more
// than protobuf holds (2 GiB), and functions that no network here uses.
#pragma once
#include <map>

#include "nn/network.h"

namespace fission {

// ONNX 1.8 (2020): old enough for what runtimes are in use, and newer ones read it. Swish is x ·
// Sigmoid(x).
constexpr int onnx_opset = 13, onnx_ir_version = 7;

struct OnnxSettings {
  Index batch = 0;  // images; 0: any number, the symbolic dimension "N"
  std::vector<double> mean,
      std;  // (C); if given, the graph normalises: its input is byte/255, from 0 to 1
  std::map<std::string, std::string>
      metadata;  // metadata_props, beside the network's own: model, widths, activation, macs, …
  std::uint64_t largest = 0x7fffffff;  // bytes
};

// The file's bytes: input "input" (N,C,H,W), normalised as in training unless mean and std are
// given; output "logits" (N,classes); both of the network's dtype. The same network and settings
// give the same bytes. Puts the network in evaluation mode.
std::string onnx_of(Network& network, const OnnxSettings& settings);

}  // namespace fission
