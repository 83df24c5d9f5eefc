// What a step costs, and how far that is from the machine's limits: training step (the very one the
// runners take), RQ-SGD step by both matrices, evaluation, and the loader's share. Each job runs in
// a process of its own, so that peak memory is its own, and under mpirun in the processes
// themselves. Medians; images/s of the mean step, which is what the runners log (loader: the same
// step). Floors: arithmetic at the rate of a large matrix product; bytes at the rate of a large
// copy.
#include <dlfcn.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "nn/io/json.h"
#include "runners/bench/jobs.h"
#include "runners/common/console.h"

namespace {
using namespace fission;
using Json = nlohmann::ordered_json;
std::atomic<Index> parallel_regions{0};
}  // namespace

// GNU's OpenMP enters every parallel region by this symbol, oneDNN's regions, too. A program's own
// symbol comes before a library's; the call goes on to the library.
extern "C" void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags) {
  static const auto library =
      reinterpret_cast<decltype(&GOMP_parallel)>(dlsym(RTLD_NEXT, "GOMP_parallel"));
  if (threads != 1) parallel_regions++;  // 1: an `if` clause says that one thread does it
  library(body, data, threads, flags);
}

namespace {

// in a process of its own; what it prints is one line of JSON, or its error
Json in_child(const std::string& job, const std::string& width, const BenchOptions& o) {
  int ends[2];
  const bool piped = pipe(ends) == 0;
  const pid_t child = piped ? fork() : -1;
  if (child < 0)
    user_error("[bench] the system gives no other process (", std::strerror(errno),
               "), expected one for each job (ulimit -u, ulimit -n)");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // none goes on when the program is ended
    std::string line;
    try {
      line = json_text(measure(job, width, o));
    } catch (const std::bad_alloc& e) {
      line = json_text(Json{{"error", no_memory(e)}});
    } catch (const std::exception& e) {
      line = json_text(Json{{"error", e.what()}});
    }
    ssize_t written = write(ends[1], line.data(), line.size());
    _exit(written == ssize_t(line.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, std::size_t(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && text.empty())
    user_error("[bench] the job ", job, " ", width, " was ended with status ", WEXITSTATUS(status),
               " by a library or the system, expected its result");
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
    user_error("[bench] the job ", job, " ", width,
               " was killed, expected as much memory as it takes: a smaller --batch?");
  FISSION_CHECK(status == 0, "[bench] the job ", job, " ", width, " died with wait status ",
                status);
  Json j = Json::parse(text);
  if (j.contains("error")) user_error(j.at("error").get<std::string>());
  return j;
}

// Of a job, the longest first. gmacs, gbs: the machine's limits; 0: not known
void print_operations(const Json& job, double gmacs, double gbs) {
  std::vector<Json> operations = job.at("operations");
  std::sort(operations.begin(), operations.end(),
            [](const Json& a, const Json& b) { return a.at("ms") > b.at("ms"); });
  double all = 0;
  for (const Json& o : operations) all += double(o.at("ms"));
  std::vector<std::vector<std::string>> rows{
      {"operation", "calls", "regions", "ms", "of the step", "GMAC/s", "GB/s", "share of floor"}};
  for (const Json& o : operations) {
    const double ms = o.at("ms"), gmac = o.at("gmac"), gbyte = o.at("gbyte");
    rows.push_back({o.at("name"), number(o.at("calls"), 0), number(o.at("regions"), 0),
                    number(ms, 2), percent(ms / all), gmac > 0 ? number(gmac / ms * 1e3, 1) : "–",
                    number(gbyte / ms * 1e3, 1),
                    gmacs > 0 ? percent(std::max(gmac / gmacs, gbyte / gbs) * 1e3 / ms) : "–"});
  }
  std::printf("%s of %s, operation by operation:\n%s\n", std::string(job.at("job")).c_str(),
              std::string(job.at("width")).c_str(), table(rows).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  CommandLine app{
      "Times training and RQ-SGD steps of a MobileNet, and says how far they are from the "
      "machine's limits.",
      "bench"};
  BenchOptions o;
  o.regions = [] { return parallel_regions.load(); };
  app.add_option("--batch", o.batch, "images a step")
      ->capture_default_str()
      ->check(in_range(1, 65536));
  app.add_option("--size", o.size, "side of the images; over 64 the first convolution has stride 2")
      ->capture_default_str()
      ->check(in_range(16, 1024));
  app.add_option("--classes", o.classes, "of the classifier")
      ->capture_default_str()
      ->check(in_range(2, 100000));
  app.add_option("--model", o.model, "mobilenet_v1 or mobilenet_v2")->capture_default_str();
  app.add_option("--widths", o.widths,
                 "comma-separated: seed, imagenet-seed, a factor, or one with +N: N more channels "
                 "everywhere")
      ->capture_default_str();
  app.add_option("--jobs", o.jobs,
                 "comma-separated: limits, decode, train, rq-paper, rq-chain, eval, loader")
      ->capture_default_str();
  app.add_option("--repeat", o.repeat, "steps of which the median is taken")
      ->capture_default_str()
      ->check(in_range(1, 10000));
  app.add_flag("--profile", o.profile,
               "after each job a table of its operations: how often, how long, how far from the "
               "machine's limits, how many parallel regions they entered (waits after each, which "
               "costs a little)");
  app.add_flag("--json", o.json, "one JSON object a line");
  o.device.add_to(app);
  auto body = [&] {
    double gmacs = 0, gbs = 0;
    std::vector<std::vector<std::string>> rows{
        {"job", "width", "ms", "of training", "floor: arithmetic", "bytes", "share of floor",
         "ns a kMAC", "images/s", "waiting", "peak MiB", "tensors MiB"}};
    const auto jobs = split_at(o.jobs, ','), widths = split_at(o.widths, ',');
    check_names(jobs, widths, o.model);
    if (std::all_of(jobs.begin(), jobs.end(),
                    [](const std::string& job) { return job == "limits" || job == "decode"; }))
      app.warn_unused({"--model", "--widths", "--size", "--classes", "--batch"},
                      "--jobs " + o.jobs + ", of the machine alone");
    for (const std::string& width : widths) {
      double train_ms = 0;
      for (const std::string& job : jobs) {
        if ((job == "limits" || job == "decode") && width != widths.front())
          continue;  // of the machine, not of a network
        Json j = processes().size() > 1
                     ? measure(job, width, o)
                     : in_child(job, width,
                                o);  // a child cannot take its parent's place among processes
        o.quiet = true;
        if (job == "limits") gmacs = j.at("gmacs"), gbs = j.at("gbs");
        if (o.json) {
          std::printf("%s\n", json_text(j).c_str());
          std::fflush(stdout);
          continue;
        }
        if (job == "limits") {
          std::printf(
              "machine: %.0f GMAC/s in a large matrix product, %.1f GB/s in a large pass over "
              "memory, %ld threads\n",
              gmacs, gbs, long(j.at("threads")));
          continue;
        }
        if (job == "decode") {
          for (const char* decoder : {"libjpeg-turbo", "stb_image"})
            if (j.contains(decoder))
              std::printf(
                  "JPEG of 500x375, %.0f KiB, by %s: %.0f decoded a second and core; %.0f read, "
                  "decoded, cropped at random to %ldx%ld and normalised\n",
                  double(j.at("kib")), decoder, double(j.at(decoder).at("decode_a_second")),
                  double(j.at(decoder).at("crop_a_second")), long(j.at("size")),
                  long(j.at("size")));
          continue;
        }
        const bool limits = gmacs > 0;
        double ms = j.at("ms"), arithmetic = limits ? double(j.at("gmac")) / gmacs * 1e3 : 0,
               bytes = limits ? double(j.at("gbyte")) / gbs * 1e3 : 0;
        if (job == "train") train_ms = ms;
        rows.push_back({job, width, number(ms, 1), train_ms > 0 ? number(ms / train_ms, 2) : "–",
                        limits ? number(arithmetic, 1) : "–", limits ? number(bytes, 1) : "–",
                        limits ? percent(std::max(arithmetic, bytes) / ms) : "–",
                        number(ms * 1e9 / double(o.batch) / double(j.at("macs_per_image")), 3),
                        number(j.at("images_per_second"), 0),
                        j.contains("waiting") ? percent(j.at("waiting")) : "–",
                        number(j.at("peak_mib"), 0), number(j.at("tensor_mib"), 0)});
        if (o.profile) print_operations(j, gmacs, gbs);
      }
    }
    if (!o.json)
      std::printf(
          "%s, batch %ld, %ldx%ld, medians of %ld steps (images/s: of their mean; loader: of 100 "
          "steps at least, 25 of images over 64x64; waiting: the network for the loader)\n%s",
          o.model.c_str(), long(o.batch), long(o.size), long(o.size), long(o.repeat),
          table(rows).c_str());
  };
  return run_program(app, argc, argv, body, processes);
}
