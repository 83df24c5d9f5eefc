#include "data/resize.h"

#include "tests/data/images.h"

using namespace fission;
using namespace fission::data;
using namespace fission::test;

namespace {

// (H,W,3) → (H,W,4)
Bytes four_bytes(const Bytes& rgb) {
  Bytes all;
  for (std::size_t i = 0; i < rgb.size(); i++) {
    all.push_back(rgb[i]);
    if (i % 3 == 2) all.push_back(77);
  }
  return all;
}

Bytes resized(const Bytes& rgbx, Index height, Index width, const Box& box, Index to_height,
              Index to_width, Area part = {}, bool mirror = false) {
  if (part.height == 0) part = {0, 0, to_height, to_width};
  Bytes out(std::size_t(part.height * part.width * 3));
  resize({rgbx.data(), width, height, width}, box, to_height, to_width, part, mirror, out.data());
  return out;
}

}  // namespace

TEST_CASE("resize: every pixel is Pillow's, larger and smaller, whole and of a box") {
  for (int n = 1; n <= 8; n++) {
    CAPTURE(n);
    std::vector<double> s = stored_images().at(text("resize/", n, "/sizes")).as_doubles();
    Index height = Index(s[0]), width = Index(s[1]);
    Bytes image = four_bytes(noise(std::size_t(height * width * 3), std::uint32_t(n)));
    CHECK(resized(image, height, width, {s[2], s[3], s[4], s[5]}, Index(s[6]), Index(s[7])) ==
          stored(text("resize/", n, "/pixels")));
  }
}

TEST_CASE("resize: a part of the result is that part of the whole result, mirrored or not") {
  Bytes image = four_bytes(noise(20 * 30 * 3)),
        whole = resized(image, 20, 30, {1.5, 2.25, 17, 26.5}, 12, 16);
  for (bool mirror : {false, true}) {
    Area part{3, 5, 7, 9};
    Bytes seen = resized(image, 20, 30, {1.5, 2.25, 17, 26.5}, 12, 16, part, mirror);
    Index wrong = 0;
    for (Index y = 0; y < part.height; y++)
      for (Index x = 0; x < part.width; x++)
        for (Index c = 0; c < 3; c++) {
          Index from = part.left + (mirror ? part.width - 1 - x : x);
          wrong +=
              seen[(y * part.width + x) * 3 + c] != whole[((part.top + y) * 16 + from) * 3 + c];
        }
    CHECK(wrong == 0);
  }
}

TEST_CASE("resize: a view of a crop sees nothing outside it, a box in a larger image does") {
  Bytes image = four_bytes(noise(20 * 30 * 3)), crop;
  for (Index y = 4; y < 16; y++)
    crop.insert(crop.end(), image.begin() + (y * 30 + 6) * 4, image.begin() + (y * 30 + 26) * 4);
  Bytes cropped = resized(crop, 12, 20, {0, 0, 12, 20}, 5, 5), out(5 * 5 * 3);
  resize({image.data() + (4 * 30 + 6) * 4, 30, 12, 20}, {0, 0, 12, 20}, 5, 5, {0, 0, 5, 5}, false,
         out.data());
  CHECK(out == cropped);
  CHECK(resized(image, 20, 30, {4, 6, 12, 20}, 5, 5) != cropped);
}

TEST_CASE("resize: one colour stays that colour") {
  for (int level : {0, 1, 127, 254, 255})
    for (Index to : {1, 3, 17, 64}) {
      Bytes one(19 * 23 * 4, std::uint8_t(level));
      CHECK(resized(one, 19, 23, {0, 0, 19, 23}, to, to) ==
            Bytes(std::size_t(to * to * 3), std::uint8_t(level)));
    }
}
