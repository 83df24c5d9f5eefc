// The audit against a file of reference numbers: what its kind (rq_step, exact, trajectory,
// train_step, select, split) allows is computed again, in float64 on the reference backend and in
// float32 on the device, and compared; how closely, audit_compare.h says. In wide networks float32
// alone goes astray, and float64 judges: training steps are notes only, but a first one of swish;
// of directions, and of ReLU's S·v, the median neuron is judged. For RMSprop's first steps are by
// the sign of a gradient, and ReLU's slope by the sign of its input: rounding turns both where they
// are about 0. A tensor is missed, by name, where those of its kind are there; a part that is
// wholly absent is noted, and at the end what no statement has read. Of the two variants in the
// files it takes "b", with all batch norms fixed (section 5 of METHOD.md).
#pragma once
#include <optional>

#include "runners/audit/findings.h"
#include "runners/common/reference_file.h"
#include "split/probe.h"

namespace fission {

// relu_beta: of the surrogate; otherwise the authors' for the file's network
void audit_reference(Findings& findings, const std::string& path, Backend& device,
                     std::optional<double> relu_beta = {});

struct Reference {
  const ReferenceFile& file;
  const Machine& m;
  double relu_beta;
  // In float32 a ReLU whose input is about 0 may be on the other side of its kink, which a neuron
  // of few positions feels.
  bool smooth() const { return m.exact() || file.config().activation == Activation::swish; }
};
ProbeSettings authors_probe(const Reference& r);  // the paper's matrix; φ'' = 1 of linear layers
Tensor logits(Network& n, const Tensor& x, bool training = false);

void audit_train_step(Findings& f, const Reference& r);
void audit_split(Findings& f, const Reference& r);
void audit_select(Findings& findings, const ReferenceFile& file);

// In float64 only, with the authors' probe:
// where a thousand steps of RQ-SGD on one batch, and the published recipe on all, end (b/long/,
// b/avg4/)
void audit_convergence(Findings& findings, const ReferenceFile& file, const Machine& m,
                       const ProbeSettings& probe);
// what splitting matrices predict of single neurons' splits, and the loss changes (b/split_check,
// b/split_check_real)
void audit_single_splits(Findings& findings, const ReferenceFile& file, const Machine& m,
                         const ProbeSettings& probe);
// the same of many neurons split at once (loss_change)
void audit_loss_change(Findings& findings, const ReferenceFile& file, const Machine& m,
                       const ProbeSettings& probe, const std::vector<std::vector<char>>& split);

}  // namespace fission
