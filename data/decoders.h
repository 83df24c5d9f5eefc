// The two decoders behind data/decode.h, each in a file of its own; a build without one has only
// its refusal. Both are handed bytes whose format is known, check the size before memory is taken,
// and throw DecodeError.
#pragma once
#include "data/decode.h"
#include "tensor/check.h"

namespace fission {
namespace data {

constexpr bool have_libjpeg =
#if FISSION_HAVE_JPEG
    true;
#else
    false;
#endif
constexpr bool have_stb =
#if FISSION_HAVE_STB
    true;
#else
    false;
#endif

template <class... Parts>
[[noreturn]] void decode_error(const Parts&... parts) {
  throw DecodeError(text(parts...));
}

void decode_libjpeg(const std::uint8_t* bytes, std::size_t size, const Choose& choose,
                    Decoded& out);
void decode_stb(const std::uint8_t* bytes, std::size_t size, const Choose& choose, Decoded& out);

// The size is within most_pixels, and the area asked for lies within the image (a broken
// invariant if not).
Wanted checked(const Choose& choose, Index height, Index width, Decoded& out);
// Where the JPEG's end-of-image marker stands, looked for back to `from`; size if there is none
std::size_t end_of_jpeg(const std::uint8_t* bytes, std::size_t size, std::size_t from);

}  // namespace data
}  // namespace fission
