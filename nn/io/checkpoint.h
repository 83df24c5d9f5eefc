// Networks in safetensors files: PyTorch's names and layouts (OIHW), so that a grown network loads
// with Python's safetensors package; metadata (strings) says what network it is. Refuses, each with
// one line naming file, tensor and
// expectation: another format version, missing or surplus tensors, other dtypes or shapes, metadata
// that makes no network.
#pragma once
#include <memory>
#include <string>

#include "nn/io/safetensors.h"
#include "nn/network.h"

namespace fission {

// Parameters and statistics, under their names after `prefix`, and the configuration as metadata.
void store_network(TensorFile& file, const Network& network);
NetworkConfig read_config(const TensorFile& file);
// Tensors that `owned` knows by their first path component ("sgd/…", "rq/…"), and PyTorch's
// num_batches_tracked, are left alone; any other surplus is an error.
std::unique_ptr<Network> load_network(const TensorFile& file, Backend& backend,
                                      DType dtype = DType::f32,
                                      const std::vector<std::string>& owned = {"sgd", "rq",
                                                                               "meter"});
// Makes it, if the file's tensors hold about as many numbers; nothing is loaded yet.
std::unique_ptr<Network> make_network_in(const TensorFile& file, const NetworkConfig& config,
                                         Backend& backend, DType dtype = DType::f32);
void load_parameters(const TensorFile& file, Network& network,
                     const std::string& prefix = "");  // values of a network of these widths

// A buffer of the parameters' layout (momentum, directions): one tensor a parameter under prefix +
// its name.
void store_flat(TensorFile& file, const Network& network, const std::string& prefix,
                const Tensor& flat);
void load_flat(const TensorFile& file, const Network& network, const std::string& prefix,
               Tensor& flat);
// Any other tensor, as it lies.
void store_tensor(TensorFile& file, const std::string& name, const Tensor& tensor);
void load_tensor(const TensorFile& file, const std::string& name, Tensor& tensor);

// One of a network's tensors from and to PyTorch's layout: dense (O,K,K,I) ↔ (O,I,K,K), depthwise
// (K,K,C) ↔ (C,1,K,K)
std::vector<std::int64_t> pytorch_shape(const Stored& s);
std::vector<double> to_pytorch(const Stored& s, const std::vector<double>& values);
std::vector<double> from_pytorch(const Stored& s, const std::vector<double>& values);

void check_no_nan(const TensorFile& file);  // UserError naming the tensor: a checkpoint with a NaN
                                            // or infinity is never written

}  // namespace fission
