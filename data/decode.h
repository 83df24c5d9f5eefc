// Decoding JPEG (baseline, progressive, grey, CMYK, YCCK) and PNG (any depth; transparency is
// dropped) to RGB, told by their first bytes, never by a name. As Pillow's convert("RGB") gives it:
// Adobe's CMYK is inverted, EXIF is not looked at. Two decoders of JPEG behind one interface:
// libjpeg-turbo (the same pixels as Pillow; it can leave out what a crop does not need) and
// stb_image (a level or two away). Refuses, by DecodeError: other bytes, broken ones, an end before
// the end of the image, more than `most_pixels`. What libjpeg merely warns of passes, as it does
// in Pillow.
#pragma once
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/resize.h"

namespace fission {
namespace data {

constexpr Index most_pixels = Index(1) << 26;  // 67 million; ImageNet's largest image has 61

struct DecodeError
    : std::runtime_error {  // what is wrong with the bytes, in one line without the file's name
  using std::runtime_error::runtime_error;
};

enum class Decoder {
  best,
  stb,
  libjpeg
};  // of JPEG; best: libjpeg where the build has it. PNG is always stb's
bool have_decoder(Decoder decoder);
const char* name_of(Decoder decoder);

// The part of an image that is wanted, and whether fewer pixels do: a JPEG may be decoded at 1/2,
// 1/4 or 1/8 of its size while the area keeps at least (enough_height, enough_width) pixels. 0:
// every pixel, exactly.
struct Wanted {
  Area area;
  Index enough_height = 0, enough_width = 0;
};

// A decoded part. Its memory is used again by the next decode into it.
struct Decoded {
  Index full_height = 0, full_width = 0;  // of the whole image
  int reduced = 1;                        // the decoder's pixels are this many of the image's
  PixelView view;  // covers the area wanted, and no pixel that lies outside it whole
  Box box;         // the area, in pixels of the view
  std::vector<std::uint8_t> kept;                                          // libjpeg's
  std::unique_ptr<std::uint8_t, void (*)(void*)> owned{nullptr, nullptr};  // stb's
};

// `choose` is called once the size is known, and says what is wanted.
using Choose = std::function<Wanted(Index height, Index width)>;
void decode(const std::uint8_t* bytes, std::size_t size, const Choose& choose, Decoded& out,
            Decoder decoder = Decoder::best);

}  // namespace data
}  // namespace fission
