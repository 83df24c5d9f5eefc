#include "data/sample_jpeg.h"

#include <algorithm>

#include "tensor/check.h"
#include "tensor/random.h"

#if FISSION_HAVE_STB
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#if __has_include(<stb/stb_image_write.h>)
#include <stb/stb_image_write.h>
#else
#include <stb_image_write.h>
#endif
#pragma GCC diagnostic pop
#endif

namespace fission {
namespace data {

#if FISSION_HAVE_STB
std::vector<std::uint8_t> sample_jpeg(Index height, Index width, std::uint64_t seed) {
  std::vector<float> sum(height * width * 3, 128.f);
  for (Index cell :
       {1, 2, 4, 8, 16, 32, 64}) {  // noise on a grid, interpolated; larger clouds are stronger
    Random random(seed, random_purpose::test, std::uint64_t(cell));
    const Index columns = width / cell + 2, values = (height / cell + 2) * columns * 3;
    const float strength = 55.f + 1.2f * float(cell);
    std::vector<float> noise(values);
    for (Index i = 0; i < values; i++)
      noise[i] = strength * float(random.uniform(std::uint64_t(i)) - 0.5);
    auto grid = [&](Index y, Index x, Index c) { return noise[(y * columns + x) * 3 + c]; };
    for (Index y = 0; y < height; y++)
      for (Index x = 0; x < width; x++)
        for (Index c = 0; c < 3; c++) {
          float v = float(y % cell) / float(cell), h = float(x % cell) / float(cell);
          float above = grid(y / cell, x / cell, c) * (1 - h) + grid(y / cell, x / cell + 1, c) * h;
          float below =
              grid(y / cell + 1, x / cell, c) * (1 - h) + grid(y / cell + 1, x / cell + 1, c) * h;
          sum[(y * width + x) * 3 + c] += above * (1 - v) + below * v;
        }
  }
  std::vector<std::uint8_t> pixels(sum.size()), file;
  for (std::size_t i = 0; i < sum.size(); i++)
    pixels[i] = std::uint8_t(std::clamp(sum[i], 0.f, 255.f));
  auto append = [](void* to, void* bytes, int n) {
    auto* b = static_cast<std::uint8_t*>(bytes);
    static_cast<std::vector<std::uint8_t>*>(to)->insert(
        static_cast<std::vector<std::uint8_t>*>(to)->end(), b, b + n);
  };
  const int quality = 90;  // the highest with which this encoder halves the colours
  FISSION_CHECK(
      stbi_write_jpg_to_func(append, &file, int(width), int(height), 3, pixels.data(), quality),
      "[sample] ", height, "x", width);
  return file;
}
#else
std::vector<std::uint8_t> sample_jpeg(Index, Index, std::uint64_t) {
  user_error("[sample] no images to measure with: this build lacks stb_image (Debian: libstb-dev)");
}
#endif

}  // namespace data
}  // namespace fission
