// The CUDA backend lives in a module, fission_cuda.so beside the program (or where
// FISSION_CUDA_MODULE says), which is brought in when a GPU is
// asked for: a program that computes on the CPU neither loads nor needs a CUDA library.
// Refused with one line (UserError): no module, a module of another build, no library, no driver,
// no device, one it was not built for.
#pragma once
#include <string>

#include "tensor/backend.h"

namespace fission::cuda {

// "cuda" | "cuda:K". Made once a device, never destroyed.
Backend& open(const std::string& device, const DeviceSettings& settings);
// A backend on the first GPU, or null and why not: for --device auto, which then takes the CPU.
Backend* find(const DeviceSettings& settings, std::string& why_not);

// What the module exports, by this name. seam: SEAM of its build, compared before anything else.
// device −1: that of settings->process. Error text in `why`, null returned.
using ModuleEntry = Backend* (*)(const char* seam, int device, const DeviceSettings* settings,
                                 std::string* why);
constexpr const char* module_entry = "fission_cuda_backend";

}  // namespace fission::cuda
