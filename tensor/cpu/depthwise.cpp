// Depthwise convolutions over φ(norm(y)), or over its tangent: which exist only as a few rows in each thread's cache.
//
// Forward: K rows of activated, zero-padded input in a ring; an output row is the sum of K·K of their shifts, each times its
// filter values. For stride s a row is stored as s phases (phase q: the padded columns j ≡ q mod s, together), so
// that every tap reads memory in sequence whatever the stride: column x·s + kx lies in phase kx mod s at place x + kx div s.
// Backward: each input pixel gathers the outputs it went to, d = dout[(iy+p−ky)/s, (ix+p−kx)/s] where those divide: da is
// Σ w d, and dw += a d from the same values. Input columns go by phases too, and dout rows lie zero-padded in a ring.
#include <algorithm>
#include <cstring>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/depthwise_rows.h"

namespace fission::cpu {
namespace {

// What n floats of the input, from y[at] on, become when they are loaded: themselves, φ(c y + b), or φ'(c y + b) c u
struct Identity {
  const float* y;
  void operator()(Index, Index at, Index n, float* out) const { copy_floats(y + at, n, out); }
  void prefetch(Index at, Index n) const { prefetch_floats(y + at, n); }
};
template <class Phi>
struct Activated : Identity {
  Coefficients k;
  Index channels;
  void operator()(Index group, Index at, Index n, float* out) const {
    const float *c = k.c_of(group), *b = k.b_of(group), *in = y + at;
    for_runs(0, n / channels, channels, k.run, [=](Index i, Index j) { out[i] = Phi::value(c[j] * in[i] + b[j]); });
  }
};
template <class Phi>
struct Tangent : Identity {
  Coefficients k;
  Index channels;
  const float* u;
  void operator()(Index group, Index at, Index n, float* out) const {
    const float *c = k.c_of(group), *b = k.b_of(group), *in = y + at, *along = u + at;
    for_runs(0, n / channels, channels, k.run, [=](Index i, Index j) { out[i] = Phi::slope(c[j] * in[i] + b[j]) * (c[j] * along[i]); });
  }
  void prefetch(Index at, Index n) const { prefetch_floats(y + at, n), prefetch_floats(u + at, n); }
};

// f(load, groups). u null: no tangent
template <class F>
void with_loader(View y, const Norm* norm, View u, Scratch& scratch, F f) {
  const Identity in{y.as<float>()};
  if (!norm) return f(in, Index(1));
  const Index channels = last_dim(y.shape), groups = norm->mean.shape[0];
  const Coefficients k = coefficients(*norm, channels, run_pixels(channels), scratch);
  with_activation(norm->activation, {}, [&](auto phi) {
    if (u) f(Tangent<decltype(phi)>{in, k, channels, u.as<float>()}, groups);
    else f(Activated<decltype(phi)>{in, k, channels}, groups);
  });
}

// K rows of a plane that are needed at the same time, filled when asked for
class Ring {
 public:
  Ring(Index rows, Index floats, float* memory, Index* tags) : rows_(rows), floats_(floats), memory_(memory), tags_(tags) {
    std::fill(tags, tags + rows, Index(-1));
    std::fill(memory, memory + rows * floats, 0.0f);  // the padding stays zero
  }
  template <class Fill>
  const float* row(Index row, Fill fill) {  // row: counted over all pictures
    Index slot = row % rows_;
    float* at = memory_ + slot * floats_;
    if (tags_[slot] != row) fill(at), tags_[slot] = row;
    return at;
  }

 private:
  Index rows_, floats_;
  float* memory_;
  Index* tags_;
};

// columns of a row (W,C), first padded column `padding`, into phases of `width` places each; and back
void to_phases(const float* row, Index columns, Index channels, Index padding, Index stride, Index width, float* phases) {
  for (Index x = 0, q = padding % stride, m = padding / stride; x < columns; x++) {
    copy_floats(row + x * channels, channels, phases + (q * width + m) * channels);
    if (++q == stride) q = 0, m++;
  }
}
void from_phases(const float* phases, Index columns, Index channels, Index padding, Index stride, Index width, float* row) {
  for (Index x = 0, q = padding % stride, m = padding / stride; x < columns; x++) {
    copy_floats(phases + (q * width + m) * channels, channels, row + x * channels);
    if (++q == stride) q = 0, m++;
  }
}

// How many rows to take together: enough for a vector's filter values to be used some 32 times once they are in registers,
// as far as what the rows read leaves room in the second-level cache.
Index band_rows(Index rows, Index columns, Index floats) {
  return std::max<Index>(1, std::min({rows, (31 + columns) / columns, 48000 / floats}));
}

// out of all rows, a band at a time; load: one of the above
template <class Load>
void forward_rows(View y, View w, const Conv2dGeometry& g, View out, Index groups, Scratch& scratch_, const Load& load) {
  const Index pictures = y.shape[0], height = y.shape[1], width = y.shape[2], channels = y.shape[3], out_h = out.shape[1], out_w = out.shape[2];
  const Index kernel = g.kernel, taps = kernel * kernel, stride = g.stride;
  FISSION_CHECK(taps <= most_taps, "[depthwise] kernel ", kernel, ": at most 11");
  const Vectors vectors = vectors_of(channels, scratch_);
  const Index places = (width + 2 * g.padding + stride - 1) / stride;  // of the padded input, a phase
  const Index floats = (stride * places * channels + 31) / 16 * 16;      // of a row of it
  const Index band = band_rows(out_h, out_w, stride * floats), ring_rows = (band - 1) * stride + kernel;
  const float* filter = expand_filter(w, channels, vectors, scratch_);
  const int workers = worth_threads(y.numel()) ? threads() : 1;
  float *rings = scratch_.take<float>(workers * ring_rows * floats), *zeros = scratch_.zeros<float>(floats);
  float* raw = scratch_.take<float>(workers * floats);
  Index* tags = scratch_.take<Index>(workers * ring_rows);
  const float** pointers = scratch_.take<const float*>(workers * band * taps);
#pragma omp parallel num_threads(workers)
  {
    const Index me = omp_get_thread_num();
    Ring ring(ring_rows, floats, rings + me * ring_rows * floats, tags + me * ring_rows);
    const float** in = pointers + me * band * taps;
    int number[most_taps];
    std::iota(number, number + taps, 0);
    Range mine = my_range(pictures * out_h);
    for (Index row = mine.first; row < mine.last;) {
      const Index n = row / out_h, oy = row % out_h, rows = std::min({band, mine.last - row, out_h - oy}), group = n / (pictures / groups);
      for (Index r = 0; r < rows; r++)
        for (Index ky = 0; ky < kernel; ky++) {
          const Index iy = (oy + r) * stride - g.padding + ky;
          const float* from = zeros;
          if (iy >= 0 && iy < height)
            from = ring.row(n * height + iy, [&](float* to) {
              const Index length = width * channels, source = (n * height + iy) * length;
              if (iy + 1 < height) load.prefetch(source + length, length);
              if (stride == 1) return load(group, source, length, to + g.padding * channels);
              float* line = raw + me * floats;
              load(group, source, length, line);
              to_phases(line, width, channels, g.padding, stride, places, to);
            });
          const float** at = in + r * taps + ky * kernel;
          for (Index kx = 0, q = 0, m = 0; kx < kernel; kx++) {
            at[kx] = from + (q * places + m) * channels;
            if (++q == stride) q = 0, m++;
          }
        }
      const Rows x{rows, out_w * channels, int(taps), int(taps), number, in};
      float* to = out.as<float>() + row * out_w * channels;
      widest([&](auto floats) {
        constexpr int L = floats.value;
        if (taps == 9) weigh<9, L>(x, vectors, filter, to);
        else weigh<0, L>(x, vectors, filter, to);
      });
      row += rows;
    }
  }
}

// da and dw of all rows, a band at a time. load(worker, group, y, n, out): n floats of y as the convolution saw them.
// after(worker, group, y, da, n): a band's da is done, and still in the cache. Either of da, dw may be null.
template <class Load, class After>
void backward_rows(View y, View w, View dout, const Conv2dGeometry& g, View da, View dw, Index groups, Scratch& scratch_, const Load& load,
                   const After& after) {
  const Index pictures = y.shape[0], height = y.shape[1], width = y.shape[2], channels = y.shape[3], out_h = dout.shape[1], out_w = dout.shape[2];
  const Index kernel = g.kernel, taps = kernel * kernel, stride = g.stride;
  FISSION_CHECK(taps <= most_taps, "[depthwise_backward] kernel ", kernel, ": at most 11");
  const Vectors vectors = vectors_of(channels, scratch_);
  const Index left = (kernel - 1) / stride;                                         // places of zeros before dout's columns
  const Index places = (width + 2 * g.padding + stride - 1) / stride;               // of the padded input, a phase
  const Index floats = ((left + std::max(places, out_w)) * channels + 31) / 16 * 16;  // of a row of dout
  const Index line = (stride * places * channels + 31) / 16 * 16;                     // of a row of the input in phases
  const Index band = stride > 1 ? 1 : band_rows(height, width, 2 * floats);
  const Index rows_met = band - 1 + (kernel + stride - 1) / stride;                 // of dout, by a band of the input
  const Index values_floats = std::max(band * width * channels, line), lanes = vectors.floats, sums_floats = vectors.count * taps * lanes;
  const float* filter = expand_filter(w, channels, vectors, scratch_);
  const int workers = worth_threads(y.numel()) ? threads() : 1;
  float *rings = scratch_.take<float>(workers * rows_met * floats), *zeros = scratch_.zeros<float>(floats);
  Index* tags = scratch_.take<Index>(workers * rows_met);
  float *values_of = scratch_.take<float>(workers * values_floats), *lines = scratch_.take<float>(workers * 2 * line);
  float* partials = scratch_.zeros<float>(workers * sums_floats);
  double* totals = scratch_.zeros<double>(workers * sums_floats);
  const float** pointers = scratch_.take<const float*>(workers * band * taps);
#pragma omp parallel num_threads(workers)
  {
    const Index me = omp_get_thread_num();
    Ring ring(rows_met, floats, rings + me * rows_met * floats, tags + me * rows_met);
    float *values = values_of + me * values_floats, *raw = lines + me * 2 * line, *gradients = raw + line;
    float* partial = partials + me * sums_floats;
    double* total = totals + me * sums_floats;
    const float** d = pointers + me * band * taps;
    int number[most_taps];
    Range mine = my_range(pictures * height);
    Index summed = 0;
    for (Index row = mine.first; row < mine.last;) {
      const Index n = row / height, iy = row % height, rows = std::min({band, mine.last - row, height - iy});
      const float* source = y.as<float>() + row * width * channels;
      float* to = da ? da.as<float>() + row * width * channels : nullptr;
      if (dw) {
        if (row + rows < mine.last) prefetch_floats(source + rows * width * channels, width * channels);
        load(me, n / (pictures / groups), source, rows * width * channels, stride > 1 ? raw : values);
        if (stride > 1) to_phases(raw, width, channels, g.padding, stride, places, values);
      }
      for (Index q = 0; q < stride; q++) {
        // places m of phase q that are inside the picture: 0 ≤ m·s + q − p < W
        const Index first = std::max<Index>(0, (g.padding - q + stride - 1) / stride), last = (width - 1 + g.padding - q) / stride;
        if (width - 1 + g.padding - q < 0 || last < first) continue;
        int count = 0;
        const float** at = d;
        for (Index r = 0; r < rows; r++) {
          count = 0;
          for (Index ky = (iy + r + g.padding) % stride; ky < kernel; ky += stride) {
            const Index oy = (iy + r + g.padding - ky) / stride;
            const float* from = zeros;
            if (iy + r + g.padding >= ky && oy < out_h)
              from = ring.row(n * out_h + oy, [&](float* row_at) {
                const float* dr = dout.as<float>() + (n * out_h + oy) * out_w * channels;
                if (oy + 1 < out_h) prefetch_floats(dr + out_w * channels, out_w * channels);
                copy_floats(dr, out_w * channels, row_at + left * channels);
              });
            for (Index kx = q, back = 0; kx < kernel; kx += stride, back++, count++) {
              *at++ = from + (first - back + left) * channels;
              number[count] = int(ky * kernel + kx);
            }
          }
        }
        const Index place = stride == 1 ? 0 : (q * places + first) * channels;
        const Rows x{rows, (last - first + 1) * channels, count, int(taps), number, d};
        float* back = stride == 1 ? to : gradients + place;
        widest([&](auto floats) {
          constexpr int L = floats.value;
          if (da && dw) weigh_backward<L, true, true>(x, vectors, filter, values + place, back, partial);
          else if (da) weigh_backward<L, true, false>(x, vectors, filter, values + place, back, partial);
          else if (dw) weigh_backward<L, false, true>(x, vectors, filter, values + place, back, partial);
        });
      }
      if (da && stride > 1) from_phases(gradients, width, channels, g.padding, stride, places, to);
      if (da) after(me, n / (pictures / groups), source, to, rows * width * channels);
      row += rows;
      summed += rows * width;
      if (dw && (summed >= 1024 || row == mine.last)) {  // float sums over about a thousand pixels, then double
        for (Index i = 0; i < sums_floats; i++) total[i] += partial[i], partial[i] = 0;
        summed = 0;
      }
    }
  }
  if (!dw) return;
  double* sums = scratch_.zeros<double>(taps * channels);
  for (Index v = 0; v < vectors.count; v++)
    for (Index k = v * lanes - vectors.first[v]; k < lanes; k++)  // from the first channel that no vector before has
      for (Index t = 0; t < taps; t++)
        for (int worker = 0; worker < workers; worker++)
          sums[t * channels + (vectors.first[v] + k) % channels] += totals[worker * sums_floats + (v * taps + t) * lanes + k];
  for (Index i = 0; i < taps * channels; i++) dw.as<float>()[i] = float(sums[i]);
}

}  // namespace

void CpuBackend::depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) {
  Scratch::Frame frame(scratch_);
  with_loader(y, norm, View(), scratch_, [&](const auto& load, Index groups) { forward_rows(y, w, g, out, groups, scratch_, load); });
}

void CpuBackend::depthwise_tangent(View y, const Norm& norm, View u, View w, const Conv2dGeometry& g, View out) {
  Scratch::Frame frame(scratch_);
  with_loader(y, &norm, u, scratch_, [&](const auto& load, Index groups) { forward_rows(y, w, g, out, groups, scratch_, load); });
}

void CpuBackend::depthwise_backward(View y, const Norm* norm, View w, View dout, const Conv2dGeometry& g, View da, View dw) {
  Scratch::Frame frame(scratch_);
  with_loader(y, norm, View(), scratch_, [&](const auto& load, Index groups) {
    backward_rows(y, w, dout, g, da, dw, groups, scratch_,
                  [&](Index, Index group, const float* source, Index n, float* to) { load(group, source - y.as<float>(), n, to); },
                  [](Index, Index, const float*, float*, Index) {});
  });
}

// One exponential for φ and φ': a band's rows are loaded as φ(z), with φ'(z) beside them; when the band's da is done it becomes
// dz = da φ'(z) where it lies, and its sums are taken. What is left is norm_act_backward's second pass.
void CpuBackend::depthwise_norm_backward(View y, const Norm& norm, bool training, View w, View dout, const Conv2dGeometry& g, View dy, View dgamma,
                                         View dbeta, View dw) {
  Scratch::Frame frame(scratch_);
  const Index groups = norm.mean.shape[0], channels = y.shape[3], plane = y.shape[1] * y.shape[2] * channels, run = run_pixels(channels);
  const Coefficients k = coefficients(norm, channels, run, scratch_);
  const float* centre = expanded_means(norm, channels, k, scratch_);
  const int workers = threads();
  const Index length = k.length, padded = (2 * length + 15) / 16 * 16, sums_size = groups * 2 * channels, sums_stride = (sums_size + 7) / 8 * 8;
  float *slopes_of = scratch_.take<float>(workers * plane), *partials = scratch_.zeros<float>(workers * padded);
  double* totals = scratch_.zeros<double>(workers * sums_stride);
  with_activation(norm.activation, {}, [&](auto phi) {
    auto load = [&, phi](Index me, Index group, const float* source, Index n, float* to) {
      const float *c = k.c_of(group), *b = k.b_of(group);
      float* slopes = slopes_of + me * plane;
      for_runs(0, n / channels, channels, run, [=](Index i, Index j) { phi.value_and_slope(c[j] * source[i] + b[j], to[i], slopes[i]); });
    };
    auto after = [&](Index me, Index group, const float* source, float* da, Index n) {
      const float *slopes = slopes_of + me * plane, *mean = centre + group * length;
      float *sum = partials + me * padded, *product = sum + length;
      for_runs(0, n / channels, channels, run, [=](Index i, Index j) {
        const float dz = da[i] * slopes[i];
        da[i] = dz;
        sum[j] += dz;
        product[j] += dz * (source[i] - mean[j]);
      });
      double* total = totals + me * sums_stride + group * 2 * channels;
      for (int s = 0; s < 2; s++)
        for (Index t = 0, at = s * length; t < run && t * channels < n; t++)
          for (Index ch = 0; ch < channels; ch++, at++) total[s * channels + ch] += sum[at], sum[at] = 0;
    };
    backward_rows(y, w, dout, g, dy, dw, groups, scratch_, load, after);
  });
  for (int t = 1; t < workers; t++)
    for (Index i = 0; i < sums_size; i++) totals[i] += totals[t * sums_stride + i];
  finish_norm_backward(y, norm, training, k, totals, dy, dgamma, dbeta, scratch_);
}

}  // namespace fission::cpu
