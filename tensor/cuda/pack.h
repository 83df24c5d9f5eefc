// Neighbouring numbers that travel as one: a Pack of four floats is read or written by one
// instruction of 16 bytes.
#pragma once
#include <cstdint>

#include "tensor/cuda/launch.h"

namespace fission::cuda {

template <class T, int width>
struct alignas(width * sizeof(T)) Pack {
  T at[width];
};

template <int width, class T>
bool packs_at(const T* p) {  // whether a Pack may lie there
  return reinterpret_cast<std::uintptr_t>(p) % sizeof(Pack<T, width>) == 0;
}
template <class T, int width>
__device__ Pack<T, width> load(const T* p) {
  return *reinterpret_cast<const Pack<T, width>*>(p);
}
template <class T, int width>
__device__ void store(T* p, const Pack<T, width>& pack) {
  *reinterpret_cast<Pack<T, width>*>(p) = pack;
}

}  // namespace fission::cuda
