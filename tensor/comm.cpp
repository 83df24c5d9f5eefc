#include "tensor/comm.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <memory>
#include <thread>

#include "tensor/backend.h"
#include "tensor/launch.h"
#if defined(FISSION_HAVE_MPI)
#include <mpi.h>
#endif

namespace fission {
namespace {

class Alone : public Comm {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int neighbours() const override { return 1; }
  int place() const override { return 0; }
  void sum(float*, Index) override {}
  void sum(double*, Index) override {}
  void broadcast(void*, std::size_t, int) override {}
  void barrier() override {}
  bool all_here_within(double) override { return true; }
  void abort(int status) override { std::_Exit(status); }
};

// The largest of these numbers in the environment
int number_in(const char* const (&names)[3], int least) {
  for (const char* name : names)
    if (const char* value = std::getenv(name)) least = std::max(least, std::atoi(value));
  return least;
}

}  // namespace

int launched() {
  return number_in({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}, 1);
}
int launch_rank() {
  return launched() > 1 ? number_in({"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}, 0) : 0;
}

namespace {

#if defined(FISSION_HAVE_MPI)
// MPI's calls return no errors: by its default they end all processes with a message.
class Mpi : public Comm {
 public:
  Mpi() {
    int given = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &given);
    std::atexit([] { MPI_Finalize(); });
    if (given < MPI_THREAD_FUNNELED)
      user_error("[mpi] this MPI allows no threads (level ", given,
                 "); expected MPI_THREAD_FUNNELED");
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    MPI_Comm_dup(MPI_COMM_WORLD, &ends_);
    MPI_Comm here;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here);
    MPI_Comm_size(here, &neighbours_);
    MPI_Comm_rank(here, &place_);
    MPI_Comm_free(&here);
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int neighbours() const override { return neighbours_; }
  int place() const override { return place_; }
  void sum(float* x, Index n) override {
    MPI_Allreduce(MPI_IN_PLACE, x, int_of(n), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  }
  void sum(double* x, Index n) override {
    MPI_Allreduce(MPI_IN_PLACE, x, int_of(n), MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  }
  void broadcast(void* x, std::size_t bytes, int from) override {
    MPI_Bcast(x, int_of(Index(bytes)), MPI_BYTE, from, MPI_COMM_WORLD);
  }
  void barrier() override { MPI_Barrier(MPI_COMM_WORLD); }
  bool all_here_within(double seconds) override {
    using Clock = std::chrono::steady_clock;
    MPI_Request request;
    MPI_Ibarrier(ends_, &request);
    for (const auto start = Clock::now();;) {
      int done = 0;
      MPI_Test(&request, &done, MPI_STATUS_IGNORE);
      if (done) return true;
      if (std::chrono::duration<double>(Clock::now() - start).count() > seconds) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  void abort(int status) override {
    MPI_Abort(MPI_COMM_WORLD, status);
    std::_Exit(status);
  }

 private:
  static int int_of(Index n) {
    FISSION_CHECK(n <= INT_MAX, "[mpi] ", n, " elements in one message, at most ", INT_MAX);
    return int(n);
  }
  int rank_ = 0, size_ = 1, neighbours_ = 1, place_ = 0;
  MPI_Comm ends_;  // a channel of its own: a process that ends may do so amid the others' sums
};

Comm& start_mpi(int expected) {
  static Comm& mpi = *new Mpi;
  if (mpi.size() != expected)
    user_error(
        "[mpi] started as one of ", expected, " processes, but this program's MPI sees ",
        mpi.size(),
        "; expected the mpirun of the MPI that it was built with (or srun --mpi=pmix, --mpi=pmi2)");
  return mpi;
}
#else
Comm& start_mpi(int expected) {
  user_error(
      "[mpi] started as one of ", expected,
      " processes, but this program was built without MPI; expected one process ",
      "(for more: install libopenmpi-dev and openmpi-bin, or give MPICC=..., and build again)");
}
#endif

}  // namespace

Comm& alone() {
  static Alone one;
  return one;
}

Comm& processes() {
  static Comm& all = launched() > 1 ? start_mpi(launched()) : alone();
  return all;
}

std::optional<Comm::Disagreement> Comm::disagreement(const std::string& mine) {
  auto text_of = [&](int from) {
    std::string text = mine;
    std::uint64_t length = text.size();
    broadcast(&length, sizeof length, from);
    text.resize(length);
    broadcast(&text[0], length, from);
    return text;
  };
  std::string first = text_of(0);
  std::vector<double> other(std::size_t(size()), 0.0);
  other[std::size_t(rank())] = mine != first;
  sum(other.data(), size());
  auto at = std::find_if(other.begin(), other.end(), [](double differs) { return differs > 0; });
  if (at == other.end()) return std::nullopt;
  int from = int(at - other.begin());
  return Disagreement{from, first, text_of(from)};
}

void Comm::require_same(const std::string& what, const std::string& mine, const std::string& hint) {
  if (auto d = disagreement(mine))
    user_error(what, " of process ", d->rank, ": ", d->other,
               "; expected what process 0 has: ", d->first, " (", hint, ")");
}

void BatchShare::average(Tensor& x, Index mine) const {
  FISSION_CHECK(mine >= 0 && (whole == 0 || mine <= whole), "[share] ", mine, " images of ", whole);
  FISSION_CHECK(x.dtype() == DType::f32 || x.dtype() == DType::f64, "[share] a mean of ",
                name_of(x.dtype()));
  if (comm.size() > 1 && whole > 0)
    x.backend().sum_over_processes(x, double(mine) / double(whole), comm);
}

void sum_over_processes(View x, double weight, Comm& comm) {
  auto run = [&](auto* p, auto w) {
    if (weight == 0) std::fill(p, p + x.numel(), w);
    else if (weight != 1)
      for (Index i = 0; i < x.numel(); i++) p[i] *= w;
    comm.sum(p, x.numel());
  };
  if (x.dtype == DType::f64) run(x.as<double>(), weight);
  else run(x.as<float>(), float(weight));
}

}  // namespace fission
