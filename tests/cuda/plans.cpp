// cuDNN's own library, without a GPU: does it have an algorithm for every convolution of the
// networks (`--conv cudnn`) on an A100 and an H100, one that gives the same bits in each run,
// computes in float32 proper, and stays within the workspace? Nothing is computed.
// Not under the leak sanitizer: that library keeps what it took.
#include <set>
#include <tuple>

#include "nn/network.h"
#include "tests/cuda/fake/deviceless.h"
#include "tests/cuda/module.h"
#include "tests/runners/program.h"

using namespace fission;
using testing::have_fake;

namespace {

// What cuDNN 9 asks of a GPU's description. Numbers: CUDA C++ Programming Guide, table of compute
// capabilities; NVIDIA's A100 (SXM4, 80 GB) and H100 (SXM5, 80 GB) data sheets: multiprocessors,
// clocks, memory; shared memory beyond 48 KB is by request.
std::string description(const char* name, int capability, int multiprocessors, int clock_khz,
                        int memory_clock_khz, long l2_bytes, int shared_by_request) {
  auto number = [](const char* key, long value) {
    return std::string("\"") + key + "\": " + std::to_string(value) + ", ";
  };
  return "{" + number("cudaDeviceId", 0) + number("deviceVer", capability) +
         number("driverVer", 13000) +
         "\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], " +
         number("regsPerBlock", 65536) + number("multiProcessorCount", multiprocessors) +
         number("warpSize", 32) + number("maxSharedMemoryPerBlock", 49152) +
         number("maxSharedMemoryPerBlockOptin", shared_by_request) +
         number("reservedSharedMemoryPerBlock", 1024) + number("maxRegistersPerSM", 65536) +
         number("maxCtasPerSM", 32) + number("maxThreadsPerBlock", 1024) +
         number("maxThreadsPerSM", 2048) + number("pciDeviceId", 0) + number("isTccDriver", 0) +
         number("supportCoopLaunch", 1) + number("smClockRateKHz", clock_khz) +
         number("memClockRateKHz", memory_clock_khz) + number("l2CacheSize", l2_bytes) +
         number("totalGlobalMem", 80L << 30) + "\"deviceName\": \"" + name + "\"}";
}
const std::string a100 =
    description("NVIDIA A100-SXM4-80GB", 800, 108, 1410000, 1593000, 40L << 20, 166912);
const std::string h100 =
    description("NVIDIA H100 80GB HBM3", 900, 132, 1980000, 2619000, 50L << 20, 232448);

struct Answer {
  std::string wrong;
  DevicelessPlan plan;
};
Answer ask(const std::string& gpu, const DevicelessConvolution& c) {
  Answer a;
  const char* wrong = FAKE_FUNCTION(fission_deviceless_plan)(gpu.c_str(), &c, &a.plan);
  if (wrong) a.wrong = wrong;
  return a;
}
bool too_old(const Answer& a) { return a.wrong.find("older than 9.11") != std::string::npos; }

using Geometry = std::tuple<Index, Index, Index, Index, Index, Index,
                            Index>;  // batch, side, in, out, kernel, stride, groups
std::set<Geometry> convolutions(const std::string& model, Index size, Index batch,
                                const std::vector<std::string>& widths, Index more_channels) {
  NetworkConfig c;
  c.model = model, c.size = size, c.stem_stride = size == 224 ? 2 : 1, c.classes = 10,
  c.widths = parse_widths(model, "seed");
  auto network = make_network(c, open_backend("reference"), DType::f32, 1);
  std::set<Geometry> all;
  for (const std::string& text : widths) {
    std::vector<Index> w = parse_widths(model, text);
    for (Index& width : w) width += more_channels;
    for (const LayerShape& l : network->layer_shapes(w))
      if (l.kind != LayerShape::linear)
        all.insert({batch, l.side, l.in, l.out, l.kernel, l.stride,
                    l.kind == LayerShape::depthwise ? l.in : 1});
  }
  return all;
}

DevicelessConvolution convolution(int kind, const Geometry& geometry) {
  auto [batch, side, in, out, kernel, stride, groups] = geometry;
  return {kind,   batch,  side,       in,     out,
          kernel, stride, kernel / 2, groups, std::int64_t(DeviceSettings().workspace_limit),
          1};
}

}  // namespace

TEST_CASE(
    "plans: cuDNN has an algorithm for every convolution of both networks at 32 and 224, on an "
    "A100 and an H100" *
    doctest::skip(!have_fake() || test::instrumented())) {
  std::set<Geometry> all;
  for (const std::string model : {"mobilenet_v1", "mobilenet_v2"})
    for (Index size : {32, 224})
      for (Index more : {0, 5})
        all.merge(convolutions(model, size, size == 32 ? 128 : 64, {"seed", "1.0"},
                               more));  // 5: widths that splitting makes
  REQUIRE(all.size() > 100);
  std::int64_t most = 0;
  for (const std::string& gpu : {a100, h100})
    for (const Geometry& geometry : all)
      for (int kind = 0; kind < 3; kind++) {
        const DevicelessConvolution c = convolution(kind, geometry);
        CAPTURE(gpu);
        INFO("kind ", c.kind, ", input ", c.batch, "x", c.side, "x", c.side, "x", c.in, ", filter ",
             c.out, "x", c.kernel, "x", c.kernel, ", stride ", c.stride, ", groups ", c.groups);
        Answer a = ask(gpu, c);
        if (too_old(a)) {
          MESSAGE("skipped: ", a.wrong);
          return;
        }
        CHECK(a.wrong == "");
        CHECK(a.plan.found == 1);
        most = std::max(most, a.plan.workspace);
      }
  const std::size_t plans = 6 * all.size();
  MESSAGE(plans, " plans; the largest workspace is ", most, " bytes");
}

TEST_CASE("plans: the check can fail" * doctest::skip(!have_fake() || test::instrumented())) {
  const Geometry fine{128, 32, 37, 37, 3, 1, 1};
  Answer a = ask(h100, convolution(0, fine));
  if (too_old(a)) return;
  REQUIRE(a.wrong == "");
  REQUIRE(a.plan.found == 1);
  CHECK(ask("{}", convolution(0, fine)).wrong.find("the GPU's description: ") == 0);
  CHECK(ask(h100, convolution(0, {128, 32, 37, 37, 3, 1, 2})).wrong !=
        "");  // 2 groups of 37 channels
  DevicelessConvolution c = convolution(2, fine);
  c.workspace_limit = -1;  // nothing stays within that
  a = ask(h100, c);
  CHECK(a.wrong == "");
  CHECK(a.plan.offered > 0);
  CHECK(a.plan.found == 0);
}
