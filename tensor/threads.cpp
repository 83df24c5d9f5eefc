#include "tensor/threads.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <mutex>
#include <sstream>
#include <system_error>
#include <thread>
#include <vector>

#include "tensor/check.h"
#include "tensor/oversubscription.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace fission {
namespace {

// Processors of the affinity mask that are this process's. Where all have the same mask, nobody
// bound them apart, and they share it.
int share_of_mask(Comm& comm) {
  std::vector<char> bytes(8192 / 8);  // for the most processors that Linux is built for
  cpu_set_t* mask = reinterpret_cast<cpu_set_t*>(bytes.data());
  int mine = std::max(1, int(std::thread::hardware_concurrency()));
  if (::sched_getaffinity(0, bytes.size(), mask) == 0) mine = CPU_COUNT_S(bytes.size(), mask);
#ifdef _OPENMP
  mine = omp_get_num_procs();  // of the mask as it was before OMP_PROC_BIND
#endif
  const int here = comm.neighbours();
  if (here == 1) return mine;
  const bool bound = bool(comm.disagreement(std::string(bytes.begin(), bytes.end())));
  return bound ? std::min(mine, int(::sysconf(_SC_NPROCESSORS_ONLN)) / here) : mine / here;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  return parts;
}
bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Processors that one cgroup's folder allows; 0: as many as there are
double quota_of(const std::string& folder) {
  double quota = 0, period = 0;
  std::ifstream both(folder + "/cpu.max"), v1(folder + "/cpu.cfs_quota_us"),
      v1_period(folder + "/cpu.cfs_period_us");
  const bool given = both ? bool(both >> quota >> period)  // "max 100000": no quota
                          : bool(v1 >> quota) && bool(v1_period >> period);
  return given && quota > 0 && period > 0 ? quota / period : 0;
}

// The least quota of this process's cgroup and of all around it that are seen from here. proc(5):
// /proc/self/cgroup says "NUMBER:CONTROLLERS:PATH", v2's has no controllers; /proc/self/mountinfo
// says where a hierarchy is mounted, and from which of its folders on.
double cgroup_quota(const std::string& root) {
  double least = 0;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && !has(split(controllers, ','), "cpu")) continue;
    std::ifstream mounts(root + "/proc/self/mountinfo");
    for (std::string mount; std::getline(mounts, mount);) {
      // "36 35 98:0 ROOT PLACE OPTIONS ... - TYPE SOURCE SUPER_OPTIONS"
      const std::vector<std::string> words = split(mount, ' ');
      const auto dash = std::find(words.begin(), words.end(), "-");
      if (words.size() < 6 || words.end() - dash < 4) continue;
      if (v2 ? dash[1] != "cgroup2" : dash[1] != "cgroup" || !has(split(dash[3], ','), "cpu"))
        continue;
      std::string path = line.substr(second + 1);
      const std::string from = words[3] == "/" ? "" : words[3];
      // a path outside of what is mounted is another namespace's: the mount's own folder is left
      path = path.compare(0, from.size(), from) == 0 ? path.substr(from.size()) : "";
      for (;; path.erase(path.rfind('/'))) {
        const double quota = quota_of(root + words[4] + path);
        if (quota > 0 && (least == 0 || quota < least)) least = quota;
        if (path.rfind('/') == std::string::npos) break;
      }
    }
  }
  return least;
}

// The number that a variable begins with ("4,2": of nested regions, the outermost); 0: none
int number_in(const char* variable) {
  const char* value = std::getenv(variable);
  char* end = nullptr;
  const long n = value ? std::strtol(value, &end, 10) : 0;
  return n > 0 && std::strchr(", ", *end) ? int(std::min(n, 1L << 20)) : 0;
}

// Processors of OMP_PLACES (or GNU's GOMP_CPU_AFFINITY), which its threads are bound to; 0: they
// are not bound
int processors_of_places() {
  int n = 0;
#ifdef _OPENMP
  if (omp_get_proc_bind() != omp_proc_bind_false)
    for (int place = 0; place < omp_get_num_places(); place++) n += omp_get_place_num_procs(place);
#endif
  return n;
}

}  // namespace

void try_threads(int n) {
  std::mutex mutex;
  std::condition_variable end;
  bool over = false;
  std::vector<std::thread> threads;
  threads.reserve(std::size_t(n));
  std::string refused;
  try {
    for (int i = 1; i < n; i++)
      threads.emplace_back([&] {
        std::unique_lock<std::mutex> lock(mutex);
        end.wait(lock, [&] { return over; });
      });
  } catch (const std::system_error& e) {
    refused = e.code().message();
  } catch (const std::bad_alloc&) {
    refused = "no memory";
  }
  const std::size_t had = threads.size() + 1;
  {
    std::lock_guard<std::mutex> lock(mutex);
    over = true;
  }
  end.notify_all();
  for (std::thread& t : threads) t.join();
  if (!refused.empty())
    user_error("--threads ", n, ": the system gives this program ", had, " of them (", refused,
               "); expected fewer, or a higher limit (ulimit -u, ulimit -v)");
}

#ifdef _OPENMP
int set_compute_threads(int n) {
  omp_set_dynamic(0);
  omp_set_num_threads(n);
  int delivered = 1;
  if (n > 1) {
    try_threads(n);
#pragma omp parallel
#pragma omp single
    delivered = omp_get_num_threads();
    // oneDNN's barriers wait for as many as OpenMP announces, for ever
    omp_set_num_threads(delivered);
  }
  watch_for_oversubscription(delivered);
  return delivered;
}
int compute_threads() { return omp_get_max_threads(); }
#else
int set_compute_threads(int) { return 1; }
int compute_threads() { return 1; }
#endif

ThreadCount threads_allowed(Comm& comm, const std::string& root) {
  const int here = comm.neighbours();
  const std::string shared = here > 1 ? text(", shared by ", here, " processes") : "";
  const double quota = cgroup_quota(root);
  ThreadCount least{std::max(1, share_of_mask(comm)),
                    "the processors that this process may use" + shared, ""};
  auto at_most = [&](int n, const std::string& from) {
    if (n > 0 && n < least.number) least = {n, from, ""};
  };
  if (quota > 0)
    at_most(std::max(1, int(std::ceil(quota / here - 1e-6))),
            text("the CPU quota of its cgroup, ", quota, shared));
  std::string ignored;
  for (const char* variable : {"SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT"}) {
    const char* value = std::getenv(variable);
    at_most(number_in(variable), variable);
    if (value && *value && number_in(variable) == 0) ignored = text(variable, "=", value);
  }
  for (const char* variable : {"OMP_PLACES", "GOMP_CPU_AFFINITY"})
    if (std::getenv(variable)) at_most(processors_of_places(), variable);
  // of several processes all take what the one with the fewest has
  std::vector<double> all(std::size_t(comm.size()), 0.0);
  all[std::size_t(comm.rank())] = least.number;
  comm.sum(all.data(), Index(all.size()));
  const auto fewest = std::min_element(all.begin(), all.end());
  if (int(*fewest) < least.number && *fewest > 0)
    least = {int(*fewest), text("what process ", fewest - all.begin(), " may use"), ""};
  least.ignored = ignored;
  return least;
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
