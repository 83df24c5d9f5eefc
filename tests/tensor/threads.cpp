// Facts of how many threads a process takes by default: the least of what is allowed, and by whom.
#include "tensor/threads.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "tests/two_processes.h"

using namespace fission;

namespace {

struct Variable {  // set while this lives
  std::string name, before;
  bool was;
  Variable(const std::string& name, const char* value) : name(name), was(::getenv(name.c_str())) {
    if (was) before = ::getenv(name.c_str());
    value ? ::setenv(name.c_str(), value, 1) : ::unsetenv(name.c_str());
  }
  ~Variable() { was ? ::setenv(name.c_str(), before.c_str(), 1) : ::unsetenv(name.c_str()); }
};
struct NothingSet {
  Variable omp{"OMP_NUM_THREADS", nullptr}, limit{"OMP_THREAD_LIMIT", nullptr},
      slurm{"SLURM_CPUS_PER_TASK", nullptr};
};

// A machine's /proc and /sys, as far as cgroups stand there
struct Machine {
  std::string root = (std::filesystem::temp_directory_path() / "fission-threads-XXXXXX").string();
  Machine() { REQUIRE(::mkdtemp(root.data())); }
  ~Machine() { std::filesystem::remove_all(root); }
  Machine& put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path) << text;
    return *this;
  }
  ThreadCount allowed(Comm& comm = alone()) const { return threads_allowed(comm, root); }
};

const std::string v2_mount = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
                  v1_mount =
                      "31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup "
                      "rw,cpu,cpuacct\n";

}  // namespace

TEST_CASE("threads: without any other limit they are the processors of the affinity mask") {
  NothingSet none;
  Machine empty;
  const ThreadCount all = empty.allowed();
  CHECK(all.number >= 1);
  CHECK(all.from == "the processors that this process may use");
  // no quota, in either version's words
  empty.put("/proc/self/cgroup", "0::/a\n4:cpu,cpuacct:/a\n")
      .put("/proc/self/mountinfo", v2_mount + v1_mount)
      .put("/sys/fs/cgroup/a/cpu.max", "max 100000\n")
      .put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n")
      .put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  CHECK(empty.allowed().number == all.number);
  CHECK(empty.allowed().from == all.from);
}

TEST_CASE("threads: a cgroup's quota counts, its own and of those around it, rounded up") {
  NothingSet none;
  Machine m;
  const int most = m.allowed().number;
  if (most == 1) return;  // nothing can be less
  auto limited = [&](const std::string& by) {
    CHECK(m.allowed().number == 1);
    CHECK(m.allowed().from == "the CPU quota of its cgroup, " + by);
  };
  SUBCASE("v2") {
    m.put("/proc/self/cgroup", "0::/job/step\n")
        .put("/proc/self/mountinfo", v2_mount)
        .put("/sys/fs/cgroup/job/step/cpu.max", "50000 100000\n");
    limited("0.5");
  }
  SUBCASE("v2, of the group around it") {
    m.put("/proc/self/cgroup", "0::/job/step/task\n")
        .put("/proc/self/mountinfo", v2_mount)
        .put("/sys/fs/cgroup/job/step/task/cpu.max", "max 100000\n")
        .put("/sys/fs/cgroup/job/cpu.max", "100000 100000\n");
    limited("1");
  }
  SUBCASE("v2, a container that sees its own group as the root") {
    m.put("/proc/self/cgroup", "0::/\n")
        .put("/proc/self/mountinfo", v2_mount)
        .put("/sys/fs/cgroup/cpu.max", "25000 50000\n");
    limited("0.5");
  }
  SUBCASE("v1, a container whose mount begins at its group") {
    m.put("/proc/self/cgroup", "5:memory:/docker/77\n4:cpu,cpuacct:/docker/77\n0::/\n")
        .put("/proc/self/mountinfo",
             "29 24 0:25 /docker/77 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
             "31 24 0:27 /docker/77 /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n")
        .put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "80000\n")
        .put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    limited("0.8");
  }
  SUBCASE("a part of a processor more is one more thread") {
    m.put("/proc/self/cgroup", "0::/a\n")
        .put("/proc/self/mountinfo", v2_mount)
        .put("/sys/fs/cgroup/a/cpu.max", "110000 100000\n");
    CHECK(m.allowed().number == 2);
  }
  SUBCASE("nonsense is no quota") {
    m.put("/proc/self/cgroup", "0::/a\nrubbish\n::\n")
        .put("/proc/self/mountinfo", "short\n - \n" + v2_mount)
        .put("/sys/fs/cgroup/a/cpu.max", "many\n");
    CHECK(m.allowed().number == most);
  }
}

TEST_CASE("threads: the variables of OpenMP and Slurm count where they say less") {
  NothingSet none;
  Machine m;
  const int most = m.allowed().number;
  for (const char* name : {"OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "SLURM_CPUS_PER_TASK"}) {
    CAPTURE(std::string(name));
    for (const char* value : {"1", " 1,8"}) {
      Variable one(name, value);
      CHECK(m.allowed().number == 1);
      if (most > 1) CHECK(m.allowed().from == name);
    }
    for (const char* value : {"1000000", "0", "-1", "many", ""}) {
      Variable more(name, value);
      CHECK(m.allowed().number == most);
      const bool no_number = value[0] && std::string(value) != "1000000";
      CHECK(m.allowed().ignored == (no_number ? text(name, "=", value) : ""));
    }
  }
}

TEST_CASE("threads: the processes of one machine share its processors, and none goes without") {
  NothingSet none;
  struct Oversubscribed : testing::Played {
    int all;
    bool apart;  // each has another affinity mask
    double fewest = 1000;
    Oversubscribed(int all, bool apart) : Played(0), all(all), apart(apart) {}
    int neighbours() const override { return all; }
    int size() const override { return all; }
    void sum(double* x, Index) override {
      x[1] = x[0] == 0 ? apart : fewest;  // does it disagree? how many has it?
    }
  };
  Machine m;
  const int most = m.allowed().number;
  Oversubscribed two(2, false), bound(2, true), many(1000, false);
  CHECK(m.allowed(two).number == std::max(1, most / 2));
  CHECK(m.allowed(bound).number >= std::max(1, most / 2));  // each has processors of its own
  CHECK(m.allowed(many).number == 1);
  if (most == 1) return;
  CHECK(m.allowed(two).from == "the processors that this process may use, shared by 2 processes");
  const bool several = m.allowed(bound).number > 1;
  bound.fewest = 1;  // on another machine, which has less
  CHECK(m.allowed(bound).number == 1);
  if (several) CHECK(m.allowed(bound).from == "what process 1 may use");
}

TEST_CASE("threads: the team that was made is the team that computes") {
  const int before = compute_threads();
  for (int n : {1, 2, 3}) {
    const int had = set_compute_threads(n);
    CHECK(had >= 1);
    CHECK(had <= n);
    CHECK(compute_threads() == had);
  }
  set_compute_threads(before);
}
