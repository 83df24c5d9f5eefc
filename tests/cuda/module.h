// The module that holds the CUDA backend and the fake (fission_cuda_fake.so, beside the tests):
// its functions, and its backend as "cuda".
#pragma once
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "tensor/backend.h"
#include "tests/cuda/fake/fake.h"
#include "tests/device_settings.h"

namespace fission::testing {

inline std::string fake_path() {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "fission_cuda_fake.so")
      .string();
}
// Not where the CUDA headers are missing, so that make could not build it, and not under the thread
// sanitizer, which does not know the emulator's fibers: such tests are skipped.
#if defined(__SANITIZE_THREAD__)
inline bool have_fake() { return false; }
#else
inline bool have_fake() { return access(fake_path().c_str(), R_OK) == 0; }
#endif

inline void* fake_function(const char* name) {
  static void* module = dlopen(fake_path().c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE_MESSAGE(module, dlerror());
  void* function = dlsym(module, name);
  REQUIRE_MESSAGE(function, name);
  return function;
}
#define FAKE_FUNCTION(name) \
  reinterpret_cast<decltype(&::name)>(::fission::testing::fake_function(#name))

// A variable of the environment, for this object's life: the programs that are launched meanwhile
// see it
class EnvironmentVariable {
 public:
  EnvironmentVariable(const char* name, const std::string& value)
      : name_(name), before_(std::getenv(name) ? std::getenv(name) : "") {
    setenv(name, value.c_str(), 1);
  }
  ~EnvironmentVariable() { before_.empty() ? unsetenv(name_) : setenv(name_, before_.c_str(), 1); }
  EnvironmentVariable(const EnvironmentVariable&) = delete;
  EnvironmentVariable& operator=(const EnvironmentVariable&) = delete;

 private:
  const char* name_;
  std::string before_;
};

inline Backend& fake_backend(const std::string& device = "cuda") {  // or "check:cuda"
  EnvironmentVariable module("FISSION_CUDA_MODULE", fake_path());
  return open_backend(device, device_settings());
}

}  // namespace fission::testing
