// What every program does alike: one line and status 2 for a user's mistake, threads and device.
#pragma once
#include <functional>
#include <string>

#include "runners/common/command_line.h"
#include "tensor/backend.h"
#include "tensor/comm.h"

namespace fission {

constexpr int status_user_error = 2, status_broken = 1;

// What a program that wants more memory than there is ends with, wherever it was
std::string no_memory(const std::exception& e);

// Parses, runs body, and turns what it throws into the two kinds of error text (tensor/check.h).
// start: `processes` where several may share the work; else MPI is not started, and of several that
// were launched the first alone does anything. Of several processes the first alone writes to
// stdout; an error that all came to is its to tell, and one that a process came to alone ends all
// of them.
int run_program(CommandLine& app, int argc, char** argv, const std::function<void()>& body,
                Comm& (*start)() = alone);

struct DeviceOptions {
  std::string device = "auto";
  int threads = 0;
  DeviceSettings settings;  // of a GPU; a device that is none has no use for them
  std::string threads_line;
  void add_to(CommandLine& app);
  // Sets the threads up, and says in threads_line how many there are and why: the first line that a
  // program prints.
  Backend& open(Comm& comm = alone());
  void print_threads() const;

 private:
  CommandLine* app_ = nullptr;
};

}  // namespace fission
