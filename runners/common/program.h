// What every program does alike: options by CLI11, one line and status 2 for a user's mistake, threads and device.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "tensor/backend.h"
#include "tensor/threads.h"

namespace fission {

constexpr int status_user_error = 2, status_broken = 1;

// Parses, runs body, and turns what it throws into the two kinds of error text (DESIGN: Errors).
template <class Body>
int run_program(CLI::App& app, int argc, char** argv, Body body) {
  auto fail = [&](const std::string& what, int status) {
    std::fflush(stdout);
    std::cerr << app.get_name() << ": " << what << std::endl;
    return status;
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return 0;
  } catch (const CLI::ParseError& e) {
    return fail(std::string(e.what()) + " (" + app.get_name() + " --help shows the options)", status_user_error);
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
    app.add_option("--threads", threads, "threads to compute with; 0: all processors. The same number gives the same bits")
        ->capture_default_str()->check(CLI::Range(0, 4096));
  }
  Backend& open() const {
    set_compute_threads(threads);
    return open_backend(device);
  }
};

}  // namespace fission
