// The GPU that the fake pretends to have (fake.h says what it is for): memory, streams, events,
// situations, counters. The entry points of the libraries (cudart.cpp, cublas.cpp, cudnn.cpp) and
// the emulator stand on it. One lock over all; work is run by whoever waits for it.
#pragma once
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace fission::cuda_fake {

constexpr std::size_t arena_bytes = std::size_t(1) << 40;  // of addresses, for all devices

struct Misuse : std::logic_error {
  using std::logic_error::logic_error;
};
// Remembers the text as the fake's failure and throws it, prefixed by what was being done. While
// another exception flies it only remembers.
void misuse(const std::string& what);
template <class... Parts>
void misuse_of(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  misuse(out.str());
}

// One call of an entry point: locks, counts, and tells what a device that is lost or was never
// there returns.
class Call {
 public:
  explicit Call(const char* name);
  ~Call();
  cudaError_t status = cudaSuccess;

 private:
  std::lock_guard<std::recursive_mutex> lock_;
  std::string outer_;
};

// Bytes of memory that an operation touches. Device memory must be alive at the call and when it
// runs, host memory not the device's.
struct Use {
  const void* at;
  std::size_t bytes;  // 0: at least alive
  const char* what;   // "x"
  bool written = false;
};

// Up to when the work of each stream is known to be done, by its number. Time is races.cpp's.
struct Clock : std::map<long, std::uint32_t> {
  void learn(const Clock& other) {
    for (auto& [stream, time] : other) (*this)[stream] = std::max((*this)[stream], time);
  }
};

struct Record {  // of an event, in a stream
  CUstream_st* stream;
  bool done = false;
  double seconds = 0;
  Clock clock = {};
};
struct Operation {
  std::string name;
  std::vector<Use> uses;
  std::function<void()> run;
  std::shared_ptr<Record> signals = nullptr, waits_for = nullptr;
  CUstream_st* stream = nullptr;
  Clock host = {};  // what the host knew when it was enqueued
};

struct Situation {
  std::string problem;  // "", no_driver, stub, no_device, no_image, no_cublas, no_cudnn, old_driver
  long lost_after = -1;  // calls
  int lost_error = cudaErrorLaunchFailure;
  std::size_t memory = std::size_t(8) << 30;
  int devices = 1, capability = 80;
  bool descending = false;  // fibers
  bool early = false;       // streams
};

struct Allocation {
  char* at;
  std::size_t bytes, mapped;
  int device;
  bool host, alive = true;
};

class Device {
 public:
  static Device& get();
  static int& current();  // of this thread: cudaSetDevice's

  Situation situation;
  std::map<std::string, long> counts;  // "cudaMalloc", "launch NAME"
  std::string failure, doing;          // the first misuse; what is being done
  std::recursive_mutex mutex;
  bool lost = false;
  int handles = 0;  // of cuBLAS and cuDNN

  void count(const std::string& name) { counts[name]++; }
  cudaError_t lose();                    // the device is gone: what was queued with it
  cudaError_t last_error = cudaSuccess;  // what cudaGetLastError returns, once

  void* allocate(std::size_t bytes, bool host, int device);  // null: no more
  void free(void* p, bool host);
  std::size_t in_use(int device) { return in_use_[device]; }
  Allocation* holding(
      const void* p);         // the allocation, alive or freed, in or right after which p lies
  const char* arena() const;  // its first address
  bool in_arena(const void* p) const;
  bool open_around(
      const char* at);  // what the device touches while it works; false: nothing that it may touch
  const char* queued_use(
      const char* at);              // what a copy in a queue does to that host memory, or null
  void check(const Use& use);       // as device memory
  void check_host(const Use& use);  // as host memory: pageable or page-locked

  cudaStream_t create_stream(int device);
  void destroy_stream(cudaStream_t stream);
  void check_stream(cudaStream_t stream);
  void enqueue(cudaStream_t stream, Operation operation);
  // as the host's wait; until: null for all of it
  void finish(cudaStream_t stream, const Record* until);
  void finish_all();
  bool step(cudaStream_t stream);  // the next operation of a stream, if it waits for nobody
  cudaEvent_t create_event(bool timing);
  void destroy_event(cudaEvent_t event);
  CUevent_st& check_event(cudaEvent_t event);

  void start_recording();
  std::size_t stop_recording();
  void replay();
  std::string leaks();
  void reset();

 private:
  struct Opened {  // for its life the device's memory may be touched
    Device& device;
    explicit Opened(Device& d) : device(d) { d.open(); }
    ~Opened() { device.close(); }
  };
  void run(const Operation& operation);
  void run_until(cudaStream_t stream, const Record* until);
  void open(), close();
  void check_canary(const Allocation& a);
  std::map<char*, Allocation> allocations_;  // freed ones too: addresses are never handed out again
  std::map<int, std::size_t> in_use_;        // bytes, by device
  Clock host_;
  std::vector<std::unique_ptr<CUstream_st>> streams_;
  std::vector<std::unique_ptr<CUevent_st>> events_;
  std::vector<Operation> recorded_;
  bool recording_ = false;
  int opened_ = 0;
  std::vector<std::pair<char*, std::size_t>> stretches_;  // of memory that is open
};

// the first of n floats that nobody has written since the allocation (its bytes are all ones), or
// -1
std::ptrdiff_t first_unwritten(const float* p, std::size_t n);

}  // namespace fission::cuda_fake

struct CUstream_st {
  int device;
  long id;
  bool alive = true;
  std::deque<fission::cuda_fake::Operation> queue;
  fission::cuda_fake::Clock clock = {};  // itself too
};
struct CUevent_st {
  bool timing;
  bool alive = true;
  std::shared_ptr<fission::cuda_fake::Record> last;
};
