// Loader: batches of a data set on a device, prepared ahead by threads. What batch (epoch, step)
// holds is a function of (data set, options, epoch, step) alone: not of the threads, nor of what
// was asked for before; and not of (rank, ranks), the part of each that a process gets. A ring of
// buffers is allocated once; threads sleep when it is full. A batch's tensors are valid until the
// next but one call of next(): clone() what must live longer. One thread calls; the backend is
// called from that thread only. Refuses a data set without a full batch when only full ones are
// wanted, and one without a whole group (UserError).
#pragma once
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "data/images.h"
#include "tensor/backend.h"
#include "tensor/batch.h"

namespace fission {
namespace data {

// Each stage has an order and crops of its own: the two of a growth's round, and the images that
// are only looked at.
constexpr Index training_stage(Index round) { return 2 * round; }
constexpr Index solving_stage(Index round) { return 2 * round + 1; }
constexpr Index check_stage = 1000000, test_stage = check_stage + 1;

struct LoaderOptions {
  Index batch = 128;
  std::uint64_t seed = 0;
  Index stage = 0;
  bool shuffle = true, augment = true;
  bool drop_last = false;  // leave out the last, smaller batch of an epoch
  bool fixed_key = false;  // the same batches in every epoch
  Index group = 1;  // images that one process takes together (a batch-norm group); at an epoch's
                    // end, images too few for a group are skipped
  int rank = 0, ranks = 1;  // every batch's groups in `ranks` parts as equal as can be, some
                            // perhaps empty; this process's is part `rank`
  int threads = 1;
  Index ahead = 2;  // batches prepared beyond the one in use
};

class Loader : public BatchSource {
 public:
  Loader(const Dataset& dataset, Backend& device,
         const LoaderOptions& options);  // the data set must outlive the loader
  Loader(Dataset&&, Backend&, const LoaderOptions&) = delete;
  Loader(std::shared_ptr<const ImageSource> source, Backend& device, const LoaderOptions& options);
  ~Loader() override;

  Index size() const override { return options_.drop_last ? steps_ * options_.batch : used_; }
  Index steps() const override { return steps_; }
  Batch next(Index epoch, Index step) override;

 private:
  struct Position {
    Index epoch = -1, step = 0;
    bool operator==(const Position& o) const { return epoch == o.epoch && step == o.step; }
  };
  struct Slot;  // one batch's buffers, and how far it is
  Position after(Position p) const;
  Slot& slot(Index serial) { return *ring_[serial % Index(ring_.size())]; }
  bool work_to_do() const;
  void work();
  void assign_next();
  void fill(Slot& s, Index chunk) const;
  void seek(Index serial, Position position);
  void wait_until_ready(Index serial);
  bool ready(Index serial);
  void send(Slot& s);
  void stop();

  // set once
  std::shared_ptr<const ImageSource> source_;
  Backend& device_;
  LoaderOptions options_;
  Index count_ = 0, used_ = 0, steps_ = 0,
        at_once_ = 1;  // images, those in whole groups, batches, images a thread takes
  std::vector<std::unique_ptr<Slot>> ring_;

  // of the consumer alone. Batches are numbered by serial as they are handed out; batch n lies in
  // slot n mod ring.
  Index served_ = 0;
  Position expected_;

  // shared, under mutex_
  std::mutex mutex_;
  std::condition_variable work_, done_;
  Index assigned_ = 0, limit_ = 0;    // serials given to threads so far; those that may be
  Position position_;                 // of the serial to be assigned next
  std::vector<std::uint32_t> order_;  // of order_epoch_
  Index order_epoch_ = -1;
  int active_ = 0;  // threads that are filling a chunk
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace data
}  // namespace fission
