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
#include "runners/audit/numbers.h"

namespace fission::audit {

using Layers = std::vector<Numbers>;  // of every splittable layer, neuron by neuron; or tensors

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

// The largest difference of a layer's (or a tensor's) numbers: absolute, or over the layer's
// largest (or a share of the largest of all, for numbers that may cancel altogether, as the
// gradient of a bias before a batch norm does, or that of the Rayleigh quotient in one dimension).
// Of the worst layer, or of this network's median neuron.
enum class Over { one, layer, layer_or_share };
double off(const Layers& got, const Layers& want, Over over, const Network* median = nullptr);
inline std::string whose(bool every_neuron) {
  return every_neuron ? "worst neuron" : "median neuron";
}

// a network's parameters, or its statistics, those whose names are wanted: its own, and the file's
// under prefix
inline bool every(const std::string&) { return true; }
Layers own_tensors(const Network& n, const Tensor& flat, bool parameters,
                   const std::function<bool(const std::string&)>& wanted = every);
Layers file_tensors(const ReferenceFile& file, const Network& n, bool parameters,
                    const std::string& prefix,
                    const std::function<bool(const std::string&)>& wanted = every);

// numbers, each times 1 + r, r normal with this standard deviation: what rounding might have made
// of them; and a network's parameters so
Tensor jittered(const Tensor& x, double relative);
inline void jitter(Network& n, double relative) {
  n.parameters().copy_from(jittered(n.parameters(), relative));
}

// f.at_most with the bound above: spread() is asked for only where the figure is over `bound`
constexpr double tight = 1e-9;
void hold(Findings& f, const Machine& m, const std::string& equation, const std::string& what,
          double figure, double bound, const std::function<double()>& spread);

}  // namespace fission::audit
