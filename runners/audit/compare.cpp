#include "runners/audit/compare.h"

#include <algorithm>
#include <cmath>

#include "tensor/random.h"

namespace fission::audit {

Layers weights(const ReferenceFile& file, const Network& n, const std::string& prefix) {
  Layers all;
  for (std::size_t l = 0; l < n.axes().size(); l++) all.push_back(file.of_layer(n, prefix, l));
  return all;
}
Layers weights(const Network& n, const Tensor& flat) {
  Layers all;
  for (std::size_t l = 0; l < n.axes().size(); l++) all.push_back(of_axis(n, l, flat));
  return all;
}
Layers singles(const ReferenceFile& file, const Network& n, const std::string& prefix) {
  Layers all;
  for (std::size_t l = 0; l < n.axes().size(); l++)
    all.push_back(file.of_layer(prefix, l, {n.axes()[l].width}));
  return all;
}
Layers singles(const Network& n, const Numbers& numbers) {
  Layers all;
  auto from = numbers.begin();
  for (const Axis& a : n.axes()) all.emplace_back(from, from + a.width), from += a.width;
  return all;
}

double off(const Layers& got, const Layers& want, Over over, const Network* median) {
  constexpr double may_cancel = 0.01;
  if (got.size() != want.size() || want.empty()) return INFINITY;
  double most = 0;
  for (const Numbers& layer : want) most = std::max(most, largest(layer));
  Numbers all;
  for (std::size_t l = 0; l < want.size(); l++) {
    const long count = long(want[l].size()),
               d = median ? count / long(median->axes()[l].width) : count;
    const double scale = over == Over::one     ? 1
                         : over == Over::layer ? largest(want[l])
                                               : std::max(largest(want[l]), may_cancel * most);
    for (long i = 0; i < count; i += d)
      all.push_back(fraction(distance(Numbers(got[l].begin() + i, got[l].begin() + i + d),
                                      Numbers(want[l].begin() + i, want[l].begin() + i + d)),
                             scale));
  }
  std::sort(all.begin(), all.end());
  return median ? all[(all.size() - 1) / 2] : all.back();
}
Layers own_tensors(const Network& n, const Tensor& flat, bool parameters,
                   const std::function<bool(const std::string&)>& wanted) {
  Layers t;
  for (const Stored& s : n.stored())
    if (s.parameter == parameters && wanted(s.name))
      t.push_back(to_pytorch(s, n.view(s, flat).to_host()));
  return t;
}
Layers file_tensors(const ReferenceFile& file, const Network& n, bool parameters,
                    const std::string& prefix,
                    const std::function<bool(const std::string&)>& wanted) {
  Layers t;
  for (const Stored& s : n.stored())
    if (s.parameter == parameters && wanted(s.name))
      t.push_back(file.numbers(prefix + s.name, pytorch_shape(s)));
  return t;
}

Tensor jittered(const Tensor& x, double relative) {
  Random random(1, random_purpose::test, 0);
  Numbers p = x.to_host();
  for (std::size_t i = 0; i < p.size(); i++) p[i] *= 1 + relative * random.normal(i);
  return make_real(x.backend(), x.shape(), p, x.dtype());
}

void hold(Findings& f, const Machine& m, const std::string& equation, const std::string& what,
          double figure, double bound, const std::function<double()>& spread) {
  if (std::isfinite(figure) && figure > bound)
    bound = std::max(bound, std::min((m.exact() ? 100 : 10) * spread(), m.tolerance(0.1, 1e-4)));
  f.at_most(equation, what, figure, bound);
}

}  // namespace fission::audit
