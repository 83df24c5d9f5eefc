// `make gpu-check`: all that a machine without a GPU cannot say, in one report to send back, what
// says most first. Are the operations right on this device (the tests' harness, against the
// reference)? Do a training step and an RQ-SGD step give what they give on the CPU? How fast are
// they, beside a large matrix product, a large pass over memory, and PyTorch? Is the method right
// (the audit, of a network grown there and against the authors' numbers)? Status 0 if all of it
// holds, 1 if something does not, 2 and one line where there is no such device.
#include <chrono>
#include <filesystem>
#include <functional>
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

// What a child said in lines of JSON; other lines (a library's warning) are none of it
std::vector<Json> json_lines(const CommandOutput& output) {
  std::vector<Json> all;
  for (const std::string& line : output.lines)
    if (Json j = Json::parse(line, nullptr, false); j.is_object()) all.push_back(j);
  return all;
}

struct Limits {
  double tflops = 0, gbs = 0;  // a large matrix product, a large pass over memory; 0: not measured
};

Limits limits(Findings& f, const Options& o, const std::string& where, const std::string& options) {
  if (o.quick) return {};
  const CommandOutput output =
      capture_output(sibling_program("bench") + where + " --json --jobs limits" + options);
  const std::vector<Json> lines = json_lines(output);
  f.equal("", "bench --jobs limits" + options + ": exit status", output.status, 0);
  if (output.status != 0 || lines.empty()) return {};
  const Limits l{2e-3 * lines.back().at("gmacs").get<double>(), lines.back().at("gbs")};
  f.note("", "a large matrix product, TFLOP/s" + options, l.tflops);
  f.note("", "a large pass over memory, GB/s" + options, l.gbs);
  return l;
}

void speed(Findings& f, const Options& o, const std::string& where) {
  const Limits full = limits(f, o, where, ""), tf32 = limits(f, o, where, " --tf32");
  int timed = 0;
  auto time = [&](const std::string& size, const std::vector<Index>& batches,
                  const std::vector<std::string>& ways) {
    std::vector<std::vector<std::string>> rows{{"batch", "options", "job", "ms", "images/s",
                                                "TFLOP/s", "of limit", "GB/s", "of limit", "MiB"}};
    for (Index batch : batches)
      for (const std::string& way : ways) {
        const CommandOutput output = capture_output(
            sibling_program("bench") + where + " --json --widths " + size +
            text(" --jobs ", o.quick ? "train,rq-chain" : "train,rq-paper,rq-chain,eval",
                 " --batch ", batch, " ", way));
        if (output.status != 0)
          f.note("", text("not timed, ", size, ", batch ", batch, " ", way),
                 output.lines.empty() ? "it died" : output.lines.back());
        const Limits& limit = way.find("--tf32") == std::string::npos ? full : tf32;
        for (const Json& j : json_lines(output)) {
          const double ms = j.at("ms"), did = 2 * j.at("gmac").get<double>() / ms,
                       moved = 1e3 * j.at("gbyte").get<double>() / ms;
          const std::string job =
              j.at("job").get<std::string>() +
              (j.contains("matrix") ? "-" + j.at("matrix").get<std::string>() : "");
          rows.push_back({compact(batch), way, job, number(ms, 2),
                          number(j.at("images_per_second"), 0), number(did, 2),
                          limit.tflops > 0 ? percent(did / limit.tflops) : "–", number(moved, 0),
                          limit.gbs > 0 ? percent(moved / limit.gbs) : "–",
                          number(j.at("tensor_mib"), 0)});
          timed++;
        }
      }
    std::printf("\n--widths %s\n%s", size.c_str(), table(rows).c_str());
    std::fflush(stdout);
  };
  std::vector<std::string> all;  // who serves the convolutions (tests/device_settings.h)
  for (const std::string& way : convolution_list())
    all.push_back("--conv " + way + (way == "auto" ? " --autotune" : ""));
  all.push_back("--conv own --tf32");
  if (o.quick) time("0.125 --size 16 --repeat 1", {2}, all);
  else {
    time("1.0 --size 32 --repeat 20", {128, 512}, all);
    time("seed --size 32 --repeat 20", {128}, {all[0]});
    time("1.0 --size 224 --classes 1000 --repeat 10", {256}, all);
  }
  f.at_least("", "jobs that were timed", timed, 4);
}

// The same training steps by PyTorch on the same device, where it is there
void peer(Findings& f, const Options& o) {
  const std::string python = "python3 tests/peers/bench_torch.py --device cuda --only train";
  if (o.quick || capture_output("python3 -c 'import torch; torch.zeros(1).cuda()'").status != 0)
    return f.note("", "PyTorch", o.quick ? "not timed: --quick" : "not timed: none that has a GPU");
  for (const char* size :
       {"--width 1.0 --size 32 --batch 128", "--width seed --size 32 --batch 128",
        "--width 1.0 --size 224 --batch 256"})
    for (const char* way : {"", " --tf32 --channels-last", " --amp --channels-last",
                            " --amp --channels-last --compile"}) {
      const CommandOutput output = capture_output(python + " --repeat 10 " + size + way);
      f.note("", text(size, way), output.lines.empty() ? "it died" : output.lines.back());
    }
}

// Each stage has its time and its verdict, and the report holds all that was said until it is cut.
void stage(Findings& f, const std::string& title, const std::function<void()>& body) {
  using Clock = std::chrono::steady_clock;
  static const Clock::time_point begun = Clock::now();
  auto since = [](Clock::time_point then) {
    return number(std::chrono::duration<double>(Clock::now() - then).count(), 0) + " s";
  };
  const Clock::time_point start = Clock::now();
  const int held = f.held(), failed = f.failed();
  f.section(title);
  body();
  std::printf("  %d hold, %d do not; %s, %s in all\n", f.held() - held, f.failed() - failed,
              since(start).c_str(), since(begun).c_str());
  std::fflush(stdout);
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
    Findings findings(Findings::Print::prose);
    const std::string where = " --device " + shell_quoted(o.device.device) + " --threads " +
                              std::to_string(o.device.threads);
    std::printf("gpu-check of %s, %d threads\n", device.name().c_str(), compute_threads());
    run("date -u '+%Y-%m-%d %H:%M UTC'; nvidia-smi 2>/dev/null | head -n 20");
    stage(findings, "Every operation over drawn shapes, against the reference",
          [&] { operations(findings, o); });
    stage(findings, "The same steps here and on the CPU",
          [&] { against_cpu(findings, device, o.quick); });
    stage(findings, "Steps of MobileNetV1; TFLOP/s and GB/s: of what no such step can do without",
          [&] { speed(findings, o, where); });
    stage(findings, "The same training steps by PyTorch", [&] { peer(findings, o); });
    stage(findings, "A seed network trained, split and tuned here; the method's equations",
          [&] { method(findings, o, where); });
    findings.finish();
    std::printf("%s: the report to send back\n", o.report.c_str());
    failed = findings.failed();
  });
  return status ? status : failed > 0;
}
