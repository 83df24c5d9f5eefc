// Facts of gpu_check, the report of a machine with a GPU: it runs to its end, on a GPU's double
// where the build has one, and holds what was said.
#include "tests/cuda/module.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {
constexpr const char* module_variable =
    "FISSION_CUDA_MODULE";  // what the programs that are launched take for the GPU's
}

TEST_CASE("gpu_check: where there is no GPU it says so in one line, and writes no report") {
  Folder folder;
  testing::EnvironmentVariable nowhere(module_variable, "/nowhere/fission_cuda.so");
  check_refused(launch("gpu_check", {"--report", folder / "report"}),
                {"gpu_check: [device] cuda: /nowhere/fission_cuda.so is not there"});
  CHECK_FALSE(std::filesystem::exists(folder / "report"));
}

TEST_CASE("gpu_check: a report that cannot be written is refused before the work") {
  check_refused(launch("gpu_check", "--device reference --report /nowhere/report"),
                {"/nowhere/report: cannot be written: No such file"});
}

TEST_CASE("gpu_check: it checks and times everything, and the report holds all that was said") {
  if (instrumented()) return;  // eight programs, minutes in a slow build
  Folder folder;
  const bool gpu = testing::have_fake();
  testing::EnvironmentVariable module(module_variable, testing::fake_path());
  ProcessResult e = launch(
      "gpu_check", {"--quick", "--device", gpu ? "cuda" : "reference", "--dataset", "fashion-mnist",
                    "--data", images() / "idx", "--threads", "1", "--report", folder / "report"});
  require_done(e);
  CHECK(e.out == read_file(folder / "report"));
  CHECK(e.err == "");
  for (const char* part :
       {"\n✓      tests, --conv own: exit status: 0, expected 0",
        "\n✓      tests, --conv cudnn: exit status: 0, expected 0",
        "\n✓      cifar: exit status: 0", "\n✓      gradient of all parameters",
        "\n✓      its square norm and central differences", "\n✓      training: losses",
        "\n✓      RQ-SGD, chain's matrix", "--conv own ", "--conv cudnn ",
        "--conv auto --autotune ", "--conv own --tf32 ", "train ", "rq-chain ",
        "PyTorch: not timed: --quick", "\n  5 hold, 0 do not; ", "statements hold, 0 do not"}) {
    CAPTURE(part);
    CHECK(e.out.find(part) != std::string::npos);
  }
  check_all_covered("gpu_check",
                    {"--report", "--dataset", "--data", "--quick", "--device", "--threads"});
  check_defaults_shown("gpu_check");
}
