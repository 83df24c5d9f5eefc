// Depthwise convolutions over φ(norm(y)), or over its tangent: which exist only as a few rows in
// each thread's cache.
//
// Forward: K rows of activated, zero-padded input in a ring; an output row is the sum of K·K of
// their shifts, each times its filter values. For stride s a row is stored as s phases (phase q:
// the padded columns j ≡ q mod s, together), so that every tap reads memory in sequence whatever
// the stride: column x·s + kx lies in phase kx mod s at place x + kx div s.
// Backward: each input pixel gathers the outputs it went to, d = dout[(iy+p−ky)/s, (ix+p−kx)/s]
// where those divide: da is Σ w d, and dw += a d from the same values. Input columns go by phases
// too, and dout rows lie zero-padded in a ring. In the cache a row of pixels is rows of whole
// vectors (Slots), in memory a pixel's C floats lie together.
#include <algorithm>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/depthwise_rows.h"

namespace fission::cpu {
namespace {

// What L floats of the input, from y[at] on, become when they are loaded: themselves, φ(z), φ'(z) c
// u, or φ(z) and φ'(z), where
// z = c y + b. c, b: in slots, a row a group. vectors: how many it makes of one
struct Identity {
  static constexpr int vectors = 1;
  const float* y;
  template <int L>
  void operator()(Floats<L>, Index at, Index, float* out) const {
    lanes_at<L>(out) = lanes_at<L>(y + at);
  }
  void prefetch(Index at, Index n) const { prefetch_floats(y + at, n); }
};
template <class Phi>
struct Activated : Identity {
  const float *c, *b;
  template <int L>
  void operator()(Floats<L>, Index at, Index table, float* out) const {
    const float *in = y + at, *cc = c + table, *bb = b + table;
#pragma omp simd
    for (int k = 0; k < L; k++) out[k] = Phi::value(cc[k] * in[k] + bb[k]);
  }
};
template <class Phi>
struct Tangent : Activated<Phi> {
  const float* u;
  template <int L>
  void operator()(Floats<L>, Index at, Index table, float* out) const {
    const float *in = this->y + at, *along = u + at, *cc = this->c + table, *bb = this->b + table;
#pragma omp simd
    for (int k = 0; k < L; k++) out[k] = Phi::slope(cc[k] * in[k] + bb[k]) * (cc[k] * along[k]);
  }
  void prefetch(Index at, Index n) const {
    prefetch_floats(this->y + at, n), prefetch_floats(u + at, n);
  }
};
template <class Phi>
struct ActivatedAndSlope : Activated<Phi> {  // for one exponential
  static constexpr int vectors = 2;
  template <int L>
  void operator()(Floats<L>, Index at, Index table, float* out) const {
    const float *in = this->y + at, *cc = this->c + table, *bb = this->b + table;
    float* slopes = out + L;
#pragma omp simd
    for (int k = 0; k < L; k++) Phi::value_and_slope(cc[k] * in[k] + bb[k], out[k], slopes[k]);
  }
};

// f(load) with load a loader of Activated's kind
template <class F>
void with_activated(View y, const Norm& norm, const Slots& slots, Scratch& scratch, F f) {
  const Index groups = norm.mean.shape[0];
  const Coefficients k = coefficients(norm, slots.channels, 1, scratch);
  const float *c = in_slots(k.c, groups, slots, scratch),
              *b = in_slots(k.b, groups, slots, scratch);
  with_activation(norm.activation, {}, [&](auto phi) {
    f(Activated<decltype(phi)>{{y.as<float>()}, c, b}, phi);
  });
}

// f(load, groups)
template <class F>
void with_loader(View y, const Norm* norm, const Slots& slots, Scratch& scratch, F f) {
  if (norm)
    with_activated(y, *norm, slots, scratch,
                   [&](const auto& load, auto) { f(load, norm->mean.shape[0]); });
  else f(Identity{y.as<float>()}, Index(1));
}

// K rows of a plane that are needed at the same time, filled when asked for
class Ring {
 public:
  Ring(Index rows, Index floats, float* memory, Index* tags)
      : rows_(rows), floats_(floats), memory_(memory), tags_(tags) {
    std::fill(tags, tags + rows, Index(-1));
    std::fill(memory, memory + rows * floats, 0.0f);  // the padding stays zero
  }
  template <class Fill>
  const float* row(Index row, Fill fill) {  // row: counted over all images
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

// How many rows to take together: some 256 pixels, so that the loops over a row's pixels are many
// turns of one loop, as far as what the rows read leaves room in the second-level cache.
Index band_rows(Index rows, Index columns, Index floats) {
  return std::max<Index>(1, std::min({rows, (255 + columns) / columns, 48000 / floats}));
}

// out of all rows, a band at a time; load: one of the above
template <class Load>
void forward_rows(View y, View w, const Conv2dGeometry& g, View out, const Slots& slots,
                  Index groups, Scratch& scratch, const Load& load) {
  const Index images = y.shape[0], height = y.shape[1], width = y.shape[2], channels = y.shape[3],
              out_h = out.shape[1], out_w = out.shape[2];
  const Index kernel = g.kernel, taps = kernel * kernel, stride = g.stride, pitch = slots.pitch();
  FISSION_CHECK(taps <= most_taps, "[depthwise] kernel ", kernel, ": at most 11");
  const Index places =
      (width + 2 * g.padding + stride - 1) / stride;  // of the padded input, a phase
  const Index phase_floats = whole_vectors(places * pitch),
              floats = stride * phase_floats;  // of a row of it
  const Index band = band_rows(out_h, out_w, stride * floats),
              ring_rows = (band - 1) * stride + kernel;
  const float* filter = in_slots(w.as<float>(), taps, slots, scratch);
  const int workers = worth_threads(y.numel()) ? threads() : 1;
  float *rings = scratch.take<float>(workers * ring_rows * floats),
        *zeros = scratch.zeros<float>(floats);
  Index* tags = scratch.take<Index>(workers * ring_rows);
  const float** pointers = scratch.take<const float*>(workers * band * taps);
  Index shift[most_taps];
  for (Index t = 0; t < taps; t++) shift[t] = t % kernel / stride;
#pragma omp parallel num_threads(workers)
  {
    const Index me = omp_get_thread_num();
    Ring ring(ring_rows, floats, rings + me * ring_rows * floats, tags + me * ring_rows);
    const float** in = pointers + me * band * taps;
    Range mine = my_range(images * out_h);
    for (Index row = mine.first; row < mine.last;) {
      const Index n = row / out_h, oy = row % out_h,
                  rows = std::min({band, mine.last - row, out_h - oy}),
                  group = n / (images / groups);
      for (Index r = 0; r < rows; r++)
        for (Index ky = 0; ky < kernel; ky++) {
          const Index iy = (oy + r) * stride - g.padding + ky;
          const float* from = zeros;
          if (iy >= 0 && iy < height)
            from = ring.row(n * height + iy, [&](float* to) {
              const Index length = width * channels, source = (n * height + iy) * length;
              with_vectors(slots, [&](auto lanes) {
                for (Index q = 0; q < stride; q++) {
                  const Phase phase = phase_of(q, width, g);
                  float* written =
                      q == 0 && iy % stride == 0 && iy / stride < out_h
                          ? out.as<float>() + (n * out_h + iy / stride) * out_w * channels
                          : nullptr;
                  load_columns(lanes, load, slots,
                               {source, length, group, groups, written, channels}, phase,
                               {to + q * phase_floats, phase.skipped, places});
                }
              });
            });
          const float** at = in + r * taps + ky * kernel;
          for (Index kx = 0; kx < kernel; kx++) at[kx] = from + kx % stride * phase_floats;
        }
      const Rows x{rows, out_w, places, int(taps), in, shift};
      float* to = out.as<float>() + row * out_w * channels;
      with_vectors(slots, [&](auto lanes) {
        if (taps == 9) weigh<9>(lanes, x, slots, filter, to);
        else weigh<0>(lanes, x, slots, filter, to);
      });
      row += rows;
    }
  }
}

// What depthwise_norm_backward wants beside: dz for da, and its sums
struct NormSums {
  const float* mean;  // in slots, a row a group
  double* sums;       // (G,2,C), zeros
};

// da and dw of all rows, a band at a time; either may be null. With `norm` load is an
// ActivatedAndSlope.
template <class Load>
void backward_rows(View y, View w, View dout, const Conv2dGeometry& g, View da, View dw,
                   const Slots& slots, Index groups, const NormSums* norm, Scratch& scratch,
                   const Load& load) {
  const Index images = y.shape[0], height = y.shape[1], width = y.shape[2], channels = y.shape[3],
              out_h = dout.shape[1], out_w = dout.shape[2];
  const Index kernel = g.kernel, taps = kernel * kernel, stride = g.stride, pitch = slots.pitch();
  FISSION_CHECK(taps <= most_taps, "[depthwise_backward] kernel ", kernel, ": at most 11");
  const Index left = (kernel - 1) / stride;  // places of zeros before dout's columns
  const Index places =
      (width + 2 * g.padding + stride - 1) / stride;  // of the padded input, a phase
  const Index d_places = left + std::max(places, out_w),
              floats = whole_vectors(d_places * pitch);  // of a row of dout
  const Index band = stride > 1 ? 1 : band_rows(height, width, 2 * floats);
  const Index rows_met =
      band - 1 + (kernel + stride - 1) / stride;  // of dout, by a band of the input
  const Index row_floats = whole_vectors(width * pitch * Load::vectors),
              band_floats = band * row_floats, sums_floats = (taps + 2) * pitch;
  const float* filter = in_slots(w.as<float>(), taps, slots, scratch);
  const int workers = worth_threads(y.numel()) ? threads() : 1;
  float *rings = scratch.take<float>(workers * rows_met * floats),
        *zeros = scratch.zeros<float>(floats);
  Index* tags = scratch.take<Index>(workers * rows_met);
  float *values_of = scratch.take<float>(workers * band_floats),
        *partials = scratch.zeros<float>(workers * sums_floats);
  const Index totals_of = (taps + groups * 2) * pitch;  // dw, then each group's sums
  double* totals = scratch.zeros<double>(workers * totals_of);
  const float** pointers = scratch.take<const float*>(workers * band * taps);
#pragma omp parallel num_threads(workers)
  {
    const Index me = omp_get_thread_num();
    Ring ring(rows_met, floats, rings + me * rows_met * floats, tags + me * rows_met);
    float *values = values_of + me * band_floats, *partial = partials + me * sums_floats;
    double* total = totals + me * totals_of;
    const float** d = pointers + me * band * taps;
    int number[most_taps];
    Index shift[most_taps];
    Range mine = my_range(images * height);
    Index summed = 0;
    for (Index row = mine.first; row < mine.last;) {
      const Index n = row / height, iy = row % height,
                  rows = std::min({band, mine.last - row, height - iy}),
                  group = n / (images / groups);
      const Index source = row * width * channels;
      Index place = 0;
      if (da && !dw) prefetch_floats(da.as<float>() + source, rows * width * channels);
      for (Index q = 0; q < stride; q++) {
        const Phase phase = phase_of(q, width, g);
        if (phase.count == 0) continue;
        if (dw)
          with_vectors(slots, [&](auto lanes) {
            for (Index r = 0; r < rows; r++)
              load_columns(
                  lanes, load, slots,
                  {source + r * width * channels, width * channels, group, groups,
                   da ? da.as<float>() + source + (r * width + phase.first) * channels : nullptr,
                   stride * channels},
                  phase, {values + r * row_floats + place, 0, phase.count});
          });
        int count = 0;
        const float** at = d;
        for (Index r = 0; r < rows; r++) {
          count = 0;
          for (Index ky = (iy + r + g.padding) % stride; ky < kernel; ky += stride) {
            const Index oy = (iy + r + g.padding - ky) / stride;
            const float* from = zeros;
            if (iy + r + g.padding >= ky && oy < out_h)
              from = ring.row(n * out_h + oy, [&](float* to) {
                const Index length = out_w * channels, dr = (n * out_h + oy) * length;
                const Identity copy{dout.as<float>()};
                with_vectors(slots, [&](auto lanes) {
                  load_columns(lanes, copy, slots, {dr, length, 0, 1}, {0, out_w, 0, 1},
                               {to, left, d_places});
                });
              });
            for (Index kx = q, back = 0; kx < kernel; kx += stride, back++, count++) {
              *at++ = from;
              number[count] = int(ky * kernel + kx), shift[count] = phase.skipped - back + left;
            }
          }
        }
        const Index first = source + phase.first * channels;
        const BackRows b{rows,
                         phase.count,
                         d_places,
                         count,
                         int(taps),
                         number,
                         d,
                         shift,
                         filter,
                         values + place,
                         row_floats,
                         y.as<float>() + first,
                         da ? da.as<float>() + first : nullptr,
                         width * channels,
                         stride * channels,
                         norm ? norm->mean : nullptr,
                         group,
                         groups,
                         partial,
                         partial + taps * pitch};
        with_vectors(slots, [&](auto lanes) {
          constexpr int L = lanes.value;
          if constexpr (Load::vectors == 2) weigh_backward<L, true, true, true>(lanes, b, slots);
          else if (da && dw) weigh_backward<L, true, true, false>(lanes, b, slots);
          else if (da) weigh_backward<L, true, false, false>(lanes, b, slots);
          else if (dw) weigh_backward<L, false, true, false>(lanes, b, slots);
        });
        place += phase.count * pitch * Load::vectors;
      }
      row += rows;
      summed += rows * width;
      // float sums over a few hundred pixels, then double
      if (dw && (summed >= 256 || row == mine.last || row / height / (images / groups) != group)) {
        for (Index i = 0; i < sums_floats; i++) {
          const Index to = i < taps * pitch ? i : i + group * 2 * pitch;
          total[to] += partial[i], partial[i] = 0;
        }
        summed = 0;
      }
    }
  }
  if (!dw) return;
  for (Index i = 0; i < totals_of; i++)
    for (int worker = 1; worker < workers; worker++) totals[i] += totals[worker * totals_of + i];
  for_channels(slots, [&](Index c, Index slot, Index place, Index L) {
    for (Index t = 0; t < taps; t++)
      dw.as<float>()[t * channels + c] = float(totals[slot * taps + t * L + place]);
    if (norm)
      for (Index i = 0; i < 2 * groups; i++)
        norm->sums[i * channels + c] =
            totals[(taps + i / 2 * 2) * pitch + 2 * slot + i % 2 * L + place];
  });
}

}  // namespace

void CpuBackend::depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) {
  Scratch::Frame frame(scratch_);
  const Slots slots = slots_of(y.shape[3]);
  with_loader(y, norm, slots, scratch_, [&](const auto& load, Index groups) {
    forward_rows(y, w, g, out, slots, groups, scratch_, load);
  });
}

void CpuBackend::depthwise_tangent(View y, const Norm& norm, View u, View w,
                                   const Conv2dGeometry& g, View out) {
  Scratch::Frame frame(scratch_);
  const Slots slots = slots_of(y.shape[3]);
  with_activated(y, norm, slots, scratch_, [&](const auto& activated, auto phi) {
    forward_rows(y, w, g, out, slots, norm.mean.shape[0], scratch_,
                 Tangent<decltype(phi)>{activated, u.as<float>()});
  });
}

void CpuBackend::depthwise_backward(View y, const Norm* norm, View w, View dout,
                                    const Conv2dGeometry& g, View da, View dw) {
  Scratch::Frame frame(scratch_);
  const Slots slots = slots_of(y.shape[3]);
  with_loader(y, norm, slots, scratch_, [&](const auto& load, Index groups) {
    backward_rows(y, w, dout, g, da, dw, slots, groups, nullptr, scratch_, load);
  });
}

// One exponential for φ and φ': the input is loaded as φ(z), with φ'(z) beside it; da, while it is
// in registers, becomes dz = da φ'(z), and its sums are taken. What is left is norm_act_backward's
// second pass.
void CpuBackend::depthwise_norm_backward(View y, const Norm& norm, bool training, View w, View dout,
                                         const Conv2dGeometry& g, View dy, View dgamma, View dbeta,
                                         View dw) {
  Scratch::Frame frame(scratch_);
  const Index groups = norm.mean.shape[0], channels = y.shape[3];
  const Slots slots = slots_of(channels);
  const NormSums sums{in_slots(norm.mean.as<float>(), groups, slots, scratch_),
                      scratch_.zeros<double>(groups * 2 * channels)};
  with_activated(y, norm, slots, scratch_, [&](const auto& activated, auto phi) {
    backward_rows(y, w, dout, g, dy, dw, slots, groups, &sums, scratch_,
                  ActivatedAndSlope<decltype(phi)>{activated});
  });
  finish_norm_backward(y, norm, training,
                       coefficients(norm, channels, run_pixels(channels), scratch_), sums.sums, dy,
                       dgamma, dbeta, scratch_);
}

}  // namespace fission::cpu
