// stb_image: decodes the whole image, at its full size.
#include "data/decoders.h"

#if FISSION_HAVE_STB
#include <cstdlib>

namespace {
// no allocation beyond the largest image's samples of 16 bits: a short PNG may unpack to any
// length
bool bounded(std::size_t bytes) {
  return bytes <= std::size_t(fission::data::most_pixels) * 8 + (1 << 20);
}
// Zeros in what is as small as stb's own tables: it takes those that a broken file never defines as
// they lie.
void* taken(std::size_t bytes) {
  return !bounded(bytes) ? nullptr : bytes <= 1 << 16 ? std::calloc(bytes, 1) : std::malloc(bytes);
}
}  // namespace
#define STBI_MALLOC(n) taken(n)
#define STBI_REALLOC(p, n) (bounded(n) ? std::realloc(p, n) : nullptr)
#define STBI_FREE(p) std::free(p)
#define STBI_ASSERT(x) \
  ((x) ? void() : fission::data::decode_error("stb_image: not so: " #x))  // broken files come there
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS (1 << 26)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#if __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#else
#include <stb_image.h>
#endif
#pragma GCC diagnostic pop
#endif

namespace fission {
namespace data {

#if FISSION_HAVE_STB
namespace {

bool is_jpeg(const std::uint8_t* bytes) { return bytes[0] == 0xFF; }

std::size_t length_at(const std::uint8_t* b, std::size_t at) {
  return std::size_t(b[at + 2]) << 8 | b[at + 3];
}  // of the segment

// stb writes past its arrays where a Huffman table lists more than 256 codes.
void check_tables(const std::uint8_t* b, std::size_t size, std::size_t at) {
  const std::size_t end = at + 4 <= size ? at + 2 + length_at(b, at) : size + 1;
  for (at += 4; at != end;) {
    int codes = 0;
    if (end > size || at + 17 > end) decode_error("JPEG: a broken Huffman table at byte ", at);
    for (std::size_t i = 1; i <= 16; i++) codes += b[at + i];
    if (codes > 256 || at + 17 + codes > end)
      decode_error("JPEG: a broken Huffman table at byte ", at, " with ", codes, " codes");
    at += 17 + codes;
  }
}

struct JpegHead {
  bool adobe = false;
  int components = 0;
  std::size_t scan = 0;  // where the first scan begins; 0: nowhere
};
// Walks as stb does: what stands between segments is passed over. After the first scan's begin
// every table's marker counts.
JpegHead head_of(const std::uint8_t* b, std::size_t size) {
  JpegHead head;
  for (std::size_t at = 2; at + 4 <= size;) {
    const int marker = b[at] == 0xFF ? b[at + 1] : 0xFF;
    if (marker == 0xC4) check_tables(b, size, at);
    if (marker == 0xFF || marker == 0 || head.scan > 0) {
      at++;
      continue;
    }
    if (marker == 0xEE && at + 9 <= size && std::equal(b + at + 4, b + at + 9, "Adobe"))
      head.adobe = true;
    if (marker >= 0xC0 && marker <= 0xC2 && at + 10 <= size) head.components = b[at + 9];
    if (marker == 0xDA) head.scan = at++;
    else at += 2 + length_at(b, at);
  }
  return head;
}

// Four inks without Adobe's marker: libjpeg takes them for CMYK, stb for a fourth channel to leave
// out. The marker helps.
std::vector<std::uint8_t> with_adobe(const std::uint8_t* b, std::size_t size) {
  static const std::uint8_t marker[] = {0xFF, 0xEE, 0,   14, 'A', 'd', 'o', 'b',
                                        'e',  0,    100, 0,  0,   0,   0,   0};
  std::vector<std::uint8_t> all(b, b + 2);
  all.insert(all.end(), std::begin(marker), std::end(marker));
  all.insert(all.end(), b + 2, b + size);
  return all;
}

}  // namespace

void decode_stb(const std::uint8_t* bytes, std::size_t size, const Choose& choose, Decoded& out) {
  const char* kind = is_jpeg(bytes) ? "JPEG: " : "PNG: ";
  if (size > std::size_t(1) << 30)
    decode_error(kind, size, " bytes; at most ", 1 << 30, " are taken");
  std::vector<std::uint8_t> marked;
  if (is_jpeg(bytes)) {
    JpegHead head = head_of(bytes, size);
    if (head.scan == 0 || end_of_jpeg(bytes, size, head.scan) == size)
      decode_error(kind, "it ends before the end of the image");
    if (!head.adobe && head.components == 4) {
      marked = with_adobe(bytes, size);
      bytes = marked.data(), size = marked.size();
    }
  }
  int width = 0, height = 0, channels = 0;
  if (!stbi_info_from_memory(bytes, int(size), &width, &height, &channels))
    decode_error(kind, stbi_failure_reason());
  const Area a = checked(choose, height, width, out).area;
  out.owned = {stbi_load_from_memory(bytes, int(size), &width, &height, &channels, 4), std::free};
  if (!out.owned) decode_error(kind, stbi_failure_reason());
  FISSION_CHECK(height == out.full_height && width == out.full_width, "[decode] ", width, "x",
                height, " after ", out.full_width, "x", out.full_height);
  out.reduced = 1;
  out.view = {out.owned.get() + 4 * (a.top * width + a.left), Index(width), a.height, a.width};
  out.box = {0, 0, double(a.height), double(a.width)};
}

#else
void decode_stb(const std::uint8_t*, std::size_t, const Choose&, Decoded&) {
  FISSION_CHECK(have_stb, "[decode] built without stb_image");
}
#endif

}  // namespace data
}  // namespace fission
