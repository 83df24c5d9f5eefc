#include "tests/cuda/fake/mistakes.h"

#include "tensor/cuda/cuda_backend.h"
#include "tests/cuda/fake/planted.h"

#include "tensor/cuda/launch.h"

namespace fission::cuda {
namespace {

// ---- Kernels: right ones, and each with one mistake

__global__ void scale(float* x, float by, int count) {
  int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) x[i] *= by;
}
__global__ void scale_too_far(float* x, int count) { x[count + int(threadIdx.x)] = 0; }

__global__ void reverse(float* x) {
  __shared__ float tile[n];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = tile[n - 1 - threadIdx.x];
}
__global__ void shift(
    float* x) {  // a barrier is missing, which goes well where threads run in ascending order
  __shared__ float tile[n];
  tile[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = tile[threadIdx.x ? threadIdx.x - 1 : 0];
}
__device__ float unset() {
  __shared__ float sum[2];
  if (threadIdx.x == 0) sum[1] = 1;
  __syncthreads();
  return sum[0] + sum[1];
}
__global__ void sum_of_unset(float* x) { x[threadIdx.x] = unset(); }
__global__ void half_at_barrier(float* x) {
  if (threadIdx.x < n / 2) __syncthreads();
  x[threadIdx.x] = 0;
}
__global__ void two_barriers(float* x) {
  if (threadIdx.x < n / 2) __syncthreads();
  else __syncthreads();
  x[threadIdx.x] = 0;
}
__global__ void sum_of_warp(float* x) {
  float v = x[threadIdx.x];
  for (int by = warp / 2; by; by /= 2) v += __shfl_down_sync(whole_warp, v, unsigned(by));
  v = __shfl_sync(whole_warp, v, 0);
  x[threadIdx.x] = v + __shfl_xor_sync(whole_warp, v, 1);
}
__global__ void half_a_warp(float* x) {
  if (threadIdx.x % warp < 16) x[threadIdx.x] += __shfl_down_sync(whole_warp, x[threadIdx.x], 1);
}

struct Pack {
  int count;
  const float* x;
};
__global__ void sum_of_pack(Pack pack, float* y) {
  y[threadIdx.x] = pack.x[threadIdx.x] + float(pack.count);
}

// ---- Right

void right(Bench& b) {
  b.up(b.x, b.stream);
  launch_flat(scale, 1, n, b.stream, b.x, 2, n);
  launch(reverse, 1, n, b.stream, b.x);
  b.down(b.x, b.stream);
  b.finish();
  for (int i = 0; i < n; i++) expect(b.host[i] == float(2 * (n - 1 - i)), "reverse");
  launch(sum_of_warp, 1, n, b.stream, b.x);
  b.down(b.x, b.stream);
  b.finish();
  for (int i = 0; i < n; i++)
    expect(b.host[i] == (i < 32 ? 2 * 2 * (63 + 32) * 16 : 2 * 2 * (31 + 0) * 16), "sum_of_warp");
  b.end();
  expect(*fission_fake_leaks() == 0, "a leak");
}
void right_across_streams(Bench& b) {
  cudaMemcpyAsync(b.x, b.pinned, n_bytes, cudaMemcpyHostToDevice, b.other);
  cudaEventRecord(b.event, b.other);
  cudaStreamWaitEvent(b.stream, b.event, 0);
  launch_flat(scale, 1, n, b.stream, b.x, 3, n);
  b.down(b.x, b.stream);
  b.finish();
  for (int i = 0; i < n; i++)
    expect(b.host[i] == float(3 * i), "a copy on another stream, waited for");
}
template <int device>
void right_backend(Bench& b) {
  b.end();
  fission_fake_set("devices=2");
  cudaSetDevice(device);
  {
    CudaBackend backend(device, DeviceSettings());
    constexpr Index rows = 5, in = 3, out = 7;
    auto* x = static_cast<float*>(backend.allocate(4 * rows * in));
    auto* w = static_cast<float*>(backend.allocate(4 * in * out));
    auto* y = static_cast<float*>(backend.allocate(4 * rows * out));
    backend.fill({x, DType::f32, {rows, 1, 1, in}}, 2);
    backend.fill({w, DType::f32, {out, 1, 1, in}}, 0.5);
    backend.conv2d({x, DType::f32, {rows, 1, 1, in}}, {w, DType::f32, {out, 1, 1, in}}, {1, 1, 0},
                   {y, DType::f32, {rows, 1, 1, out}});
    backend.copy(b.host, y, 4 * rows * out, Backend::Direction::device_to_host, Queue::compute);
    for (Index i = 0; i < rows * out; i++) expect(b.host[i] == 3, "conv2d");
    for (float* p : {x, w, y}) backend.free(p);
  }
  expect(*fission_fake_leaks() == 0, fission_fake_leaks());
}
void right_full(Bench& b) {  // less than the arena asks for first, then no more
  b.end();
  fission_fake_set("memory=1000000");
  {
    CudaBackend backend(0, DeviceSettings());
    const View v{backend.allocate(n_bytes), DType::f32, {n}};
    backend.fill(v, 1);
    try {
      backend.allocate(1 << 20);
    } catch (const OutOfMemory&) {
      backend.fill(v, 2);
    }
    backend.free(v.data);
  }
  expect(*fission_fake_leaks() == 0, fission_fake_leaks());
}
void right_replayed(Bench& b) {
  b.up(b.x, b.stream);
  b.finish();
  fission_fake_record(1);
  launch_flat(scale, 1, n, b.stream, b.x, 2, n);
  fission_fake_record(0);
  b.finish();
  fission_fake_replay();
  b.down(b.x, b.stream);
  b.finish();
  for (int i = 0; i < n; i++) expect(b.host[i] == float(4 * i), "what was recorded runs once more");
}

// ---- Memory and copies

void host_pointer_to_kernel(Bench& b) { launch_flat(scale, 1, n, b.stream, b.host, 2, n); }
void host_pointer_inside_argument(Bench& b) {
  launch_flat(sum_of_pack, 1, n, b.stream, Pack{1, b.host}, b.x);
}
void host_pointer_to_copy(Bench& b) {
  cudaMemcpyAsync(b.x, b.host, n_bytes, cudaMemcpyDeviceToDevice, b.stream);
}
void wrong_direction(Bench& b) {
  cudaMemcpyAsync(b.host, b.x, n_bytes, cudaMemcpyHostToDevice, b.stream);
}
void too_long(Bench& b) {
  cudaMemcpyAsync(b.x, b.host, n_bytes + 4, cudaMemcpyHostToDevice, b.stream);
}
void too_long_on_host(Bench& b) {
  cudaMemcpyAsync(b.pinned + 1, b.x, n_bytes, cudaMemcpyDeviceToHost, b.stream);
}
void null_pointer(Bench& b) {
  cudaMemcpyAsync(nullptr, b.host, n_bytes, cudaMemcpyHostToDevice, b.stream);
}
void overlapping(Bench& b) {
  cudaMemcpyAsync(b.x + 1, b.x, n_bytes / 2, cudaMemcpyDeviceToDevice, b.stream);
}
void use_after_free(Bench& b) {
  cudaFree(b.x);
  b.up(b.x, b.stream);
}
void kernel_after_free(Bench& b) {
  cudaFree(b.x);
  launch_flat(scale, 1, n, b.stream, b.x, 2, n);
}
void double_free(Bench& b) {
  cudaFree(b.x);
  cudaFree(b.x);
}
void free_inside(Bench& b) { cudaFree(b.x + 16); }
void free_of_host(Bench& b) { cudaFree(b.host); }
void free_of_pinned(Bench& b) { cudaFree(b.pinned); }
void free_in_use(Bench& b) {
  launch_flat(scale, 1, n, b.stream, b.x, 2, n);
  cudaFree(b.x);
}
void pinned_free_in_use(Bench& b) {
  cudaMemcpyAsync(b.x, b.pinned, n_bytes, cudaMemcpyHostToDevice, b.stream);
  cudaFreeHost(b.pinned);
}
void other_device(Bench& b) {
  fission_fake_set("devices=2");
  cudaSetDevice(1);
  cudaFree(b.x);
  cudaMalloc(reinterpret_cast<void**>(&b.x), n_bytes);
  b.up(b.x, b.stream);
}
void other_device_current(Bench& b) {
  fission_fake_set("devices=2");
  cudaSetDevice(1);
  launch_flat(scale, 1, n, b.stream, b.x, 2, n);
}
void leak(Bench& b) {
  cudaFree(b.y), cudaFreeHost(b.pinned), cudaStreamDestroy(b.stream), cudaStreamDestroy(b.other),
      cudaEventDestroy(b.event);
  expect(*fission_fake_leaks() == 0, fission_fake_leaks());
}
void host_reads_device(Bench& b) { b.host[0] = *static_cast<volatile float*>(b.x); }
void past_the_end(Bench& b) {
  launch_flat(scale_too_far, 1, n, b.stream, b.x, n);
  b.finish();
}
void far_past_the_end(Bench& b) {
  launch_flat(scale_too_far, 1, n, b.stream, b.x, 4096);
  b.finish();
}

// ---- Order

void no_synchronisation(Bench& b) {  // the host reads before the copy has come
  b.up(b.x, b.stream);
  launch_flat(scale, 1, n, b.stream, b.x, 2, n);
  b.down(b.x, b.stream);
  expect(b.host[1] == 2, "a stale read: no synchronisation");
}
void source_changed_too_early(Bench& b) {
  b.up(b.x, b.stream);
  b.host[1] = 77;
  b.down(b.x, b.stream);
  b.finish();
  expect(b.host[1] == 1, "a source that was changed before the copy");
}
void no_event(Bench& b) {  // late: the copy on the other stream has not come
  cudaMemcpyAsync(b.x, b.pinned, n_bytes, cudaMemcpyHostToDevice, b.other);
  b.down(b.x, b.stream);
  b.finish();
  expect(b.host[1] == 1, "a copy on another stream that nobody waited for");
}
void overwritten(Bench& b) {  // early: the copy on the other stream has come too soon
  fission_fake_set("streams=early");
  b.up(b.x, b.stream);
  b.finish();
  launch_flat(scale, 1, n, b.stream, b.x, 2, n);
  for (int i = 0; i < n; i++) b.pinned[i] = -1;
  cudaMemcpyAsync(b.x, b.pinned, n_bytes, cudaMemcpyHostToDevice, b.other);
  b.down(b.x, b.stream);
  b.finish();
  expect(b.host[1] == 2, "memory that was overwritten while it was read");
}
void pinned_changed_too_early(Bench& b) {
  cudaMemcpyAsync(b.x, b.pinned, n_bytes, cudaMemcpyHostToDevice, b.stream);
  if (b.pinned[1] == 1) b.pinned[1] = 77;  // reading is right
}
void pinned_read_too_early(Bench& b) {
  b.up(b.x, b.stream);
  cudaMemcpyAsync(b.pinned, b.x, n_bytes, cudaMemcpyDeviceToHost, b.stream);
  b.host[1] = b.pinned[1];
}
void event_never_recorded(Bench& b) { cudaStreamWaitEvent(b.stream, b.event, 0); }
void event_destroyed(Bench& b) {
  cudaEventDestroy(b.event);
  cudaEventRecord(b.event, b.stream);
}
void null_stream(Bench& b) { launch_flat(scale, 1, n, nullptr, b.x, 2, n); }
void stream_destroyed(Bench& b) {
  cudaStreamDestroy(b.stream);
  b.up(b.x, b.stream);
}
void stream_destroyed_in_use(Bench& b) {
  b.up(b.x, b.stream);
  cudaStreamDestroy(b.stream);
}

// ---- Kernels

void run_kernel(Bench& b, void (*kernel)(float*)) {
  b.up(b.x, b.stream);
  launch(kernel, 1, n, b.stream, b.x);
  b.down(b.x, b.stream);
  b.finish();
}
void divergent_barrier(Bench& b) { run_kernel(b, half_at_barrier); }
void barriers_of_two_lines(Bench& b) { run_kernel(b, two_barriers); }
void warp_comes_apart(Bench& b) { run_kernel(b, half_a_warp); }
void warp_not_whole(Bench& b) {
  launch(sum_of_warp, 1, 16, b.stream, b.x);
  b.finish();
}
void barrier_in_flat(Bench& b) {
  launch_flat(reverse, 1, n, b.stream, b.x);
  b.finish();
}
template <bool descending>
void missing_barrier(Bench& b) {
  fission_fake_set(descending ? "fibers=down" : "fibers=up");
  run_kernel(b, shift);
  for (int i = 1; i < n; i++) expect(b.host[i] == float(i - 1), "a missing barrier");
}
void unset_shared(Bench& b) {
  run_kernel(b, sum_of_unset);
  expect(b.host[0] == b.host[0], "shared memory that nobody set");
}
void block_too_large(Bench& b) { launch_flat(scale, 1, 1025, b.stream, b.x, 2, n); }
void empty_grid(Bench& b) { launch_flat(scale, 0, n, b.stream, b.x, 2, n); }

const std::vector<mistakes::Mistake> list = {
    {"right: copies and kernels", "", right},
    {"right: two streams and an event", "", right_across_streams},
    {"right: a replay", "", right_replayed},
    {"right: a backend comes and goes, and leaves nothing", "", right_backend<0>},
    {"right: so does one on the second device", "", right_backend<1>},
    {"right: a device that is full", "", right_full},
    {"memory: a host pointer as a kernel's argument",
     "launch of scale: an argument is a host pointer", host_pointer_to_kernel},
    {"memory: a host pointer inside a kernel's argument",
     "sum_of_pack: an argument is a host pointer", host_pointer_inside_argument},
    {"memory: a host pointer as the source on the device",
     "cudaMemcpyAsync: from is a host pointer", host_pointer_to_copy},
    {"memory: a copy in the wrong direction", "cudaMemcpyAsync: to is a host pointer",
     wrong_direction},
    {"memory: a copy that is too long",
     "cudaMemcpyAsync: to: 260 bytes from byte 0 of an allocation of 256", too_long},
    {"memory: a copy that is too long for page-locked memory",
     "from byte 4 of a page-locked allocation of 256", too_long_on_host},
    {"memory: a null pointer", "cudaMemcpyAsync: to is null", null_pointer},
    {"memory: a copy onto itself", "to and from overlap", overlapping},
    {"memory: a copy to what was freed", "cudaMemcpyAsync: to was freed", use_after_free},
    {"memory: a kernel over what was freed", "launch of scale: an argument was freed",
     kernel_after_free},
    {"memory: a double free", "cudaFree: memory that was freed before", double_free},
    {"memory: a free of the middle", "cudaFree: a pointer 64 bytes into an allocation of 256",
     free_inside},
    {"memory: a free of host memory", "cudaFree: memory that was never allocated", free_of_host},
    {"memory: a free of page-locked memory as the device's", "cudaFree: page-locked host memory",
     free_of_pinned},
    {"memory: a free of what queued work uses",
     "cudaFree: memory that queued work still uses: scale", free_in_use},
    {"memory: a free of page-locked memory that queued work uses",
     "cudaFreeHost: memory that queued work still uses", pinned_free_in_use},
    {"memory: another device's",
     "cudaMemcpyAsync: to is memory of device 1, the stream is of device 0", other_device},
    {"order: a launch while another device is the current one",
     "scale: a stream of device 0 while device 1", other_device_current},
    {"memory: a leak", "256 bytes of device memory", leak},
    {"memory: the host reads the device's", "the host: touched device memory", host_reads_device},
    {"memory: a kernel writes behind an allocation",
     "byte 256 was written, behind an allocation of 256 bytes", past_the_end},
    {"memory: a kernel writes far behind an allocation", "scale_too_far: touched device memory",
     far_past_the_end},
    {"order: a result that nobody waited for", "a stale read", no_synchronisation},
    {"order: a source that is changed before the copy", "a source that was changed",
     source_changed_too_early},
    {"order: a copy on another stream that nobody waited for", "that nobody waited for", no_event},
    {"order: page-locked memory that is changed before the copy",
     "that a copy in a queue still reads", pinned_changed_too_early},
    {"order: page-locked memory that is read before the copy",
     "that a copy in a queue still writes", pinned_read_too_early},
    {"order: memory overwritten by another stream", ": a race of two queues", overwritten},
    {"order: a wait for an event that was never recorded",
     "cudaStreamWaitEvent: an event that was never recorded", event_never_recorded},
    {"order: an event that was destroyed", "cudaEventRecord: an event that was destroyed",
     event_destroyed},
    {"order: work on the null stream", "launch of scale: the null stream", null_stream},
    {"order: work on a stream that was destroyed", "cudaMemcpyAsync: a stream that was destroyed",
     stream_destroyed},
    {"order: a stream destroyed with work in it",
     "cudaStreamDestroy: a stream with work in its queue", stream_destroyed_in_use},
    {"kernels: a barrier that half the block reaches", "half_at_barrier: a divergent barrier",
     divergent_barrier},
    {"kernels: two barriers at once", "two_barriers: a divergent barrier", barriers_of_two_lines},
    {"kernels: a shuffle that half the warp reaches", "half_a_warp: a warp comes apart",
     warp_comes_apart},
    {"kernels: a shuffle in a warp that is not whole", "sum_of_warp: thread (", warp_not_whole},
    {"kernels: a barrier in a flat launch", "in a kernel that launch_flat launched",
     barrier_in_flat},
    {"kernels: a missing barrier, threads in the order that forgives it", "",
     missing_barrier<false>},
    {"kernels: a missing barrier, threads in the other order", "a missing barrier",
     missing_barrier<true>},
    {"kernels: shared memory that nobody set", "shared memory that nobody set", unset_shared},
    {"kernels: a block that is too large", "blocks of 1025x1x1 threads", block_too_large},
    {"kernels: an empty grid", "a grid of 0x1x1 blocks", empty_grid}};

}  // namespace
}  // namespace fission::cuda

extern "C" const fission::mistakes::Mistake* fission_mistakes() {
  using namespace fission;
  static const std::vector<mistakes::Mistake> all = [] {
    std::vector<mistakes::Mistake> m = cuda::list;
    for (auto* more : {&cuda::mistakes_of_libraries, &cuda::mistakes_of_races})
      m.insert(m.end(), more->begin(), more->end());
    m.push_back({nullptr, nullptr, nullptr});
    return m;
  }();
  return all.data();
}
extern "C" void fission_make(const fission::mistakes::Mistake* mistake) {
  fission::cuda::Bench b;
  mistake->make(b);
}
