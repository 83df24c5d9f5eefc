// What every program does alike: options by CLI11, one line and status 2 for a user's mistake, threads and device.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "tensor/backend.h"
#include "tensor/comm.h"
#include "tensor/threads.h"

namespace fission {

constexpr int status_user_error = 2, status_broken = 1;

// Parses, runs body, and turns what it throws into the two kinds of error text (DESIGN: Errors). Of several processes the
// first alone writes to stdout; an error that all came to is its to tell, and one that a process came to alone ends all of them.
template <class Body>
int run_program(CLI::App& app, int argc, char** argv, Body body) {
  Comm* comm = &alone();
  auto fail = [&](const std::string& what, int status) {
    std::fflush(stdout);
    const bool all = comm->all_here_within(3);  // seconds
    if (!all) std::cerr << text(app.get_name(), ": process ", comm->rank(), " of ", comm->size(), ": ", what, "\n") << std::flush;
    else if (comm->rank() == 0) std::cerr << app.get_name() << ": " << what << std::endl;
    if (!all) comm->abort(status);
    return status;
  };
  try {
    comm = &processes();
    if (comm->rank() > 0 && !std::freopen("/dev/null", "w", stdout)) return fail("/dev/null can't be opened", status_broken);
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return 0;
  } catch (const CLI::ParseError& e) {
    return fail(std::string(e.what()) + " (" + app.get_name() + " --help shows the options)", status_user_error);
  } catch (const UserError& e) {
    return fail(e.what(), status_user_error);
  }
  try {
    body();
    return 0;
  } catch (const UserError& e) {
    return fail(e.what(), status_user_error);
  } catch (const std::exception& e) {
    return fail(std::string("internal error: ") + e.what(), status_broken);
  }
}

struct DeviceOptions {
  std::string device = "auto";
  int threads = 0;
  void add_to(CLI::App& app) {
    app.add_option("--device", device, "where to compute: " + device_list())->capture_default_str();
    app.add_option("--threads", threads, "threads to compute with; 0: all processors, shared by the processes of a machine. The same number gives the same bits")
        ->capture_default_str()->check(CLI::Range(0, 4096));
  }
  Backend& open() const {
    set_compute_threads(threads > 0 ? threads : threads_a_process(processes().neighbours()));
    return open_backend(device);
  }
};

}  // namespace fission
