#include "data/augment.h"

#include <map>

#include "tests/data/files.h"

using namespace fission;
using namespace fission::data;
using namespace fission::test;

namespace {

Bytes cropped(const Bytes& image, Index height, Index width, Index channels, Crop crop) {
  Bytes out(image.size(), 99);
  write_crop(image.data(), height, width, channels, crop, out.data());
  return out;
}

}  // namespace

TEST_CASE("augment: a crop shifts the image and black comes in") {
  Bytes p = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  CHECK(cropped(p, 3, 3, 1, {0, 0, false}) == p);
  CHECK(cropped(p, 3, 3, 1, {1, 0, false}) == Bytes{4, 5, 6, 7, 8, 9, 0, 0, 0});
  CHECK(cropped(p, 3, 3, 1, {-1, 0, false}) == Bytes{0, 0, 0, 1, 2, 3, 4, 5, 6});
  CHECK(cropped(p, 3, 3, 1, {0, 1, false}) == Bytes{2, 3, 0, 5, 6, 0, 8, 9, 0});
  CHECK(cropped(p, 3, 3, 1, {0, -2, false}) == Bytes{0, 0, 1, 0, 0, 4, 0, 0, 7});
  CHECK(cropped(p, 3, 3, 1, {-1, 1, false}) == Bytes{0, 0, 0, 2, 3, 0, 5, 6, 0});
}

TEST_CASE("augment: a mirror comes after the crop") {
  CHECK(cropped({1, 2, 3, 4, 5, 6}, 2, 3, 1, {0, 1, true}) == Bytes{0, 3, 2, 0, 6, 5});
}

TEST_CASE("augment: pixels stay whole when mirrored, for 1, 2, 3 and 4 channels") {
  CHECK(cropped({1, 2, 3, 4}, 1, 4, 1, {0, 0, true}) == Bytes{4, 3, 2, 1});
  CHECK(cropped({1, 2, 3, 4, 5, 6}, 1, 3, 2, {0, 0, true}) == Bytes{5, 6, 3, 4, 1, 2});
  CHECK(cropped({1, 2, 3, 4, 5, 6, 7, 8, 9}, 1, 3, 3, {0, 0, true}) ==
        Bytes{7, 8, 9, 4, 5, 6, 1, 2, 3});
  CHECK(cropped({1, 2, 3, 4, 5, 6, 7, 8}, 1, 2, 4, {0, 0, true}) == Bytes{5, 6, 7, 8, 1, 2, 3, 4});
}

TEST_CASE(
    "augment: a mirrored crop is the crop with its columns in reverse order, for every size and "
    "shift") {
  Index wrong = 0;
  for (Index channels : {1, 2, 3, 4})
    for (Index width : {1, 2, 3, 7})
      for (Index dx = -width; dx <= width; dx++) {
        Bytes p = noise(std::size_t(3 * width * channels)),
              plain = cropped(p, 3, width, channels, {1, dx, false});
        Bytes mirrored = cropped(p, 3, width, channels, {1, dx, true});
        for (Index y = 0; y < 3; y++)
          for (Index x = 0; x < width; x++)
            for (Index c = 0; c < channels; c++)
              wrong += mirrored[(y * width + x) * channels + c] !=
                       plain[(y * width + width - 1 - x) * channels + c];
      }
  CHECK(wrong == 0);
}

TEST_CASE("augment: a padding wider than the image leaves black, not another image's bytes") {
  Bytes p = {1, 2, 3, 4};
  for (Index d : {-5, -3, -2, 2, 3, 5}) {
    CHECK(cropped(p, 2, 2, 1, {d, 0, false}) == Bytes(4));
    CHECK(cropped(p, 2, 2, 1, {0, d, true}) == Bytes(4));
  }
}

TEST_CASE("augment: every crop and both mirrors are drawn, each about as often") {
  // 16200 draws over 81 crops: 200 each, a standard deviation of 14; 6 of them are allowed
  Random random(7, random_purpose::augmentation, 3);
  std::map<std::pair<Index, Index>, int> crops;
  int mirrored = 0;
  for (Index i = 0; i < 16200; i++) {
    Crop c = draw_crop(random, i, 4, true);
    crops[{c.dy, c.dx}]++;
    mirrored += c.mirror;
  }
  CHECK(crops.size() == 81);
  CHECK(crops.begin()->first == std::pair<Index, Index>{-4, -4});
  CHECK(crops.rbegin()->first == std::pair<Index, Index>{4, 4});
  for (auto& [place, n] : crops) CHECK((n > 116 && n < 284));
  CHECK((mirrored > 8100 - 6 * 64 && mirrored < 8100 + 6 * 64));  // standard deviation 64
}

TEST_CASE("augment: without flip nothing is mirrored, without padding nothing moves") {
  Random random(7, random_purpose::augmentation, 3);
  int mirrored = 0, moved = 0;
  for (Index i = 0; i < 200; i++) {
    Crop c = draw_crop(random, i, 0, false);
    mirrored += c.mirror;
    moved += c.dy != 0 || c.dx != 0;
  }
  CHECK(mirrored == 0);
  CHECK(moved == 0);
}
