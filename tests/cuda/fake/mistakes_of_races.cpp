// Threads of one launch, and queues, that meet in the device's memory, and loads and stores at
// addresses that are not aligned for them. The emulator runs blocks in turn, and most of these give
// right results there. A build with the sanitizers has no hooks, and none of this is tried.
#include "tests/cuda/fake/planted.h"

#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/pack.h"

namespace fission::cuda {
namespace {

__global__ void sum_of_blocks(float* x) {
  if (threadIdx.x == 0) x[0] += x[1 + blockIdx.x];
}
__global__ void same_by_all(float* x) {
  if (threadIdx.x == 0) x[0] = 1;
}
__global__ void from_next_block(float* x) {
  if (threadIdx.x == 0) x[blockIdx.x] = x[blockIdx.x + 1];
}
__global__ void read_by_all(float* x) { x[n / 2 + blockIdx.x * 8 + threadIdx.x] = x[0]; }
template <bool with_barrier>
__global__ void from_next_thread(float* x) {
  const float next = x[(threadIdx.x + 1) % blockDim.x];
  if (with_barrier) __syncthreads();
  x[threadIdx.x] = next;
}
template <class T, int width>
__global__ void twice(T* x) {
  Pack<T, width> p = load<T, width>(x);
  for (T& value : p.at) value *= 2;
  store(x, p);
}

void run_blocks(Bench& b, void (*kernel)(float*)) {
  b.up(b.x, b.stream);
  launch(kernel, 4, 8, b.stream, b.x);
  b.finish();
}
void right_blocks(Bench& b) {
  run_blocks(b, read_by_all);
  launch(same_by_all, 1, n, b.stream, b.x);  // another launch may write what those blocks read
  b.finish();
}
void right_barrier(Bench& b) {
  b.up(b.x, b.stream);
  launch(from_next_thread<true>, 1, n, b.stream, b.x);
  launch_flat(twice<float, 4>, 1, 1, b.stream, b.x + 4);
  b.finish();
}
void blocks_add(Bench& b) { run_blocks(b, sum_of_blocks); }
void blocks_write_the_same(Bench& b) { run_blocks(b, same_by_all); }
template <bool descending>
void block_reads(Bench& b) {
  fission_fake_set(descending ? "fibers=down" : "fibers=up");
  run_blocks(b, from_next_block);
}
void no_barrier(Bench& b) {
  b.up(b.x, b.stream);
  launch(from_next_thread<false>, 1, n, b.stream, b.x);
  b.finish();
}
template <class T, int width>
void not_aligned(Bench& b) {
  b.up(b.x, b.stream);
  launch_flat(twice<T, width>, 1, 1, b.stream, reinterpret_cast<T*>(b.x + 1));
  b.finish();
}

template <bool waits>
void freed_in_use(Bench&) {  // on the copy queue; the arena hands memory out again at once
  CudaBackend backend(0, DeviceSettings());
  void *from = backend.allocate(n_bytes, Memory::host), *to = backend.allocate(n_bytes);
  backend.copy(to, from, n_bytes, Backend::Direction::host_to_device, Queue::transfer);
  if (waits) backend.wait(Queue::compute, *backend.record(Queue::transfer));
  backend.free(to);
  backend.fill({backend.allocate(n_bytes), DType::f32, {n}}, 2);
  backend.synchronize();
}

}  // namespace

const std::vector<mistakes::Mistake> mistakes_of_races = {
#if !defined(__SANITIZE_ADDRESS__)
    {"right: blocks that read one place, and write their own", "", right_blocks},
    {"right: threads with a barrier between, and four floats at once", "", right_barrier},
    {"races: blocks that add to one sum",
     "sum_of_blocks: a race of two blocks: one reads at byte 0", blocks_add},
    {"races: blocks that write one value to one place",
     "same_by_all: a race of two blocks: one writes", blocks_write_the_same},
    {"races: a block that reads what the next one writes",
     "from_next_block: a race of two blocks: one writes at byte 4 of", block_reads<false>},
    {"races: the same, blocks in the other order",
     "from_next_block: a race of two blocks: one reads at byte 12", block_reads<true>},
    {"races: a thread that reads what the next one writes, no barrier between",
     "from_next_thread<false>: a race of two threads of a block", no_barrier},
    {"races: memory given back while the other queue uses it", "a race of two queues at byte 0",
     freed_in_use<false>},
    {"right: the same, with an event between", "", freed_in_use<true>},
    {"alignment: four floats at once", "not aligned", not_aligned<float, 4>},
    {"alignment: two floats at once",
     "twice<float, 2>: a load or store that is not aligned at byte 4", not_aligned<float, 2>},
    {"alignment: a double", "twice<double, 1>: a load or store that is not aligned",
     not_aligned<double, 1>}
#endif
};

}  // namespace fission::cuda
