// Facts of machines on which a GPU cannot be used, told by whole programs that the fake lies to:
// one line each, status 2, and nothing begun; --device auto takes the CPU and says why. And of a
// GPU that fails amid a run: the checkpoint is whole, and the same command goes on.
#include "tensor/cuda/open.h"
#include "tests/cuda/module.h"
#include "tests/runners/growth.h"

using namespace fission;
using namespace fission::test;
using testing::fake_path, testing::EnvironmentVariable, testing::have_fake;

namespace {

ProcessResult grow(const std::string& out, const Arguments& more, const std::string& settings,
                   const std::string& module = fake_path()) {
  EnvironmentVariable where("FISSION_CUDA_MODULE", module), how("FISSION_FAKE", settings);
  return launch("cifar", tiny_growth(out, more));
}

struct Case {
  const char *settings, *device, *line;
};
const Case cases[] = {
    {"no_driver", "cuda", "no NVIDIA driver was found (cudaErrorInsufficientDriver (35)"},
    {"old_driver", "cuda", "the NVIDIA driver is too old: it serves CUDA 11.0, this build needs "},
    {"stub", "cuda", "libcuda is the toolkit's stub, not a driver's"},
    {"no_device", "cuda", "a driver, but no GPU that this process may see"},
    {"no_image", "cuda", "the GPU is sm_80: make cuda CUDA_ARCH=80"},
    {"no_image,capability=61", "cuda", "the GPU is sm_61: make cuda CUDA_ARCH=61"},
    {"no_cublas", "cuda", "CUBLAS_STATUS_NOT_INITIALIZED"},
    {"no_cudnn", "cuda", "CUDNN_STATUS_NOT_INITIALIZED"},
    {"devices=1", "cuda:1", "there is 1 GPU, numbered from 0"},
    {"devices=2", "cuda:2", "there are 2 GPUs, numbered from 0"},
    {"devices=1", "cuda:x", "expected cuda, or cuda:K with the number of a GPU"},
    {"lost_after=0", "cuda", "cudaErrorLaunchFailure (719)"},
};

}  // namespace

TEST_CASE("no gpu: each way of having none is one line, and nothing is begun" *
          doctest::skip(!have_fake())) {
  for (const Case& c : cases) {
    CAPTURE(std::string(c.settings));
    Folder folder;
    check_refused(grow(folder / "run", {"--device", c.device}, c.settings),
                  {std::string("[device] "), c.line});
    CHECK_FALSE(std::filesystem::exists(folder / "run"));
  }
}

TEST_CASE("no gpu: a module that is not there, or is none, is one line") {
  Folder folder;
  const std::string text = folder.write("fission_cuda.so", Bytes{'n', 'o', 'n', 'e'});
  check_refused(grow(folder / "run", "--device cuda", "", "/nowhere/fission_cuda.so"),
                {"[device] cuda: /nowhere/fission_cuda.so is not there"});
  check_refused(grow(folder / "run", "--device cuda", "", text),
                {"[device] cuda: " + text + " cannot be loaded: "});
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

TEST_CASE("no gpu: cuDNN there at the build and gone at the run is one line that names it" *
          doctest::skip(!have_fake())) {
  Folder folder;
  std::ifstream file(fake_path(), std::ios::binary);
  Bytes module(std::istreambuf_iterator<char>(file),
               {});  // with another name for the library it needs
  const std::string needed = "libcudnn.so.", gone = "libgoner.so.";
  auto at = std::search(module.begin(), module.end(), needed.begin(), needed.end());
  REQUIRE(at != module.end());
  std::copy(gone.begin(), gone.end(), at);
  const std::string path = folder.write("fission_cuda.so", module);
  check_refused(grow(folder / "run", "--device cuda", "", path),
                {"[device] cuda: " + path + " cannot be loaded: libgoner.so.", "LD_LIBRARY_PATH"});
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

TEST_CASE("no gpu: a module of another build is refused before anything else is asked of it" *
          doctest::skip(!have_fake())) {
  DeviceSettings settings;
  std::string why;
  auto entry = reinterpret_cast<cuda::ModuleEntry>(testing::fake_function(cuda::module_entry));
  CHECK(entry("another seam", 0, &settings, &why) == nullptr);
  CHECK(why.find("make cuda") != std::string::npos);
}

TEST_CASE("no gpu: --device auto takes the CPU, and says why" * doctest::skip(!have_fake())) {
  Folder folder;
  ProcessResult e = grow(folder / "run", "--device auto --rounds 0", "no_device");
  require_done(e);
  CHECK(e.err.find("no cuda: a driver, but no GPU that this process may see") != std::string::npos);
  CHECK(is_one_line(e.err));
}

TEST_CASE("no gpu: a full device is said with what was asked, held and free" *
          doctest::skip(!have_fake())) {
  Folder folder;
  for (const Arguments& more : {Arguments{}, Arguments("--memory-limit 12M")}) {
    ProcessResult e = grow(folder / "run", Arguments("--device cuda") + more,
                           more.empty() ? "memory=12000000" : "");
    INFO(e.err);
    CHECK(e.status == 2);
    CHECK(is_one_line(e.err));
    for (const char* part : {"[memory] cuda:0 (", " asked for, ", " in use, ", " held",
                             "expected a smaller batch", "; of this step's ", " would fit"}) {
      CAPTURE(std::string(part));
      CHECK(e.err.find(part) != std::string::npos);
    }
  }
}

TEST_CASE(
    "no gpu: a device that is lost amid a run leaves the checkpoint whole, and the same command "
    "goes on to the same end" *
    doctest::skip(!have_fake())) {
  Folder folder;
  const Arguments how("--device cuda --checkpoint-minutes 0");
  ProcessResult alone = grow(folder / "alone", how, "");
  require_done(alone);
  for (const char* lost : {"lost_after=3000", "lost_after=9000,lost_error=46"}) {
    CAPTURE(std::string(lost));
    ProcessResult broken = grow(folder / "run", how, lost);
    INFO(broken.err);
    CHECK(broken.status != 0);
    CHECK(broken.signal == 0);
    CHECK(is_one_line(broken.err));
    CHECK(broken.err.find("[cuda:0] ") != std::string::npos);
    CHECK_NOTHROW(read_safetensors(folder / "run/checkpoint.safetensors"));
  }
  ProcessResult e = grow(folder / "run", how, "");
  require_done(e);
  CHECK(differing(contents(folder / "run"), contents(folder / "alone")) == "");
  CHECK(table_of(e.out) == table_of(alone.out));
}
