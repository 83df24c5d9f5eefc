#include "tests/cuda/fake/device.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/cuda/fake/fake.h"
#include "tests/cuda/fake/races.h"

namespace fission::cuda_fake {
namespace {

constexpr std::size_t page = 4096, stretch = 32 * page, most_stretches = 1 << 17;
constexpr unsigned char unwritten = 0xff, canary = 0xcb;

// One stretch of addresses for all devices, of which only living allocations are ever mapped, and
// readable only while the device works.
struct Addresses {
  char *begin, *next, *end;
  Addresses() {
    void* p =
        mmap(nullptr, arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) std::perror("fake: 1 TB of addresses"), std::abort();
    begin = static_cast<char*>(p), next = begin + page, end = begin + arena_bytes;
  }
};
Addresses& addresses() {
  static Addresses& a = *new Addresses;
  return a;
}

struct sigaction before;
void on_fault(int signal, siginfo_t* info,
              void*) {  // says what the fault means, then lets whoever was there before do as ever
  Device& d = Device::get();
  const char* at = static_cast<const char*>(info->si_addr);
  if (d.open_around(at)) return;
  const char* who = d.doing.empty() ? "the host" : d.doing.c_str();
  const char* queued = d.queued_use(at);
  if (queued && !*queued) return;
  Allocation* a = d.in_arena(at) ? d.holding(at) : nullptr;
  char text[512];
  int n = 0;
  if (queued)
    n = std::snprintf(text, sizeof text,
                      "[fake] the host touched memory that a copy in a queue still %s\n", queued);
  else if (a)
    n = std::snprintf(text, sizeof text,
                      "[fake] %s: touched device memory at byte %td of an allocation of %zu%s\n",
                      who, at - a->at, a->bytes, a->alive ? "" : ", which was freed");
  else
    n = std::snprintf(text, sizeof text, "[fake] %s: %s, %p\n", who,
                      d.in_arena(at)
                          ? "touched device memory that is no allocation's"
                          : "a bad address, or one that is not aligned for its load or store",
                      info->si_addr);
  if (write(2, text, std::size_t(n)) < 0) _exit(134);
  sigaction(signal, &before, nullptr);
}

void watch_faults() {
  struct sigaction action {
  }, there{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, &there);
  if (!(there.sa_flags & SA_SIGINFO) || there.sa_sigaction != on_fault) before = there;
}

bool protect(const Allocation& a, const void* from, std::size_t bytes, int how) {
  std::size_t first = std::size_t(static_cast<const char*>(from) - a.at) / page * page;
  return mprotect(a.at + first, static_cast<const char*>(from) + bytes - (a.at + first), how) == 0;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void misuse(const std::string& what) {
  Device& d = Device::get();
  std::string text = "[fake] " + (d.doing.empty() ? "" : d.doing + ": ") + what;
  if (d.failure.empty()) d.failure = text;
  if (std::uncaught_exceptions() == 0) throw Misuse(text);
}

Call::Call(const char* name) : lock_(Device::get().mutex), outer_(Device::get().doing) {
  Device& d = Device::get();
  d.doing = name;
  d.count(name);
  d.count("");
  const std::string& problem = d.situation.problem;
  if (problem == "no_driver" || problem == "old_driver") status = cudaErrorInsufficientDriver;
  if (problem == "stub") status = cudaErrorStubLibrary;
  if (problem == "no_device") status = cudaErrorNoDevice;
  if (d.situation.lost_after >= 0 && d.counts[""] > d.situation.lost_after) d.lost = true;
  if (d.lost) status = d.lose();
}
Call::~Call() { Device::get().doing = outer_; }

Device& Device::get() {
  static Device& device = *[] {
    watch_faults();
    return new Device;
  }();
  return device;
}

int& Device::current() {
  static thread_local int k = 0;
  return k;
}

cudaError_t Device::lose() {
  lost = true;
  for (auto& s : streams_) {
    for (Operation& o : s->queue)
      if (o.signals) o.signals->done = true;
    s->queue.clear();
  }
  return cudaError_t(situation.lost_error);
}

// ---- Memory

void* Device::allocate(std::size_t bytes, bool host, int device) {
  if (!host && in_use_[device] + bytes > situation.memory) return nullptr;
  if (bytes == 0) misuse("an allocation of 0 bytes");
  std::size_t mapped = (bytes + page - 1) / page * page;
  Addresses& a = addresses();
  char* p;
  if (host) {  // with a page behind that nobody may touch
    void* q =
        mmap(nullptr, mapped + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (q == MAP_FAILED) return nullptr;
    p = static_cast<char*>(q);
    mprotect(p + mapped, page, PROT_NONE);
  } else {
    if (a.next + mapped + page > a.end)
      std::fprintf(stderr, "[fake] out of addresses\n"), std::abort();
    p = a.next;
    a.next += mapped + page;
    mprotect(p, mapped, PROT_READ | PROT_WRITE);
  }
  std::memset(p, unwritten, bytes);
  std::memset(p + bytes, canary, mapped - bytes);
  if (!host) mprotect(p, mapped, PROT_NONE);
  allocations_[p] = {p, bytes, mapped, device, host};
  if (!host) in_use_[device] += bytes;
  return p;
}

void Device::free(void* pointer, bool host) {
  if (!pointer) return;
  auto* p = static_cast<char*>(pointer);
  Allocation* a = holding(p);
  if (!a) return misuse("memory that was never allocated");
  if (!a->alive) return misuse("memory that was freed before");
  if (a->at != p)
    return misuse_of("a pointer ", p - a->at, " bytes into an allocation of ", a->bytes);
  if (a->host != host) return misuse(host ? "device memory" : "page-locked host memory");
  for (auto& s : streams_)
    for (const Operation& o : s->queue)
      for (const Use& u : o.uses)
        if (holding(u.at) == a)
          return misuse_of("memory that queued work still uses: ", o.name, ", ", u.what);
  Opened opened(*this);
  check_canary(*a);
  a->alive = false;
  if (!host) in_use_[a->device] -= a->bytes;
  if (a->host) munmap(p, a->mapped + page), allocations_.erase(p);
  else madvise(p, a->mapped, MADV_DONTNEED), mprotect(p, a->mapped, PROT_NONE);
}

const char* Device::arena() const { return addresses().begin; }
bool Device::in_arena(const void* p) const { return p >= addresses().begin && p < addresses().end; }

Allocation* Device::holding(const void* pointer) {
  auto* p = static_cast<char*>(const_cast<void*>(pointer));
  auto at = allocations_.upper_bound(p);
  if (at == allocations_.begin()) return nullptr;
  Allocation& a = (--at)->second;
  return p < a.at + a.mapped + (a.host ? 0 : page) ? &a : nullptr;
}

void Device::check(const Use& use) {
  if (!use.at) return misuse_of(use.what, " is null");
  Allocation* a = holding(use.at);
  if (!in_arena(use.at))
    return misuse_of(use.what, " is a host pointer, where device memory is expected");
  if (!a) return misuse_of(use.what, " lies in no allocation");
  if (!a->alive) return misuse_of(use.what, " was freed");
  std::size_t offset = std::size_t(static_cast<const char*>(use.at) - a->at);
  if (offset + use.bytes > a->bytes)
    misuse_of(use.what, ": ", use.bytes, " bytes from byte ", offset, " of an allocation of ",
              a->bytes);
}

void Device::check_host(const Use& use) {
  if (!use.at) return misuse_of(use.what, " is null");
  if (in_arena(use.at))
    return misuse_of(use.what, " is a device pointer, where host memory is expected");
  Allocation* a = holding(use.at);
  if (!a) return;  // pageable
  std::size_t offset = std::size_t(static_cast<const char*>(use.at) - a->at);
  if (offset + use.bytes > a->bytes)
    misuse_of(use.what, ": ", use.bytes, " bytes from byte ", offset,
              " of a page-locked allocation of ", a->bytes);
}

// While the device works its memory is opened where it is touched, a stretch at a time: opening all
// of it for each copy takes most of the time.
void Device::open() {
  if (opened_++) return;
  stretches_.reserve(most_stretches);
  watch_faults();  // a test framework puts its own handler in place before each test
}
bool Device::open_around(const char* at) {  // in a signal handler
  if (!opened_ || !in_arena(at) || stretches_.size() == most_stretches) return false;
  Allocation* a = holding(at);
  if (!a || !a->alive || at >= a->at + a->mapped) return false;
  std::size_t from = std::size_t(at - a->at) / stretch * stretch;
  stretches_.push_back({a->at + from, std::min(stretch, a->mapped - from)});
  return mprotect(stretches_.back().first, stretches_.back().second, PROT_READ | PROT_WRITE) == 0;
}
// Page-locked memory is the host's again when the copies in the queues are done with it. What lies
// in the same page only is opened: an empty text.
const char* Device::queued_use(const char* at) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  Allocation* a = in_arena(at) ? nullptr : holding(at);
  if (!a) return nullptr;
  for (auto& s : streams_)
    for (const Operation& o : s->queue)
      for (const Use& u : o.uses)
        if (at >= u.at && at < static_cast<const char*>(u.at) + u.bytes)
          return u.written ? "writes" : "reads";
  return at < a->at + a->mapped && protect(*a, at, 1, PROT_READ | PROT_WRITE) ? "" : nullptr;
}
void Device::close() {
  if (--opened_) return;
  for (auto& [at, bytes] : stretches_) mprotect(at, bytes, PROT_NONE);
  stretches_.clear();
}
void Device::check_canary(const Allocation& a) {
  for (std::size_t i = a.bytes; i < a.mapped; i++)
    if (static_cast<unsigned char>(a.at[i]) != canary)
      return misuse_of("byte ", i, " was written, behind an allocation of ", a.bytes, " bytes");
}

std::ptrdiff_t first_unwritten(const float* p, std::size_t n) {
  for (std::size_t i = 0; i < n; i++) {
    std::uint32_t bits;
    std::memcpy(&bits, p + i, 4);
    if (bits == 0xffffffffu) return std::ptrdiff_t(i);
  }
  return -1;
}

// ---- Streams and events

cudaStream_t Device::create_stream(int device) {
  streams_.push_back(std::make_unique<CUstream_st>());
  streams_.back()->device = device;
  streams_.back()->id = long(streams_.size());
  return streams_.back().get();
}
void Device::check_stream(cudaStream_t stream) {
  if (!stream) return misuse("the null stream: work goes to the backend's own streams");
  for (auto& s : streams_)
    if (s.get() == stream) {
      if (!s->alive) misuse("a stream that was destroyed");
      return;
    }
  misuse("what is given as a stream is none");
}
void Device::destroy_stream(cudaStream_t stream) {
  check_stream(stream);
  if (!stream->queue.empty())
    misuse_of("a stream with work in its queue: ", stream->queue.front().name);
  stream->alive = false;
}

cudaEvent_t Device::create_event(bool timing) {
  events_.push_back(std::make_unique<CUevent_st>());
  events_.back()->timing = timing;
  return events_.back().get();
}
CUevent_st& Device::check_event(cudaEvent_t event) {
  static CUevent_st none{};
  for (auto e = events_.rbegin(); e != events_.rend(); ++e)
    if (e->get() == event) {
      if (!event->alive) misuse("an event that was destroyed");
      return *event;
    }
  misuse(event ? "what is given as an event is none" : "a null event");
  return none;
}
void Device::destroy_event(cudaEvent_t event) {
  check_event(event).alive = false;
  event->last.reset();
}

void Device::enqueue(cudaStream_t stream, Operation operation) {
  check_stream(stream);
  for (const Use& u : operation.uses)
    if (Allocation* a = in_arena(u.at) ? holding(u.at) : nullptr; a && a->device != stream->device)
      misuse_of(u.what, " is memory of device ", a->device, ", the stream is of device ",
                stream->device);
  operation.stream = stream, operation.host = host_;
  if (recording_ && operation.run) recorded_.push_back(operation);
  for (const Use& u : operation.uses)
    if (Allocation* a = in_arena(u.at) ? nullptr : holding(u.at))
      protect(*a, u.at, u.bytes, u.written ? PROT_NONE : PROT_READ);
  stream->queue.push_back(std::move(operation));
}

void Device::run(const Operation& operation) {
  Clock& clock = operation.stream->clock;
  clock.learn(operation.host);
  if (operation.waits_for) clock.learn(operation.waits_for->clock);
  if (operation.run) {
    std::string outer = doing;
    doing = operation.name;
    Opened opened(*this);
    struct Back {
      Device& d;
      std::string& outer;
      ~Back() {
        d.doing = outer;
        emulator::races::forget();
      }
    } back{*this, outer};
    emulator::races::begin(operation.stream->id, clock);
    for (const Use& u : operation.uses)
      if (in_arena(u.at)) check(u), emulator::races::use(u);
      else {
        check_host(u);
        if (Allocation* a = holding(u.at)) protect(*a, u.at, u.bytes, PROT_READ | PROT_WRITE);
      }
    operation.run();
    emulator::races::end();
    for (const Use& u : operation.uses)
      if (Allocation* a = holding(u.at)) check_canary(*a);
  }
  if (auto& s = operation.signals) s->done = true, s->seconds = now(), s->clock = clock;
}

bool Device::step(cudaStream_t stream) {
  if (stream->queue.empty()) return false;
  Operation& front = stream->queue.front();
  if (front.waits_for && !front.waits_for->done) return false;
  Operation operation = std::move(front);
  stream->queue.pop_front();
  run(operation);
  return true;
}

// Runs what must be run for the host to go on, and nothing more (a copy that nobody waited for has
// not arrived), or, where "streams=early", first everything on the other streams that is not told
// to wait (a copy that did not wait has overwritten).
void Device::run_until(cudaStream_t stream, const Record* until) {
  Opened opened(*this);  // once, not for each operation
  while (until ? !until->done : !stream->queue.empty()) {
    for (bool again = situation.early; again;) {
      again = false;
      for (std::size_t i = 0; i < streams_.size(); i++)
        if (streams_[i].get() != stream)
          while (step(streams_[i].get())) again = true;
    }
    if (stream->queue.empty()) continue;
    if (std::shared_ptr<Record> other = stream->queue.front().waits_for; other && !other->done)
      run_until(other->stream, other.get());
    else step(stream);
  }
}
void Device::finish(cudaStream_t stream, const Record* until) {
  run_until(stream, until);
  host_.learn(until ? until->clock : stream->clock);
}
void Device::finish_all() {
  for (std::size_t i = 0; i < streams_.size(); i++) finish(streams_[i].get(), nullptr);
}

// ---- What tests ask for

void Device::start_recording() {
  recorded_.clear();
  recording_ = true;
}
std::size_t Device::stop_recording() {
  recording_ = false;
  return recorded_.size();
}
void Device::replay() {
  finish_all();
  for (const Operation& o : recorded_) run({o.name, o.uses, o.run, nullptr, nullptr, o.stream});
}

std::string Device::leaks() {
  std::ostringstream out;
  for (auto& [p, a] : allocations_)
    if (a.alive)
      out << a.bytes << (a.host ? " bytes of page-locked memory\n" : " bytes of device memory\n");
  std::size_t streams = 0, events = 0;
  for (auto& s : streams_) streams += s->alive;
  for (auto& e : events_) events += e->alive;
  if (streams) out << streams << " streams\n";
  if (events) out << events << " events\n";
  if (handles) out << handles << " library handles\n";
  if (last_error) out << "error " << last_error << "\n";
  return out.str();
}

void Device::reset() {
  watch_faults();
  for (auto& s : streams_) s->queue.clear();
  for (auto& [p, a] : allocations_) {
    if (!a.alive) continue;
    if (a.host) munmap(a.at, a.mapped + page);
    else madvise(a.at, a.mapped, MADV_DONTNEED), mprotect(a.at, a.mapped, PROT_NONE);
  }
  allocations_.clear();
  in_use_.clear();
  streams_.clear();
  events_.clear();
  recorded_.clear();
  host_.clear();
  counts.clear();
  failure.clear(), doing.clear();
  situation = Situation();
  last_error = cudaSuccess;
  lost = recording_ = false;
  stretches_.clear();
  opened_ = handles = 0;
}

}  // namespace fission::cuda_fake
