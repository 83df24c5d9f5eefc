#include "tensor/threads.h"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <thread>

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

int threads_a_process(int neighbours) {
  const int mine = int(std::thread::hardware_concurrency()),
            all = int(sysconf(_SC_NPROCESSORS_ONLN));  // the first: by this process's affinity
  return std::max(1, std::min(mine, all / neighbours));
}

void parallel_for(Index n, const std::function<void(Index)>& f) {
  std::exception_ptr thrown;  // none may leave a parallel region
  Index thrower = n;
#pragma omp parallel for schedule(dynamic)
  for (Index i = 0; i < n; i++) {
    try {
      f(i);
    } catch (...) {
#pragma omp critical
      if (i < thrower) thrower = i, thrown = std::current_exception();
    }
  }
  if (thrown) std::rethrow_exception(thrown);
}
}  // namespace fission
