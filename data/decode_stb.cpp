// stb_image: decodes the whole picture, at its full size.
#include "data/decoders.h"

#if FISSION_HAVE_STB
#include <cstdlib>

namespace {
// no allocation beyond the largest picture's samples of 16 bits: a short PNG may unpack to any length
bool bounded(std::size_t bytes) { return bytes <= std::size_t(fission::data::most_pixels) * 8 + (1 << 20); }
}  // namespace
#define STBI_MALLOC(n) (bounded(n) ? std::malloc(n) : nullptr)
#define STBI_REALLOC(p, n) (bounded(n) ? std::realloc(p, n) : nullptr)
#define STBI_FREE(p) std::free(p)
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

struct JpegHead {
  bool adobe = false;
  std::size_t frame = 0, scan = 0;  // where the frame's and the first scan's segments begin; 0: nowhere
};
JpegHead head_of(const std::uint8_t* b, std::size_t size) {
  JpegHead head;
  for (std::size_t at = 2; at + 4 <= size && b[at] == 0xFF;) {
    int marker = b[at + 1];
    if (marker == 0xFF) {  // filling
      at++;
      continue;
    }
    if (marker == 0xEE && at + 9 <= size && std::equal(b + at + 4, b + at + 9, "Adobe")) head.adobe = true;
    if (marker >= 0xC0 && marker <= 0xC2) head.frame = at;
    if (marker == 0xDA) {
      head.scan = at;
      break;
    }
    at += 2 + (std::size_t(b[at + 2]) << 8 | b[at + 3]);
  }
  return head;
}

// Four inks without Adobe's marker: libjpeg takes them for CMYK, stb for a fourth channel to leave out. The marker helps.
std::vector<std::uint8_t> with_adobe(const std::uint8_t* b, std::size_t size) {
  static const std::uint8_t marker[] = {0xFF, 0xEE, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, 0};
  std::vector<std::uint8_t> all(b, b + 2);
  all.insert(all.end(), std::begin(marker), std::end(marker));
  all.insert(all.end(), b + 2, b + size);
  return all;
}

}  // namespace

void decode_stb(const std::uint8_t* bytes, std::size_t size, const Choose& choose, Decoded& out) {
  const char* kind = is_jpeg(bytes) ? "JPEG: " : "PNG: ";
  if (size > std::size_t(1) << 30) decode_error(kind, size, " bytes; at most ", 1 << 30, " are taken");
  int width = 0, height = 0, channels = 0;
  if (!stbi_info_from_memory(bytes, int(size), &width, &height, &channels)) decode_error(kind, stbi_failure_reason());
  std::vector<std::uint8_t> marked;
  if (is_jpeg(bytes)) {
    JpegHead head = head_of(bytes, size);
    if (head.scan == 0 || end_of_jpeg(bytes, size, head.scan) == size) decode_error(kind, "it ends before the end of the picture");
    if (!head.adobe && head.frame > 0 && head.frame + 10 <= size && bytes[head.frame + 9] == 4) {
      marked = with_adobe(bytes, size);
      bytes = marked.data(), size = marked.size();
    }
  }
  const Area a = checked(choose, height, width, out).area;
  out.owned = {stbi_load_from_memory(bytes, int(size), &width, &height, &channels, 4), std::free};
  if (!out.owned) decode_error(kind, stbi_failure_reason());
  FISSION_CHECK(height == out.full_height && width == out.full_width, "[decode] ", width, "x", height, " after ", out.full_width, "x", out.full_height);
  out.reduced = 1;
  out.view = {out.owned.get() + 4 * (a.top * width + a.left), Index(width), a.height, a.width};
  out.box = {0, 0, double(a.height), double(a.width)};
}

#else
void decode_stb(const std::uint8_t*, std::size_t, const Choose&, Decoded&) { FISSION_CHECK(have_stb, "[decode] built without stb_image"); }
#endif

}  // namespace data
}  // namespace fission
