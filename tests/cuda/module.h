// The module that holds the CUDA backend and the double (fission_cuda_double.so, beside the tests), and its functions by name.
#pragma once
#include <doctest/doctest.h>
#include <dlfcn.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace fission::testing {

inline std::string double_path() { return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "fission_cuda_double.so").string(); }
// Not where the CUDA headers are missing, so that make could not build it: such tests are skipped.
inline bool have_double() { return access(double_path().c_str(), R_OK) == 0; }

inline void* double_function(const char* name) {
  static void* module = dlopen(double_path().c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE_MESSAGE(module, dlerror());
  void* function = dlsym(module, name);
  REQUIRE_MESSAGE(function, name);
  return function;
}

}  // namespace fission::testing
