// What every program does alike: options by CLI11, one line and status 2 for a user's mistake,
// threads and device.
#pragma once
#include <CLI/CLI.hpp>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <iostream>

#include "runners/common/ends.h"
#include "runners/common/numbers.h"
#include "tensor/backend.h"
#include "tensor/comm.h"
#include "tensor/launch.h"
#include "tensor/threads.h"

namespace fission {

constexpr int status_user_error = 2, status_broken = 1;

// What a program that wants more memory than there is ends with, wherever it was
inline std::string no_memory(const std::exception& e) {
  return text("[memory] the system's memory: there is no more (", e.what(),
              "); expected a smaller batch (or network, or file), or more memory");
}

// Parses, runs body, and turns what it throws into the two kinds of error text (tensor/check.h).
// start: `processes` where several may share the work; else MPI is not started, and of several that
// were launched the first alone does anything. Of several processes the first alone writes to
// stdout; an error that all came to is its to tell, and one that a process came to alone ends all
// of them.
template <class Body>
int run_program(CLI::App& app, int argc, char** argv, Body body, Comm& (*start)() = alone) {
  if (start == alone && launch_rank() > 0) return 0;
  open_missing_streams();
  take_signals(app.get_name());
  set_compute_threads(1);  // until the program says more
  Comm* comm = &alone();
  auto fail = [&](const std::string& what, int status) {
    std::fflush(stdout);
    const bool all = comm->all_here_within(3);  // seconds
    if (!all)
      std::cerr << text(app.get_name(), ": process ", comm->rank(), " of ", comm->size(), ": ",
                        what, "\n")
                << std::flush;
    else if (comm->rank() == 0) std::cerr << app.get_name() << ": " << what << std::endl;
    if (!all) comm->abort(status);
    return status;
  };
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // into a file too a line is there when it is
                                                  // said, and stays when the program is killed
  auto done = [&] {
    if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return 0;
    return fail("stdout: not all could be written, expected a place with room or a reader",
                status_user_error);
  };
  try {
    comm = &start();
    if (comm->rank() > 0 && !std::freopen("/dev/null", "w", stdout))
      return fail("/dev/null can't be opened", status_broken);
    if (comm->size() > 1) take_signals("");  // an abort ends the others so, and its reason is told
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return done();
  } catch (const CLI::ParseError& e) {
    return fail(std::string(e.what()) + " (" + app.get_name() + " --help shows the options)",
                status_user_error);
  } catch (const UserError& e) {
    return fail(e.what(), status_user_error);
  }
  try {
    body();
    return done();
  } catch (const Stopped& e) {
    return fail(e.what(), 128 + e.signal);
  } catch (const UserError& e) {
    return fail(e.what(), status_user_error);
  } catch (const std::bad_alloc& e) {
    return fail(no_memory(e), status_user_error);
  } catch (const std::length_error& e) {  // of a container: more than there can be
    return fail(no_memory(e), status_user_error);
  } catch (const std::exception& e) {
    return fail(std::string("internal error: ") + e.what(), status_broken);
  }
}

// "20G" → "21474836480": what an option of so many bytes is given
inline CLI::Validator memory_size() {
  return CLI::Validator(
      [](std::string& s) {
        const std::string digits = s.substr(0, s.find_first_not_of("0123456789")),
                          unit = s.substr(digits.size());
        const std::size_t power =
            unit.empty()
                ? 0
                : std::string("KMGT").find(char(std::toupper(unit[0]))) + 1;  // 0: no unit of these
        const bool known = !digits.empty() && digits.size() <= 15 && unit.size() <= 1 &&
                           (unit.empty() || power > 0);
        const double bytes = known ? std::stod(digits) * std::pow(1024.0, double(power)) : 0;
        if (!known || bytes > 1e15)
          return text("'", s, "': expected bytes up to 1e15, or 500M, 20G (of 1024)");
        s = std::to_string(std::size_t(bytes));
        return std::string();
      },
      "", "");
}

struct DeviceOptions {
  std::string device = "auto";
  int threads = 0;
  DeviceSettings settings;  // of a GPU; a device that is none has no use for them
  std::string threads_line;
  void add_to(CLI::App& app) {
    app.add_option("--device", device,
                   "where to compute: " + device_list() + "; auto: the first GPU, else the CPU")
        ->capture_default_str();
    app.add_option("--threads", threads,
                   "threads to compute with; 0: as many as the affinity mask, the cgroup's CPU "
                   "quota, SLURM_CPUS_PER_TASK, OMP_NUM_THREADS and OMP_THREAD_LIMIT all allow, "
                   "shared by the processes of a machine. The same number gives the same bits")
        ->capture_default_str()
        ->check(in_range(0, 4096));
    app.add_option("--conv", settings.convolution,
                   "depthwise convolutions by own kernels, by the library; auto: own, or with "
                   "--autotune the faster")
        ->capture_default_str()
        ->check(CLI::IsMember(convolution_list()))
        ->group("GPU");
    app.add_flag("--autotune", settings.autotune,
                 "choose convolution algorithms by timing them, so not the same in each run")
        ->group("GPU");
    app.add_flag("--tf32", settings.tf32, "let products round their inputs to TF32's 10 bits")
        ->group("GPU");
    app.add_flag_callback(
           "--no-deterministic", [this] { settings.deterministic = false; },
           "allow algorithms that do not give the same bits in each run")
        ->group("GPU");
    app.add_option(
           "--memory-limit", settings.memory_limit,
           "take at most so much of its memory: bytes, or 500M, 20G (of 1024); 0: all there is")
        ->capture_default_str()
        ->transform(memory_size())
        ->group("GPU");
  }
  // Sets the threads up. The first line that a program prints is of them, unless it prints JSON;
  // silent: it prints threads_line itself, once its files are read.
  Backend& open(Comm& comm = alone(), bool silent = false) {
    const ThreadCount allowed = threads_allowed(comm);
    const int wanted = threads > 0 ? threads : allowed.number, had = set_compute_threads(wanted);
    DeviceSettings mine = settings;
    mine.process = comm.place();
    Backend& backend = open_backend(device, mine);
    const std::string from = had < wanted  ? text("OpenMP gives no more of ", wanted)
                             : threads > 0 ? "--threads"
                                           : allowed.from;
    threads_line =
        text(backend.name(), ", ", had, had == 1 ? " thread (" : " threads (", from, ")");
    if (!silent) std::printf("%s\n", threads_line.c_str());
    if (had > allowed.number && comm.first())
      std::fprintf(stderr, "warning: --threads %d: slow, more than the %d of %s\n", had,
                   allowed.number, allowed.from.c_str());
    return backend;
  }
};

}  // namespace fission
