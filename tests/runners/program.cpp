#include "tests/runners/program.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>

// Defined where a sanitizer is linked in, and null elsewhere
extern "C" void __asan_init() __attribute__((weak));
extern "C" void __tsan_init() __attribute__((weak));

namespace fission {
namespace test {
namespace {

constexpr double longest = 300;  // seconds; a program that hangs must not hang the tests

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> p;
  for (std::string& s : strings) p.push_back(s.data());
  p.push_back(nullptr);
  return p;
}

struct Pipe {
  int ends[2];
  Pipe() { REQUIRE(::pipe2(ends, O_CLOEXEC) == 0); }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  void close_end(int i) {
    if (ends[i] >= 0) ::close(ends[i]);
    ends[i] = -1;
  }
};

// Whether a child does something of its own on a signal. Before a program's first line none can: on
// a busy machine that may take longer than a test waits.
bool answers(pid_t child, int signal) {
  const std::string proc = "/proc/" + std::to_string(child);
  std::error_code ended;
  if (std::filesystem::read_symlink(proc + "/exe", ended) ==
      std::filesystem::read_symlink("/proc/self/exe"))
    return false;  // still this program
  std::ifstream status(proc + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("SigCgt:", 0) == 0)
      return std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1;
  return true;  // it has ended
}

}  // namespace

bool instrumented() { return __asan_init || __tsan_init; }

ProcessResult launch(const Launch& what) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::string> arguments = Arguments{what.program} + what.arguments, environment;
  const std::string path =
      (std::filesystem::read_symlink("/proc/self/exe").parent_path() / what.program).string();
  const std::string crash = "FISSION_CRASH_AT=";
  for (char** e = environ; *e; e++) {
    const std::string one = *e, name = one.substr(0, one.find('=') + 1);
    const bool told = std::any_of(what.environment.begin(), what.environment.end(),
                                  [&](const std::string& s) { return s.rfind(name, 0) == 0; });
    if (name != crash && !told) environment.push_back(one);
  }
  environment.push_back("OMP_WAIT_POLICY=passive");  // on a busy machine threads that spin wait for
                                                     // each other's turns
  environment.insert(environment.end(), what.environment.begin(), what.environment.end());
  if (!what.crash_at.empty()) environment.push_back(crash + what.crash_at);
  std::vector<char*> argv = pointers(arguments), envp = pointers(environment);

  Pipe out, err;
  auto start = Clock::now();
  auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {  // only what is safe in the child of a process with threads
    ::dup2(out.ends[1], STDOUT_FILENO);
    ::dup2(err.ends[1], STDERR_FILENO);
    if (what.largest_file) {
      const rlimit limit{what.largest_file, what.largest_file};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (what.most_memory) {
      const rlimit limit{what.most_memory, what.most_memory};
      ::setrlimit(RLIMIT_AS, &limit);
    }
    if (what.before) what.before();
    if (!what.directory.empty() && ::chdir(what.directory.c_str()) != 0) ::_exit(126);
    ::execve(path.c_str(), argv.data(), envp.data());
    ::_exit(127);
  }
  out.close_end(1);
  err.close_end(1);

  ProcessResult ended;
  bool killed = false, wanted = what.kill_after > 0;
  double limit = what.kill_after > 0 ? what.kill_after : longest;
  while (out.ends[0] >= 0 || err.ends[0] >= 0) {
    const std::array<std::pair<Pipe*, std::string*>, 2> streams{
        {{&out, &ended.out}, {&err, &ended.err}}};
    pollfd open[2] = {{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}};  // −1 is passed over
    if (!killed && !what.kill_on.empty() && ended.out.find(what.kill_on) != std::string::npos)
      wanted = true, limit = 0;
    double left = limit - seconds();
    if (left <= 0) {
      ended.too_long = killed || !wanted;
      for (int i = 0; i < 1000 && what.kill_with != SIGKILL && !answers(child, what.kill_with); i++)
        ::usleep(1000);
      ::kill(child, ended.too_long ? SIGKILL : what.kill_with);
      for (int i = 1; i < what.kills && !ended.too_long; i++)
        ::usleep(3000), ::kill(child, what.kill_with);
      killed = true;
      limit = seconds() + (ended.too_long ? 1 : longest);
      continue;
    }
    if (::poll(open, 2, int(left * 1000) + 1) < 0) continue;
    for (int i = 0; i < 2; i++) {
      if (!open[i].revents) continue;
      char buffer[4096];
      const ssize_t n = ::read(open[i].fd, buffer, sizeof buffer);
      if (n > 0) streams[i].second->append(buffer, std::size_t(n));
      else streams[i].first->close_end(0);
    }
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  ended.seconds = seconds();
  if (WIFEXITED(status)) ended.status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) ended.signal = WTERMSIG(status);
  INFO(what.program, " wrote: ", ended.err);
  REQUIRE_MESSAGE(ended.status != 127, path, " could not be run: build it (make all)");
  REQUIRE_FALSE(ended.too_long);
  return ended;
}

}  // namespace test
}  // namespace fission
