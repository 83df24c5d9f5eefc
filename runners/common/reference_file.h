// Files of reference numbers, made by the authors' implementation: a network's parameters under
// param/, inputs, and what came out, in PyTorch's layouts (NCHW, OIHW); metadata says kind, network
// and activation, shapes say the widths. It refuses a missing tensor, another shape, a NaN, numbers
// that make no network, an unknown kind or network: one line, file and tensor.
#pragma once
#include <set>

#include "nn/io/checkpoint.h"

namespace fission {

// Where the same numbers are computed again, and how closely they must agree.
struct Machine {
  Backend& backend;
  DType type;
  bool exact() const { return type == DType::f64; }
  double tolerance(double f32, double f64 = 1e-9) const { return exact() ? f64 : f32; }
  std::string name() const { return backend.name() + " " + name_of(type); }
};

class ReferenceFile {
 public:
  explicit ReferenceFile(TensorFile file);  // UserError: NaN, or integers where none belong
  const TensorFile& file() const { return file_; }
  bool has(const std::string& name) const { return file_.has(name); }
  std::string metadata(const std::string& key) const { return file_.metadata_at(key); }
  using Dims = std::vector<std::int64_t>;
  // UserError unless it is there with this shape, in which the last dimension may be several (a
  // neuron's weights, (O,d) or (O,I,K,K))
  std::vector<double> numbers(const std::string& name, const Dims& shape) const;
  std::vector<double> all(const std::string& name) const;  // of whatever shape
  std::vector<double> rows(const std::string& name, Index columns)
      const;  // (rows, columns), one row at least; one column: (rows)
  std::vector<std::string> prefixes(
      const std::string& suffix) const;       // what stands before it in all names that end so
  bool any(const std::string& prefix) const;  // does a name begin so?

  NetworkConfig config() const;
  std::unique_ptr<Network> network(const Machine& m) const;
  Index batches() const;     // of inputs
  double relu_beta() const;  // of the authors' surrogate, in this network
  Tensor images(const Machine& m, Index batch = 0) const;  // (N,H,W,C)
  Tensor labels(const Machine& m, Index batch = 0) const;  // (N)
  Tensor directions(const Network& network,
                    const std::string& prefix) const;  // a flat buffer from one tensor an axis
  // of all neurons of a layer: their weights, as (O,I,K,K); or of this shape
  std::vector<double> of_layer(const Network& network, const std::string& prefix,
                               std::size_t layer) const;
  std::vector<double> of_layer(const std::string& prefix, std::size_t layer,
                               const Dims& shape) const;
  // What no statement has asked for yet, by families ("b/block_out/…"), each with how many tensors
  std::vector<std::pair<std::string, int>> unread() const;

 private:
  const StoredTensor& at(const std::string& name) const;
  TensorFile file_;
  mutable std::set<std::string> read_;
  std::string inputs() const { return has("inputs") ? "inputs" : "input"; }
  const std::vector<std::int64_t>& image_shape() const;  // (…,N,C,H,W)
};

std::string layer_name(std::size_t layer);  // "L07"
std::string layer_module(const std::string& model,
                         std::size_t layer);  // that makes axis `layer`: NAME.conv2d and NAME.bn
const Stored& neurons(const Network& network, std::size_t axis);
std::vector<double> of_axis(const Network& network, std::size_t axis,
                            const Tensor& flat);  // as the files have it (OIHW)

double largest(const std::vector<double>& v);
double distance(const std::vector<double>& x,
                const std::vector<double>& y);  // max|x − y|; NaN counts as infinitely far
double relative(const std::vector<double>& x, const std::vector<double>& y);  // max|x − y| / max|y|

}  // namespace fission
