#include "data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tensor/check.h"

namespace fission {
namespace data {
namespace {

constexpr int weight_bits = 22;  // Pillow's: 32 less 8 of a byte and 2 for overshoot
constexpr std::int32_t half = 1 << (weight_bits - 1);

typedef std::int32_t Lanes
    __attribute__((vector_size(16)));  // red, green, blue, nothing: a pixel's four sums
typedef std::uint8_t PixelBytes __attribute__((vector_size(4)));

// What each result along one axis is made of: `count` inputs from `first` on, weighted; `taps`
// weights are kept for each.
struct Weights {
  Index taps = 0;
  std::vector<std::int32_t> first, count, weight;  // (n), (n), (n,taps)
  const std::int32_t* of(Index i) const { return weight.data() + i * taps; }
};

// Results begin … begin + n − 1 of `out` results over [from, from + extent) of `in` inputs. As
// Pillow's precompute_coeffs.
void fill_weights(Index in, double from, double extent, Index out, Index begin, Index n,
                  Weights& w) {
  double scale = extent / double(out), filter_scale = std::max(scale, 1.0),
         support = filter_scale;  // a triangle's support is 1
  w.taps = Index(std::ceil(support)) * 2 + 1;
  w.first.resize(n), w.count.resize(n), w.weight.assign(n * w.taps, 0);
  std::vector<double> exact(w.taps);
  for (Index i = 0; i < n; i++) {
    double centre = from + (double(begin + i) + 0.5) * scale, sum = 0;
    Index low = std::max<Index>(Index(centre - support + 0.5), 0),
          high = std::min<Index>(Index(centre + support + 0.5), in);
    for (Index x = low; x < high; x++) {
      double triangle = 1 - std::abs((double(x) - centre + 0.5) * (1.0 / filter_scale));
      sum += exact[x - low] = std::max(triangle, 0.0);
    }
    for (Index x = 0; x < high - low; x++)
      w.weight[i * w.taps + x] =
          std::int32_t(0.5 + (sum != 0 ? exact[x] / sum : exact[x]) * (1 << weight_bits));
    w.first[i] = std::int32_t(low), w.count[i] = std::int32_t(high - low);
  }
}

// One row of (n) pixels of 3 bytes; a fourth byte is written behind each, also behind the last
void narrow_row(const std::uint8_t* in, const Weights& w, Index n, bool mirror, std::uint8_t* out) {
  for (Index x = 0; x < n; x++) {
    Lanes sum = {half, half, half, half};
    const Index i = mirror ? n - 1 - x : x;
    const std::int32_t* weight = w.of(i);
    const std::uint8_t* pixel = in + 4 * Index(w.first[i]);
    for (std::int32_t t = 0; t < w.count[i]; t++, pixel += 4) {
      PixelBytes bytes;
      std::memcpy(&bytes, pixel, 4);
      sum += __builtin_convertvector(bytes, Lanes) * weight[t];
    }
    sum >>= weight_bits;  // weights are not negative and add up to 1 to rounding: 0 … 255 without
                          // clipping
    PixelBytes bytes = __builtin_convertvector(sum, PixelBytes);
    std::memcpy(out + 3 * x, &bytes, 4);
  }
}

}  // namespace

void resize(const PixelView& in, const Box& box, Index height, Index width, const Area& part,
            bool mirror, std::uint8_t* out) {
  FISSION_CHECK(in.height > 0 && in.width > 0 && box.height > 0 && box.width > 0 && box.top >= 0 &&
                    box.left >= 0 && box.top + box.height <= double(in.height) &&
                    box.left + box.width <= double(in.width),
                "[resize] box ", box.top, ",", box.left, " ", box.height, "x", box.width, " of ",
                in.height, "x", in.width);
  FISSION_CHECK(part.top >= 0 && part.left >= 0 && part.height > 0 && part.width > 0 &&
                    part.top + part.height <= height && part.left + part.width <= width,
                "[resize] part ", part.top, ",", part.left, " ", part.height, "x", part.width,
                " of ", height, "x", width);
  static thread_local Weights across, down;
  static thread_local std::vector<std::uint8_t>
      rows;  // the first pass's result, of the rows that the second needs
  static thread_local std::vector<std::int32_t> sums;
  fill_weights(in.width, box.left, box.width, width, part.left, part.width, across);
  fill_weights(in.height, box.top, box.height, height, part.top, part.height, down);

  const Index begin = down.first.front(), end = down.first.back() + down.count.back(),
              bytes = 3 * part.width;
  rows.resize((end - begin) * bytes + 1);
  for (Index y = begin; y < end; y++)
    narrow_row(in.first + 4 * y * in.stride, across, part.width, mirror,
               rows.data() + (y - begin) * bytes);

  sums.resize(bytes);
  std::int32_t* sum = sums.data();
  for (Index y = 0; y < part.height; y++, out += bytes) {
    std::fill_n(sum, bytes, half);
    for (std::int32_t t = 0; t < down.count[y]; t++) {
      const std::int32_t weight = down.of(y)[t];
      const std::uint8_t* row = rows.data() + (down.first[y] - begin + t) * bytes;
      for (Index x = 0; x < bytes; x++) sum[x] += weight * row[x];
    }
    for (Index x = 0; x < bytes; x++) out[x] = std::uint8_t(sum[x] >> weight_bits);
  }
}

}  // namespace data
}  // namespace fission
