// A pointwise convolution is a product of matrices, y = x Wᵀ, and so are its gradients, dx = dy W
// and dW = dyᵀ x. Made here, not by oneDNN, for speed: what is read and written next is prefetched
// while sums are taken, and dyᵀ is multiplied as it lies. L: floats of a vector, 16 with AVX-512,
// else 8.
//
// All three are tiles of R×V vectors, which stay in the registers while k runs: out(r, v) += a(r,
// k) b(k, v), a's element for all lanes.
// y and dx: r are pixels, k channels, b is W, packed. dW: k are pixels, r channels of one of x and
// dy, v vectors of the other's, packed for a chunk of pixels if need be. What of b is read again
// and again lies in the first-level cache.
#include "tensor/cpu/pointwise.h"

#include <algorithm>

#include "tensor/cpu/loops.h"

namespace fission::cpu {
namespace {

constexpr int widest_lanes = 16;  // L at most
// V of a tile, and R: R·V sums, V vectors and one more fit the registers (32 with AVX-512, else 16)
template <int L>
constexpr int most_vectors = L == 16 ? 4 : 2;
constexpr int most_rows(Index vectors) { return vectors == 1 ? 12 : 6; }
constexpr Index chunk = 128;  // pixels that dW's tiles sum over: V vectors of each are 8 or 32 KiB
constexpr Index band = 48;    // pixels whose y is computed for all channels before the next ones'
constexpr Index section =
    192;  // channels of x, at most, that y's tiles sum over: V vectors of each are 12 or 48 KiB

// (rows, channels), one after the other
struct Matrix {
  const float* data;
  Index channels;
  const float* at(Index row, Index channel) const { return data + row * channels + channel; }
};

struct Ahead {  // what is to be prefetched, 16 floats a time
  const float *next = nullptr, *end = nullptr;
  void step() {
    if (end - next > 16) next += 16;
  }
};
// part k of n things cut into `parts`
Range part_of(Index n, Index parts, Index k) { return {n * k / parts, n * (k + 1) / parts}; }
Ahead part_of(const float* first, Index floats, Index parts, Index k) {
  const Range r = part_of(floats, parts, k);
  return {first + r.first, first + r.last};
}

// f(Floats<n>), 1 ≤ n ≤ N
template <int N, class F>
inline __attribute__((always_inline)) void with_count(Index n, F f) {
  if constexpr (N > 1)
    if (n < N) return with_count<N - 1>(n, f);
  f(Floats<N>{});
}

// a(r, k) lies at a[r · row + k · step], b(k, v) at b[k · pitch + v · L]
struct Factors {
  const float* a;
  Index row, step;
  const float* b;
  Index pitch, count;  // k < count
};

// Where a tile goes, and its rows from each other. The last vector lies `back` floats before its
// place; if it is the only one, it may have fewer floats than L.
struct Place {
  float* out;
  Index pitch, back, floats;
  bool add;
};

// out (R, V·L) = or += a b
template <int L, int R, int V>
inline __attribute__((always_inline)) void tile(Factors f, const Place& to, Ahead to_read,
                                                Ahead to_write = {}) {
  typename Vector<L>::Type s[R][V] = {};
  for (Index k = 0; k < f.count; k++, f.a += f.step, f.b += f.pitch) {
    __builtin_prefetch(to_read.next, 0, 2), to_read.step();
    __builtin_prefetch(to_write.next, 1, 2), to_write.step();
#pragma GCC unroll 12
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) s[r][v] += f.a[r * f.row] * lanes_at<L>(f.b + v * L);
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++) {
    float* row = to.out + r * to.pitch;
    if (V == 1 && to.floats < L) {
      for (Index l = 0; l < to.floats; l++) row[l] = to.add ? row[l] + s[r][0][l] : s[r][0][l];
      continue;
    }
    auto place = [&](int v) ->
        typename Vector<L>::Type& { return lanes_at<L>(row + v * L - (v == V - 1 ? to.back : 0)); };
    if (to.add)  // all of them before one is written: the last vector may have floats of the one
                 // before
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) s[r][v] += place(v);
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) place(v) = s[r][v];
  }
}

// How work over pixels and vectors of channels is shared: parts of the pixels, each in `columns`
// parts of the vectors.
struct Partition {
  Index workers, parts, columns;
  Partition(Index work, Index most_parts)
      : workers(worth_threads(work) ? threads() : 1),
        parts(std::clamp<Index>(most_parts, 1, workers)) {
    while (workers % parts) parts--;
    columns = workers / parts;
  }
};

// ---- y = x Wᵀ, dx = dy W

// W(k, n) = data[k · row + n · column], one of them 1
struct Weights {
  const float* data;
  Index row, column;
};

// Where a vector of N channels begins: the last one ends with the last channel, and some of its own
// are the one before's too.
template <int L>
Index first_of(Index vector, Index channels) {
  return std::max<Index>(0, std::min(vector * L, channels - L));
}

template <int L>
void pack(const Weights& w, Index count, Range vectors, Index channels, float* out) {
  const Index pitch = (vectors.last - vectors.first) * L;
  if (channels < L) {
    for (Index k = 0; k < count; k++)
      for (Index l = 0; l < L; l++)
        out[k * L + l] = l < channels ? w.data[k * w.row + l * w.column] : 0;
  } else if (w.column == 1) {
    for (Index k = 0; k < count; k++)
      for (Index v = vectors.first; v < vectors.last; v++, out += L)
        lanes_at<L>(out) = lanes_at<L>(w.data + k * w.row + first_of<L>(v, channels));
  } else {
    for (Index v = vectors.first; v < vectors.last; v++, out += L) {
      const float* from = w.data + first_of<L>(v, channels) * w.column;
      for (Index k = 0; k < count; k++)
        for (Index l = 0; l < L; l++) out[k * pitch + l] = from[k + l * w.column];
    }
  }
}

// y of these pixels, in some of the panels; packed: W, a panel after the other. Where there are
// several panels, each has two vectors or
// more: the channels that the last vector has twice are within one.
template <int L>
void multiply(const Matrix& x, Range pixels, const float* packed, Index panels, Range mine,
              Index channels, float* y) {
  const Index vectors = (channels + L - 1) / L;
  for (Index p = pixels.first; p < pixels.last; p += band) {
    const Index n = std::min(band, pixels.last - p), next = std::min(band, pixels.last - p - n);
    for (Index panel = mine.first; panel < mine.last; panel++) {
      const Range v = part_of(vectors, panels, panel);
      const Index width = v.last - v.first, first = v.first * L,
                  back = (v.last - 1) * L - first_of<L>(v.last - 1, channels);
      const Index blocks = (n + most_rows(width) - 1) / most_rows(width),
                  sections = (x.channels + section - 1) / section;
      const Index tiles = (mine.last - mine.first) * sections * blocks;
      with_count<most_vectors<L>>(width, [&](auto vs) {
        for (Index part = 0; part < sections; part++)
          for (Index block = 0; block < blocks; block++) {
            const Range rows = part_of(n, blocks, block), k = part_of(x.channels, sections, part);
            const Index t = ((panel - mine.first) * sections + part) * blocks + block;
            const Ahead to_read = part_of(x.at(p + n, 0), next * x.channels, tiles, t),
                        to_write = part_of(y + (p + n) * channels, next * channels, tiles, t);
            const Factors f{x.at(p + rows.first, k.first),
                            x.channels,
                            1,
                            packed + first * x.channels + k.first * width * L,
                            width * L,
                            k.last - k.first};
            const Place to{y + (p + rows.first) * channels + first, channels, back,
                           std::min<Index>(L, channels), part > 0};
            with_count<most_rows(vs)>(rows.last - rows.first,
                                      [&](auto r) { tile<L, r, vs>(f, to, to_read, to_write); });
          }
      });
    }
  }
}

void product(const Matrix& x, Index pixels, const Weights& w, Index channels, float* y,
             Scratch& scratch) {
  const Partition share(pixels * x.channels * channels / 16, pixels / band);
  float* packed = scratch.take<float>(x.channels * (channels + widest_lanes - 1));
#pragma omp parallel num_threads(share.workers)
  widest([&](auto floats) {
    constexpr int L = floats;
    const Index vectors = (channels + L - 1) / L,
                panels = (vectors + most_vectors<L> - 1) / most_vectors<L>;
    const Range mine = my_range(panels);
    for (Index panel = mine.first; panel < mine.last; panel++) {
      const Range v = part_of(vectors, panels, panel);
      pack<L>(w, x.channels, v, channels, packed + v.first * L * x.channels);
    }
#pragma omp barrier
    for (Index k = omp_get_thread_num(); k < share.workers; k += omp_get_num_threads())
      multiply<L>(x, part_of(pixels, share.parts, k % share.parts), packed, panels,
                  part_of(panels, share.columns, k / share.parts), channels, y);
  });
}

// ---- dW = dyᵀ x

// V vectors of each row of b, one after the other. What the last one has beyond b's channels is the
// next row's, and comes to sums that nobody reads; of the rows from `whole` on, b ends too soon for
// that.
template <int L, int V>
inline __attribute__((always_inline)) void pack(Matrix b, Index rows, Index channels, Index whole,
                                                float* out) {
  Index p = 0;
  for (; p < std::min(rows, whole); p++, out += V * L)
    for (int v = 0; v < V; v++) lanes_at<L>(out + v * L) = lanes_at<L>(b.at(p, v * L));
  for (; p < rows; p++, out += V * L)
    std::copy_n(b.at(p, 0), std::min<Index>(channels, V * L), out);
}

// sums (A, pitch), in the columns of these vectors of b: Σ a(pixel, ·) b(pixel, ·) over these of
// all the pixels
template <int L>
void add_products(const Matrix& a, const Matrix& b, Range pixels, Index all, Range vectors,
                  float* packed, float* sums, Index pitch) {
  const Index n = vectors.last - vectors.first,
              panels = (n + most_vectors<L> - 1) / most_vectors<L>;
  for (Index p = pixels.first; p < pixels.last; p += chunk) {
    const Index end = std::min(p + chunk, pixels.last), next = std::min(chunk, pixels.last - end);
    for (Index panel = 0; panel < panels; panel++) {
      const Range mine = part_of(n, panels, panel);
      const Index first = (vectors.first + mine.first) * L;
      with_count<most_vectors<L>>(mine.last - mine.first, [&](auto v) {
        Matrix panel_of{b.at(p, first), b.channels};
        const Index beyond = all * b.channels - first - v * L,
                    whole = beyond < 0 ? 0 : beyond / b.channels + 1;
        if (panels > 1 || end > whole) {  // one panel is as near where it lies
          pack<L, v>(panel_of, end - p, b.channels - first, whole - p, packed);
          panel_of = {packed, v * L};
        }
        const Index blocks = (a.channels + most_rows(v) - 1) / most_rows(v);
        const Index tiles = panels * blocks,
                    tiles_for_a = tiles * a.channels /
                                  (a.channels +
                                   b.channels);  // that ask for the next chunk of a; others, of b
        for (Index block = 0; block < blocks; block++) {
          const Range rows = part_of(a.channels, blocks, block);
          const Index t = panel * blocks + block;
          const Ahead ahead =
              t < tiles_for_a
                  ? part_of(a.at(end, 0), next * a.channels, tiles_for_a, t)
                  : part_of(b.at(end, 0), next * b.channels, tiles - tiles_for_a, t - tiles_for_a);
          const Factors f{a.at(p, rows.first), 1,      a.channels, panel_of.data,
                          panel_of.channels,   end - p};
          with_count<most_rows(v)>(rows.last - rows.first, [&](auto r) {
            tile<L, r, v>(f, {sums + rows.first * pitch + first, pitch, 0, L, p > pixels.first},
                          ahead);
          });
        }
      });
    }
  }
}

}  // namespace

void pointwise(const float* x, const float* w, float* y, Index pixels, Index in, Index out,
               Scratch& scratch) {
  product({x, in}, pixels, {w, 1, in}, out, y, scratch);
}
void pointwise_backward_data(const float* dy, const float* w, float* dx, Index pixels, Index in,
                             Index out, Scratch& scratch) {
  product({dy, out}, pixels, {w, in, 1}, in, dx, scratch);
}

void pointwise_backward_filter(const float* x, const float* dy, float* dw, Index pixels, Index in,
                               Index out, Scratch& scratch) {
  const bool along_in = in >= out;  // vectors along the longer side
  const Matrix a = along_in ? Matrix{dy, out} : Matrix{x, in},
               b = along_in ? Matrix{x, in} : Matrix{dy, out};
  const Index L = wide ? widest_lanes : lanes, vectors = (b.channels + L - 1) / L,
              pitch = vectors * L;
  const Partition share(
      pixels * in * out / 16,
      pixels * (in + out) / (4 * in * out));  // as long as the parts' sums are few beside x and dy
  const Index size = a.channels * pitch,
              packed_floats = chunk * most_vectors<widest_lanes> * widest_lanes;
  float *packed = scratch.take<float>(share.workers * packed_floats),
        *sums = scratch.take<float>(share.parts * size);
#pragma omp parallel num_threads(share.workers)
  {
    widest([&](auto floats) {
      for (Index k = omp_get_thread_num(); k < share.workers; k += omp_get_num_threads())
        add_products<floats>(a, b, part_of(pixels, share.parts, k % share.parts), pixels,
                             part_of(vectors, share.columns, k / share.parts),
                             packed + k * packed_floats, sums + k % share.parts * size, pitch);
    });
#pragma omp barrier
    const Range mine = my_range(out);
    auto total = [&](Index i) {
      float sum = sums[i];
      for (Index k = 1; k < share.parts; k++) sum += sums[k * size + i];
      return sum;
    };
    constexpr Index block = 16;  // of rows of dw, which a transposition writes at once
    if (along_in)
      for (Index o = mine.first; o < mine.last; o++)
        for (Index i = 0; i < in; i++) dw[o * in + i] = total(o * pitch + i);
    else
      for (Index first = mine.first; first < mine.last; first += block)
        for (Index i = 0; i < in; i++)
          for (Index o = first; o < std::min(first + block, mine.last); o++)
            dw[o * in + i] = total(i * pitch + o);
  }
}

}  // namespace fission::cpu
