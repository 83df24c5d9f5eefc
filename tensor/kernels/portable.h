// What one formula needs to compile for every device: a function that is always inlined, on host
// and device. Formulas in this folder are plain scalar C++ over one element: the CPU's compiler
// vectorises the loops around them (-fno-trapping-math -fno-math-errno), a GPU runs one a thread.
// No intrinsics, no memory, no lambdas here.
#pragma once

#if defined(__CUDACC__)
#define FISSION_FORMULA __host__ __device__ __forceinline__
#else
#define FISSION_FORMULA inline __attribute__((always_inline))
#endif
