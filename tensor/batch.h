// A batch as it comes from data: raw images and labels, on the device that will use them.
#pragma once
#include <functional>

#include "tensor/tensor.h"

namespace fission {

struct Batch {
  Tensor images;    // (N,H,W,C) u8: cropped and flipped, not yet normalised
  Tensor labels;    // (N) i32
  Index whole = 0;  // where processes share a batch: images of all of them. N may be 0 then. 0:
                    // there are no others
};

// Where training gets its batches from: a function of (epoch, step), whatever runs ahead behind it.
struct BatchSource {
  virtual ~BatchSource() = default;
  virtual Index size() const = 0;                   // images an epoch
  virtual Index steps() const = 0;                  // batches an epoch
  virtual Batch next(Index epoch, Index step) = 0;  // any order is right; in order is fast
};

}  // namespace fission
