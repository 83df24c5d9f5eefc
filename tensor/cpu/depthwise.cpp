// Depthwise convolutions over φ(norm(y)), which exists only as a few rows in each thread's cache.
//
// Forward: K rows of activated, zero-padded input in a ring; an output row is the sum of K·K of its shifts, each times a row
// of expanded filter values. For stride s a row is stored as s phases (phase q: the padded columns j ≡ q mod s, together), so
// that every tap reads memory in sequence whatever the stride: column x·s + kx lies in phase kx mod s at place x + kx div s.
// Backward: each input pixel gathers the outputs it went to, d = dout[(iy+p−ky)/s, (ix+p−kx)/s] where those divide: da is
// Σ w d, and dw += a d from the same values. Input columns go by phases too, and dout rows lie zero-padded in a ring.
#include <cstring>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/lanes.h"
#include "tensor/cpu/loops.h"

namespace fission::cpu {
namespace {

constexpr Index most_taps = 11 * 11;

// rows × taps pointers into padded rows: what the taps of each of some rows of the output read
struct Taps {
  int count;
  const float* const* in;  // (rows, count)
  const float* filter;     // tap t at filter + t·period, expanded
};

// out[r][i] = Σ_t w_t[i mod period] · in[r][t][i], i < n. A vector's filter values stay in registers for all rows.
// in and w may be read up to 7 floats past n. Count 0: any.
template <int Count>
void weigh(const Taps& taps, const int* filter_row, Index rows, Index n, Index period, float* out, Index out_stride) {
  const int count = Count ? Count : taps.count;
  for (Index j = 0; j < period && j < n; j += lanes) {
    Lanes filter[Count ? Count : most_taps];
    for (int t = 0; t < count; t++) filter[t] = FISSION_CONST_LANES(taps.filter + filter_row[t] * period + j);
    for (Index r = 0; r < rows; r++) {
      const float* in[Count ? Count : most_taps];
      for (int t = 0; t < count; t++) in[t] = taps.in[r * count + t];
      float* to = out + r * out_stride;
      Index i = j;
      auto sum = [&] {
        Lanes s = filter[0] * FISSION_CONST_LANES(in[0] + i);
        for (int t = 1; t < count; t++) s += filter[t] * FISSION_CONST_LANES(in[t] + i);
        return s;
      };
      for (; i + lanes <= n; i += period) FISSION_LANES(to + i) = sum();
      if (i < n) {
        const Lanes s = sum();
        std::memcpy(to + i, &s, (n - i) * sizeof(float));
      }
    }
  }
}

// da[r][i] = Σ_t w_t[i mod period] · d[r][t][i];  dw_t[i mod period] += Σ_r a[r][i] · d[r][t][i]
template <int Count, bool Data, bool Filter>
void weigh_backward(const Taps& taps, const int* filter_row, Index rows, Index n, Index period, const float* a, Index a_stride, float* da,
                    Index da_stride, float* dw) {
  const int count = Count ? Count : taps.count;
  for (Index j = 0; j < period && j < n; j += lanes) {
    Lanes sums[Count ? Count : most_taps], filter[Count ? Count : most_taps];
    for (int t = 0; t < count; t++) {
      if (Filter) sums[t] = FISSION_CONST_LANES(dw + filter_row[t] * period + j);
      if (Data) filter[t] = FISSION_CONST_LANES(taps.filter + filter_row[t] * period + j);
    }
    for (Index r = 0; r < rows; r++) {
      const float* in[Count ? Count : most_taps];
      for (int t = 0; t < count; t++) in[t] = taps.in[r * count + t];
      const float* from = a + r * a_stride;
      float* to = da + r * da_stride;
      Index i = j;
      auto step = [&](const Lanes& value) {
        Lanes gradient = {};
        for (int t = 0; t < count; t++) {
          const Lanes d = FISSION_CONST_LANES(in[t] + i);
          if (Data) gradient += filter[t] * d;
          if (Filter) sums[t] += value * d;
        }
        return gradient;
      };
      for (; i + lanes <= n; i += period) {
        const Lanes gradient = step(Filter ? FISSION_CONST_LANES(from + i) : Lanes{});
        if (Data) FISSION_LANES(to + i) = gradient;
      }
      if (i < n) {
        Lanes value = {};  // zeros past the end: they add nothing to dw
        if (Filter) std::memcpy(&value, from + i, (n - i) * sizeof(float));
        const Lanes gradient = step(value);
        if (Data) std::memcpy(to + i, &gradient, (n - i) * sizeof(float));
      }
    }
    if (Filter)
      for (int t = 0; t < count; t++) FISSION_LANES(dw + filter_row[t] * period + j) = sums[t];
  }
}

template <bool Data, bool Filter>
void weigh_backward(const Taps& taps, const int* filter_row, Index rows, Index n, Index period, const float* a, Index a_stride, float* da,
                    Index da_stride, float* dw) {
  switch (taps.count) {
    case 1: return weigh_backward<1, Data, Filter>(taps, filter_row, rows, n, period, a, a_stride, da, da_stride, dw);
    case 2: return weigh_backward<2, Data, Filter>(taps, filter_row, rows, n, period, a, a_stride, da, da_stride, dw);
    case 4: return weigh_backward<4, Data, Filter>(taps, filter_row, rows, n, period, a, a_stride, da, da_stride, dw);
    case 9: return weigh_backward<9, Data, Filter>(taps, filter_row, rows, n, period, a, a_stride, da, da_stride, dw);
    default: return weigh_backward<0, Data, Filter>(taps, filter_row, rows, n, period, a, a_stride, da, da_stride, dw);
  }
}

// What a row of the input becomes when it is loaded: itself, or φ(c y + b)
struct Identity {
  void operator()(Index, const float* y, Index n, float* out) const { copy_floats(y, n, out); }
};
template <class Phi>
struct Activated {
  Phi phi;
  Coefficients k;
  Index channels;
  void operator()(Index group, const float* y, Index n, float* out) const {
    const float *c = k.c_of(group), *b = k.b_of(group);
    const Phi f = phi;
    for_runs(0, n / channels, channels, k.run, [=](Index i, Index j) { out[i] = f.value(c[j] * y[i] + b[j]); });
  }
};

template <class F>
void with_loader(View y, const Norm* norm, Scratch& scratch, F f) {
  if (!norm) return f(Identity{}, Index(1));
  const Index channels = last_dim(y.shape);
  Coefficients k = coefficients(*norm, channels, run_pixels(channels), scratch);
  with_activation(norm->activation, {}, [&](auto phi) { f(Activated<decltype(phi)>{phi, k, channels}, norm->mean.shape[0]); });
}

// w (K,K,C) → one expanded row of `period` floats a tap
const float* expand_filter(View w, Index channels, Index period, Scratch& scratch) {
  const Index taps = w.shape[0] * w.shape[1];
  float* out = scratch.take<float>(taps * period);
  for (Index t = 0; t < taps; t++) expand(w.as<float>() + t * channels, channels, period / channels, out + t * period);
  return out;
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

// How many rows to take together: as many as leave what they read in the first-level cache, so that on small maps the
// filter values are fetched once for several rows.
Index band_rows(Index rows, Index floats) { return std::max<Index>(1, std::min(rows, 5000 / floats)); }

}  // namespace

void CpuBackend::depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) {
  Scratch::Frame frame(scratch_);
  const Index pictures = y.shape[0], height = y.shape[1], width = y.shape[2], channels = y.shape[3], out_h = out.shape[1], out_w = out.shape[2];
  const Index kernel = g.kernel, taps = kernel * kernel, period = run_pixels(channels, 1) * channels;
  FISSION_CHECK(taps <= most_taps, "[depthwise] kernel ", kernel, ": at most 11");
  const Index places = (width + 2 * g.padding + g.stride - 1) / g.stride, floats = (g.stride * places * channels + 15) / 8 * 8;
  const Index band = band_rows(out_h, g.stride * floats), ring_rows = (band - 1) * g.stride + kernel;
  const float* filter = expand_filter(w, channels, period, scratch_);
  const int workers = worth_threads(y.numel()) ? threads() : 1;
  float *rings = scratch_.take<float>(workers * ring_rows * floats), *zeros = scratch_.zeros<float>(floats);
  float* raw = scratch_.take<float>(workers * floats);
  Index* tags = scratch_.take<Index>(workers * ring_rows);
  const float** pointers = scratch_.take<const float*>(workers * band * taps);
  with_loader(y, norm, scratch_, [&](const auto& load, Index groups) {
#pragma omp parallel num_threads(workers)
    {
      const Index me = omp_get_thread_num();
      Ring ring(ring_rows, floats, rings + me * ring_rows * floats, tags + me * ring_rows);
      const float** in = pointers + me * band * taps;
      int filter_row[most_taps];
      std::iota(filter_row, filter_row + taps, 0);
      Range mine = my_range(pictures * out_h);
      for (Index row = mine.first; row < mine.last;) {
        const Index n = row / out_h, rows = std::min({band, mine.last - row, (n + 1) * out_h - row});
        if (row + rows < mine.last) {
          const Index next = n * height + std::min(height - 1, (row % out_h + rows) * g.stride - g.padding + kernel - 1);
          prefetch_floats(y.as<float>() + next * width * channels, width * channels);
          prefetch_to_write(out.as<float>() + (row + rows) * out_w * channels, out_w * channels);
        }
        for (Index r = 0; r < rows; r++)
          for (Index ky = 0; ky < kernel; ky++) {
            const Index iy = (row % out_h + r) * g.stride - g.padding + ky;
            const float* from = zeros;
            if (iy >= 0 && iy < height)
              from = ring.row(n * height + iy, [&](float* to) {
                const float* source = y.as<float>() + (n * height + iy) * width * channels;
                const Index group = n / (pictures / groups);
                if (g.stride == 1) return load(group, source, width * channels, to + g.padding * channels);
                float* line = raw + me * floats;
                load(group, source, width * channels, line);
                to_phases(line, width, channels, g.padding, g.stride, places, to);
              });
            for (Index kx = 0; kx < kernel; kx++)
              in[r * taps + ky * kernel + kx] = from + (kx % g.stride * places + kx / g.stride) * channels;
          }
        float* to = out.as<float>() + row * out_w * channels;
        const Taps all{int(taps), in, filter};
        if (taps == 9) weigh<9>(all, filter_row, rows, out_w * channels, period, to, out_w * channels);
        else weigh<0>(all, filter_row, rows, out_w * channels, period, to, out_w * channels);
        row += rows;
      }
    }
  });
}

void CpuBackend::depthwise_backward(View y, const Norm* norm, View w, View dout, const Conv2dGeometry& g, View da, View dw) {
  Scratch::Frame frame(scratch_);
  const Index pictures = y.shape[0], height = y.shape[1], width = y.shape[2], channels = y.shape[3], out_h = dout.shape[1], out_w = dout.shape[2];
  const Index kernel = g.kernel, taps = kernel * kernel, stride = g.stride, period = run_pixels(channels, 1) * channels;
  FISSION_CHECK(taps <= most_taps, "[depthwise_backward] kernel ", kernel, ": at most 11");
  const Index left = (kernel - 1) / stride;                                                // places of zeros before dout's columns
  const Index places = (width + 2 * g.padding + stride - 1) / stride;                      // of the padded input, a phase
  const Index floats = ((left + std::max(places, out_w)) * channels + 15) / 8 * 8;         // of a row of dout
  const Index line = (stride * places * channels + 15) / 8 * 8;                            // of a row of the input in phases
  const Index band = stride > 1 ? 1 : band_rows(height, 2 * floats);
  const float* filter = expand_filter(w, channels, period, scratch_);
  const int workers = worth_threads(y.numel()) ? threads() : 1;
  const Index rows_met = band - 1 + (kernel + stride - 1) / stride;  // of dout, by a band of the input
  float *rings = scratch_.take<float>(workers * rows_met * floats), *zeros = scratch_.zeros<float>(floats);
  Index* tags = scratch_.take<Index>(workers * rows_met);
  const Index values_floats = std::max(band * width * channels, line);
  float *values_of = scratch_.take<float>(workers * values_floats), *lines = scratch_.take<float>(workers * 2 * line);
  float* partials = scratch_.zeros<float>(workers * taps * period);
  double* totals = scratch_.zeros<double>(workers * taps * period);
  const float** pointers = scratch_.take<const float*>(workers * band * taps);
  with_loader(y, norm, scratch_, [&](const auto& load, Index groups) {
#pragma omp parallel num_threads(workers)
    {
      const Index me = omp_get_thread_num();
      Ring ring(rows_met, floats, rings + me * rows_met * floats, tags + me * rows_met);
      float *values = values_of + me * values_floats, *raw = lines + me * 2 * line, *gradients = raw + line;
      float* partial = partials + me * taps * period;
      double* total = totals + me * taps * period;
      const float** d = pointers + me * band * taps;
      int filter_row[most_taps];
      Range mine = my_range(pictures * height);
      Index summed = 0;
      for (Index row = mine.first; row < mine.last;) {
        const Index n = row / height, iy = row % height, rows = std::min({band, mine.last - row, height - iy});
        const float* source = y.as<float>() + row * width * channels;
        if (row + rows < mine.last) {
          if (dw) prefetch_floats(source + rows * width * channels, width * channels);
          if (da) prefetch_to_write(da.as<float>() + (row + rows) * width * channels, width * channels);
          const Index next = (n * out_h + std::min(out_h - 1, (iy + rows + g.padding) / stride)) * out_w * channels;
          prefetch_floats(dout.as<float>() + next, out_w * channels);
        }
        float* to = da ? da.as<float>() + row * width * channels : nullptr;
        if (dw) {
          load(n / (pictures / groups), source, rows * width * channels, stride > 1 ? raw : values);
          if (stride > 1) to_phases(raw, width, channels, g.padding, stride, places, values);
        }
        for (Index q = 0; q < stride; q++) {
          // places m of phase q that are inside the picture: 0 ≤ m·s + q − p < W
          const Index first = std::max<Index>(0, (g.padding - q + stride - 1) / stride), last = (width - 1 + g.padding - q) / stride;
          if (width - 1 + g.padding - q < 0 || last < first) continue;
          int count = 0;
          for (Index r = 0; r < rows; r++) {
            count = 0;
            for (Index ky = 0; ky < kernel; ky++) {
              const Index down = iy + r + g.padding - ky, oy = down / stride;
              if (down % stride != 0) continue;
              const float* from = zeros;
              if (down >= 0 && oy < out_h)
                from = ring.row(n * out_h + oy, [&](float* at) {
                  const float* dr = dout.as<float>() + (n * out_h + oy) * out_w * channels;
                  copy_floats(dr, out_w * channels, at + left * channels);
                });
              const Index taps_here = (kernel - q + stride - 1) / stride, all_here = taps_here * ((kernel - (iy + g.padding) % stride + stride - 1) / stride);
              for (Index kx = q; kx < kernel; kx += stride, count++) {
                d[r * all_here + count] = from + (first - kx / stride + left) * channels;
                filter_row[count] = int(ky * kernel + kx);
              }
            }
          }
          const Index length = (last - first + 1) * channels, at = stride == 1 ? 0 : (q * places + first) * channels;
          const float* a = values + at;
          float* back = stride == 1 ? to : gradients + at;
          const Taps all{count, d, filter};
          if (da && dw) weigh_backward<true, true>(all, filter_row, rows, length, period, a, width * channels, back, width * channels, partial);
          else if (da) weigh_backward<true, false>(all, filter_row, rows, length, period, a, width * channels, back, width * channels, partial);
          else if (dw) weigh_backward<false, true>(all, filter_row, rows, length, period, a, width * channels, back, width * channels, partial);
        }
        if (da && stride > 1) from_phases(gradients, width, channels, g.padding, stride, places, to);
        row += rows;
        summed += rows * width;
        if (dw && (summed >= 1024 || row == mine.last)) {  // float sums over about a thousand pixels, then double
          for (Index i = 0; i < taps * period; i++) total[i] += partial[i], partial[i] = 0;
          summed = 0;
        }
      }
    }
  });
  if (!dw) return;
  for (Index t = 0; t < taps; t++)
    for (Index c = 0; c < channels; c++) {
      double sum = 0;
      for (int worker = 0; worker < workers; worker++)
        for (Index i = c; i < period; i += channels) sum += totals[(worker * taps + t) * period + i];
      dw.as<float>()[t * channels + c] = float(sum);
    }
}

}  // namespace fission::cpu
