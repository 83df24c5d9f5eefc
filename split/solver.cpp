#include "split/solver.h"

#include "nn/network.h"
#include "tensor/random.h"

namespace fission {

Tensor first_directions(const Network& network, std::uint64_t seed, std::uint64_t round) {
  std::vector<double> host(network.parameter_count(), 0.0);
  Random random(seed, random_purpose::direction, round);
  for (const Axis& axis : network.axes()) {
    const Stored& w = network.stored()[network.producer(axis).weight];
    for (Index i = w.offset; i < w.offset + w.shape.numel(); i++)
      host[i] = 0.2 * random.uniform(i) - 0.1;
  }
  return make_real(network.backend(), network.parameters().shape(), host, network.dtype());
}

}  // namespace fission
