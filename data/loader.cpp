#include "data/loader.h"

#include <algorithm>
#include <numeric>
#include <system_error>
#include <utility>

namespace fission {
namespace data {
namespace {

constexpr Index in_use = 2;  // batches the consumer may be using: the last two handed out
// Images a thread takes, so that several threads share a batch: many small ones, one at a time of
// those that are decoded.
Index chunk_for(Index bytes_per_image) {
  return std::clamp<Index>(32 * 3072 / bytes_per_image, 1, 32);
}
constexpr Index key_bits = 24;  // of stage and of epoch in a random stream's 48-bit item
constexpr Index fixed_epoch = (Index(1) << key_bits) - 1;

// Host memory that the device copies from
template <class T>
class Staging {
 public:
  explicit Staging(const Tensor& to)
      : device_(to.backend()),
        in_place_(&device_.arena(Memory::host) == &device_.arena(Memory::device)),
        data_(static_cast<T*>(in_place_ ? to.data() : device_.allocate(to.bytes(), Memory::host))) {
  }
  ~Staging() {
    if (!in_place_) device_.free(data_, Memory::host);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  T* data() { return data_; }
  void send(Tensor& to, Index n) {
    if (!in_place_)
      device_.copy(to.data(), data_, n * sizeof(T), Backend::Direction::host_to_device,
                   Queue::transfer);
  }

 private:
  Backend& device_;
  bool in_place_;  // the device's memory is the host's: images are written where they are read
  T* data_;
};

}  // namespace

struct Loader::Slot {
  Slot(Backend& device, Index batch, const Shape& p)
      : images(device, {batch, p[1], p[2], p[3]}, DType::u8),
        labels(device, {batch}, DType::i32),
        host_images(images),
        host_labels(labels),
        members(batch) {}

  Tensor images, labels;  // of a whole batch; a smaller one is a slice
  Staging<std::uint8_t> host_images;
  Staging<std::int32_t> host_labels;
  // written under the mutex when the slot is assigned, then only read
  std::vector<std::uint32_t> members;
  Index count = 0, whole = 0, key = 0, chunks = 0;
  // under the mutex
  Index taken = 0, finished = 0;  // chunks
  std::exception_ptr error;
  // of the consumer alone
  bool sent = false;
  std::unique_ptr<Event> copied,
      released;  // its copy is done; work on what lay there before is done
};

Loader::Loader(const Dataset& dataset, Backend& device, const LoaderOptions& options)
    : Loader(images_of(dataset), device, options) {}

Loader::Loader(std::shared_ptr<const ImageSource> source, Backend& device,
               const LoaderOptions& options)
    : source_(std::move(source)), device_(device), options_(options) {
  Shape shape = source_->shape();
  count_ = shape[0];
  FISSION_CHECK(shape.rank() == 4 && shape.numel() > 0 && count_ < Index(1) << 32,
                "[loader] images ", shape);
  FISSION_CHECK(options.batch > 0 && options.threads > 0 && options.ahead > 0, "[loader] batch ",
                options.batch, ", threads ", options.threads, ", ahead ", options.ahead);
  FISSION_CHECK(options.stage >= 0 && options.stage < Index(1) << key_bits, "[loader] stage ",
                options.stage);
  FISSION_CHECK(options.group > 0 && options.batch % options.group == 0 && options.rank >= 0 &&
                    options.rank < options.ranks,
                "[loader] batch ", options.batch, ", groups of ", options.group, ", part ",
                options.rank, " of ", options.ranks);
  at_once_ = chunk_for(shape.numel() / count_);
  used_ = count_ - count_ % options.group;
  if (used_ == 0)
    user_error("[loader] ", count_, " images do not fill one batch-norm group of ", options.group,
               "; expected batch-norm groups of at most ", count_);
  steps_ = options.drop_last ? used_ / options.batch : (used_ + options.batch - 1) / options.batch;
  if (steps_ == 0)
    user_error("[loader] ", count_, " images and batches of ", options.batch,
               ", full ones only: not one batch; expected batches of at most ", count_);
  Index groups = std::min(options.batch, used_) / options.group,
        largest = (groups + options.ranks - 1) / options.ranks * options.group;
  for (Index i = 0; i < options.ahead + in_use; i++) {
    ring_.push_back(std::make_unique<Slot>(device, largest, shape));
    ring_.back()->released =
        device.record(Queue::compute);  // the memory's last owner may still be at work on it
  }
  threads_.reserve(std::size_t(options.threads));
  try {
    for (int i = 0; i < options.threads; i++) threads_.emplace_back([this] { work(); });
  } catch (const std::bad_alloc&) {  // those that run must not be left behind
    stop();
    throw;
  } catch (const std::system_error& e) {
    const std::size_t had = threads_.size();
    stop();
    user_error("[loader] the system gives it ", had, " of ", options.threads, " threads (",
               e.code().message(),
               "); expected a higher limit (ulimit -u, ulimit -v), or fewer threads");
  }
}

Loader::~Loader() {
  stop();
  try {  // the memory goes back after this: no copy and no computation may be at work on it
    for (auto& s : ring_)
      if (s->copied) device_.wait_on_host(*s->copied);
    device_.wait_on_host(*device_.record(Queue::compute));
  } catch (...) {  // a device that fails here has failed before, and was heard of
  }
}

void Loader::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& t : threads_) t.join();
  threads_.clear();
}

Loader::Position Loader::after(Position p) const {
  if (p.step + 1 < steps_) return {p.epoch, p.step + 1};
  return {options_.fixed_key ? p.epoch : p.epoch + 1, 0};
}

// ---- the threads
// ------------------------------------------------------------------------------------------------

bool Loader::work_to_do() const {
  if (assigned_ < limit_) return true;
  if (assigned_ == 0) return false;
  const Slot& newest = *ring_[(assigned_ - 1) % Index(ring_.size())];
  return newest.taken < newest.chunks;  // older ones have been taken whole
}

void Loader::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stop_ || work_to_do(); });
    if (stop_) return;
    if (assigned_ == 0 || slot(assigned_ - 1).taken == slot(assigned_ - 1).chunks) {
      assign_next();
      continue;
    }
    Slot& s = slot(assigned_ - 1);
    Index chunk = s.taken++;
    active_++;
    lock.unlock();
    std::exception_ptr error;
    try {
      fill(s, chunk);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    active_--;
    if (error && !s.error) s.error = error;
    if (++s.finished == s.chunks || active_ == 0) done_.notify_all();
  }
}

// Under the mutex: an epoch's permutation is drawn once, by whoever comes first (1 ms for 50000
// images).
void Loader::assign_next() {
  Slot& s = slot(assigned_);
  s.key = options_.stage << key_bits | position_.epoch;
  s.taken = s.finished = s.chunks = 0;
  s.error = nullptr;
  Index first = position_.step * options_.batch;
  s.whole = std::min(options_.batch, used_ - first);
  const Index groups = s.whole / options_.group, mine = groups * options_.rank / options_.ranks,
              next = groups * (options_.rank + 1) / options_.ranks;
  first += mine * options_.group;
  s.count = (next - mine) * options_.group;
  try {
    if (options_.shuffle && order_epoch_ != position_.epoch) {
      order_epoch_ = -1;
      order_ =
          Random(options_.seed, random_purpose::order, s.key).permutation(std::uint32_t(count_));
      order_epoch_ = position_.epoch;
    }
    if (options_.shuffle) std::copy_n(order_.begin() + first, s.count, s.members.begin());
    else std::iota(s.members.begin(), s.members.begin() + s.count, std::uint32_t(first));
    s.chunks = (s.count + at_once_ - 1) / at_once_;
    if (s.chunks == 0) done_.notify_all();  // nothing to do: ready
  } catch (...) {
    s.error = std::current_exception();
    done_.notify_all();
  }
  assigned_++;
  position_ = after(position_);
}

void Loader::fill(Slot& s, Index chunk) const {
  Random random(options_.seed, random_purpose::augmentation, s.key);
  Index bytes = s.images.numel() / s.images.dim(0);
  for (Index i = chunk * at_once_; i < std::min(s.count, (chunk + 1) * at_once_); i++)
    s.host_labels.data()[i] = source_->write(s.members[i], options_.augment ? &random : nullptr,
                                             s.host_images.data() + i * bytes);
}

// ---- the consumer
// -----------------------------------------------------------------------------------------------

// Serials from `serial` on begin anew at `position`; what was prepared of them is dropped.
void Loader::seek(Index serial, Position position) {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    limit_ = serial;
    if (assigned_ > 0) slot(assigned_ - 1).taken = slot(assigned_ - 1).chunks;
    done_.wait(lock, [this] { return active_ == 0; });
  }
  for (Index n = serial; n < assigned_; n++) {  // no thread changes assigned_ now
    Slot& s = slot(n);
    if (s.sent) device_.wait_on_host(*s.copied);
    s.sent = false;
  }
  std::lock_guard<std::mutex> lock(mutex_);
  assigned_ = serial;
  position_ = position;
}

bool Loader::ready(Index serial) {
  return serial < assigned_ && slot(serial).finished == slot(serial).chunks;
}

void Loader::wait_until_ready(Index serial) {
  std::unique_lock<std::mutex> lock(mutex_);
  limit_ = serial + options_.ahead + 1;
  work_.notify_all();
  done_.wait(lock, [&] { return ready(serial); });
  if (slot(serial).error) std::rethrow_exception(std::exchange(slot(serial).error, nullptr));
}

void Loader::send(Slot& s) {
  device_.wait(Queue::transfer, *s.released);
  Index bytes = s.images.numel() / s.images.dim(0);
  s.host_images.send(s.images, s.count * bytes);
  s.host_labels.send(s.labels, s.count);
  s.copied = device_.record(Queue::transfer);
  s.sent = true;
}

Batch Loader::next(Index epoch, Index step) {
  FISSION_CHECK(step >= 0 && step < steps_ && epoch >= 0 && epoch < fixed_epoch, "[loader] epoch ",
                epoch, ", step ", step, " of ", steps_);
  Position position{options_.fixed_key ? fixed_epoch : epoch, step};
  Index serial = served_++;
  if (serial >=
      in_use) {  // the batch before the last is given up: its slot is filled anew from here on
    Slot& old = slot(serial - in_use);
    if (old.sent)
      device_.wait_on_host(*old.copied);  // long done: that batch has been worked on since
    old.released = device_.record(Queue::compute);
    old.sent = false;
  }
  if (!(position == expected_)) seek(serial, position);
  expected_ = Position{};  // should anything fail from here on, the next call begins anew
  wait_until_ready(serial);

  Slot& s = slot(serial);
  if (!s.sent) send(s);
  device_.wait(Queue::compute, *s.copied);
  for (Index n = serial + 1; n <= serial + options_.ahead;
       n++) {  // those ready by now travel while this one is used
    Slot& later = slot(n);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!ready(n) || later.error) break;
    }
    if (!later.sent) send(later);
  }
  expected_ = after(position);
  const Shape& shape = s.images.shape();
  return {s.images.slice(0, {s.count, shape[1], shape[2], shape[3]}), s.labels.slice(0, {s.count}),
          options_.ranks > 1 ? s.whole : 0};
}

}  // namespace data
}  // namespace fission
