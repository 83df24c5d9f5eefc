// The gradient of a pointwise convolution's filter, dW = dyᵀ x: sums over very many pixels of outer products. x and dy lie ready for
// that, (pixels, channels): of one a vector of channels is taken, of the other a channel for all lanes. A tile of dW stays in the registers
// for a chunk of pixels, whose vectors lie packed in the first-level cache; the next chunk is asked for meanwhile. oneDNN's way to the same
// product transposes dy first and reads what comes when it comes: it takes 1.15 times as long, in odd widths 1.25 times.
#include "tensor/cpu/pointwise.h"

#include <algorithm>

#include "tensor/cpu/loops.h"

namespace fission::cpu {
namespace {

constexpr Index L = 2 * lanes;                  // floats of a vector
constexpr int most_rows = 6, most_vectors = 4;  // of a tile, R and V: its R·V sums, V vectors and one more fit the 32 registers
constexpr Index chunk = 128;                    // pixels: V vectors of each are 32 KiB

// (pixels, channels)
struct Pixels {
  const float* data;
  Index channels;
  const float* at(Index pixel, Index channel) const { return data + pixel * channels + channel; }
};

struct Ahead {  // what is to be asked for, 16 floats a time
  const float *next, *end;
};

// sums (R, V·L; rows `pitch` apart) = or += Σ_pixels a(pixel, r) b(pixel, v)
template <int R, int V>
inline __attribute__((always_inline)) void tile(Pixels a, Pixels b, Index pixels, float* sums, Index pitch, bool add, Ahead ahead) {
  typename Vector<L>::Type s[R][V] = {};
  for (Index p = 0; p < pixels; p++, a.data += a.channels, b.data += b.channels) {
    __builtin_prefetch(ahead.next, 0, 2);
    ahead.next = std::min(ahead.next + 16, ahead.end);
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) s[r][v] += a.data[r] * lanes_at<L>(b.data + v * L);
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      auto& sum = lanes_at<L>(sums + r * pitch + v * L);
      sum = add ? sum + s[r][v] : s[r][v];
    }
}

// f(Floats<n>), 1 ≤ n ≤ N
template <int N, class F>
inline __attribute__((always_inline)) void with_count(Index n, F f) {
  if constexpr (N > 1)
    if (n < N) return with_count<N - 1>(n, f);
  f(Floats<N>{});
}

// part k of n things cut into `parts`
Range part_of(Index n, Index parts, Index k) { return {n * k / parts, n * (k + 1) / parts}; }

// V vectors of each pixel of b, one after the other. What the last one has beyond b's channels is the next pixel's, and comes to sums that
// nobody reads; of the pixels from `whole` on, the tensor ends too soon for that.
template <int V>
inline __attribute__((always_inline)) void pack(Pixels b, Index pixels, Index channels, Index whole, float* out) {
  Index p = 0;
  for (; p < std::min(pixels, whole); p++, out += V * L)
    for (int v = 0; v < V; v++) lanes_at<L>(out + v * L) = lanes_at<L>(b.at(p, v * L));
  for (; p < pixels; p++, out += V * L) std::copy_n(b.at(p, 0), std::min<Index>(channels, V * L), out);
}

// sums (A, pitch), in the columns of these vectors of b: Σ a(pixel, ·) b(pixel, ·) over these of all the pixels
void add_products(const Pixels& a, const Pixels& b, Range pixels, Index all, Range vectors, float* packed, float* sums, Index pitch) {
  const Index n = vectors.last - vectors.first, panels = (n + most_vectors - 1) / most_vectors, blocks = (a.channels + most_rows - 1) / most_rows;
  const Index tiles = panels * blocks, tiles_for_a = tiles * a.channels / (a.channels + b.channels);  // that ask for the next chunk of a; the others, of b
  auto ask = [&](const Pixels& of, Index from, Index k, Index count) -> Ahead {
    const Range r = part_of((std::min(from + chunk, pixels.last) - from) * of.channels, count, k);
    return {of.at(from, 0) + r.first, of.at(from, 0) + r.last};
  };
  for (Index p = pixels.first; p < pixels.last; p += chunk) {
    const Index end = std::min(p + chunk, pixels.last);
    for (Index panel = 0; panel < panels; panel++) {
      const Range mine = part_of(n, panels, panel);
      const Index first = (vectors.first + mine.first) * L;
      with_count<most_vectors>(mine.last - mine.first, [&](auto v) {
        Pixels vectors_of{b.at(p, first), b.channels};
        const Index beyond = all * b.channels - first - v * L, whole = beyond < 0 ? 0 : beyond / b.channels + 1;
        if (panels > 1 || end > whole) {  // one panel is as near where it lies
          pack<v>(vectors_of, end - p, b.channels - first, whole - p, packed);
          vectors_of = {packed, v * L};
        }
        for (Index block = 0; block < blocks; block++) {
          const Range rows = part_of(a.channels, blocks, block);
          const Index t = panel * blocks + block;
          const Ahead ahead = t < tiles_for_a ? ask(a, end, t, tiles_for_a) : ask(b, end, t - tiles_for_a, tiles - tiles_for_a);
          with_count<most_rows>(rows.last - rows.first, [&](auto r) {
            tile<r, v>({a.at(p, rows.first), a.channels}, vectors_of, end - p, sums + rows.first * pitch + first, pitch, p > pixels.first, ahead);
          });
        }
      });
    }
  }
}

}  // namespace

void pointwise_backward_filter(const float* x, const float* dy, float* dw, Index pixels, Index in, Index out, Scratch& scratch) {
  const bool along_in = in >= out;  // vectors along the longer side
  const Pixels a = along_in ? Pixels{dy, out} : Pixels{x, in}, b = along_in ? Pixels{x, in} : Pixels{dy, out};
  const Index vectors = (b.channels + L - 1) / L, pitch = vectors * L;
  // The work is cut into parts of the pixels, whose sums are added up, as long as those are few beside x and dy; and into columns.
  const Index workers = worth_threads(pixels * in * out / 16) ? threads() : 1;
  Index parts = std::clamp<Index>(pixels * (in + out) / (4 * in * out), 1, workers);
  while (workers % parts) parts--;
  const Index columns = workers / parts, size = a.channels * pitch, packed_floats = chunk * most_vectors * L;
  float *packed = scratch.take<float>(workers * packed_floats), *sums = scratch.take<float>(parts * size);
#pragma omp parallel num_threads(workers)
  {
    run_wide([&](auto) {
      for (Index k = omp_get_thread_num(); k < workers; k += omp_get_num_threads())
        add_products(a, b, part_of(pixels, parts, k % parts), pixels, part_of(vectors, columns, k / parts), packed + k * packed_floats, sums + k % parts * size, pitch);
    });
#pragma omp barrier
    const Range mine = my_range(out);
    auto total = [&](Index i) {
      float sum = sums[i];
      for (Index k = 1; k < parts; k++) sum += sums[k * size + i];
      return sum;
    };
    constexpr Index block = 16;  // of rows of dw, which a transposition writes at once
    if (along_in)
      for (Index o = mine.first; o < mine.last; o++)
        for (Index i = 0; i < in; i++) dw[o * in + i] = total(o * pitch + i);
    else
      for (Index first = mine.first; first < mine.last; first += block)
        for (Index i = 0; i < in; i++)
          for (Index o = first; o < std::min(first + block, mine.last); o++) dw[o * in + i] = total(i * pitch + o);
  }
}

}  // namespace fission::cpu
