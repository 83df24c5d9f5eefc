// `make gpu-check`: all that a machine without a GPU cannot say, in one report to send back. Are
// the operations right on this device (the tests' harness, against the reference)? Is the method
// (the audit, of a network grown there and against the authors' numbers)? Do a training step and an
// RQ-SGD step give what they give on the CPU? How fast are they, beside a large matrix product and
// a large pass over memory? Status 0 if all of it holds, 1 if something does not, 2 and one line
// where there is no such device.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runners/bench/device_steps.h"
#include "runners/common/children.h"
#include "runners/common/console.h"
#include "runners/common/program.h"
#include "tensor/eigen.h"
#include "tensor/threads.h"

namespace {
using namespace fission;
namespace fs = std::filesystem;

struct Options {
  DeviceOptions device;
  std::string report = "build/gpu-check.txt", dataset = "fashion-mnist", data;
  bool quick = false;
};

// ---- Right?

void operations(Findings& f, const Options& o) {
  f.section("Every operation over drawn shapes, against the reference");
  const std::string cases =
      o.quick ? "backends: copies*"
              : "backends: every operation*,backends: copies*,backends: the same operation*";
  for (const std::string& way :
       convolution_list()) {  // who serves the convolutions (tests/device_settings.h)
    if (way == "auto") continue;
    const std::string on = "FISSION_TEST_DEVICE=" + shell_quoted(o.device.device) +
                           " FISSION_TEST_SETTINGS=" + way + " ";
    f.equal("", "tests, --conv " + way + ": exit status",
            run(on + sibling_program("tests") + " --no-colors=true -tc=" + shell_quoted(cases)), 0);
  }
}

void method(Findings& f, const Options& o, const std::string& where) {
  const std::string small =
      "--first 32 --epochs 1 --tune-epochs 1 --rq-epochs 1 --rounds 1 --batch 16 --rq-batch 16 "
      "--widths " +
      four_wide;
  const std::string growth =
      o.quick ? small + " --check-images 16"
              : "--first 12800 --epochs 2 --tune-epochs 1 --rq-epochs 1 --rounds 1";
  const std::string audit =
      sibling_program("audit") +
      (o.quick ? " --few 2 --batches 1 --batch 4 --passes 1 --rq-batch 4 --neurons 1" : "") + where;
  const std::string data = " --dataset " + shell_quoted(o.dataset) +
                           (o.data.empty() ? "" : " --data " + shell_quoted(o.data)),
                    folder = o.report + ".run";
  f.section("A seed network trained, split and tuned on the device");
  fs::remove_all(folder);
  const int grown = run(sibling_program("cifar") + " " + growth + data + " --out " +
                        shell_quoted(folder) + where);
  f.equal("", "cifar: exit status", grown, 0);
  if (!have_eigen()) return f.note("", "the audit", "not run: this build has no Eigen");
  if (grown == 0)
    f.equal("", "audit of it: exit status",
            run(audit + data + " " + shell_quoted(folder + "/round-1.safetensors")), 0);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator("tests/reference"))
    if (entry.path().extension() == ".safetensors" &&
        (!o.quick || entry.path().stem() == "train_step_small"))
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files)
    f.equal("", "audit --reference " + file.filename().string() + ": exit status",
            run(sibling_program("audit") + where + " --reference " + shell_quoted(file.string())),
            0);
}

// ---- Fast?

using Json = nlohmann::json;
struct Speed {
  double tflops = 0,
         gbs = 0;  // of a large matrix product, of a large pass over memory; 0: not measured
  std::vector<std::vector<std::string>> rows{{"batch", "options", "job", "ms", "images/s",
                                              "TFLOP/s", "of limit", "GB/s", "of limit", "MiB"}};
  void add(const Json& j, const std::string& options) {  // a line of bench
    const double ms = j.at("ms"), did = 2 * j.at("gmac").get<double>() / ms,
                 moved = 1e3 * j.at("gbyte").get<double>() / ms;
    const std::string job = j.at("job").get<std::string>() +
                            (j.contains("matrix") ? "-" + j.at("matrix").get<std::string>() : "");
    rows.push_back({compact(j.at("batch")), options, job, number(ms, 2),
                    number(j.at("images_per_second"), 0), number(did, 2),
                    tflops > 0 ? percent(did / tflops) : "–", number(moved, 0),
                    gbs > 0 ? percent(moved / gbs) : "–", number(j.at("tensor_mib"), 0)});
  }
};

void speed(Findings& f, const Options& o, const std::string& where) {
  const std::string sizes =
      o.quick ? "0.125 --size 16 --repeat 1" : "1.0 --size 224 --classes 1000 --repeat 20";
  const std::string bench = sibling_program("bench") + where + " --json --widths " + sizes;
  f.section(text("Steps of MobileNetV1, width and size ", sizes,
                 "; TFLOP/s and GB/s: of what no such step can do without"));
  Speed speed;
  if (!o.quick) {
    CommandOutput limits = capture_output(bench + " --jobs limits");
    f.equal("", "bench, the limits: exit status", limits.status, 0);
    if (limits.status == 0) {
      const Json j = Json::parse(limits.lines.back());
      speed.tflops = 2e-3 * j.at("gmacs").get<double>(), speed.gbs = j.at("gbs");
    }
    f.note("", "a large matrix product, TFLOP/s", speed.tflops);
    f.note("", "a large pass over memory, GB/s", speed.gbs);
  }
  auto time = [&](Index batch, const std::string& options) {
    CommandOutput output = capture_output(
        bench + text(" --jobs ", o.quick ? "train,rq-chain" : "train,rq-paper,rq-chain,eval",
                     " --batch ", batch, " ", options));
    if (output.status != 0)
      return f.note("", text("not timed, batch ", batch, " ", options),
                    output.lines.empty() ? "it died" : output.lines.back());
    for (const std::string& line : output.lines)
      if (line.rfind("{", 0) == 0) speed.add(Json::parse(line), options);
  };
  const std::vector<Index> batches =
      o.quick ? std::vector<Index>{2} : std::vector<Index>{32, 64, 128, 256};
  for (Index batch : batches)
    for (const std::string& way : convolution_list())
      if (way != "auto") time(batch, "--conv " + way);
  for (const char* options : {"--conv auto --autotune", "--conv own --tf32"})
    time(batches.back(), options);
  std::printf("%s", table(speed.rows).c_str());
  f.at_least("", "jobs that were timed", double(speed.rows.size() - 1), 4);
}

}  // namespace

int main(int argc, char** argv) {
  CommandLine app{
      "Checks and times everything on a GPU, and writes one report; status 0 only if all of it "
      "holds, 1 if not.",
      "gpu_check"};
  Options o;
  o.device.device = "cuda";
  app.add_option("--report", o.report,
                 "the file to send back; beside it, with .run behind, the run of a small growth")
      ->capture_default_str();
  app.add_option("--dataset", o.dataset, "of the small growth")->capture_default_str();
  app.add_option("--data", o.data,
                 "folder of its files; default: where the system's package puts it");
  app.add_flag("--quick", o.quick, "tiny sizes: does it run at all?");
  o.device.add_to(app);
  int failed = 0;
  int status = run_program(app, argc, argv, [&] {
    Backend& device = o.device.open();
    Tee tee(o.report);
    Findings findings(false);
    const std::string where = " --device " + shell_quoted(o.device.device) + " --threads " +
                              std::to_string(o.device.threads);
    std::printf("gpu-check of %s, %d threads\n", device.name().c_str(), compute_threads());
    run("date -u '+%Y-%m-%d %H:%M UTC'; nvidia-smi 2>/dev/null | head -n 20");
    operations(findings, o);
    method(findings, o, where);
    against_cpu(findings, device, o.quick);
    speed(findings, o, where);
    findings.finish();
    std::printf("%s: the report to send back\n", o.report.c_str());
    failed = findings.failed();
  });
  return status ? status : failed > 0;
}
