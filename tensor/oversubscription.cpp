#include "tensor/oversubscription.h"

#ifdef _OPENMP
#include <omp.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tensor/check.h"
#include "tensor/threads.h"

namespace fission {
namespace {

// Seconds of processor time since the machine began, of the processors of the mask: all that was
// used, by whomever; proc(5). NaN: nobody says so.
double used_by_all(const std::vector<char>& mask) {
  std::ifstream stat("/proc/stat");
  double ticks = NAN;
  for (std::string line; std::getline(stat, line) && line.rfind("cpu", 0) == 0;) {
    unsigned cpu = 0;
    double user, nice, system, idle, waiting, irq, softirq, steal = 0;
    if (std::sscanf(line.c_str(), "cpu%u %lf %lf %lf %lf %lf %lf %lf %lf", &cpu, &user, &nice,
                    &system, &idle, &waiting, &irq, &softirq, &steal) < 8 ||
        cpu >= 8 * mask.size() || !(mask[cpu / 8] >> cpu % 8 & 1))
      continue;
    ticks = (std::isnan(ticks) ? 0 : ticks) + user + nice + system + irq + softirq + steal;
  }
  return ticks / double(::sysconf(_SC_CLK_TCK));
}
double used_by_us() {
  rusage used;
  ::getrusage(RUSAGE_SELF, &used);
  return double(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         1e-6 * double(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

// A thread that does something until it is ended. Where the system has no thread or no memory for
// it, it goes without.
class Until {
 public:
  ~Until() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      over_ = true;
    }
    end_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  template <class F>
  void start(F f) {
    try {
      thread_ = std::thread([f] {
        try {
          f();
        } catch (const std::exception&) {
        }
      });
    } catch (const std::exception&) {
    }
  }
  bool over_within(double seconds) {
    std::unique_lock<std::mutex> lock(mutex_);
    return end_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return over_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable end_;
  bool over_ = false;
  std::thread thread_;
};

// n OpenMP threads that do nothing; the first is none more than there were
struct IdleThreads {
  Until until;
  explicit IdleThreads(int n) {
    until.start([this, n] {
      omp_set_dynamic(0);  // of this thread: OMP_DYNAMIC would deliver one
      try_threads(n);      // where it throws, libgomp would end the program
      int delivered = 0;   // an empty region would be left out
#pragma omp parallel num_threads(n)
#pragma omp single
      delivered = omp_get_num_threads();
      while (delivered > 0 && !until.over_within(3600)) {
      }
    });
  }
};

void watch(Until& until, int threads) {
  std::vector<char> mask(8192 / 8);  // for the most processors that Linux is built for
  ::sched_getaffinity(0, mask.size(), reinterpret_cast<cpu_set_t*>(mask.data()));
  const int processors = omp_get_num_procs();
  auto time = std::chrono::steady_clock::now();
  double all = used_by_all(mask), ours = used_by_us();
  std::unique_ptr<IdleThreads> idle;
  for (int quiet = 0; !until.over_within(0.2);) {
    const auto time_before = time;
    const double all_before = all, ours_before = ours;
    time = std::chrono::steady_clock::now(), all = used_by_all(mask), ours = used_by_us();
    const double seconds = std::chrono::duration<double>(time - time_before).count(),
                 others = (all - all_before - (ours - ours_before)) / seconds;
    // a quarter of a processor: what clocks of 10 ms can't tell from nothing
    if (threads + others <= processors + 0.25) {
      if (++quiet == 10) idle.reset();
    } else {  // or nobody says how much others use
      quiet = 0;
      if (!idle && threads <= processors)
        idle = std::make_unique<IdleThreads>(processors - threads + 2);
    }
  }
}

}  // namespace

void watch_for_oversubscription(int threads) {
  static std::unique_ptr<Until> watcher;
  watcher.reset();
  if (threads < 2 || std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  watcher = std::make_unique<Until>();
  watcher->start([threads, w = watcher.get()] { watch(*w, threads); });
}

}  // namespace fission
#else
namespace fission {
void watch_for_oversubscription(int) {}
}  // namespace fission
#endif
