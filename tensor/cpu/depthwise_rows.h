// Rows of a depthwise convolution, as vectors over pixels and channels: what depthwise.cpp does with the few rows in its cache.
// Private to it. Any number of channels; the usual counts of taps (1, 2, 4, 9) are compiled apart, the others loop.
#pragma once
#include <algorithm>

#include "tensor/cpu/lanes.h"
#include "tensor/cpu/loops.h"

namespace fission::cpu {

constexpr Index most_taps = 11 * 11;

// A row of pixels as vectors of L floats (16 where the processor is wide, else 8): vector v starts at float first[v] of a period
// and comes again every period. Fewer than L channels: the period is T pixels, a multiple of L floats. Else it is one pixel, and
// the last vector lies at C − L, over the one before: what both compute is the same, and of the sums only the new channels count.
// Filter values and filter sums stand as (vectors, taps, L).
struct Vectors {
  Index floats, period, count;  // floats: L
  const Index* first;
};
inline Vectors vectors_of(Index channels, Scratch& scratch) {
  const Index floats = wide ? 16 : lanes, period = channels < floats ? std::lcm(channels, floats) : channels, count = (period + floats - 1) / floats;
  Index* first = scratch.take<Index>(count);
  for (Index v = 0; v < count; v++) first[v] = std::min(v * floats, period - floats);
  return {floats, period, count, first};
}

inline const float* expand_filter(View w, Index channels, const Vectors& vectors, Scratch& scratch) {  // (K,K,C) → (vectors, taps, L)
  const Index taps = w.shape[0] * w.shape[1], lanes = vectors.floats;
  float* out = scratch.take<float>(vectors.count * taps * lanes);
  for (Index v = 0; v < vectors.count; v++)
    for (Index t = 0; t < taps; t++)
      for (Index k = 0; k < lanes; k++) out[(v * taps + t) * lanes + k] = w.as<float>()[t * channels + (vectors.first[v] + k) % channels];
  return out;
}

// What some rows of pixels read: in[r][t], for row r and its t-th tap, which is tap number[t] of the filter's `taps`.
// Up to L − 1 floats past a row may be read.
struct Rows {
  Index rows, floats;  // floats of a row
  int count, taps;     // of a row here, of the filter
  const int* number;
  const float* const* in;
};

// out[r][i] = Σ_t w_t[i] · in[r][t][i]. A vector's filter values stay in registers for all rows.
template <int Count, int L>
void weigh(const Rows& x, const Vectors& vectors, const float* w, float* out) {
  using V = typename Vector<L>::Type;
  const int count = Count ? Count : x.count;
  const Index n = x.floats, period = vectors.period;
  for (Index v = 0; v < vectors.count && vectors.first[v] < n; v++) {
    V filter[Count ? Count : most_taps];
    for (int t = 0; t < count; t++) filter[t] = lanes_at<L>(w + (v * count + t) * L);
    for (Index r = 0; r < x.rows; r++) {
      const float* in[Count ? Count : most_taps];
      for (int t = 0; t < count; t++) in[t] = x.in[r * count + t];
      float* to = out + r * n;
      Index i = vectors.first[v];
      auto sum = [&] {
        V s = filter[0] * lanes_at<L>(in[0] + i);
        for (int t = 1; t < count; t++) s += filter[t] * lanes_at<L>(in[t] + i);
        return s;
      };
      for (; i + L <= n; i += period) lanes_at<L>(to + i) = sum();
      if (i < n) {
        const V s = sum();
        std::memcpy(to + i, &s, (n - i) * sizeof(float));
      }
    }
  }
}

// da[r][i] = Σ_t w_t[i] · d[r][t][i];  dw_t[i] += Σ_r a[r][i] · d[r][t][i]
template <int Count, int L, bool Data, bool Filter>
void weigh_backward(const Rows& d, const Vectors& vectors, const float* w, const float* a, float* da, float* dw) {
  using V = typename Vector<L>::Type;
  const int count = Count ? Count : d.count;
  const Index n = d.floats, period = vectors.period;
  for (Index v = 0; v < vectors.count && vectors.first[v] < n; v++) {
    V sums[Count ? Count : most_taps], filter[Count ? Count : most_taps];
    for (int t = 0; t < count; t++) {
      const Index place = (v * d.taps + d.number[t]) * L;
      if (Filter) sums[t] = lanes_at<L>(dw + place);
      if (Data) filter[t] = lanes_at<L>(w + place);
    }
    for (Index r = 0; r < d.rows; r++) {
      const float* in[Count ? Count : most_taps];
      for (int t = 0; t < count; t++) in[t] = d.in[r * count + t];
      const float* from = a + r * n;
      float* to = da + r * n;
      Index i = vectors.first[v];
      auto step = [&](const V& value) {
        V gradient = {};
        for (int t = 0; t < count; t++) {
          const V other = lanes_at<L>(in[t] + i);
          if (Data) gradient += filter[t] * other;
          if (Filter) sums[t] += value * other;
        }
        return gradient;
      };
      for (; i + L <= n; i += period) {
        const V gradient = step(Filter ? lanes_at<L>(from + i) : V{});
        if (Data) lanes_at<L>(to + i) = gradient;
      }
      if (i < n) {
        V value = {};  // zeros past the end: they add nothing to dw
        if (Filter) std::memcpy(&value, from + i, (n - i) * sizeof(float));
        const V gradient = step(value);
        if (Data) std::memcpy(to + i, &gradient, (n - i) * sizeof(float));
      }
    }
    if (Filter)
      for (int t = 0; t < count; t++) lanes_at<L>(dw + (v * d.taps + d.number[t]) * L) = sums[t];
  }
}

template <int L, bool Data, bool Filter>
void weigh_backward(const Rows& d, const Vectors& vectors, const float* w, const float* a, float* da, float* dw) {
  switch (d.count) {
    case 1: return weigh_backward<1, L, Data, Filter>(d, vectors, w, a, da, dw);
    case 2: return weigh_backward<2, L, Data, Filter>(d, vectors, w, a, da, dw);
    case 4: return weigh_backward<4, L, Data, Filter>(d, vectors, w, a, da, dw);
    case 9: return weigh_backward<9, L, Data, Filter>(d, vectors, w, a, da, dw);
    default: return weigh_backward<0, L, Data, Filter>(d, vectors, w, a, da, dw);
  }
}

}  // namespace fission::cpu
