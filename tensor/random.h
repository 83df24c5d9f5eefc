// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11). A number is a
// function of (key, stream, index) alone: no state, the same on every device and for every number
// of threads.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "tensor/geometry.h"

namespace fission {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key);

// A stream of numbers addressed by index. `seed` is the run's; the two names say what the numbers
// are for (purpose: a constant of random::…; item: epoch, parameter, image …), so that no two
// uses share a number.
class Random {
 public:
  Random(std::uint64_t seed, std::uint32_t purpose, std::uint64_t item = 0)
      : seed_(seed), purpose_(purpose), item_(item) {}
  std::uint32_t bits(std::uint64_t index, int lane = 0) const;  // lane 0..3
  double uniform(std::uint64_t index, int lane = 0) const;      // [0, 1)
  double normal(std::uint64_t index) const;                     // Box–Muller of two lanes
  std::uint32_t below(std::uint64_t index, std::uint32_t n, int lane = 0) const;  // 0 … n−1
  std::vector<std::uint32_t> permutation(std::uint32_t n) const;                  // Fisher–Yates

 private:
  std::uint64_t seed_;
  std::uint32_t purpose_;
  std::uint64_t item_;
};

namespace random_purpose {  // never renumber: checkpoints rely on these
constexpr std::uint32_t initialisation = 1, order = 2, augmentation = 3, direction = 4,
                        selection = 5, shares = 6, test = 99;
}

}  // namespace fission
