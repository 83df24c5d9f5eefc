#include "tests/cuda/fake/emulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <exception>

#include "tests/cuda/fake/device.h"
#include "tests/cuda/fake/races.h"
#include "tests/cuda/fake/symbols.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace fission::cuda {
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
}  // namespace fission::cuda

namespace fission::emulator {
namespace {

using namespace fission::cuda;
using cuda_fake::Device;
using cuda_fake::misuse_of;

void forget_shared() {  // NaN everywhere. By this instruction, because a sanitizer keeps something
                        // behind each array
  for (const Symbols::Array& a : symbols().shared) {
    char* at = a.at;
    std::size_t bytes = a.bytes;
    asm volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(0xff) : "memory");
  }
}

// ---- Fibers

enum class State { ready, meeting, done };
struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  State state = State::done;
  uint3 index{};
  Meeting kind{};
  int line = 0, by = 0, width = 32;
  unsigned mask = 0;
  std::uint64_t value = 0;
  std::exception_ptr thrown;
  void* fake_stack = nullptr;
};
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t stack_bytes = 256 << 10;
#else
constexpr std::size_t stack_bytes = 64 << 10;
#endif

std::vector<Fiber> fibers;
Fiber* current = nullptr;  // null: no fiber runs
bool flat_running = false;
const std::function<void()>* body = nullptr;
void* scheduler = nullptr;  // its stack pointer, while a fiber runs
#if defined(__SANITIZE_ADDRESS__)
void* scheduler_fake = nullptr;
const void* scheduler_stack = nullptr;
std::size_t scheduler_bytes = 0;
#endif

extern "C" void fission_switch_fiber(void** from, void* to) __attribute__((visibility("hidden")));
#if defined(__x86_64__)
asm(R"(
.text
.globl fission_switch_fiber
.hidden fission_switch_fiber
.type fission_switch_fiber, @function
fission_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fission_switch_fiber, .-fission_switch_fiber
)");
#else
#error "the emulator's fibers are written for x86-64"
#endif

void suspend() {  // back to the scheduler
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&current->fake_stack, scheduler_stack, scheduler_bytes);
#endif
  Fiber& self = *current;
  fission_switch_fiber(&self.stack_pointer, scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(self.fake_stack, &scheduler_stack, &scheduler_bytes);
#endif
}

void live() {  // a fiber's life: one thread after the other
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_bytes);
#endif
  for (;;) {
    try {
      (*body)();
    } catch (...) {
      current->thrown = std::current_exception();
    }
    current->state = State::done;
    suspend();
  }
}

void be_born(Fiber& f) {
  if (!f.stack) {
    void* p = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) misuse_of("no memory for a fiber's stack");
    mprotect(p, 4096, PROT_NONE);
    f.stack = static_cast<char*>(p);
  }
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(f.stack + 4096, stack_bytes - 4096);
#endif
  std::size_t colour = std::size_t(&f - fibers.data()) * 192 %
                       3840;  // the tops of all stacks would else share a few lines of the cache
  void** top = reinterpret_cast<void**>(f.stack + stack_bytes - colour) -
               3;    // not a multiple of 16: as after a call
  top[0] = nullptr;  // where live() would return to
  top[-1] = reinterpret_cast<void*>(&live);
  f.stack_pointer = top - 7;  // six registers below it
  for (int i = 2; i <= 7; i++) top[-i] = nullptr;
  f.state = State::done;
  f.thrown = nullptr;
  f.fake_stack = nullptr;
}

void resume(Fiber& f) {
  current = &f;
  threadIdx = f.index;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler_fake, f.stack + 4096, stack_bytes - 4096);
#endif
  fission_switch_fiber(&scheduler, f.stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);
#endif
  current = nullptr;
  if (f.thrown) std::rethrow_exception(f.thrown);
}

const char* name_of(Meeting kind) {
  switch (kind) {
    case Meeting::barrier: return "__syncthreads";
    case Meeting::warp_barrier: return "__syncwarp";
    case Meeting::down: return "__shfl_down_sync";
    case Meeting::up: return "__shfl_up_sync";
    case Meeting::exclusive: return "__shfl_xor_sync";
    case Meeting::lane: return "__shfl_sync";
  }
  return "?";
}
std::string whereabouts(const Fiber& f) {
  std::ostringstream out;
  out << "thread (" << f.index.x << "," << f.index.y << "," << f.index.z << ") ";
  if (f.state == State::done) out << "has ended";
  else out << "waits at " << name_of(f.kind) << " of line " << f.line;
  return out.str();
}

void exchange(Fiber* warp) {
  std::uint64_t values[32];
  for (int i = 0; i < 32; i++) values[i] = warp[i].value;
  for (int i = 0; i < 32; i++) {
    Fiber& f = warp[i];
    int first = i / f.width * f.width, end = first + f.width, from = i;
    if (f.kind == Meeting::down && i + f.by < end) from = i + f.by;
    if (f.kind == Meeting::up && i - f.by >= first) from = i - f.by;
    if (f.kind == Meeting::exclusive && (i ^ f.by) < end) from = i ^ f.by;
    if (f.kind == Meeting::lane) from = first + f.by % f.width;
    f.value = values[from];
  }
}

// until all threads of the warp have ended or wait for the block
void run_warp(Fiber* warp, int lanes, bool descending) {
  for (;;) {
    for (int i = 0; i < lanes; i++) {
      Fiber& f = warp[descending ? lanes - 1 - i : i];
      if (f.state == State::ready) resume(f);
    }
    const Fiber* meeting = nullptr;
    for (int i = 0; i < lanes; i++)
      if (warp[i].state == State::meeting && warp[i].kind != Meeting::barrier) meeting = &warp[i];
    if (!meeting) return;
    if (lanes < 32)
      misuse_of(whereabouts(*meeting), ", in a warp of ", lanes,
                " threads: a mask of 32 names threads that do not exist");
    for (int i = 0; i < lanes; i++)
      if (warp[i].state != State::meeting || warp[i].kind != meeting->kind ||
          warp[i].line != meeting->line)
        misuse_of("a warp comes apart: ", whereabouts(*meeting), ", ", whereabouts(warp[i]));
    if (meeting->kind != Meeting::warp_barrier) exchange(warp);
    for (int i = 0; i < lanes; i++) warp[i].state = State::ready;
  }
}

void run_block(int threads, bool descending) {
  forget_shared();
  for (int t = 0; t < threads; t++) fibers[t].state = State::ready;
  for (;;) {
    int warps = (threads + 31) / 32, waiting = 0;
    for (int w = 0; w < warps; w++) {
      int first = (descending ? warps - 1 - w : w) * 32;
      run_warp(&fibers[first], std::min(32, threads - first), descending);
    }
    for (int t = 0; t < threads; t++) waiting += fibers[t].state == State::meeting;
    if (waiting == 0) return;
    const Fiber* one = nullptr;
    for (int t = 0; t < threads; t++)
      if (fibers[t].state == State::meeting) one = &fibers[t];
    for (int t = 0; t < threads; t++)
      if (fibers[t].state != State::meeting || fibers[t].line != one->line)
        misuse_of("a divergent barrier: ", whereabouts(*one), ", ", whereabouts(fibers[t]));
    for (int t = 0; t < threads; t++) fibers[t].state = State::ready;
    races::pass_barrier();
  }
}

template <class Run>
void for_each_block(bool descending, const Run& run) {
  std::uint64_t count = std::uint64_t(gridDim.x) * gridDim.y * gridDim.z;
  for (std::uint64_t i = 0; i < count; i++) {
    std::uint64_t b = descending ? count - 1 - i : i;
    blockIdx = {unsigned(b % gridDim.x), unsigned(b / gridDim.x % gridDim.y),
                unsigned(b / gridDim.x / gridDim.y)};
    races::begin_block();
    run();
  }
}

void run_on_fibers(const std::function<void()>& thread, bool descending) {
  std::size_t threads = std::size_t(blockDim.x) * blockDim.y * blockDim.z;
  fibers.reserve(1024);  // they know where they lie
  while (fibers.size() < threads) be_born(fibers.emplace_back());
  for (std::size_t t = 0; t < threads; t++)
    fibers[t].index = {unsigned(t % blockDim.x), unsigned(t / blockDim.x % blockDim.y),
                       unsigned(t / blockDim.x / blockDim.y)};
  body = &thread;
  try {
    for_each_block(descending, [&] { run_block(int(threads), descending); });
  } catch (...) {
    current = nullptr;
    for (Fiber& f : fibers) be_born(f);
    throw;
  }
}

void run_flat(const std::function<void()>& thread, bool descending) {
  flat_running = true;
  struct Back {
    ~Back() { flat_running = false; }
  } back;
  for_each_block(descending, [&] {
    for (threadIdx.z = 0; threadIdx.z < blockDim.z; threadIdx.z++)
      for (threadIdx.y = 0; threadIdx.y < blockDim.y; threadIdx.y++)
        for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) thread();
  });
}

// ---- Arguments

bool is_mapped(std::uint64_t address) {
  unsigned char there;
  return mincore(reinterpret_cast<void*>(address & ~std::uint64_t(4095)), 1, &there) == 0;
}

// Whatever in a kernel's arguments looks like an address: eight bytes that point into the device's
// memory, or to where the host has some.
std::vector<cuda_fake::Use> pointers_in(const std::vector<Argument>& arguments) {
  std::vector<cuda_fake::Use> uses;
  for (const Argument& a : arguments)
    for (std::size_t at = 0; at + 8 <= a.bytes; at += 8) {
      std::uint64_t word;
      std::memcpy(&word, static_cast<const char*>(a.at) + at, 8);
      // below are two numbers side by side (and the address sanitizer's own memory)
      if (word < std::uint64_t(1) << 45 || word >> 47) continue;
      auto* p = reinterpret_cast<const void*>(word);
      if (Device::get().in_arena(p) || is_mapped(word)) uses.push_back({p, 0, "an argument"});
    }
  return uses;
}

}  // namespace

void meet(Meeting kind, int line) {
  if (!current)
    misuse_of(name_of(kind), " of line ", line,
              flat_running ? " in a kernel that launch_flat launched" : " outside a kernel");
  current->kind = kind, current->line = line, current->state = State::meeting;
  suspend();
}
std::uint64_t shuffle(Meeting kind, unsigned mask, std::uint64_t value, int by, int width,
                      int line) {
  if (mask != 0xffffffffu)
    misuse_of(name_of(kind), " of line ", line, ": only the mask of a whole warp is emulated");
  if (width < 1 || width > 32 || (width & (width - 1)) || by < 0 || by > 31)
    misuse_of(name_of(kind), " of line ", line, ": by ", by, ", width ", width);
  if (current) current->value = value, current->by = by, current->width = width;
  meet(kind, line);
  return current->value;
}

void enqueue(const void* address, dim3 grid, dim3 block, cudaStream_t stream, bool flat,
             const std::vector<Argument>& arguments, std::function<void()> thread) {
  const std::string& kernel = name_of_kernel(address);
  cuda_fake::Call call("launch");
  Device& d = Device::get();
  d.doing = "launch of " + kernel;
  d.count("launch " + kernel);
  if (call.status == cudaSuccess && d.situation.problem == "no_image")
    call.status = cudaErrorNoKernelImageForDevice;
  if (call.status != cudaSuccess) return void(d.last_error = call.status);
  std::uint64_t threads = std::uint64_t(block.x) * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64)
    misuse_of("blocks of ", block.x, "x", block.y, "x", block.z, " threads");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
      grid.z > 65535)
    misuse_of("a grid of ", grid.x, "x", grid.y, "x", grid.z, " blocks");
  std::vector<cuda_fake::Use> uses = pointers_in(arguments);
  for (const cuda_fake::Use& u : uses) d.check(u);
  d.check_stream(stream);
  if (stream->device != Device::current())
    misuse_of("a stream of device ", stream->device, " while device ", Device::current(),
              " is the current one");
  d.enqueue(stream, {kernel, std::move(uses), [grid, block, flat, thread = std::move(thread)] {
                       gridDim = grid, blockDim = block;
                       bool descending = Device::get().situation.descending;
                       if (flat) run_flat(thread, descending);
                       else run_on_fibers(thread, descending);
                     }});
}

}  // namespace fission::emulator
