#include "data/augment.h"

#include <algorithm>
#include <cstring>

namespace fission {
namespace data {
namespace {

// Pixels of a known size: the compiler then moves them without a loop over channels.
template <Index C>
void mirror_row(std::uint8_t* row, Index width) {
  for (std::uint8_t *a = row, *b = row + (width - 1) * C; a < b; a += C, b -= C)
    for (Index c = 0; c < C; c++) std::swap(a[c], b[c]);
}
void mirror_row(std::uint8_t* row, Index width, Index channels) {
  if (channels == 3) return mirror_row<3>(row, width);
  for (std::uint8_t *a = row, *b = row + (width - 1) * channels; a < b; a += channels, b -= channels) std::swap_ranges(a, a + channels, b);
}

}  // namespace

Crop draw_crop(const Random& random, Index picture, Index padding, bool flip) {
  std::uint32_t positions = std::uint32_t(2 * padding + 1);
  Crop crop;
  crop.dy = Index(random.below(picture, positions, 0)) - padding;
  crop.dx = Index(random.below(picture, positions, 1)) - padding;
  crop.mirror = flip && random.below(picture, 2, 2) == 1;
  return crop;
}

void write_crop(const std::uint8_t* picture, Index height, Index width, Index channels, const Crop& crop, std::uint8_t* out) {
  Index left = std::clamp<Index>(-crop.dx, 0, width), right = std::clamp<Index>(crop.dx, 0, width);  // black columns
  for (Index y = 0; y < height; y++, out += width * channels) {
    Index from = y + crop.dy;
    if (from < 0 || from >= height || left == width || right == width) {
      std::memset(out, 0, width * channels);
      continue;
    }
    std::memset(out, 0, left * channels);
    std::memcpy(out + left * channels, picture + (from * width + right) * channels, (width - left - right) * channels);
    std::memset(out + (width - right) * channels, 0, right * channels);
    if (crop.mirror) mirror_row(out, width, channels);
  }
}

}  // namespace data
}  // namespace fission
