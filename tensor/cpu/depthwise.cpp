// Depthwise convolutions over φ(norm(y)), which exists only as a few rows in each thread's cache.
//
// Forward: K rows of activated, zero-padded input in a ring; an output row is the sum of K·K of its shifts, each times a row
// of expanded filter values. For stride s a row is stored as s phases (phase q: the padded columns j ≡ q mod s, together), so
// that every tap reads memory in sequence whatever the stride: column x·s + kx lies in phase kx mod s at place x + kx div s.
// Backward: each input pixel gathers the outputs it went to, d = dout[(iy+p−ky)/s, (ix+p−kx)/s] where those divide: da is
// Σ w d, and dw += a d from the same values. Input columns go by phases too, and dout rows lie zero-padded in a ring.
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/lanes.h"
#include "tensor/cpu/loops.h"

namespace fission::cpu {
namespace {

constexpr Index most_taps = 11 * 11;

// out[i] = Σ_t w_t[i mod period] · in_t[i], i < n. Filter values stay in registers while i runs along the row.
// in_t and w_t may be read up to 7 floats past n. Taps 0: `taps` of them.
template <int Taps>
void weigh(const float* const* in, const float* const* w, int taps, Index n, Index period, float* out) {
  const int count = Taps ? Taps : taps;
  for (Index j = 0; j < period && j < n; j += lanes) {
    Lanes filter[Taps ? Taps : 1];
    if constexpr (Taps > 0)
      for (int t = 0; t < Taps; t++) filter[t] = FISSION_CONST_LANES(w[t] + j);
    for (Index i = j; i < n; i += period) {
      Lanes sum = {};
      for (int t = 0; t < count; t++) sum += (Taps ? filter[Taps ? t : 0] : FISSION_CONST_LANES(w[t] + j)) * FISSION_CONST_LANES(in[t] + i);
      if (i + lanes <= n) FISSION_LANES(out + i) = sum;
      else std::memcpy(out + i, &sum, (n - i) * sizeof(float));
    }
  }
}

// da[i] = Σ_t w_t[i mod period] · d_t[i];  dw_t[i mod period] += a[i] · d_t[i]
template <int Taps, bool Data, bool Filter>
void weigh_backward(const float* const* d, const float* const* w, float* const* dw, int taps, Index n, Index period, const float* a, float* da) {
  const int count = Taps ? Taps : taps;
  for (Index j = 0; j < period && j < n; j += lanes) {
    Lanes sums[Taps ? Taps : most_taps];
    if (Filter)
      for (int t = 0; t < count; t++) sums[t] = FISSION_LANES(dw[t] + j);
    for (Index i = j; i < n; i += period) {
      Lanes gradient = {}, value = {};
      const bool whole = i + lanes <= n;
      if (Filter) {
        if (whole) value = FISSION_CONST_LANES(a + i);
        else std::memcpy(&value, a + i, (n - i) * sizeof(float));  // zeros past the end: they add nothing to dw
      }
      for (int t = 0; t < count; t++) {
        Lanes from = FISSION_CONST_LANES(d[t] + i);
        if (Data) gradient += FISSION_CONST_LANES(w[t] + j) * from;
        if (Filter) sums[t] += value * from;
      }
      if (Data) {
        if (whole) FISSION_LANES(da + i) = gradient;
        else std::memcpy(da + i, &gradient, (n - i) * sizeof(float));
      }
    }
    if (Filter)
      for (int t = 0; t < count; t++) FISSION_LANES(dw[t] + j) = sums[t];
  }
}

template <bool Data, bool Filter>
void weigh_backward(const float* const* d, const float* const* w, float* const* dw, int taps, Index n, Index period, const float* a, float* da) {
  switch (taps) {
    case 1: return weigh_backward<1, Data, Filter>(d, w, dw, taps, n, period, a, da);
    case 2: return weigh_backward<2, Data, Filter>(d, w, dw, taps, n, period, a, da);
    case 4: return weigh_backward<4, Data, Filter>(d, w, dw, taps, n, period, a, da);
    case 9: return weigh_backward<9, Data, Filter>(d, w, dw, taps, n, period, a, da);
    default: return weigh_backward<0, Data, Filter>(d, w, dw, taps, n, period, a, da);
  }
}

// What a row of the input becomes when it is loaded: itself, or φ(c y + b)
struct Identity {
  void operator()(Index, const float* y, Index n, float* out) const { std::copy(y, y + n, out); }
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
  for (Index x = 0; x < columns; x++) {
    Index j = x + padding;
    std::copy(row + x * channels, row + (x + 1) * channels, phases + ((j % stride) * width + j / stride) * channels);
  }
}
void from_phases(const float* phases, Index columns, Index channels, Index padding, Index stride, Index width, float* row) {
  for (Index x = 0; x < columns; x++) {
    Index j = x + padding;
    const float* from = phases + ((j % stride) * width + j / stride) * channels;
    std::copy(from, from + channels, row + x * channels);
  }
}

}  // namespace

void CpuBackend::depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) {
  Scratch::Frame frame(scratch_);
  const Index pictures = y.shape[0], height = y.shape[1], width = y.shape[2], channels = y.shape[3], out_h = out.shape[1], out_w = out.shape[2];
  const Index kernel = g.kernel, taps = kernel * kernel, period = run_pixels(channels, 1) * channels;
  FISSION_CHECK(taps <= most_taps, "[depthwise] kernel ", kernel, ": at most 11");
  const Index places = (width + 2 * g.padding + g.stride - 1) / g.stride, floats = (g.stride * places * channels + 15) / 8 * 8;
  const float* filter = expand_filter(w, channels, period, scratch_);
  const int workers = worth_threads(y.numel()) ? threads() : 1;
  float *rings = scratch_.take<float>(workers * kernel * floats), *zeros = scratch_.zeros<float>(floats);
  float* raw = scratch_.take<float>(workers * floats);
  Index* tags = scratch_.take<Index>(workers * kernel);
  with_loader(y, norm, scratch_, [&](const auto& load, Index groups) {
#pragma omp parallel num_threads(workers)
    {
      const Index me = omp_get_thread_num();
      Ring ring(kernel, floats, rings + me * kernel * floats, tags + me * kernel);
      const float *in[most_taps], *weights[most_taps];
      for (Index t = 0; t < taps; t++) weights[t] = filter + t * period;
      Range r = my_range(pictures * out_h);
      for (Index row = r.first; row < r.last; row++) {
        const Index n = row / out_h, top = row % out_h * g.stride - g.padding;
        for (Index ky = 0; ky < kernel; ky++) {
          const Index iy = top + ky;
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
          for (Index kx = 0; kx < kernel; kx++) in[ky * kernel + kx] = from + (kx % g.stride * places + kx / g.stride) * channels;
        }
        float* to = out.as<float>() + row * out_w * channels;
        if (taps == 9) weigh<9>(in, weights, 9, out_w * channels, period, to);
        else weigh<0>(in, weights, int(taps), out_w * channels, period, to);
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
  const float* filter = expand_filter(w, channels, period, scratch_);
  const int workers = worth_threads(y.numel()) ? threads() : 1;
  const Index rows = (kernel + stride - 1) / stride;  // of dout that meet one row of the input
  float *rings = scratch_.take<float>(workers * rows * floats), *zeros = scratch_.zeros<float>(floats);
  Index* tags = scratch_.take<Index>(workers * rows);
  float *lines = scratch_.take<float>(workers * 3 * line), *partials = scratch_.zeros<float>(workers * taps * period);
  double* totals = scratch_.zeros<double>(workers * taps * channels);
  with_loader(y, norm, scratch_, [&](const auto& load, Index groups) {
#pragma omp parallel num_threads(workers)
    {
      const Index me = omp_get_thread_num();
      Ring ring(rows, floats, rings + me * rows * floats, tags + me * rows);
      float *raw = lines + me * 3 * line, *values = raw + line, *gradients = values + line;
      float* partial = partials + me * taps * period;
      double* total = totals + me * taps * channels;
      auto flush = [&] {  // float sums over one picture, then double
        for (Index t = 0; t < taps; t++)
          for (Index i = 0; i < period; i += channels)
            for (Index c = 0; c < channels; c++) total[t * channels + c] += partial[t * period + i + c];
        std::fill(partial, partial + taps * period, 0.0f);
      };
      const float *d[most_taps], *weights[most_taps];
      float* sums[most_taps];
      Range r = my_range(pictures * height);
      for (Index row = r.first; row < r.last; row++) {
        const Index n = row / height, iy = row % height;
        const float* source = y.as<float>() + row * width * channels;
        float* to = da ? da.as<float>() + row * width * channels : nullptr;
        if (dw) {
          load(n / (pictures / groups), source, width * channels, raw);
          if (stride > 1) to_phases(raw, width, channels, g.padding, stride, places, values);
        }
        for (Index q = 0; q < stride; q++) {
          // places m of phase q that are inside the picture: 0 ≤ m·s + q − p < W
          const Index first = std::max<Index>(0, (g.padding - q + stride - 1) / stride), last = (width - 1 + g.padding - q) / stride;
          if (width - 1 + g.padding - q < 0 || last < first) continue;
          int count = 0;
          for (Index ky = 0; ky < kernel; ky++) {
            if ((iy + g.padding - ky) % stride != 0) continue;
            const Index oy = (iy + g.padding - ky) / stride;
            const float* from = zeros;
            if (iy + g.padding - ky >= 0 && oy < out_h)
              from = ring.row(n * out_h + oy, [&](float* at) {
                const float* dr = dout.as<float>() + (n * out_h + oy) * out_w * channels;
                std::copy(dr, dr + out_w * channels, at + left * channels);
              });
            for (Index kx = q; kx < kernel; kx += stride, count++) {
              d[count] = from + (first - kx / stride + left) * channels;
              weights[count] = filter + (ky * kernel + kx) * period;
              sums[count] = partial + (ky * kernel + kx) * period;
            }
          }
          const Index n_floats = (last - first + 1) * channels;
          const float* a = stride == 1 ? raw : values + (q * places + first) * channels;
          float* out = stride == 1 ? to : gradients + (q * places + first) * channels;
          if (da && dw) weigh_backward<true, true>(d, weights, sums, count, n_floats, period, a, out);
          else if (da) weigh_backward<true, false>(d, weights, sums, count, n_floats, period, a, out);
          else if (dw) weigh_backward<false, true>(d, weights, sums, count, n_floats, period, a, out);
        }
        if (da && stride > 1) from_phases(gradients, width, channels, g.padding, stride, places, to);
        if (dw && (iy + 1 == height || row + 1 == r.last)) flush();
      }
    }
  });
  if (!dw) return;
  for (Index i = 0; i < taps * channels; i++) {
    double sum = 0;
    for (int t = 0; t < workers; t++) sum += totals[t * taps * channels + i];
    dw.as<float>()[i] = float(sum);
  }
}

}  // namespace fission::cpu
