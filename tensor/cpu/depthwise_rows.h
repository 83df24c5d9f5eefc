// Rows of a depthwise convolution: what depthwise.cpp does with the few rows in its cache. Private
// to it. Any number of channels; the usual counts of taps (1, 2, 4, 9) are compiled apart, the
// others loop.
#pragma once
#include <algorithm>

#include "tensor/cpu/lanes.h"
#include "tensor/cpu/loops.h"

namespace fission::cpu {

constexpr Index most_taps = 11 * 11;

// How a row of pixels lies in the cache: as so many rows of vectors, one for each 16 channels (8,
// where the processor is not wide or there are fewer than 16; one, of fewer than 8). So every
// vector is whole, and none lies across two pixels, in 21 channels as in 16. The last vector holds
// the last channels, some of which the one before has too: what both compute is the same, and of
// the sums only the new channels count. Where 8 floats hold what is left of 16, as of 21, it is a
// vector of 8.
struct Slots {
  Index channels, floats, count;  // floats: L of `count` vectors
  bool half;                      // whether one of L/2 comes after them
  Index pitch() const { return count * floats + (half ? floats / 2 : 0); }  // floats of a pixel
};
inline Slots slots_of(Index channels) {
  const Index floats = channels < lanes                ? 1
                       : wide && channels >= 2 * lanes ? 2 * lanes
                                                       : lanes,
              rest = channels % floats;
  const bool half = floats == 2 * lanes && rest > 0 && rest <= lanes;
  return {channels, floats, half ? channels / floats : (channels + floats - 1) / floats, half};
}
inline Index whole_vectors(Index floats) {
  return (floats + 2 * lanes - 1) / (2 * lanes) * (2 * lanes);
}  // so that what follows is aligned
// f(Floats<L>, slot, channel) for each vector: its first float of a pixel's, and the channel that
// this is
template <int L, class F>
inline __attribute__((always_inline)) void for_vectors(Floats<L> floats, const Slots& slots, F f) {
  for (Index v = 0; v < slots.count; v++)
    f(floats, v * L, std::min<Index>(v * L, slots.channels - L));
  if constexpr (L == 2 * lanes)
    if (slots.half) f(Floats<lanes>{}, slots.count * L, slots.channels - lanes);
}
template <class F>
void with_vectors(const Slots& slots,
                  F f) {  // f(Floats<L>), with the processor's instructions for it
  if (slots.floats == 2 * lanes) run_wide(f);
  else if (slots.floats == lanes) run_narrow(f);
  else f(Floats<1>{});
}
// f(channel, slot, place, L) of each channel once: in the vector of L floats from `slot` on it is
// number `place`
template <class F>
void for_channels(const Slots& slots, F f) {
  with_vectors(slots, [&](auto floats) {
    Index c = 0;
    for_vectors(floats, slots, [&](auto l, Index slot, Index channel) {
      for (; c < channel + l; c++) f(c, slot, c - channel, Index(l));
    });
  });
}
// values (rows, C) → out: of each vector all rows, L floats each, one after the other
inline const float* in_slots(const float* values, Index rows, const Slots& slots,
                             Scratch& scratch) {
  float* out = scratch.take<float>(rows * slots.pitch());
  with_vectors(slots, [&](auto floats) {
    for_vectors(floats, slots, [&](auto l, Index slot, Index channel) {
      for (Index r = 0; r < rows; r++)
        std::copy_n(values + r * slots.channels + channel, Index(l), out + slot * rows + r * l);
    });
  });
  return out;
}

// Column x of an image is padded column x + p. Those with x + p ≡ q mod s are phase q: `count` of
// them, from `first` on, every s-th; the first is number `skipped` of its phase (those before it
// are padding).
struct Phase {
  Index first, count, skipped, stride;
};
inline Phase phase_of(Index q, Index width, const Conv2dGeometry& g) {
  const Index skipped = std::max<Index>(0, (g.padding - q + g.stride - 1) / g.stride),
              first = skipped * g.stride + q - g.padding;
  return {first, first < width ? (width - 1 - first) / g.stride + 1 : 0, skipped, g.stride};
}

struct RowInMemory {
  Index at, floats;          // its first float, and how many it has
  Index group, groups;       // which row of a table is its
  float* written = nullptr;  // what is written where its columns lie, once they are used: a pixel
                             // of the phase after the other,
  Index step = 0;            // so many floats apart
};
struct RowInCache {
  float* at;
  Index first, places;  // the place of the first column, of so many in a vector's row
};

// A phase's columns into slots, or into pairs of them where load makes two vectors of one:
// load(Floats<L>, where in memory, where in a table in slots, to). What the next row has in their
// places is prefetched meanwhile, and what will be written.
template <int L, class Load>
void load_columns(Floats<L> floats, const Load& load, const Slots& slots, const RowInMemory& from,
                  const Phase& phase, const RowInCache& to) {
  for_vectors(floats, slots, [&](auto l, Index slot, Index channel) {
    const Load loader = load;
    const Index table = slot * from.groups + from.group * l, count = phase.count,
                step = phase.stride * slots.channels;
    Index pixel = from.at + phase.first * slots.channels + channel;
    float* out = to.at + (slot * to.places + to.first * l) * Load::vectors;
    const float* written = from.written ? from.written + channel : out;
    for (Index i = 0; i < count; i++, pixel += step, out += l * Load::vectors) {
      loader.prefetch(pixel + from.floats, l);
      __builtin_prefetch(written, 1, 3), written += from.step;
      loader(l, pixel, table, out);
    }
  });
}

// `rows` rows of output pixels: tap t of row r reads in[r][t], from place shift[t] on
struct Rows {
  Index rows, columns, places;  // places: of in's rows of vectors
  int count;                    // taps
  const float* const* in;
  const Index* shift;
};

// out[r][i] = Σ_t w_t[i] · in[r][t][i], out (rows, columns, C). A vector's filter values stay in
// registers for all rows.
template <int Count, int L>
void weigh(Floats<L> floats, const Rows& x, const Slots& slots, const float* w, float* out) {
  const int count = Count ? Count : x.count;
  for_vectors(floats, slots, [&](auto l, Index slot, Index channel) {
    constexpr int M = decltype(l)::value;
    using V = typename Vector<M>::Type;
    V filter[Count ? Count : most_taps];
    for (int t = 0; t < count; t++) filter[t] = lanes_at<M>(w + slot * count + t * M);
    for (Index r = 0; r < x.rows; r++) {
      const float* in[Count ? Count : most_taps];
      for (int t = 0; t < count; t++)
        in[t] = x.in[r * count + t] + slot * x.places + x.shift[t] * M;
      float* to = out + r * x.columns * slots.channels + channel;
      for (Index i = 0; i < x.columns; i++) {
        V s = filter[0] * lanes_at<M>(in[0] + i * M);
        for (int t = 1; t < count; t++) s += filter[t] * lanes_at<M>(in[t] + i * M);
        lanes_at<M>(to + i * slots.channels) = s;
      }
    }
  });
}

// The same backwards: rows of input pixels of one phase, each with the outputs that it went to
struct BackRows {
  Index rows, columns, places;  // places: of d's rows of vectors
  int count, taps;              // taps that this phase meets, of the filter's
  const int* number;            // which they are
  const float* const* d;        // [r][t], in slots, from place shift[t] on
  const Index* shift;
  const float* filter;  // in slots: (taps, L) of each vector
  const float* values;  // the input as the convolution saw it, in slots; Normed: each followed by
                        // its slopes φ'(z)
  Index row;            // floats from a row to the next there
  const float* y;       // what lies in memory; step: from a pixel of the phase to the next
  float* da;
  Index memory_row, step;
  const float* mean;  // of y, in slots: row `group` of `groups`
  Index group, groups;
  float *dw, *sums;  // in slots: (taps, L) and (2, L) of each vector: Σ dz and Σ dz (y − mean)
};

// Data: da = Σ_t w_t · d_t.  Filter: dw_t += Σ value · d_t.  Normed: da becomes dz = da φ'(z)
// before it is written, and its sums are taken. Pairs: each value is followed by its slope.
template <int Count, int L, bool Data, bool Filter, bool Normed, bool Pairs = Normed>
void weigh_backward(Floats<L> floats, const BackRows& b, const Slots& slots) {
  if constexpr (L == lanes && Data && Filter) {  // 16 registers do not hold w and dw both
    weigh_backward<Count, L, true, false, Normed, Pairs>(floats, b, slots);
    return weigh_backward<Count, L, false, true, false, Pairs>(floats, b, slots);
  }
  const int count = Count ? Count : b.count;
  for_vectors(floats, slots, [&](auto l, Index slot, Index channel) {
    constexpr int M = decltype(l)::value;
    constexpr Index step = Pairs ? 2 * M : M;
    using V = typename Vector<M>::Type;
    V sums[Count ? Count : most_taps], filter[Count ? Count : most_taps], sum = {}, product = {},
                                                                          mean = {};
    for (int t = 0; t < count; t++) {
      const Index place = slot * b.taps + b.number[t] * M;
      if (Filter) sums[t] = lanes_at<M>(b.dw + place);
      if (Data) filter[t] = lanes_at<M>(b.filter + place);
    }
    float* two = b.sums + 2 * slot;
    if (Normed)
      sum = lanes_at<M>(two), product = lanes_at<M>(two + M),
      mean = lanes_at<M>(b.mean + slot * b.groups + b.group * M);
    for (Index r = 0; r < b.rows; r++) {
      const float* in[Count ? Count : most_taps];
      for (int t = 0; t < count; t++) in[t] = b.d[r * count + t] + slot * b.places + b.shift[t] * M;
      const float* values = b.values + r * b.row + slot * b.columns * (step / M);
      const Index at = r * b.memory_row + channel;
      for (Index i = 0; i < b.columns; i++) {
        V value = {}, gradient = {};
        if (Filter) value = lanes_at<M>(values + i * step);
        for (int t = 0; t < count; t++) {
          const V other = lanes_at<M>(in[t] + i * M);
          if (Data) gradient += filter[t] * other;
          if (Filter) sums[t] += value * other;
        }
        if (Normed) {
          gradient *= lanes_at<M>(values + i * step + M);
          sum += gradient;
          product += gradient * (lanes_at<M>(b.y + at + i * b.step) - mean);
        }
        if (Data) lanes_at<M>(b.da + at + i * b.step) = gradient;
      }
    }
    if (Filter)
      for (int t = 0; t < count; t++) lanes_at<M>(b.dw + slot * b.taps + b.number[t] * M) = sums[t];
    if (Normed) lanes_at<M>(two) = sum, lanes_at<M>(two + M) = product;
  });
}

template <int L, bool Data, bool Filter, bool Normed>
void weigh_backward(Floats<L> floats, const BackRows& b, const Slots& slots) {
  switch (b.count) {
    case 1: return weigh_backward<1, L, Data, Filter, Normed>(floats, b, slots);
    case 2: return weigh_backward<2, L, Data, Filter, Normed>(floats, b, slots);
    case 4: return weigh_backward<4, L, Data, Filter, Normed>(floats, b, slots);
    case 9: return weigh_backward<9, L, Data, Filter, Normed>(floats, b, slots);
    default: return weigh_backward<0, L, Data, Filter, Normed>(floats, b, slots);
  }
}

}  // namespace fission::cpu
