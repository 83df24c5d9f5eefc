// Bilinear resizing with antialiasing, equal to Pillow's Image.resize(size, BILINEAR, box) to the
// bit: its 8-bit scheme of two passes, rows first, weights of 22 bits, each pass rounded to bytes
// (Pillow, src/libImaging/Resample.c). Only the part of the result that is asked for is computed.
// Refuses nothing: who calls checks sizes.
#pragma once
#include <cstdint>

#include "tensor/geometry.h"

namespace fission {
namespace data {

struct Area {  // of whole pixels
  Index top = 0, left = 0, height = 0, width = 0;
};
struct Box {  // of parts of pixels
  double top = 0, left = 0, height = 0, width = 0;
};

// Pixels of 4 bytes: red, green, blue, and one that means nothing
struct PixelView {
  const std::uint8_t* first = nullptr;
  Index stride = 0;  // pixels from a row's begin to the next one's
  Index height = 0, width = 0;
};

// `box` of `in`, resized to (height,width); of that, `part` to out (part.height,part.width,3),
// mirrored left to right or not. No pixel outside `in` is seen: a view of a crop is what resizing
// an image cropped before would give.
void resize(const PixelView& in, const Box& box, Index height, Index width, const Area& part,
            bool mirror, std::uint8_t* out);

}  // namespace data
}  // namespace fission
