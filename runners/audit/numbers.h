// What the audit's two halves share: numbers of a network's layers. They are compared by
// runners/common/reference_file.h.
#pragma once
#include <string>
#include <vector>

#include "runners/common/console.h"
#include "runners/common/reference_file.h"
#include "tensor/random.h"

namespace fission::audit {

using Numbers = std::vector<double>;
using Masks = std::vector<std::vector<char>>;

inline Numbers rows(const Network& n, int axis, const Tensor& flat) {
  return n.view(neurons(n, std::size_t(axis)), flat).to_host();
}  // (neurons,d)

inline Tensor random_directions(const Network& n, std::uint64_t seed, std::uint64_t item) {
  Random random(seed, random_purpose::test, item);
  Numbers v(std::size_t(n.parameter_count()));
  for (std::size_t i = 0; i < v.size(); i++) v[i] = random.normal(i);
  return make_real(n.backend(), {n.parameter_count()}, v, n.dtype());
}
inline Masks nobody(const Network& n) {
  Masks m;
  for (Index w : n.widths()) m.emplace_back(w, 0);
  return m;
}
inline double dot(const Numbers& a, const Numbers& b, Index first, Index count) {
  double sum = 0;
  for (Index i = first; i < first + count; i++) sum += a[std::size_t(i)] * b[std::size_t(i)];
  return sum;
}
// aᵀb of each neuron's rows
inline std::vector<Numbers> dots(const Network& n, const Tensor& a, const Tensor& b) {
  std::vector<Numbers> all(n.axes().size());
  for (std::size_t l = 0; l < all.size(); l++) {
    const Numbers x = rows(n, int(l), a), y = rows(n, int(l), b);
    const Index d = Index(x.size()) / n.axes()[l].width;
    for (Index o = 0; o < n.axes()[l].width; o++) all[l].push_back(dot(x, y, o * d, d));
  }
  return all;
}
// S v of each neuron: (neurons,d,d) times (neurons,d)
inline Numbers times(const Numbers& s, const Numbers& v) {
  Numbers out(v.size(), 0.0);
  for (std::size_t d = s.size() / v.size(), i = 0; i < v.size(); i++)
    for (std::size_t j = 0; j < d; j++) out[i] += s[i * d + j] * v[i / d * d + j];
  return out;
}
inline std::string plain(double x) { return compact(x, 4); }

}  // namespace fission::audit
