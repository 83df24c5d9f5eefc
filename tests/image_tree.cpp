#include "tests/image_tree.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "tensor/check.h"
#include "tensor/random.h"

namespace fission {
namespace test {
namespace {

using Bytes = std::vector<std::uint8_t>;
using Components = std::vector<std::vector<int>>;  // [component][block]: 0 … 255

Components ycc(const BlockImage& p, bool inverted) {
  Components c(3);
  for (const auto& rgb : p.colour) {
    double r = rgb[0], g = rgb[1], b = rgb[2];
    if (inverted) r = 255 - r, g = 255 - g, b = 255 - b;
    const double y = 0.299 * r + 0.587 * g + 0.114 * b;
    c[0].push_back(int(std::lround(y)));
    c[1].push_back(std::min(255, int(std::lround(128 + (b - y) / 1.772))));
    c[2].push_back(std::min(255, int(std::lround(128 + (r - y) / 1.402))));
  }
  return c;
}

Components components_of(const BlockImage& p, FileKind kind) {
  Components c = ycc(p, kind == FileKind::ycck);
  if (kind == FileKind::grey) c.resize(1);
  if (kind == FileKind::cmyk)  // as Adobe stores it, inverted: with no black the inks are R, G, B
    for (std::size_t i = 0; i < p.colour.size(); i++)
      for (int k = 0; k < 3; k++) c[k][i] = p.colour[i][k];
  if (kind == FileKind::cmyk || kind == FileKind::ycck) c.emplace_back(p.colour.size(), 255);
  return c;
}

class JpegWriter {
 public:
  JpegWriter(const BlockImage& p, FileKind kind) : image_(p), components_(components_of(p, kind)) {
    const int n = int(components_.size());
    bytes_ = {0xff, 0xd8};
    if (kind == FileKind::broken_exif)  // an orientation (6: turn right) whose directory says 200
                                        // entries and ends after one
      segment(0xe1, {'E', 'x', 'i', 'f', 0,    0, 'M', 'M', 0, 42, 0, 0, 0,
                     8,   0,   200, 1,   0x12, 0, 3,   0,   0, 0,  1, 0, 6});
    if (n == 4)
      segment(0xee, {'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0,
                     std::uint8_t(kind == FileKind::ycck ? 2 : 0)});
    Bytes quantisation(65, 8);  // 8 for DC: a block of one value v has the coefficient v − 128
    quantisation[0] = 0;
    segment(0xdb, quantisation);
    const int height = p.down * 8, width = p.across * 8;
    Bytes frame{8,
                std::uint8_t(height >> 8),
                std::uint8_t(height),
                std::uint8_t(width >> 8),
                std::uint8_t(width),
                std::uint8_t(n)};
    for (int c = 0; c < n; c++) frame.insert(frame.end(), {std::uint8_t(c + 1), 0x11, 0});
    segment(kind == FileKind::progressive ? 0xc2 : 0xc0, frame);
    segment(0xc4, {0x00, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0,  0, 0,
                   0,    0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});  // T.81, table K.3
    segment(0xc4,
            {0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});  // end of block: one bit, 0
    if (kind != FileKind::progressive) scan(0, n, 0, 63);
    else {
      scan(0, n, 0, 0);
      for (int c = 0; c < n; c++) scan(c, 1, 1, 63);
    }
    bytes_.insert(bytes_.end(), {0xff, 0xd9});
  }
  const Bytes& bytes() const { return bytes_; }

 private:
  void segment(std::uint8_t marker, const Bytes& body) {
    const std::size_t length = body.size() + 2;
    bytes_.insert(bytes_.end(), {0xff, marker, std::uint8_t(length >> 8), std::uint8_t(length)});
    bytes_.insert(bytes_.end(), body.begin(), body.end());
  }
  void put(unsigned value, int bits) {
    while (bits-- > 0) {
      current_ = current_ << 1 | (value >> bits & 1);
      if (++filled_ < 8) continue;
      bytes_.push_back(std::uint8_t(current_));
      if (bytes_.back() == 0xff) bytes_.push_back(0);
      current_ = 0, filled_ = 0;
    }
  }
  void dc(int difference) {
    static const unsigned codes[] = {0, 2, 3, 4, 5, 6, 14, 30, 62, 126};
    static const int lengths[] = {2, 3, 3, 3, 3, 3, 4, 5, 6, 7};
    int category = 0;
    while (std::abs(difference) >> category) category++;
    put(codes[category], lengths[category]);
    put(unsigned(difference < 0 ? difference + (1 << category) - 1 : difference), category);
  }
  // The coefficients from `from` to `to` of `count` components; all but the first of a block are 0
  void scan(int first, int count, int from, int to) {
    Bytes header{std::uint8_t(count)};
    for (int c = first; c < first + count; c++)
      header.insert(header.end(), {std::uint8_t(c + 1), 0});
    header.insert(header.end(), {std::uint8_t(from), std::uint8_t(to), 0});
    segment(0xda, header);
    std::vector<int> last(components_.size(), 128);
    for (std::size_t block = 0; block < image_.colour.size(); block++)
      for (int c = first; c < first + count; c++) {
        if (from == 0) dc(components_[c][block] - last[c]), last[c] = components_[c][block];
        if (to > 0) put(0, 1);
      }
    if (filled_ > 0) put(0x7f, 8 - filled_);
  }

  const BlockImage& image_;
  Components components_;
  Bytes bytes_;
  unsigned current_ = 0;
  int filled_ = 0;
};

// PNG (RFC 2083) with its pixels in one stored block of deflate (RFC 1951): no compression, no
// library
Bytes png(const BlockImage& p) {
  const std::uint32_t width = std::uint32_t(p.across * 8), height = std::uint32_t(p.down * 8);
  Bytes pixels;
  for (std::uint32_t y = 0; y < height; y++) {
    pixels.push_back(0);  // no filter
    for (std::uint32_t x = 0; x < width; x++)
      for (std::uint8_t value : p.colour[y / 8 * std::uint32_t(p.across) + x / 8])
        pixels.push_back(value);
  }
  auto big_endian = [](Bytes& to, std::uint32_t v) {
    for (int shift = 24; shift >= 0; shift -= 8) to.push_back(std::uint8_t(v >> shift));
  };
  Bytes file{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  auto chunk = [&](const char* type, const Bytes& body) {
    big_endian(file, std::uint32_t(body.size()));
    const std::size_t from = file.size();
    file.insert(file.end(), type, type + 4);
    file.insert(file.end(), body.begin(), body.end());
    std::uint32_t crc = ~0u;
    for (std::size_t i = from; i < file.size(); i++) {
      crc ^= file[i];
      for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    big_endian(file, ~crc);
  };
  Bytes header;
  big_endian(header, width), big_endian(header, height);
  header.insert(header.end(), {8, 2, 0, 0, 0});  // RGB, 8 bits
  Bytes data{0x78, 0x01};
  std::uint32_t a = 1, b = 0;  // Adler-32
  for (std::size_t at = 0; at < pixels.size(); at += 65535) {
    const std::size_t n = std::min<std::size_t>(65535, pixels.size() - at);
    data.insert(data.end(), {std::uint8_t(at + n == pixels.size()), std::uint8_t(n),
                             std::uint8_t(n >> 8), std::uint8_t(~n), std::uint8_t(~n >> 8)});
    for (std::size_t i = at; i < at + n; i++)
      data.push_back(pixels[i]), a = (a + pixels[i]) % 65521, b = (b + a) % 65521;
  }
  big_endian(data, b << 16 | a);
  chunk("IHDR", header), chunk("IDAT", data), chunk("IEND", {});
  return file;
}

void write(const std::string& path, const Bytes& bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  if (!out.flush()) user_error(path, ": could not be written");
}

// Each seventh image is of an odd kind, one after the other
FileKind kind_of(int number) {
  static const FileKind odd[] = {FileKind::grey, FileKind::cmyk,        FileKind::progressive,
                                 FileKind::png,  FileKind::broken_exif, FileKind::ycck};
  return number % 7 == 3 ? odd[number / 7 % 6] : FileKind::colour;
}

}  // namespace

// A class has one of six hues, and stripes of one of two directions; an image its own brightness,
// size, phase and noise.
BlockImage draw_image(int label, int number) {
  Random random(11, random_purpose::test, std::uint64_t(number));
  BlockImage p{8 + int(random.below(0, 11)), 8 + int(random.below(1, 11)), {}};
  static const int hues[6][3] = {{200, 40, 40},  {40, 180, 60},  {50, 70, 210},
                                 {200, 190, 40}, {180, 50, 190}, {110, 110, 110}};
  const int light = int(random.below(2, 41)) - 20, phase = int(random.below(3, 4));
  for (int y = 0; y < p.down; y++)
    for (int x = 0; x < p.across; x++) {
      const bool stripe = ((label / 6 % 2 ? x : y) + phase) % 4 < 2;
      const int noise = int(random.below(std::uint64_t(100 + y * p.across + x), 31)) - 15;
      std::array<std::uint8_t, 3> rgb;
      for (int c = 0; c < 3; c++)
        rgb[c] = std::uint8_t(
            std::clamp(hues[label % 6][c] + light + noise + (stripe ? 20 : -20), 0, 255));
      p.colour.push_back(rgb);
    }
  return p;
}

Bytes encode(const BlockImage& image, FileKind kind) {
  if (kind == FileKind::png) return png(image);
  if (kind == FileKind::not_images) return {'n', 'o', ' ', 'p', 'i', 'c', 't', 'u', 'r', 'e', '\n'};
  return JpegWriter(image, kind).bytes();
}

std::string synset(int label) { return text("n", 10000000 + 1000 * label); }

void write_image_tree(const std::string& directory, const ImageTree& tree) {
  std::string labels;
  for (int label = 0; label < tree.classes; label++) {
    for (int i = 0; i < tree.train; i++) {
      const int number = label * tree.train + i;
      write(text(directory, "/train/", synset(label), "/", synset(label), "_", i, ".JPEG"),
            encode(draw_image(label, number), kind_of(number)));
    }
    for (int i = 0; i < tree.val; i++) {
      const int number = label * tree.val + i;
      const Bytes file = encode(draw_image(label, 100000 + number), kind_of(number));
      write(text(directory, "/val/", tree.flat_val ? "" : synset(label) + "/", "val_",
                 1000 + number, ".JPEG"),
            file);
      labels += synset(label) + "\n";
    }
  }
  for (int i = 0; i < tree.not_images; i++)
    write(text(directory, "/train/", synset(0), "/", synset(0), "_bad", i, ".JPEG"),
          encode({}, FileKind::not_images));
  if (tree.flat_val) write(directory + "/val-labels.txt", Bytes(labels.begin(), labels.end()));
}

}  // namespace test
}  // namespace fission
