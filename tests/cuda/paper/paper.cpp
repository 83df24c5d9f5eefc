// What a training step and RQ-SGD steps of MobileNetV1 1.0 move and compute on the CUDA backend,
// and what times that implies: counted, not timed. The real kernels run on the emulator. Their
// loads and stores of device memory arrive at the hooks below, which gcc's -fsanitize=thread calls
// (no runtime of it is linked); their float operations at counted.h. Library calls: see
// counting_backend.h.
//    paper SIZE BATCH: counts at batch 1 and 2 and prints tables for BATCH in Markdown. That counts
//   are affine in the batch is checked first, on
//   pictures of 64 pixels at batch 1, 2 and 3.
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "nn/mobilenet_v1.h"
#include "nn/training.h"
#include "split/rayleigh.h"
#include "tests/cuda/double/emulator.h"
#include "tests/cuda/paper/counting_backend.h"

extern "C" fission::Backend* fission_cuda_backend(const char* seam, int device,
                                                  const fission::DeviceSettings* settings,
                                                  std::string* why);

namespace fission::paper {

long operations_done = 0;
Count* count = nullptr;

namespace {

// ---- Accesses. Each word of device memory remembers the launch that last read it, and the one
// that last wrote it.
struct Stamps {
  static constexpr std::size_t span = std::size_t(64)
                                      << 30;  // bytes of device memory, from `base` on
  static constexpr int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  std::uint32_t* of_word =
      static_cast<std::uint32_t*>(mmap(nullptr, span, PROT_READ | PROT_WRITE, kind, -1, 0));
};
Stamps read_by, written_by;
std::uintptr_t base = 0;
std::uint32_t launch = 0;

inline void access(const void* p, std::size_t bytes, const Stamps& stamps, double Count::*asked,
                   double Count::*distinct) {
  const std::uintptr_t offset = std::uintptr_t(p) - base;  // huge where p lies below
  if (!count || offset >= Stamps::span) return;  // a kernel's own variables, shared memory
  count->*asked += double(bytes);
  for (std::size_t word = offset / 4; word <= (offset + bytes - 1) / 4; word++)
    if (stamps.of_word[word] != launch) stamps.of_word[word] = launch, count->*distinct += 4;
}
inline void loads(const void* p, std::size_t bytes) {
  access(p, bytes, read_by, &Count::loads, &Count::distinct_loads);
}
inline void stores(const void* p, std::size_t bytes) {
  access(p, bytes, written_by, &Count::stores, &Count::distinct_stores);
}

}  // namespace
}  // namespace fission::paper

using fission::paper::loads;
using fission::paper::stores;
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
char __tsan_atomic8_load(const volatile char* p, int) { return *p; }
#define FISSION_HOOKS(n)                                  \
  void __tsan_read##n(void* p) { loads(p, n); }           \
  void __tsan_write##n(void* p) { stores(p, n); }         \
  void __tsan_unaligned_read##n(void* p) { loads(p, n); } \
  void __tsan_unaligned_write##n(void* p) { stores(p, n); }
FISSION_HOOKS(1)
FISSION_HOOKS(2)
FISSION_HOOKS(4)
FISSION_HOOKS(8)
FISSION_HOOKS(16)
void __tsan_read_range(void* p, std::size_t n) { loads(p, n); }
void __tsan_write_range(void* p, std::size_t n) { stores(p, n); }
}

// ---- Launches: ld --wrap brings the kernels' own here
namespace fission::emulator {
#define FISSION_ENQUEUE                                                                    \
  "ZN7fission8emulator7enqueueEPKv4dim3S3_P11CUstream_stbRKSt6vectorINS0_8ArgumentESaIS7_" \
  "EESt8functionIFvvEE"
void go_on(const void*, dim3, dim3, cudaStream_t, bool, const std::vector<Argument>&,
           std::function<void()>) asm("__real__" FISSION_ENQUEUE);
void enqueued(const void*, dim3, dim3, cudaStream_t, bool, const std::vector<Argument>&,
              std::function<void()>) asm("__wrap__" FISSION_ENQUEUE);
void enqueued(const void* kernel, dim3 grid, dim3 block, cudaStream_t stream, bool flat,
              const std::vector<Argument>& arguments, std::function<void()> thread) {
  static std::uint32_t launches = 0;
  const std::uint32_t id = ++launches;
  if (paper::count) paper::count->launches++;
  go_on(kernel, grid, block, stream, flat, arguments, [id, thread = std::move(thread)] {
    paper::launch = id;
    thread();
  });
}
}  // namespace fission::emulator

namespace fission::paper {
namespace {

// ---- Steps
using Calls = std::vector<Count>;
struct Step {
  std::string name;
  Calls calls;
};

std::vector<Step> steps_of(CountingBackend& b, Index size, Index batch) {
  NetworkConfig config;
  config.widths = MobileNetV1::full_widths(), config.classes = 1000, config.size = size,
  config.stem_stride = 2;
  MobileNetV1 network(config, b, DType::f32, 1);
  PictureInput input(b, DType::f32, {0.5, 0.5, 0.5}, {0.2, 0.2, 0.2});
  Batch pictures{Tensor::from(b, {batch, size, size, 3},
                              std::vector<std::uint8_t>(std::size_t(batch * size * size * 3), 100)),
                 Tensor::from(b, {batch}, std::vector<std::int32_t>(std::size_t(batch), 7))};
  std::vector<Step> steps;
  auto keep = [&](const std::string& name, auto step) {
    b.calls.clear();
    step();
    steps.push_back({name, b.calls});
  };
  {
    Sgd sgd(network, {});
    Meter meter(b, DType::f32);
    keep("A training step",
         [&] { train_step(network, sgd, input(pictures), pictures.labels, {}, 0.1, meter); });
  }
  for (Matrix matrix : {Matrix::paper, Matrix::chain}) {
    RayleighSettings settings;
    settings.probe.matrix = matrix;
    RayleighDescent rq(network, settings, 1, 0);
    rq.begin_epoch();
    keep(matrix == Matrix::paper ? "An RQ-SGD step, the paper's matrix"
                                 : "An RQ-SGD step, the chain's matrix",
         [&] { rq.step(input(pictures), pictures.labels, 0); });
  }
  return steps;
}

// What it is at `batch`, from what it is at 1 and 2
Calls scaled(const Calls& one, const Calls& two, double batch) {
  FISSION_CHECK(one.size() == two.size(), "[paper] the number of calls depends on the batch");
  Calls out = one;
  for (std::size_t i = 0; i < one.size(); i++) {
    FISSION_CHECK(one[i].operation == two[i].operation && one[i].launches == two[i].launches,
                  "[paper] call ", i, " depends on the batch");
    for (double Count::*m : {&Count::loads, &Count::stores, &Count::distinct_loads,
                             &Count::distinct_stores, &Count::least, &Count::operations})
      out[i].*m = one[i].*m + (two[i].*m - one[i].*m) * (batch - 1);
  }
  return out;
}
double sum(const Calls& calls, double Count::*m) {
  double all = 0;
  for (const Count& c : calls) all += c.*m;
  return all;
}
double off_the_line(CountingBackend& b) {  // relative, at batch 3
  const std::vector<Step> one = steps_of(b, 64, 1), two = steps_of(b, 64, 2),
                          three = steps_of(b, 64, 3);
  double most = 0;
  for (std::size_t s = 0; s < one.size(); s++) {
    const Calls expected = scaled(one[s].calls, two[s].calls, 3);
    for (double Count::*m : {&Count::loads, &Count::stores, &Count::distinct_loads,
                             &Count::distinct_stores, &Count::least, &Count::operations})
      most = std::max(most, std::abs(sum(expected, m) / sum(three[s].calls, m) - 1));
  }
  return most;
}

// ---- Tables
struct Gpu {
  const char* name;
  double bandwidth, f32, tf32;  // bytes and operations a second
};
constexpr Gpu gpus[] = {{"A100", 1555e9, 19.5e12, 156e12}, {"H100", 3350e9, 67e12, 494e12}};

double seconds(const Count& c, const Gpu& gpu, bool tf32) {
  const double peak = tf32 && c.library ? gpu.tf32 : gpu.f32;
  return std::max(c.distinct() / gpu.bandwidth, c.operations / peak);
}
double seconds(const Calls& calls, const Gpu& gpu, bool tf32) {
  double sum = 0;
  for (const Count& c : calls) sum += seconds(c, gpu, tf32);
  return sum;
}

struct Row {
  double calls = 0, launches = 0, operations = 0, asked = 0, distinct = 0, least = 0, a100 = 0,
         h100 = 0;
  void add(const Count& c) {
    calls++, launches += c.launches, operations += c.operations, asked += c.loads + c.stores,
        distinct += c.distinct(), least += c.least;
    a100 += seconds(c, gpus[0], false), h100 += seconds(c, gpus[1], false);
  }
  void print(const std::string& name) const {
    std::printf("| %s | %.0f | %.0f | %.1f | %.2f | %.2f | %.2f | %.2f | %.2f |\n", name.c_str(),
                calls, launches, operations / 1e9, asked / 1e9, distinct / 1e9, least / 1e9,
                a100 * 1e3, h100 * 1e3);
  }
};

void print_step(const Step& step) {
  std::map<std::string, double> moved;
  for (const Count& c : step.calls) moved[c.operation] += c.distinct();
  Row own, all;
  std::map<std::pair<double, std::string>, Row> rows;  // those that move most first
  for (const Count& c : step.calls) {
    const bool small = moved[c.operation] < 1e-3 * sum(step.calls, &Count::least);
    rows[{small ? 0 : -moved[c.operation], small ? "all others" : c.operation}].add(c);
    all.add(c);
    if (!c.library) own.add(c);
  }
  std::printf("\n### %s\n\n", step.name.c_str());
  std::printf(
      "| operation | calls | launches | GFLOP | GB asked for | GB moved | GB at least | A100 ms | "
      "H100 ms |\n");
  std::printf("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
  for (auto& [key, row] : rows) row.print(key.second);
  all.print("**sum**");
  FISSION_CHECK(own.distinct < 1.5 * own.least, "[paper] ", step.name, ": own kernels move ",
                own.distinct / own.least, " times the least");
  std::printf("\nOwn kernels move %.3f times the least, and ask for %.2f times it.\n",
              own.distinct / own.least, own.asked / own.least);
}

void print_ratios(const std::vector<Step>& steps) {
  std::printf(
      "\n### In all\n\n| | A100 f32 | A100 TF32 | H100 f32 | H100 TF32 |\n|---|--:|--:|--:|--:|\n");
  auto line = [&](const Step& step, const char* unit, auto value) {
    std::printf("| %s, %s", step.name.c_str(), unit);
    for (const Gpu& gpu : gpus)
      for (bool tf32 : {false, true}) std::printf(" | %.2f", value(gpu, tf32));
    std::printf(" |\n");
  };
  for (const Step& s : steps)
    line(s, "ms", [&](const Gpu& gpu, bool tf32) { return seconds(s.calls, gpu, tf32) * 1e3; });
  for (const Step& s : {steps[1], steps[2]})
    line(s, "÷ training", [&](const Gpu& gpu, bool tf32) {
      return seconds(s.calls, gpu, tf32) / seconds(steps[0].calls, gpu, tf32);
    });
}

}  // namespace

int report(Index size, double batch) {
  DeviceSettings settings;
  std::string why;
  Backend* cuda = fission_cuda_backend(FISSION_SEAM, 0, &settings, &why);
  if (!cuda) user_error(why);
  void* some = cuda->allocate(4);
  base = std::uintptr_t(some);  // the first there is
  cuda->free(some);
  CountingBackend counting(*cuda);
  const double off = off_the_line(counting);
  FISSION_CHECK(off < 5e-3, "[paper] not affine in the batch: at 3 a count is ", off * 100,
                " % off the line through those at 1 and 2");
  const std::vector<Step> one = steps_of(counting, size, 1), two = steps_of(counting, size, 2);
  std::vector<Step> steps;
  for (std::size_t s = 0; s < one.size(); s++)
    steps.push_back({one[s].name, scaled(one[s].calls, two[s].calls, batch)});
  std::printf(
      "MobileNetV1 1.0 at %ld, batch %.0f, from counts at batch 1 and 2. At 64 pixels the counts "
      "at batch 3 are within %.2f %% of the\n"
      "line through those at 1 and 2.\n",
      long(size), batch, off * 100);
  for (const Step& step : steps) print_step(step);
  print_ratios(steps);
  return 0;
}

}  // namespace fission::paper

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "paper SIZE BATCH\n"), 2;
  try {
    return fission::paper::report(std::atol(argv[1]), std::atof(argv[2]));
  } catch (const std::exception& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 1;
  }
}
