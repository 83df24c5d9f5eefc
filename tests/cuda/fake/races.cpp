#include "tests/cuda/fake/races.h"

#include <cstdint>
#include <cstdlib>

#include "tests/cuda/fake/emulator.h"

namespace fission::emulator::races {
namespace {

using namespace fission::cuda;
using cuda_fake::Device;

// Time goes by stretches: from a block's begin to its first barrier, to the next, to its end. The
// first stretch of a launch is nobody's: it stands for several blocks.
std::uint32_t now = 0, first_of_launch = 0, first_of_block = 0;
std::uint16_t stream = 0;              // whose operation runs
cuda_fake::Clock* known = nullptr;     // to it
const std::uint16_t several = 0xffff;  // threads

struct Touch {
  std::uint32_t stretch;
  std::uint16_t thread, stream;
};
struct Cell {  // four bytes of memory
  Touch write, read;
};
constexpr std::size_t page = 1 << 16, cells = page / 4;
Cell* pages[cuda_fake::arena_bytes / page];  // made where they are touched
const char* begin_ = nullptr;
std::size_t watched = 0;  // bytes from there on; 0: nothing runs
std::string seen;         // the first of a launch

void see(const char* what, const void* at) {
  if (!seen.empty()) return;
  cuda_fake::Allocation* a = Device::get().holding(at);
  std::ostringstream out;
  out << what;
  if (a)
    out << " at byte " << static_cast<const char*>(at) - a->at << " of an allocation of "
        << a->bytes;
  seen = out.str();
}

template <bool write>
void touch(const void* address, std::size_t bytes) {
  const std::size_t first = std::size_t(static_cast<const char*>(address) - begin_);
  if (first >= watched || bytes < 4) return;  // smaller ones: neighbours share four bytes
  const auto thread =
      std::uint16_t((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x);
  auto other_stream = [](const Touch& t) {
    if (!t.stretch || t.stream == stream) return false;
    auto until = known->find(t.stream);
    return until == known->end() || t.stretch > until->second;
  };
  auto other_block = [](const Touch& t) {
    return t.stretch >= first_of_launch && t.stretch < first_of_block;
  };
  auto other_thread = [&](const Touch& t) { return t.stretch == now && t.thread != thread; };
  for (std::size_t at = first; at < first + bytes; at += 4) {
    Cell*& there = pages[at / page];
    if (!there) there = static_cast<Cell*>(std::calloc(cells, sizeof(Cell)));
    Cell& cell = there[at % page / 4];
    if (other_block(cell.write) || (write && other_block(cell.read)))
      see(write ? "a race of two blocks: one writes" : "a race of two blocks: one reads",
          begin_ + at);
    if (other_thread(cell.write) || (write && other_thread(cell.read)))
      see("a race of two threads of a block", begin_ + at);
    if (other_stream(cell.write) || (write && other_stream(cell.read)))
      see("a race of two queues", begin_ + at);
    if (write) cell.write = {now, thread, stream};
    else if (other_block(cell.read)) cell.read = {first_of_launch, several, stream};
    else cell.read = {now, other_thread(cell.read) ? several : thread, stream};
  }
}

}  // namespace

void begin(long id, cuda_fake::Clock& clock) {
  begin_ = Device::get().arena(), watched = cuda_fake::arena_bytes;
  stream = std::uint16_t(id), known = &clock;
  first_of_launch = ++now;
  begin_block();
}
void begin_block() { first_of_block = ++now; }
void pass_barrier() { ++now; }
void use(const cuda_fake::Use& u) {  // its first bytes: all of them would take too long
  const std::size_t bytes = std::min<std::size_t>(u.bytes, 4096);
  u.written ? touch<true>(u.at, bytes) : touch<false>(u.at, bytes);
}
void forget() {
  watched = 0;
  seen.clear();
}
void end() {
  watched = 0;
  (*known)[stream] = now;
  if (!seen.empty()) cuda_fake::misuse(seen);
}

}  // namespace fission::emulator::races

// ---- What gcc calls: the names of the thread sanitizer's runtime, and of the alignment
// sanitizer's

using namespace fission::emulator::races;

#define SEES(name, bytes)                                               \
  void __tsan_read##name(void* p) { touch<false>(p, bytes); }           \
  void __tsan_write##name(void* p) { touch<true>(p, bytes); }           \
  void __tsan_unaligned_read##name(void* p) { touch<false>(p, bytes); } \
  void __tsan_unaligned_write##name(void* p) { touch<true>(p, bytes); }
extern "C" {
SEES(1, 1)
SEES(2, 2) SEES(4, 4) SEES(8, 8) SEES(16, 16) void __tsan_read_range(void* p, std::size_t bytes) {
  touch<false>(p, bytes);
}
void __tsan_write_range(void* p, std::size_t bytes) { touch<true>(p, bytes); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
unsigned char __tsan_atomic8_load(const unsigned char* p, int order) {  // is a static one made?
  return __atomic_load_n(p, order);
}
int __tsan_atomic32_fetch_add(int* p, int by, int order) {  // of std::shared_ptr
  return __atomic_fetch_add(p, by, order);
}
void __ubsan_handle_type_mismatch_v1(void*, void* p) {
  see("a load or store that is not aligned", p);
}
}
