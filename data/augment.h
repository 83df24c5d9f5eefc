// Augmentation for small images: pad with black (byte 0, before normalisation), crop to the old
// size, mirror half. The draw is a function of the random stream and the image's number in the
// data set alone, so that it depends neither on the batch an image falls into nor on the threads.
// Refuses nothing: the loader checks sizes.
#pragma once
#include "data/dataset.h"
#include "tensor/random.h"

namespace fission {
namespace data {

struct Crop {
  Index dy = 0, dx = 0;  // where the crop begins in the unpadded image: −padding … padding
  bool mirror = false;
};
Crop draw_crop(const Random& random, Index image, Index padding, bool flip);

// out (H,W,C) = image (H,W,C) seen from (dy, dx), zeros outside, then mirrored left to right
void write_crop(const std::uint8_t* image, Index height, Index width, Index channels,
                const Crop& crop, std::uint8_t* out);

}  // namespace data
}  // namespace fission
