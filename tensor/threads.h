// How many threads a backend on the CPU computes with. Sums are split by thread: the same number
// gives the same bits.
#pragma once
#include <functional>

#include "tensor/geometry.h"

namespace fission {
void set_compute_threads(int n);  // 0: all processors
int compute_threads();
int threads_a_process(int neighbours);  // of the machine's processors, so that none is used by two;
                                        // at most those that this process may use
// f(i) for all i < n, each by one thread, in any order; of exceptions that of the least i is thrown
// on, when all are done
void parallel_for(Index n, const std::function<void(Index)>& f);
}  // namespace fission
