// How many threads a backend on the CPU computes with. Sums are split by thread: the same number gives the same bits.
#pragma once

namespace fission {
void set_compute_threads(int n);  // 0: all processors
int compute_threads();
}  // namespace fission
