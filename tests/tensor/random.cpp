#include "tensor/random.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace fission;

// Known answers published with Random123 (kat_vectors, philox4x32 10).
TEST_CASE("random: philox gives the published numbers for zeros") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) ==
        std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
}
TEST_CASE("random: philox gives the published numbers for all ones") {
  CHECK(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) ==
        std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
}
TEST_CASE("random: philox gives the published numbers for the digits of pi") {
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: seed, purpose, item, index and lane each change the number") {
  Random r(1, 2, 3);
  std::uint32_t number = r.bits(4, 0);
  CHECK(number == Random(1, 2, 3).bits(4, 0));
  CHECK(number != Random(9, 2, 3).bits(4, 0));
  CHECK(number != Random(1ull << 32 | 1, 2, 3).bits(4, 0));
  CHECK(number != Random(1, 9, 3).bits(4, 0));
  CHECK(number != Random(1, 2, 9).bits(4, 0));
  CHECK(number != Random(1, 2, 1ull << 40 | 3).bits(4, 0));
  CHECK(number != r.bits(9, 0));
  CHECK(number != r.bits(1ull << 40 | 4, 0));
  CHECK(number != r.bits(4, 1));
}

TEST_CASE("random: uniform numbers lie in [0, 1) and have the mean and variance of that") {
  Random r(7, random_purpose::test);
  double sum = 0, square = 0;
  const int n = 100000;
  for (int i = 0; i < n; i++) {
    double u = r.uniform(i);
    REQUIRE((u >= 0 && u < 1));
    sum += u, square += u * u;
  }
  CHECK(std::abs(sum / n - 0.5) < 4 * std::sqrt(1.0 / 12 / n));  // four standard errors
  CHECK(std::abs(square / n - 1.0 / 3) < 4 * std::sqrt((0.2 - 1.0 / 9) / n));
}

TEST_CASE("random: normal numbers have mean 0, variance 1 and fourth moment 3") {
  Random r(8, random_purpose::test);
  double m1 = 0, m2 = 0, m4 = 0;
  const int n = 100000;
  for (int i = 0; i < n; i++) {
    double x = r.normal(i);
    REQUIRE(std::isfinite(x));
    m1 += x, m2 += x * x, m4 += x * x * x * x;
  }
  CHECK(std::abs(m1 / n) <
        4 * std::sqrt(1.0 / n));  // four standard errors; Var x² = 2, Var x⁴ = 96
  CHECK(std::abs(m2 / n - 1) < 4 * std::sqrt(2.0 / n));
  CHECK(std::abs(m4 / n - 3) < 4 * std::sqrt(96.0 / n));
}

TEST_CASE("random: below(n) gives every number under n about equally often") {
  Random r(9, random_purpose::test);
  const int n = 60000;
  int count[6] = {};
  for (int i = 0; i < n; i++) {
    std::uint32_t k = r.below(i, 6);
    REQUIRE(k < 6);
    count[k]++;
  }
  for (int c : count)
    CHECK(std::abs(c - n / 6) < 4 * std::sqrt(n * 5.0 / 36));  // four standard deviations
}

TEST_CASE("random: a permutation holds every number once") {
  for (std::uint32_t n : {0u, 1u, 2u, 7u, 1000u}) {
    std::vector<std::uint32_t> p = Random(3, random_purpose::test).permutation(n), sorted = p;
    std::sort(sorted.begin(), sorted.end());
    REQUIRE(sorted.size() == n);
    for (std::uint32_t i = 0; i < n; i++) CHECK(sorted[i] == i);
  }
}

TEST_CASE("random: another item gives another permutation, the same item the same") {
  CHECK(Random(3, random_purpose::order, 1).permutation(100) ==
        Random(3, random_purpose::order, 1).permutation(100));
  CHECK(Random(3, random_purpose::order, 1).permutation(100) !=
        Random(3, random_purpose::order, 2).permutation(100));
}

TEST_CASE("random: all 24 permutations of 4 come up about equally often") {
  std::vector<int> count(256);
  const int n = 24000;
  for (int i = 0; i < n; i++) {
    auto p = Random(4, random_purpose::test, i).permutation(4);
    count[p[0] * 64 + p[1] * 16 + p[2] * 4 + p[3]]++;
  }
  int seen = 0;
  for (int c : count)
    if (c) {
      seen++;
      CHECK(std::abs(c - 1000) < 4 * std::sqrt(1000.0));  // four standard deviations
    }
  CHECK(seen == 24);
}
