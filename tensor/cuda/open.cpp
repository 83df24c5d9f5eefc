#include "tensor/cuda/open.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#ifndef FISSION_SEAM
#error "the Makefile names the seam: a checksum of tensor/*.h"
#endif

namespace fission::cuda {
namespace {

const char* module_variable = "FISSION_CUDA_MODULE";

std::string module_path() {
  if (const char* given = std::getenv(module_variable)) return given;
  char self[4096];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  std::string program(self, n > 0 ? std::size_t(n) : 0);
  return program.substr(0, program.rfind('/') + 1) + "fission_cuda.so";
}

ModuleEntry load(std::string& why) {
  const std::string path = module_path();
  if (access(path.c_str(), R_OK) != 0) {
    why = text(path,
               " is not there: this build has no CUDA backend (make cuda builds it, with nvcc, "
               "cuBLAS and cuDNN)");
    return nullptr;
  }
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!module) {
    why = text(
        path, " cannot be loaded: ", dlerror(),
        " (expected the libraries it was built with; LD_LIBRARY_PATH says where to look for them)");
    return nullptr;
  }
  auto entry = reinterpret_cast<ModuleEntry>(dlsym(module, module_entry));
  if (!entry)
    why =
        text(path, ": no function ", module_entry, ", expected the module that `make cuda` builds");
  return entry;
}

Backend* open_or_say(int device, const DeviceSettings& settings, std::string& why) {
  static auto& made = *new std::map<int, Backend*>;
  Backend*& backend = made[device];
  if (backend) return backend;
  ModuleEntry entry = load(why);
  if (entry) backend = entry(FISSION_SEAM, device, &settings, &why);
  return backend;
}

int number_of(const std::string& device) {  // "cuda:3"; "cuda" is −1: this process's
  if (device == "cuda") return -1;
  const std::string digits = device.substr(5);
  if (digits.empty() || digits.size() > 3 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    user_error("[device] \"", device, "\": expected cuda, or cuda:K with the number of a GPU");
  return std::stoi(digits);
}

}  // namespace

Backend& open(const std::string& device, const DeviceSettings& settings) {
  std::string why;
  Backend* backend = open_or_say(number_of(device), settings, why);
  if (!backend) user_error("[device] ", device, ": ", why);
  return *backend;
}

// A look for the module and for the driver first: neither costs anything, and a machine without
// them is no surprise worth a line.
Backend* find(const DeviceSettings& settings, std::string& why_not) {
  if (access(module_path().c_str(), R_OK) != 0) return nullptr;
  if (!std::getenv(module_variable)) {
    void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!driver) {
      why_not = "no NVIDIA driver: libcuda.so.1 is not there";
      return nullptr;
    }
    dlclose(driver);
  }
  return open_or_say(-1, settings, why_not);
}

}  // namespace fission::cuda
