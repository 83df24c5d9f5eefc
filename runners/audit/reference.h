// The audit against a file of reference numbers: what its kind (rq_step, exact, trajectory,
// train_step, select, split) allows is computed again, in float64 on the reference backend and in
// float32 on the device, and compared; how closely, compare.h says. In wide networks float32
// alone goes astray, and float64 judges: training steps are notes only, but a first one of swish;
// of directions, and of ReLU's S·v, the median neuron is judged. For RMSprop's first steps are by
// the sign of a gradient, and ReLU's slope by the sign of its input: rounding turns both where they
// are about 0. A tensor is missed, by name, where those of its kind are there; a part that is
// wholly absent is noted, and at the end what no statement has read. Of the two variants in the
// files it takes "b", with all batch norms fixed (section 5 of METHOD.md).
// Strictly, as the files of tests/reference keep it, whose networks are small: every neuron and
// every training step is judged in float32 too, over its own layer's or tensor's largest number,
// and no bound gives way; float32 goes down a thousand steps too.
#pragma once
#include <functional>
#include <optional>

#include "runners/audit/compare.h"
#include "split/exact.h"

namespace fission {

// relu_beta: of the surrogate; otherwise the authors' for the file's network
void audit_reference(Findings& findings, const std::string& path, Backend& device,
                     std::optional<double> relu_beta = {}, bool strict = false);

struct Reference {
  const ReferenceFile& file;
  const Machine& m;
  std::optional<double> relu_beta;
  bool strict = false;
  bool every_neuron() const { return strict || m.exact(); }  // is judged, or the median one
  // In float32 a ReLU whose input is about 0 may be on the other side of its kink, which a neuron
  // of few positions feels.
  bool smooth() const { return every_neuron() || file.config().activation == Activation::swish; }
  audit::Over layer() const { return strict ? audit::Over::layer : audit::Over::layer_or_share; }
  // audit::hold; strictly the bound as it is
  void hold(Findings& f, const std::string& equation, const std::string& what, double figure,
            double bound, const std::function<double()>& spread) const;
};
ProbeSettings authors_probe(const Reference& r,
                            Matrix matrix = Matrix::paper);  // φ'' = 1 of linear layers
Tensor logits(Network& n, const Tensor& x, bool training = false);
// of batches first to end − 1, by the authors' probe; not solved
std::vector<ExactAxis> exact_matrices(const Reference& r, Network& n, Matrix matrix,
                                      Index first = 0, Index end = 1);
std::vector<ExactAxis> solved(std::vector<ExactAxis> axes);

void audit_train_step(Findings& f, const Reference& r);
void audit_split(Findings& f, const Reference& r);
void audit_select(Findings& f, const Reference& r);

// With the authors' probe, in float64 (the first strictly in float32 too):
// where a thousand steps of RQ-SGD on one batch, and the published recipe on all, end (b/long/,
// b/avg4/)
void audit_convergence(Findings& f, const Reference& r);
// what splitting matrices predict of single neurons' splits, and the loss changes (b/split_check,
// b/split_check_real)
void audit_single_splits(Findings& f, const Reference& r);
// the same of many neurons split at once (loss_change)
void audit_loss_change(Findings& f, const Reference& r,
                       const std::vector<std::vector<char>>& split);

}  // namespace fission
