// Runs the programs that were built beside the tests: arguments in; both outputs, and how it ended,
// out.
#pragma once
#include <csignal>
#include <cstdint>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace fission {
namespace test {

// What stands on a command line: a list, or one text that is split at its spaces
struct Arguments : std::vector<std::string> {
  using std::vector<std::string>::vector;
  Arguments(const char* line) {
    std::istringstream words(line);
    for (std::string word; words >> word;) push_back(word);
  }
};
inline Arguments operator+(Arguments a, const Arguments& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Launch {
  std::string program;  // "cifar"
  Arguments arguments;
  std::string crash_at =
      "";  // FISSION_CRASH_AT (nn/io/files.h); never handed on from the tests' own environment
  std::uint64_t largest_file =
      0;  // bytes: a write beyond them fails, as on a full disk; 0: no limit
  std::uint64_t most_memory = 0;       // bytes of address space; 0: no limit
  std::string directory = "";          // to start in
  double kill_after = 0;               // seconds until it is sent a signal; 0: left alone
  std::string kill_on = "";            // or: when this stands in what it wrote to stdout
  int kill_with = SIGKILL, kills = 1;  // 3 ms apart; others than SIGKILL once
                                       // the program answers them
  Arguments environment = {};          // "NAME=value", besides the tests' own
  std::function<void()> before = {};   // in the child, before the program: only what is safe there
};

struct ProcessResult {
  std::string out, err;
  int status = -1;  // of exit; −1 after a signal
  int signal = 0;
  bool too_long = false;  // it was ended because it took minutes
  double seconds = 0;
};

ProcessResult launch(const Launch& what);
inline ProcessResult launch(const std::string& program, const Arguments& arguments) {
  return launch(Launch{program, arguments});
}

bool instrumented();  // built with a sanitizer, so several times slower: the tests that repeat
                      // repeat less

}  // namespace test
}  // namespace fission
