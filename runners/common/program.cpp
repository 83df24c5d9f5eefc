#include "runners/common/program.h"

#include <cstdio>
#include <iostream>

#include "runners/common/renamed.h"
#include "runners/common/signals.h"
#include "tensor/check.h"
#include "tensor/launch.h"
#include "tensor/threads.h"

namespace fission {

std::string no_memory(const std::exception& e) {
  return text("[memory] the system's memory: there is no more (", e.what(),
              "); expected a smaller batch (or network, or file), or more memory");
}

int run_program(CommandLine& app, int argc, char** argv, const std::function<void()>& body,
                Comm& (*start)()) {
  if (start == alone && launch_rank() > 0) return 0;
  open_missing_streams();
  handle_signals(app.get_name());
  set_compute_threads(1);  // until the program says more
  Comm* comm = &alone();
  auto fail = [&](const std::string& what, int status) {
    std::fflush(stdout);
    const bool all = comm->all_here_within(3);  // seconds
    const std::string who = all ? "" : text("process ", comm->rank(), " of ", comm->size(), ": ");
    // at once: what another process says may not come between
    if (!all || comm->rank() == 0) std::cerr << text(app.get_name(), ": ", who, what, "\n");
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
    if (comm->size() > 1)
      handle_signals("");  // an abort ends the others so, and its reason is told
    refuse_renamed_options(app, argc, argv);
    if (!app.parse(argc, argv)) return done();
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

void DeviceOptions::add_to(CommandLine& app) {
  app_ = &app;
  app.add_option("--device", device,
                 "where to compute: " + device_list() + "; auto: the first GPU, else the CPU")
      ->capture_default_str();
  app.add_option("--threads", threads,
                 "threads to compute with; 0: as many as the affinity mask, the cgroup's CPU "
                 "quota, SLURM_CPUS_PER_TASK, OMP_NUM_THREADS, OMP_THREAD_LIMIT, OMP_PLACES and "
                 "GOMP_CPU_AFFINITY all allow, "
                 "shared by the processes of a machine. The same number gives the same bits")
      ->capture_default_str()
      ->check(in_range(0, 4096));
  app.add_option("--conv", settings.convolution,
                 "depthwise convolutions by own kernels, by the library; auto: own, or with "
                 "--autotune the faster")
      ->capture_default_str()
      ->check(is_member(convolution_list()))
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
      ->check(memory_size())
      ->group("GPU");
}
Backend& DeviceOptions::open(Comm& comm) {
  const ThreadCount allowed = threads_allowed(comm);
  const int wanted = threads > 0 ? threads : allowed.number, had = set_compute_threads(wanted);
  DeviceSettings mine = settings;
  mine.process = comm.place();
  Backend& backend = open_backend(device, mine);
  if (app_ && comm.first() && backend.name().find("cuda") == std::string::npos)
    app_->warn_unused({"GPU"}, backend.name() + " is no GPU");
  const std::string from = had < wanted  ? text("OpenMP gives no more of ", wanted)
                           : threads > 0 ? "--threads"
                                         : allowed.from;
  threads_line = text(backend.name(), ", ", had, had == 1 ? " thread (" : " threads (", from, ")");
  if (!allowed.ignored.empty() && threads == 0 && comm.first())
    std::fprintf(stderr, "warning: %s: expected a number of processors, ignored\n",
                 one_line(allowed.ignored).c_str());
  if (had > allowed.number && comm.first())
    std::fprintf(stderr, "warning: --threads %d: slow, more than the %d of %s\n", had,
                 allowed.number, allowed.from.c_str());
  return backend;
}
void DeviceOptions::print_threads() const { std::printf("%s\n", threads_line.c_str()); }

}  // namespace fission
