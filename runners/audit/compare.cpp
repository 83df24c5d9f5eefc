#include "runners/audit/compare.h"

#include <algorithm>
#include <cmath>

#include "tensor/random.h"

namespace fission::audit {
namespace {
constexpr double may_cancel = 0.01;
}

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

Numbers neurons_off(const Network& n, const Layers& got, const Layers& want, Over over) {
  double most = 0;
  for (const Numbers& layer : want) most = std::max(most, largest(layer));
  Numbers off;
  for (std::size_t l = 0; l < want.size(); l++) {
    const long d = long(want[l].size()) / long(n.axes()[l].width);
    const double scale = over == Over::one     ? 1
                         : over == Over::layer ? largest(want[l])
                                               : std::max(largest(want[l]), may_cancel * most);
    for (long i = 0; i < long(want[l].size()); i += d)
      off.push_back(fraction(distance(Numbers(got[l].begin() + i, got[l].begin() + i + d),
                                      Numbers(want[l].begin() + i, want[l].begin() + i + d)),
                             scale));
  }
  return off;
}
double judged(Numbers off, bool strictly) {
  std::sort(off.begin(), off.end());
  return off.empty() ? INFINITY : off[strictly ? off.size() - 1 : (off.size() - 1) / 2];
}
std::string whose(bool strictly) { return strictly ? "worst neuron" : "median neuron"; }

double Tensors::off(const Tensors& want) const {
  if (all_.size() != want.all_.size()) return INFINITY;
  double most = 0, scale = 0;
  for (const Numbers& w : want.all_) scale = std::max(scale, largest(w));
  for (std::size_t i = 0; i < want.all_.size(); i++)
    most = std::max(most, fraction(distance(all_[i], want.all_[i]),
                                   std::max(largest(want.all_[i]), may_cancel * scale)));
  return most;
}
Tensors own_tensors(const Network& n, const Tensor& flat, bool parameters,
                    const std::function<bool(const std::string&)>& wanted) {
  Tensors t;
  for (const Stored& s : n.stored())
    if (s.parameter == parameters && wanted(s.name))
      t.add(to_pytorch(s, n.view(s, flat).to_host()));
  return t;
}
Tensors file_tensors(const ReferenceFile& file, const Network& n, bool parameters,
                     const std::string& prefix,
                     const std::function<bool(const std::string&)>& wanted) {
  Tensors t;
  for (const Stored& s : n.stored())
    if (s.parameter == parameters && wanted(s.name))
      t.add(file.numbers(prefix + s.name, pytorch_shape(s)));
  return t;
}

void jitter(Network& n, double relative) {
  Random random(1, random_purpose::test, 0);
  Numbers p = n.parameters().to_host();
  for (std::size_t i = 0; i < p.size(); i++) p[i] *= 1 + relative * random.normal(i);
  n.parameters().copy_from(make_real(n.backend(), n.parameters().shape(), p, n.dtype()));
}

void hold(Findings& f, const Machine& m, const std::string& equation, const std::string& what,
          double figure, double bound, const std::function<double()>& spread) {
  if (std::isfinite(figure) && figure > bound)
    bound = std::max(bound, std::min((m.exact() ? 100 : 10) * spread(), m.tolerance(0.1, 1e-4)));
  f.at_most(equation, what, figure, bound);
}

}  // namespace fission::audit
