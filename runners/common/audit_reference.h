// The audit against a file of reference numbers: what its kind (rq_step, exact, trajectory, train_step, select, split)
// allows is computed again, in float64 on the reference backend and in float32 on the device, and compared. Tolerances:
// float64 1e-9 (two correct programs differ by 1e-12 and less), float32 5 to 10 times what was measured between the two
// precisions with another library. Of the two variants in the files it takes "b", with all batch norms fixed (section 5).
#pragma once
#include "runners/common/findings.h"
#include "runners/common/reference_file.h"

namespace fission {

void audit_reference(Findings& findings, const std::string& path, Backend& device);

// by kind
void audit_rq_step(Findings& findings, const ReferenceFile& file, const Machine& m);
void audit_exact(Findings& findings, const ReferenceFile& file, const Machine& m);
void audit_trajectory(Findings& findings, const ReferenceFile& file, const Machine& m);
void audit_train_step(Findings& findings, const ReferenceFile& file, const Machine& m);
void audit_split(Findings& findings, const ReferenceFile& file, const Machine& m);
void audit_select(Findings& findings, const ReferenceFile& file);

}  // namespace fission
