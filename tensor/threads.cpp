#include "tensor/threads.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace fission {
#ifdef _OPENMP
void set_compute_threads(int n) {
  omp_set_dynamic(0);
  omp_set_num_threads(n > 0 ? n : omp_get_num_procs());
}
int compute_threads() { return omp_get_max_threads(); }
#else
void set_compute_threads(int) {}
int compute_threads() { return 1; }
#endif
}  // namespace fission
