// How an audit holds what it computed beside a reference file's numbers, and how closely they must
// agree.
// Float64: 1e-9 (two correct programs differ by 1e-12 and less). Where descents and training steps
// miss that, by no more than a hundred times what the last bits of the parameters, or of v0, do to
// them (measured then, in the audit: `spread`).
// Float32: five to ten times what was measured between the two precisions by PyTorch on one
// network; where that is missed, ten times what the file itself says of its float32 beside its
// float64, or else, of products, matrices and quotients, what a float32's rounding of the
// parameters does.
#pragma once
#include <functional>

#include "runners/audit/findings.h"
#include "runners/common/reference_file.h"

namespace fission::audit {

using Numbers = std::vector<double>;
using Layers = std::vector<Numbers>;  // of every splittable layer, neuron by neuron

constexpr double nothing =
    1e-30;  // float32 cannot tell smaller numbers from 0: splitting matrices of a saturated softmax
inline double fraction(double x, double of) {
  return x == 0 ? 0 : x / (of > nothing ? of : nothing);
}

Layers weights(const ReferenceFile& file, const Network& n,
               const std::string& prefix);  // as many numbers as a neuron has weights
Layers weights(const Network& n, const Tensor& flat);
Layers singles(const ReferenceFile& file, const Network& n,
               const std::string& prefix);  // one number a neuron
Layers singles(const Network& n, const Numbers& all);

// The largest difference of each neuron's numbers: absolute, or over the layer's largest (or a
// share of the network's largest, for numbers that may cancel altogether, as the gradient of the
// Rayleigh quotient does in one dimension)
enum class Over { one, layer, layer_or_share };
Numbers neurons_off(const Network& n, const Layers& got, const Layers& want, Over over);
double judged(Numbers off, bool strictly);  // of the worst neuron, or of the median one
std::string whose(bool strictly);

// Whole tensors, whose numbers may cancel altogether too (the gradient of a bias before a batch
// norm): each is compared over its own largest number, or 1 % of the largest of all.
class Tensors {
 public:
  void add(Numbers numbers) { all_.push_back(std::move(numbers)); }
  std::size_t count() const { return all_.size(); }
  double off(const Tensors& want) const;

 private:
  std::vector<Numbers> all_;
};
// a network's parameters, or its statistics, those whose names are wanted: its own, and the file's
// under prefix
Tensors own_tensors(const Network& n, const Tensor& flat, bool parameters,
                    const std::function<bool(const std::string&)>& wanted);
Tensors file_tensors(const ReferenceFile& file, const Network& n, bool parameters,
                     const std::string& prefix,
                     const std::function<bool(const std::string&)>& wanted);
inline bool every(const std::string&) { return true; }

// parameters of n, each times 1 + r, r normal with this standard deviation: what rounding might
// have made of them
void jitter(Network& n, double relative);

// f.at_most with the bound above: spread() is asked for only where the figure is over `bound`
constexpr double tight = 1e-9;
void hold(Findings& f, const Machine& m, const std::string& equation, const std::string& what,
          double figure, double bound, const std::function<double()>& spread);

}  // namespace fission::audit
