// Rows of a depthwise convolution: what depthwise.cpp does with the few rows in its cache. Private to it.
// Any number of channels; the usual counts of taps (1, 2, 4, 9) are compiled apart, the others loop.
#pragma once
#include <algorithm>

#include "tensor/cpu/lanes.h"
#include "tensor/cpu/loops.h"

namespace fission::cpu {

constexpr Index most_taps = 11 * 11;

// How a pixel lies in the cache: as `count` vectors of L floats, vector v holding the channels from first[v] on. The last holds the
// last L, some of which the one before has too: what both compute is the same, and of the sums only the new channels count. So every
// vector is whole and aligned, in 21 channels as in 16. L: 16 where the processor is wide, else 8; fewer channels than 8: one.
struct Slots {
  Index channels, floats, count;  // floats: L
  const Index* first;
  Index pitch() const { return count * floats; }  // floats of a pixel
};
inline Slots slots_of(Index channels, Scratch& scratch) {
  const Index floats = channels < lanes ? 1 : wide && channels >= 2 * lanes ? 2 * lanes : lanes, count = (channels + floats - 1) / floats;
  Index* first = scratch.take<Index>(count);
  for (Index v = 0; v < count; v++) first[v] = std::min(v * floats, channels - floats);
  return {channels, floats, count, first};
}
template <class F>
void with_vectors(const Slots& slots, F f) {  // f(Floats<L>)
  if (slots.floats == 2 * lanes) run_wide(f);
  else if (slots.floats == lanes) run_narrow(f);
  else f(Floats<1>{});
}
template <class F>
void for_channels(const Slots& slots, F f) {  // f(channel, slot), each channel once
  for (Index v = 0, c = 0; v < slots.count; v++)
    for (; c < slots.first[v] + slots.floats; c++) f(c, v * slots.floats + c - slots.first[v]);
}
inline const float* in_slots(const float* table, Index rows, const Slots& slots, Scratch& scratch) {  // (rows,C) → (rows, pitch)
  float* out = scratch.take<float>(rows * slots.pitch());
  for (Index i = 0; i < rows * slots.pitch(); i++) {
    const Index v = i % slots.pitch() / slots.floats;
    out[i] = table[i / slots.pitch() * slots.channels + slots.first[v] + i % slots.floats];
  }
  return out;
}
inline const float* filter_in_slots(View w, const Slots& slots, Scratch& scratch) {  // (K,K,C) → (vectors, taps, L)
  const Index taps = w.shape[0] * w.shape[1], floats = slots.floats;
  float* out = scratch.take<float>(slots.pitch() * taps);
  for (Index v = 0; v < slots.count; v++)
    for (Index t = 0; t < taps; t++)
      for (Index k = 0; k < floats; k++) out[(v * taps + t) * floats + k] = w.as<float>()[t * slots.channels + slots.first[v] + k];
  return out;
}

// Column x of a picture is padded column x + p. Those with x + p ≡ q mod s are phase q: `count` of them, from `first` on, every s-th;
// the first is number `skipped` of its phase (those before it are padding).
struct Phase {
  Index first, count, skipped;
};
inline Phase phase_of(Index q, Index width, const Conv2dGeometry& g) {
  const Index skipped = std::max<Index>(0, (g.padding - q + g.stride - 1) / g.stride), first = skipped * g.stride + q - g.padding;
  return {first, first < width ? (width - 1 - first) / g.stride + 1 : 0, skipped};
}

// A phase's columns from memory into slots, or into pairs of them where load makes two vectors of one; at: the first float of the
// row, which has `row` of them: those of the next are asked for meanwhile. load(Floats<L>, where in memory, where in a table, to)
template <int L, class Load>
void load_columns(Floats<L> floats, const Load& load, const Slots& slots, Index group, Index at, Index row, const Phase& phase, Index stride, float* out) {
  const Index table = group * slots.pitch();
  for (Index i = 0; i < phase.count; i++) {
    const Index pixel = at + (phase.first + i * stride) * slots.channels;
    load.prefetch(pixel + row, slots.channels);
    for (Index v = 0; v < slots.count; v++, out += Load::vectors * L) load(floats, pixel + slots.first[v], table + v * L, out);
  }
}

// `rows` rows of `columns` output pixels: tap t of row r reads in[r][t], pixels side by side in slots
struct Rows {
  Index rows, columns;
  int count;  // taps
  const float* const* in;
};

// out[r][i] = Σ_t w_t[i] · in[r][t][i], out (rows, columns, C). A vector's filter values stay in registers for all rows.
template <int Count, int L>
void weigh(const Rows& x, const Slots& slots, const float* w, float* out) {
  using V = typename Vector<L>::Type;
  const int count = Count ? Count : x.count;
  const Index pitch = slots.pitch(), channels = slots.channels;
  for (Index v = 0; v < slots.count; v++) {
    V filter[Count ? Count : most_taps];
    for (int t = 0; t < count; t++) filter[t] = lanes_at<L>(w + (v * count + t) * L);
    for (Index r = 0; r < x.rows; r++) {
      const float* in[Count ? Count : most_taps];
      for (int t = 0; t < count; t++) in[t] = x.in[r * count + t] + v * L;
      float* to = out + r * x.columns * channels + slots.first[v];
      for (Index i = 0; i < x.columns; i++) {
        V s = filter[0] * lanes_at<L>(in[0] + i * pitch);
        for (int t = 1; t < count; t++) s += filter[t] * lanes_at<L>(in[t] + i * pitch);
        lanes_at<L>(to + i * channels) = s;
      }
    }
  }
}

// The same backwards: rows of input pixels of one phase, each with the outputs that it went to
struct BackRows {
  Index rows, columns;
  int count, taps;                // taps that this phase meets, of the filter's
  const int* number;              // which they are
  const float* const* d;          // [r][t], in slots
  const float* filter;            // (vectors, taps, L)
  const float* values;            // the input as the convolution saw it, in slots; Normed: each followed by its slopes φ'(z)
  Index row;                      // floats from a row to the next there
  const float* y;                 // what lies in memory; step: from a pixel of the phase to the next
  float* da;
  Index memory_row, step;
  const float* mean;              // (pitch): of y
  float *dw, *sums;               // (vectors, taps, L); (vectors, 2, L): Σ dz and Σ dz (y − mean)
};

// Data: da = Σ_t w_t · d_t.  Filter: dw_t += Σ value · d_t.  Normed: da becomes dz = da φ'(z) before it is written, and its sums are taken.
template <int Count, int L, bool Data, bool Filter, bool Normed>
void weigh_backward(const BackRows& b, const Slots& slots) {
  using V = typename Vector<L>::Type;
  const int count = Count ? Count : b.count;
  const Index pitch = slots.pitch(), vectors = Normed ? 2 : 1;
  for (Index v = 0; v < slots.count; v++) {
    V sums[Count ? Count : most_taps], filter[Count ? Count : most_taps], sum = {}, product = {}, mean = {};
    for (int t = 0; t < count; t++) {
      const Index place = (v * b.taps + b.number[t]) * L;
      if (Filter) sums[t] = lanes_at<L>(b.dw + place);
      if (Data) filter[t] = lanes_at<L>(b.filter + place);
    }
    if (Normed) sum = lanes_at<L>(b.sums + 2 * v * L), product = lanes_at<L>(b.sums + (2 * v + 1) * L), mean = lanes_at<L>(b.mean + v * L);
    for (Index r = 0; r < b.rows; r++) {
      const float* in[Count ? Count : most_taps];
      for (int t = 0; t < count; t++) in[t] = b.d[r * count + t] + v * L;
      const float* values = b.values + r * b.row + v * L * vectors;
      const Index at = r * b.memory_row + slots.first[v];
      for (Index i = 0; i < b.columns; i++) {
        V value = {}, gradient = {};
        if (Filter) value = lanes_at<L>(values + i * pitch * vectors);
        for (int t = 0; t < count; t++) {
          const V other = lanes_at<L>(in[t] + i * pitch);
          if (Data) gradient += filter[t] * other;
          if (Filter) sums[t] += value * other;
        }
        if (Normed) {
          gradient *= lanes_at<L>(values + i * pitch * vectors + L);
          sum += gradient;
          product += gradient * (lanes_at<L>(b.y + at + i * b.step) - mean);
        }
        if (Data) lanes_at<L>(b.da + at + i * b.step) = gradient;
      }
    }
    if (Filter)
      for (int t = 0; t < count; t++) lanes_at<L>(b.dw + (v * b.taps + b.number[t]) * L) = sums[t];
    if (Normed) lanes_at<L>(b.sums + 2 * v * L) = sum, lanes_at<L>(b.sums + (2 * v + 1) * L) = product;
  }
}

template <int L, bool Data, bool Filter, bool Normed>
void weigh_backward(const BackRows& b, const Slots& slots) {
  switch (b.count) {
    case 1: return weigh_backward<1, L, Data, Filter, Normed>(b, slots);
    case 2: return weigh_backward<2, L, Data, Filter, Normed>(b, slots);
    case 4: return weigh_backward<4, L, Data, Filter, Normed>(b, slots);
    case 9: return weigh_backward<9, L, Data, Filter, Normed>(b, slots);
    default: return weigh_backward<0, L, Data, Filter, Normed>(b, slots);
  }
}

}  // namespace fission::cpu
