// Which backends this build has. Each is made once, at first use, and never destroyed: tensors held in statics may
// outlive main.
#include "tensor/check_backend.h"
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
  user_error("[device] this build has no cpu backend (it was built without oneDNN: make deps, then make); it has: reference");
}
#endif

Backend& check_backend() {
  static Backend& backend = *new CheckBackend(cpu_backend());
  return backend;
}

}  // namespace

std::string device_list() { return have_cpu ? "auto, cpu, reference, check" : "auto, reference"; }

Backend& open_backend(const std::string& device) {
  if (device == "auto") return have_cpu ? cpu_backend() : reference_backend();
  if (device == "cpu") return cpu_backend();
  if (device == "reference") return reference_backend();
  if (device == "check") return check_backend();
  if (device == "cuda") user_error("[device] this build has no cuda backend; it has: ", device_list());
  user_error("[device] unknown device \"", device, "\"; this build has: ", device_list());
}

}  // namespace fission
