// Comm: what the processes of one program say to each other: sums, broadcasts, whether they agree.
// MPI where the build has it and mpirun or srun started several processes; else one process, which
// talks to itself and pays nothing: MPI is not started. All of them make the same calls in the same
// order, from one thread. Sums have the same bits on all (the MPI standard asks for that), and from
// run to run with as many processes; another number of them rounds otherwise. Refuses a launch as
// several processes that this build's MPI does not see as several (UserError).
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace fission {

class Comm {
 public:
  virtual ~Comm() = default;
  virtual int rank() const = 0;  // 0 … size() − 1
  virtual int size() const = 0;
  bool first() const { return rank() == 0; }
  virtual int neighbours() const = 0;       // processes on this machine, this one counted
  virtual int place() const = 0;            // this one among them: 0 … neighbours() − 1
  virtual void sum(float* x, Index n) = 0;  // x ← Σ over the processes; host memory
  virtual void sum(double* x, Index n) = 0;
  virtual void broadcast(void* x, std::size_t bytes, int from = 0) = 0;
  virtual void barrier() = 0;
  virtual bool all_here_within(
      double seconds) = 0;  // for an end with an error: did every process come to one?
  [[noreturn]] virtual void abort(int status) = 0;  // ends all processes, wherever they are

  // The first process whose text is another than process 0's, and both texts; the same answer
  // everywhere.
  struct Disagreement {
    int rank;
    std::string first, other;
  };
  std::optional<Disagreement> disagreement(const std::string& mine);
  void require_same(const std::string& what, const std::string& mine,
                    const std::string& hint);  // UserError on all, naming both
};

Comm& alone();      // one process
Comm& processes();  // those that this program was started as; UserError

// Of the images that several processes work on together, some are this process's. A mean over a
// process's own images
// becomes the mean over all: Σ_r (n_r / whole) mean_r. One that has none contributes nothing, and
// its x may hold anything.
struct BatchShare {
  Comm& comm = alone();
  Index whole = 0;                            // images in all; 0: there are no others
  void average(Tensor& x, Index mine) const;  // x f32 or f64
};

// x ← Σ over the processes of weight · x, in host memory; what a Backend without a way of its own
// calls. Weight 0: x is not read.
void sum_over_processes(View x, double weight, Comm& comm);

}  // namespace fission
