// libjpeg-turbo: decodes no more than is wanted. Columns outside the area cost entropy decoding
// alone, rows above it likewise, rows below it nothing; reduced, the inverse transform gives fewer
// pixels at once.
#include "data/decoders.h"

#if FISSION_HAVE_JPEG
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>
#endif

namespace fission {
namespace data {

#if FISSION_HAVE_JPEG
namespace {

constexpr int most_scans = 200;  // a progressive image has about 10; each goes over all of it

// What libjpeg calls back. It is left by longjmp alone, over C's frames and ours without
// destructors.
struct Failure : jpeg_error_mgr {
  std::jmp_buf back;
  char what[JMSG_LENGTH_MAX];
};
[[noreturn]] void fail(j_common_ptr c) {
  auto* f = static_cast<Failure*>(c->err);
  c->err->format_message(c, f->what);
  std::longjmp(f->back, 1);
}
[[noreturn]] void fail_with(j_common_ptr c, const char* what) {
  auto* f = static_cast<Failure*>(c->err);
  std::snprintf(f->what, sizeof f->what, "%s", what);
  std::longjmp(f->back, 1);
}
void watch_scans(j_common_ptr c) {
  if (reinterpret_cast<j_decompress_ptr>(c)->input_scan_number > most_scans)
    fail_with(c, "more than 200 scans");
}
boolean at_the_end(j_decompress_ptr c) {
  fail_with(reinterpret_cast<j_common_ptr>(c), "it ends before the end of the image");
}
void skip(j_decompress_ptr c, long bytes) {
  if (bytes <= 0) return;
  if (std::size_t(bytes) > c->src->bytes_in_buffer) at_the_end(c);
  c->src->next_input_byte += bytes, c->src->bytes_in_buffer -= std::size_t(bytes);
}

// One image. Each step returns false where it fails, with the reason in `failure`.
struct Jpeg {
  jpeg_decompress_struct c{};
  Failure failure{};
  jpeg_source_mgr source{};
  jpeg_progress_mgr progress{};

  Jpeg() {
    c.err = jpeg_std_error(&failure), failure.error_exit = fail,
    failure.output_message = [](j_common_ptr) {};
  }
  ~Jpeg() { jpeg_destroy_decompress(&c); }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;

  bool read_header(const std::uint8_t* bytes, std::size_t size) {
    if (setjmp(failure.back)) return false;
    jpeg_create_decompress(&c);
    source.next_input_byte = bytes, source.bytes_in_buffer = size;
    source.init_source = [](j_decompress_ptr) {}, source.term_source = [](j_decompress_ptr) {};
    source.fill_input_buffer = at_the_end, source.skip_input_data = skip,
    source.resync_to_restart = jpeg_resync_to_restart;
    progress.progress_monitor = watch_scans;
    c.src = &source, c.progress = &progress;
    jpeg_read_header(&c, TRUE);
    bool four = c.jpeg_color_space == JCS_CMYK || c.jpeg_color_space == JCS_YCCK;
    c.out_color_space = four ? JCS_CMYK : JCS_EXT_RGBX;
    return true;
  }
  // 1/reduced of the size; afterwards c.output_width and c.output_height are known
  bool start(int reduced) {
    if (setjmp(failure.back)) return false;
    c.scale_num = 1, c.scale_denom = unsigned(reduced);
    jpeg_start_decompress(&c);
    return true;
  }
  // Columns left … left + width and a few more; *left becomes the first that there is. The
  // upsampling of colours treats the edges of what is decoded as the image's: two columns more on
  // each side keep the wanted ones exact.
  bool cut_columns(JDIMENSION* left, JDIMENSION width) {
    if (setjmp(failure.back)) return false;
    JDIMENSION from = *left < 2 ? 0 : *left - 2,
               to = *left + width + 2 > c.output_width ? c.output_width : *left + width + 2;
    *left = from;
    if (from == 0 && to == c.output_width) return true;
    JDIMENSION wide = to - from;
    jpeg_crop_scanline(&c, left, &wide);
    return true;
  }
  bool read_rows(JDIMENSION top, JDIMENSION rows,
                 std::uint8_t* out) {  // out (rows,c.output_width,4)
    if (setjmp(failure.back)) return false;
    if (top > 0) jpeg_skip_scanlines(&c, top);
    while (c.output_scanline < top + rows) {
      JSAMPROW row = out + std::size_t(c.output_scanline - top) * c.output_width * 4;
      jpeg_read_scanlines(&c, &row, 1);
    }
    return true;
  }
  bool read_on_to_the_end(std::uint8_t* row) {  // does it get there? row: of c.output_width pixels
    if (setjmp(failure.back)) return false;
    if (c.output_scanline >= c.output_height) return true;
    if (c.output_scanline + 1 < c.output_height)
      jpeg_skip_scanlines(&c, c.output_height - 1 - c.output_scanline);
    jpeg_read_scanlines(&c, &row, 1);  // skipping to the very end would look at nothing
    return true;
  }
  void must(bool done) {
    if (!done) decode_error("JPEG: ", failure.what);
  }
};

int reduction(const Wanted& w) {
  if (w.enough_height <= 0 || w.enough_width <= 0) return 1;
  for (int r : {8, 4, 2})
    if (w.area.height >= r * w.enough_height && w.area.width >= r * w.enough_width) return r;
  return 1;
}

// Inverted, as Adobe writes them: 255 − ink. Rounded as Pillow's cmyk2rgb.
void cmyk_to_rgb(std::uint8_t* pixel, std::size_t n) {
  for (; n > 0; n--, pixel += 4)
    for (int colour = 0; colour < 3; colour++) {
      int black = pixel[3], product = (255 - pixel[colour]) * black + 128;
      pixel[colour] = std::uint8_t(std::max(0, black - ((product + (product >> 8)) >> 8)));
    }
}

}  // namespace

void decode_libjpeg(const std::uint8_t* bytes, std::size_t size, const Choose& choose,
                    Decoded& out) {
  Jpeg jpeg;
  jpeg.must(jpeg.read_header(bytes, size));
  const std::size_t image = size - jpeg.source.bytes_in_buffer;  // the first scan's data begin here
  const Wanted wanted = checked(choose, jpeg.c.image_height, jpeg.c.image_width, out);
  const int r = out.reduced = reduction(wanted);
  jpeg.must(jpeg.start(r));

  const Area& a =
      wanted.area;  // in reduced pixels: from `top`, `left` to just before `bottom`, `right`
  JDIMENSION top = JDIMENSION(a.top / r), bottom = JDIMENSION((a.top + a.height + r - 1) / r);
  JDIMENSION left = JDIMENSION(a.left / r), right = JDIMENSION((a.left + a.width + r - 1) / r),
             first = left;
  jpeg.must(jpeg.cut_columns(&first, right - left));
  const std::size_t stride = jpeg.c.output_width;
  if (out.kept.size() < stride * (bottom - top) * 4) out.kept.resize(stride * (bottom - top) * 4);
  jpeg.must(jpeg.read_rows(top, bottom - top, out.kept.data()));
  // A file without its end may end within the rows left out: a crop must not decide whether it is
  // whole.
  if (end_of_jpeg(bytes, size, image) == size)
    jpeg.must(jpeg.read_on_to_the_end(std::vector<std::uint8_t>(stride * 4).data()));

  if (jpeg.c.out_color_space == JCS_CMYK) cmyk_to_rgb(out.kept.data(), stride * (bottom - top));
  out.view = {out.kept.data() + 4 * (left - first), Index(stride), Index(bottom - top),
              Index(right - left)};
  out.box = {double(a.top) / r - top, double(a.left) / r - left, double(a.height) / r,
             double(a.width) / r};
}

#else
void decode_libjpeg(const std::uint8_t*, std::size_t, const Choose&, Decoded&) {
  FISSION_CHECK(have_libjpeg, "[decode] built without libjpeg-turbo");
}
#endif

}  // namespace data
}  // namespace fission
