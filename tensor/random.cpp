#include "tensor/random.h"

#include <cmath>
#include <utility>

namespace fission {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c,
                                    std::array<std::uint32_t, 2> k) {
  for (int round = 0; round < 10; round++) {
    std::uint64_t p0 = std::uint64_t(0xD2511F53u) * c[0], p1 = std::uint64_t(0xCD9E8D57u) * c[2];
    c = {std::uint32_t(p1 >> 32) ^ c[1] ^ k[0], std::uint32_t(p1),
         std::uint32_t(p0 >> 32) ^ c[3] ^ k[1], std::uint32_t(p0)};
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return c;
}

std::uint32_t Random::bits(std::uint64_t index, int lane) const {
  // 128 counter bits: 48 of the index, 48 of the item, 32 of the purpose; 64 key bits: the seed
  std::array<std::uint32_t, 4> counter = {
      std::uint32_t(index),
      std::uint32_t((index >> 32) & 0xffff) | std::uint32_t(item_ >> 32) << 16,
      std::uint32_t(item_), purpose_};
  return philox(counter, {std::uint32_t(seed_), std::uint32_t(seed_ >> 32)})[lane];
}
double Random::uniform(std::uint64_t index, int lane) const {
  return bits(index, lane) * (1.0 / 4294967296.0);
}
double Random::normal(std::uint64_t index) const {
  double u = (bits(index, 0) + 1.0) * (1.0 / 4294967296.0);  // (0, 1]: its logarithm is finite
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * uniform(index, 1));
}
std::uint32_t Random::below(std::uint64_t index, std::uint32_t n, int lane) const {
  return std::uint32_t((std::uint64_t(bits(index, lane)) * n) >> 32);  // bias below n/2^32
}
std::vector<std::uint32_t> Random::permutation(std::uint32_t n) const {
  std::vector<std::uint32_t> p(n);
  for (std::uint32_t i = 0; i < n; i++) p[i] = i;
  for (std::uint32_t i = n; i > 1; i--) std::swap(p[i - 1], p[below(i, i)]);
  return p;
}

}  // namespace fission
