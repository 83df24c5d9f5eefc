#include "data/augment.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace fission {
namespace data {
namespace {

// out = a row of n pixels, last pixel first
void copy_mirrored(const std::uint8_t* from, Index n, Index channels, std::uint8_t* out) {
  if (channels == 3 && n > 1) {  // 3 bytes move as 4, the next pixel mends the fourth; the ends
                                 // have no fourth to spare
    std::memcpy(out, from + 3 * (n - 1), 3);
    for (Index x = 1; x < n - 1; x++) std::memcpy(out + 3 * x, from + 3 * (n - 1 - x), 4);
    std::memcpy(out + 3 * (n - 1), from, 3);
    return;
  }
  for (Index x = 0; x < n; x++)
    std::memcpy(out + x * channels, from + (n - 1 - x) * channels, channels);
}

}  // namespace

Crop draw_crop(const Random& random, Index image, Index padding, bool flip) {
  std::uint32_t positions = std::uint32_t(2 * padding + 1);
  Crop crop;
  crop.dy = Index(random.below(image, positions, 0)) - padding;
  crop.dx = Index(random.below(image, positions, 1)) - padding;
  crop.mirror = flip && random.below(image, 2, 2) == 1;
  return crop;
}

void write_crop(const std::uint8_t* image, Index height, Index width, Index channels,
                const Crop& crop, std::uint8_t* out) {
  Index left = std::clamp<Index>(-crop.dx, 0, width),
        right = std::clamp<Index>(crop.dx, 0, width);  // black columns
  Index seen = width - left - right, from_x = right;
  if (crop.mirror) std::swap(left, right);
  for (Index y = 0; y < height; y++, out += width * channels) {
    Index from_y = y + crop.dy;
    if (from_y < 0 || from_y >= height || seen == 0) {
      std::memset(out, 0, width * channels);
      continue;
    }
    const std::uint8_t* from = image + (from_y * width + from_x) * channels;
    std::memset(out, 0, left * channels);
    if (crop.mirror) copy_mirrored(from, seen, channels, out + left * channels);
    else std::memcpy(out + left * channels, from, seen * channels);
    std::memset(out + (width - right) * channels, 0, right * channels);
  }
}

}  // namespace data
}  // namespace fission
