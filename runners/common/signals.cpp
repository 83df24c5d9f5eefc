#include "runners/common/signals.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace fission {
namespace {

struct Known {
  int number;
  const char* name;
};
// Each is what some system or batch queue sends before it kills; SIGHUP: the terminal is gone.
constexpr Known known[] = {{SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"},   {SIGUSR1, "SIGUSR1"},
                           {SIGUSR2, "SIGUSR2"}, {SIGXCPU, "SIGXCPU"}, {SIGHUP, "SIGHUP"}};

std::atomic<int> asked{0}, deferred{0};
bool no_stdout = false;
char name[32];  // of the program; empty: another process speaks
pid_t owner;    // children that are no program of their own end in silence

const char* name_of_signal(int number) {
  for (const Known& k : known)
    if (k.number == number) return k.name;
  return number == SIGPIPE ? "nobody reads stdout" : "a signal";
}

void on_signal(int number) {  // calls only what a handler may
  int none = 0;
  if (deferred > 0 && asked.compare_exchange_strong(none, number)) return;
  if (*name && ::getpid() == owner) {
    char line[96];
    std::size_t n = 0;
    for (const char* part : {static_cast<const char*>(name), ": ", name_of_signal(number),
                             asked ? ": the second signal, ended at once\n" : ": ended\n"})
      for (; *part && n < sizeof line; part++) line[n++] = *part;
    if (::write(STDERR_FILENO, line, n) < 0) ::_exit(128 + number);
  }
  ::_exit(128 + number);
}

}  // namespace

bool stdout_missing() { return no_stdout; }

void open_missing_streams() {
  no_stdout = ::fcntl(STDOUT_FILENO, F_GETFD) < 0 && errno == EBADF;
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})  // the least that is free is given
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
        ::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) != fd)
      ::_exit(2);
}

void handle_signals(const std::string& program) {
  std::snprintf(name, sizeof name, "%s", program.c_str());
  owner = ::getpid();
  struct sigaction take {};
  take.sa_handler = on_signal;
  take.sa_flags = SA_RESTART;
  for (const Known& k : known) {
    struct sigaction before;
    // nohup's wish; a shell's "&" ignores SIGINT too, but who sends it means it
    if (k.number == SIGHUP && ::sigaction(SIGHUP, nullptr, &before) == 0 &&
        before.sa_handler == SIG_IGN)
      continue;
    ::sigaction(k.number, &take, nullptr);
  }
  for (int number : {SIGPIPE, SIGXFSZ})
    ::signal(number, SIG_IGN);  // a write that fails is
                                // noticed where it is made
}

DeferSignals::DeferSignals() { deferred++; }
DeferSignals::~DeferSignals() { deferred--; }

int end_requested() {
  if (asked == 0 && std::ferror(stdout)) {
    pollfd out{STDOUT_FILENO, POLLOUT, 0};
    if (::poll(&out, 1, 0) == 1 && out.revents & POLLERR) asked = SIGPIPE;
  }
  return asked;
}

std::string signal_name(int number) { return name_of_signal(number); }

}  // namespace fission
