// The same few training and RQ-SGD steps on a device and on the CPU: how far apart are they?
#pragma once
#include <string>

#include "runners/audit/findings.h"
#include "tensor/backend.h"

namespace fission {

const std::string four_wide = "4,4,4,4,4,4,4,4,4,4,4,4,4,4";  // the widths of a quick look

void against_cpu(Findings& f, Backend& device, bool quick);

}  // namespace fission
