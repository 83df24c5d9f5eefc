// What a device makes of numbers that the CPU refuses or that no network should give: a label that
// is no class, an impossible class.
#include <cmath>
#include <limits>

#include "tests/cuda/module.h"
#include "tests/tensor/values.h"

using namespace fission;
using namespace fission::testing;

TEST_CASE(
    "cuda loss: a label that is no class makes the loss and that image's gradient NaN, and is no "
    "hit" *
    doctest::skip(!have_fake())) {
  Backend& cuda = fake_backend();
  Tensor logits = Tensor::from(cuda, {3, 3}, std::vector<float>{0, 1, 2, 0, 1, 2, 0, 1, 2}),
         labels = i32(cuda, {3}, {2, 3, -1}), loss, dlogits;
  ops::softmax_cross_entropy(logits, labels, 0.1, loss, dlogits);
  CHECK(std::isnan(loss.item()));
  std::vector<double> d = dlogits.to_host();
  for (int i = 0; i < 9; i++) CHECK(std::isnan(d[std::size_t(i)]) == (i >= 3));
  Tensor hits = i32(cuda, {2}, {0, 0});
  ops::count_hits(logits, labels, hits);
  CHECK(hits.to_host() == std::vector<double>{1, 1});
}

TEST_CASE("cuda loss: a logit of minus infinity costs nothing where its target is 0" *
          doctest::skip(!have_fake())) {
  Backend& cuda = fake_backend();
  const float never = -std::numeric_limits<float>::infinity();
  Tensor logits = Tensor::from(cuda, {1, 3}, std::vector<float>{1, never, 1}),
         labels = i32(cuda, {1}, {0}), loss, dlogits;
  ops::softmax_cross_entropy(logits, labels, 0, loss, dlogits);
  CHECK(std::abs(loss.item() - std::log(2.0)) < 1e-6);  // a few roundings of float32
  check_values(dlogits, {-0.5, 0, 0.5}, 1e-6);
}
