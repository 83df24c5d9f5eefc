// Which backends this build has. Each is made once, at first use, and never destroyed: tensors held
// in statics may outlive main.
#include <cstdio>
#include <map>

#include "tensor/check_backend.h"
#include "tensor/cuda/open.h"
#include "tensor/reference/reference.h"
#ifdef FISSION_HAVE_CPU
#include "tensor/cpu/cpu.h"
#endif

namespace fission {
namespace {

Backend& reference_backend() {
  static Backend& backend = *new ReferenceBackend;
  return backend;
}

#ifdef FISSION_HAVE_CPU
constexpr bool have_cpu = true;
Backend& cpu_backend() {
  static Backend& backend = *make_cpu_backend().release();
  return backend;
}
#else
constexpr bool have_cpu = false;
Backend& cpu_backend() {
  user_error(
      "[device] this build has no cpu backend (it was built without oneDNN: make deps, then make); "
      "it has: reference");
}
#endif

Backend& check_backend(Backend& inner) {
  static auto& made = *new std::map<Backend*, CheckBackend*>;
  CheckBackend*& check = made[&inner];
  if (!check) check = new CheckBackend(inner);
  return *check;
}

Backend& best_backend(const DeviceSettings& settings) {
  std::string why_not;
  if (Backend* gpu = cuda::find(settings, why_not)) return *gpu;
  if (!why_not.empty()) std::fprintf(stderr, "device: cpu (no cuda: %s)\n", why_not.c_str());
  return have_cpu ? cpu_backend() : reference_backend();
}

bool names_cuda(const std::string& device) {
  return device == "cuda" || device.rfind("cuda:", 0) == 0;
}

}  // namespace

std::string device_list() {
  return have_cpu ? "auto, cpu, cuda, cuda:K, reference, check, check:cuda"
                  : "auto, cuda, cuda:K, reference, check:cuda";
}

const std::vector<std::string>& convolution_list() {
  static const std::vector<std::string> all{"own", "cudnn", "auto"};
  return all;
}

Backend& open_backend(const std::string& device, const DeviceSettings& settings) {
  if (device == "auto") return best_backend(settings);
  if (device == "cpu") return cpu_backend();
  if (device == "reference") return reference_backend();
  if (device == "check") return check_backend(cpu_backend());
  if (names_cuda(device)) return cuda::open(device, settings);
  if (device.rfind("check:", 0) == 0 && names_cuda(device.substr(6)))
    return check_backend(cuda::open(device.substr(6), settings));
  user_error("[device] unknown device \"", device, "\"; expected one of: ", device_list());
}

}  // namespace fission
