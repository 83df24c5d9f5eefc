// Small facts about the reference's losses, optimisers, rows and surgery, worked out by hand; f64,
// so that the default tolerance is a few roundings of doubles.
#include "tests/tensor/values.h"

using namespace fission;
using namespace fission::testing;

namespace {
Tensor real(const Shape& shape, const std::vector<double>& values) {
  return f64(reference(), shape, values);
}
Tensor whole(const Shape& shape, const std::vector<std::int32_t>& values) {
  return i32(reference(), shape, values);
}
Tensor hits_of(const Shape& shape, const std::vector<double>& logits,
               const std::vector<std::int32_t>& labels) {
  Tensor hits = whole({2}, {0, 0});
  ops::count_hits(real(shape, logits), whole({Index(labels.size())}, labels), hits);
  return hits;
}
}  // namespace

TEST_CASE("reference: cross-entropy of known probabilities, and its gradient p − t over N") {
  Tensor loss, dlogits;  // p = (3/4, 1/4) and (1/2, 1/2)
  ops::softmax_cross_entropy(real({2, 2}, {std::log(3.0), 0, 5, 5}), whole({2}, {1, 0}), 0, loss,
                             dlogits);
  check_values(loss, {(std::log(4.0) + std::log(2.0)) / 2});
  check_values(dlogits, {0.375, -0.375, -0.25, 0.25});
}
TEST_CASE("reference: label smoothing s aims at (1−s)·onehot + s/classes") {
  Tensor loss, dlogits;  // t = (0.05, 0.95)
  ops::softmax_cross_entropy(real({1, 2}, {std::log(3.0), 0}), whole({1}, {1}), 0.1, loss, dlogits);
  check_values(loss, {-0.05 * std::log(0.75) - 0.95 * std::log(0.25)});
  check_values(dlogits, {0.7, -0.7});
}
TEST_CASE("reference: cross-entropy of huge logits does not overflow") {
  Tensor loss, dlogits;
  ops::softmax_cross_entropy(real({1, 2}, {1e4, -1e4}), whole({1}, {1}), 0, loss, dlogits);
  check_values(loss, {2e4});
  check_values(dlogits, {1, -1});
}
TEST_CASE("reference: NaN logits give a NaN loss") {
  Tensor loss, dlogits;
  ops::softmax_cross_entropy(real({1, 2}, {NAN, 0}), whole({1}, {1}), 0, loss, dlogits);
  CHECK(std::isnan(loss.item()));
}
TEST_CASE("reference: a label out of range is refused") {
  Tensor loss, dlogits, hits = whole({2}, {0, 0});
  CHECK_THROWS_WITH_AS(
      ops::softmax_cross_entropy(real({1, 2}, {0, 0}), whole({1}, {2}), 0, loss, dlogits),
      doctest::Contains("label 2 of image 0, 2 classes"), InvariantError);
  CHECK_THROWS_AS(ops::count_hits(real({1, 2}, {0, 0}), whole({1}, {-1}), hits), InvariantError);
}

TEST_CASE("reference: the largest logit is a top-1 hit, the fifth a top-5 hit, the sixth none") {
  std::vector<double> logits = {6, 5, 4, 3, 2, 1};
  check_values(hits_of({1, 6}, logits, {0}), {1, 1});
  check_values(hits_of({1, 6}, logits, {1}), {0, 1});
  check_values(hits_of({1, 6}, logits, {4}), {0, 1});
  check_values(hits_of({1, 6}, logits, {5}), {0, 0});
}
TEST_CASE("reference: ties count against the label") {
  check_values(hits_of({1, 3}, {1, 1, 0}, {0}), {0, 1});
  check_values(hits_of({1, 6}, {0, 0, 0, 0, 0, 0}, {3}), {0, 0});
}
TEST_CASE("reference: NaN logits are no hits") {
  check_values(hits_of({1, 3}, {NAN, 0, 0}, {0}), {0, 0});
  check_values(hits_of({1, 3}, {NAN, NAN, NAN}, {1}), {0, 0});
  check_values(hits_of({1, 1}, {NAN}, {0}), {0, 0});
  check_values(hits_of({1, 3}, {NAN, 1, 0}, {1}),
               {0, 1});  // a NaN beside the label counts against it
}
TEST_CASE("reference: hits are added to what is there") {
  Tensor hits = whole({2}, {10, 20});
  ops::count_hits(real({2, 2}, {1, 0, 1, 0}), whole({2}, {0, 1}), hits);
  check_values(hits, {11, 22});
}

TEST_CASE("reference: two steps of SGD with momentum, weight decay on the first parameter only") {
  Tensor p = real({2}, {1, 1}), g = real({2}, {0.5, 0.5}), b = real({2}, {0, 0}),
         lr = real({1}, {0.1});
  ops::sgd(p, g, b, lr, 0.9, 0.2, 1, false);
  check_values(b, {0.7, 0.5});  // g + 0.2·1, g
  check_values(p, {0.93, 0.95});
  g = real({2}, {0.5, 0.5});
  ops::sgd(p, g, b, lr, 0.9, 0.2, 1, false);
  check_values(b, {0.9 * 0.7 + 0.5 + 0.2 * 0.93, 0.95});
  check_values(p, {0.93 - 0.1 * (0.63 + 0.5 + 0.186), 0.95 - 0.095});
}
TEST_CASE("reference: two steps of Nesterov's SGD") {
  Tensor p = real({1}, {1}), g = real({1}, {0.5}), b = real({1}, {0}), lr = real({1}, {0.1});
  ops::sgd(p, g, b, lr, 0.9, 0, 0, true);
  check_values(p, {1 - 0.1 * (0.5 + 0.9 * 0.5)});
  g = real({1}, {-1});
  ops::sgd(p, g, b, lr, 0.9, 0, 0, true);
  check_values(b, {-0.55});  // 0.9·0.5 − 1
  check_values(p, {0.905 - 0.1 * (-1 - 0.9 * 0.55)});
}
TEST_CASE("reference: two steps of RMSprop, eps beside the root, lr outside the buffer") {
  Tensor p = real({1}, {1}), g = real({1}, {2}), s = real({1}, {0}), b = real({1}, {0}),
         lr = real({1}, {0.01});
  ops::rmsprop(p, g, s, b, lr, 0.75, 0.9, 0.5);
  check_values(s, {1});  // 0.25 · 4
  check_values(b, {2 / 1.5});
  check_values(p, {1 - 0.01 * 2 / 1.5});
  ops::rmsprop(p, g, s, b, real({1}, {0.1}), 0.75, 0.9, 0.5);
  check_values(s, {1.75});
  double buffer = 0.9 * 2 / 1.5 + 2 / (std::sqrt(1.75) + 0.5);
  check_values(b, {buffer});
  check_values(p, {1 - 0.01 * 2 / 1.5 - 0.1 * buffer});
}

TEST_CASE(
    "reference: rayleigh's quotient and gradient for S = ((2,1),(1,2)), each row for itself") {
  // v = (1,0): Sv = (2,1), R = 2, gradient (0,2). v = (3,−3), an eigenvector of 1: R = 1, gradient
  // 0. Element 2 is in no row.
  Tensor v = real({5}, {1, 0, 9, 3, -3}), s_v = real({5}, {2, 1, 9, 3, -3}),
         quotient = real({2}, {0, 0}), gradient = real({5}, {7, 7, 7, 7, 7});
  ops::rayleigh(v, s_v, whole({2, 2}, {0, 2, 3, 2}), quotient, gradient);
  check_values(quotient, {2, 1});
  check_values(gradient, {0, 2, 7, 0, 0});
}
TEST_CASE("reference: rayleigh's gradient is that of the quotient") {
  const double h = 1e-6;  // central difference: truncation ~ 1e-12, rounding 1e-16/h
  auto quotient_at = [](double x, double y, Tensor* gradient) {
    Tensor quotient = real({1}, {0}), out = real({2}, {0, 0});
    ops::rayleigh(real({2}, {x, y}), real({2}, {-x + 0.5 * y, 0.5 * x + 2 * y}),
                  whole({1, 2}, {0, 2}), quotient, out);
    if (gradient) *gradient = out;
    return quotient.item();
  };
  Tensor gradient;
  quotient_at(0.3, -0.8, &gradient);
  check_values(
      gradient,
      {(quotient_at(0.3 + h, -0.8, nullptr) - quotient_at(0.3 - h, -0.8, nullptr)) / (2 * h),
       (quotient_at(0.3, -0.8 + h, nullptr) - quotient_at(0.3, -0.8 - h, nullptr)) / (2 * h)},
      1e-8);
}
TEST_CASE("reference: normalise_rows gives each row length 1 and leaves the rest") {
  Tensor v = real({4}, {3, 4, 5, -2});
  ops::normalise_rows(v, whole({2, 2}, {0, 2, 3, 1}));
  check_values(v, {0.6, 0.8, 5, -1});
}

TEST_CASE("reference: gather picks rows and columns, each with its scale") {
  Tensor in = real({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  Tensor out = ops::gather(in, whole({3}, {1, 0, 1}), real({3}, {1, 10, 2}), whole({3}, {0, 1, 1}),
                           real({3}, {1, 0.5, 0.5}));
  CHECK(out.shape() == Shape({3, 2, 3}));
  check_values(out, {5, 3, 3, 7, 4, 4, 10, 10, 10, 30, 20, 20, 10, 6, 6, 14, 8, 8});
}
