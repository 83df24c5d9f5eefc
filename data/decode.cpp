#include "data/decode.h"

#include <cstring>

#include "data/decoders.h"

namespace fission {
namespace data {
namespace {

std::uint32_t big_endian(const std::uint8_t* b) {
  return std::uint32_t(b[0]) << 24 | std::uint32_t(b[1]) << 16 | std::uint32_t(b[2]) << 8 | b[3];
}

// CRC-32 as PNG and gzip have it, a byte at a time
std::uint32_t crc(const std::uint8_t* bytes, std::size_t size) {
  static const auto table = [] {
    std::vector<std::uint32_t> t(256);
    for (std::uint32_t i = 0; i < 256; i++) {
      t[i] = i;
      for (int bit = 0; bit < 8; bit++) t[i] = t[i] >> 1 ^ (t[i] & 1 ? 0xEDB88320u : 0);
    }
    return t;
  }();
  std::uint32_t c = ~0u;
  for (std::size_t i = 0; i < size; i++) c = c >> 8 ^ table[(c ^ bytes[i]) & 255];
  return ~c;
}

// stb_image looks neither at the checksums nor for the end.
void check_png(const std::uint8_t* bytes, std::size_t size) {
  for (std::size_t at = 8; at + 12 <= size;) {
    std::size_t length = big_endian(bytes + at);
    if (length > size - at - 12)
      decode_error("PNG: the chunk at byte ", at, " has ", length,
                   " bytes, but the file ends at byte ", size);
    if (crc(bytes + at + 4, length + 4) != big_endian(bytes + at + 8 + length))
      decode_error("PNG: the chunk at byte ", at, " has a wrong checksum");
    if (std::memcmp(bytes + at + 4, "IEND", 4) == 0) return;
    at += 12 + length;
  }
  decode_error("PNG: it ends at byte ", size, " without its closing chunk");
}

std::string begin_of(const std::uint8_t* bytes, std::size_t size) {
  std::string hex;
  for (std::size_t i = 0; i < std::min<std::size_t>(size, 4); i++) {
    hex += i ? " " : "";
    for (int nibble : {bytes[i] >> 4, bytes[i] & 15}) hex += "0123456789abcdef"[nibble];
  }
  return hex;
}

}  // namespace

bool have_decoder(Decoder decoder) {
  return decoder == Decoder::stb       ? have_stb
         : decoder == Decoder::libjpeg ? have_libjpeg
                                       : have_stb || have_libjpeg;
}

const char* name_of(Decoder decoder) {
  if (decoder == Decoder::best) decoder = have_libjpeg ? Decoder::libjpeg : Decoder::stb;
  return decoder == Decoder::libjpeg ? "libjpeg-turbo" : "stb_image";
}

Wanted checked(const Choose& choose, Index height, Index width, Decoded& out) {
  if (height < 1 || width < 1) decode_error("an image of ", width, "x", height, " pixels");
  if (width > most_pixels / height)
    decode_error("an image of ", width, "x", height, " pixels; at most ", most_pixels,
                 " are taken, against files made to fill the memory");
  Wanted wanted = choose(height, width);
  const Area& a = wanted.area;
  FISSION_CHECK(a.top >= 0 && a.left >= 0 && a.height > 0 && a.width > 0 &&
                    a.top + a.height <= height && a.left + a.width <= width,
                "[decode] area ", a.top, ",", a.left, " ", a.height, "x", a.width, " of ", height,
                "x", width);
  out.full_height = height, out.full_width = width;
  return wanted;
}

std::size_t end_of_jpeg(const std::uint8_t* bytes, std::size_t size, std::size_t from) {
  for (std::size_t i = size; i >= from + 2; i--)
    if (bytes[i - 2] == 0xFF && bytes[i - 1] == 0xD9) return i - 2;
  return size;
}

void decode(const std::uint8_t* bytes, std::size_t size, const Choose& choose, Decoded& out,
            Decoder decoder) {
  FISSION_CHECK(have_decoder(decoder), "[decode] ", name_of(decoder), " is not in this build");
  if (size == 0) decode_error("an empty file");
  if (size >= 3 && std::memcmp(bytes, "\xFF\xD8\xFF", 3) == 0)
    return have_libjpeg && decoder != Decoder::stb ? decode_libjpeg(bytes, size, choose, out)
                                                   : decode_stb(bytes, size, choose, out);
  if (size >= 8 && std::memcmp(bytes, "\x89PNG\r\n\x1A\n", 8) == 0) {
    if (!have_stb)
      decode_error(
          "a PNG, and this build has libjpeg-turbo only; stb_image reads it (Debian: libstb-dev)");
    check_png(bytes, size);
    return decode_stb(bytes, size, choose, out);
  }
  decode_error("neither JPEG nor PNG: it begins with ", begin_of(bytes, size));
}

}  // namespace data
}  // namespace fission
