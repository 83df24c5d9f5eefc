// How many threads a backend on the CPU computes with. Sums are split by thread: the same number
// gives the same bits.
#pragma once
#include <functional>
#include <string>

#include "tensor/comm.h"
#include "tensor/geometry.h"

namespace fission {

// A number of threads, and in words what it comes from
struct ThreadCount {
  int number;
  std::string from;
  std::string ignored;  // a variable that holds no such number: "NAME=value"; empty: none
};

// The least of what is allowed to this process: by its affinity mask, shared with its neighbours on
// this machine; by the CPU quota of its cgroup and of those around it (v1 and v2),
// rounded up; by OMP_NUM_THREADS, OMP_THREAD_LIMIT, OMP_PLACES and SLURM_CPUS_PER_TASK. root: the
// folder that proc/ and sys/ lie in, for tests.
ThreadCount threads_allowed(Comm& comm = alone(), const std::string& root = "");
// Makes a team of n threads, and returns how many OpenMP really delivered; from here on they are
// used. UserError if the system refuses so many.
int set_compute_threads(int n);
// libgomp ends the program where the system refuses a thread. So as many are asked for before: are
// n given, all at once? UserError if not.
void try_threads(int n);
int compute_threads();

// f(i) for all i < n, each by one thread, in any order; of exceptions that of the least i is thrown
// on, when all are done
void parallel_for(Index n, const std::function<void(Index)>& f);
}  // namespace fission
