// What the fakes of cuBLAS and cuDNN share: handles, and numbers read from the device's memory as
// a library would.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/cuda/fake/device.h"

namespace fission::cuda_fake {

// The handles of one library: created and not destroyed
template <class Context>
class Handles {
 public:
  Context* create() {
    Device::get().handles++;
    return *alive_.insert(new Context).first;
  }
  Context& check(Context* handle) {
    static Context none{};
    if (!handle) misuse("a null handle");
    else if (!alive_.count(handle)) misuse("what is given as a handle is none, or was destroyed");
    else return *handle;
    return none;
  }
  void destroy(Context* handle) {
    check(handle);
    if (alive_.erase(handle)) Device::get().handles--;
  }

 private:
  std::set<Context*> alive_;
};

inline float as_tf32(float x) {  // ten bits behind the point, to nearest
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (!std::isfinite(x)) return x;
  bits = (bits + 0x0fffu + ((bits >> 13) & 1)) & ~0x1fffu;
  std::memcpy(&x, &bits, 4);
  return x;
}

inline float read(const float* p, bool tf32, const char* what, std::size_t element) {
  std::uint32_t bits;
  std::memcpy(&bits, p, 4);
  if (bits == 0xffffffffu)
    misuse_of(what, " holds at element ", element, " what nobody ever wrote");
  return tf32 ? as_tf32(*p) : *p;
}

}  // namespace fission::cuda_fake
