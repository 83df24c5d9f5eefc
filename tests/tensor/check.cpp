// What the check backend catches beside wrong numbers, and how it says so.
#include "tensor/check_backend.h"

#include "tests/tensor/values.h"

using namespace fission;
using namespace fission::testing;

namespace {

enum class Mistake { leaves_one_out, adds_to_garbage, overwrites_input, is_nan };
struct Mistaken : ReferenceBackend {
  Mistake mistake;
  explicit Mistaken(Mistake m) : mistake(m) {}
  void norm_act(View y, const Norm& norm, View a) override {
    std::vector<float> before(a.as<float>(), a.as<float>() + a.numel());
    ReferenceBackend::norm_act(y, norm, a);
    float* p = a.as<float>();
    if (mistake == Mistake::leaves_one_out) p[5] = before[5];
    if (mistake == Mistake::adds_to_garbage) p[5] += 0 * before[5];
    if (mistake == Mistake::overwrites_input) y.as<float>()[5] = 0;
    if (mistake == Mistake::is_nan) p[5] = NAN;
  }
};
std::string message_of(Mistake mistake) {
  Mistaken inner(mistake);
  CheckBackend check(inner);
  Tensor y = random_tensor(check, {2, 2, 2, 3}, 1);
  NormTensors norm = random_norm(y, 1, Activation::none, 2);
  try {
    ops::norm_act(y, norm);
  } catch (const InvariantError& e) {
    return e.what();
  }
  return "";
}
}  // namespace

TEST_CASE("check: an element that is never written is caught, at its place") {
  std::string message = message_of(Mistake::leaves_one_out);
  CHECK(message.find("[check] norm_act on reference, inputs f32(2,2,2,3)") == 0);
  CHECK(message.find("a (2,2,2,3) at (0,0,1,2): expected ") != std::string::npos);
}
TEST_CASE("check: an output that is read before it is written is caught") {
  CHECK(message_of(Mistake::adds_to_garbage) != "");
}
TEST_CASE("check: a NaN that the reference has not is caught") {
  CHECK(message_of(Mistake::is_nan).find("got nan") != std::string::npos);
}
TEST_CASE("check: an overwritten input is caught") {
  CHECK(message_of(Mistake::overwrites_input).find("the input (2,2,2,3) was overwritten") !=
        std::string::npos);
}

TEST_CASE(
    "check: what a value on relu's kink goes into may be either, and its neighbours may not") {
  struct Flipped : ReferenceBackend {  // φ'(0) = 1
    Index element;
    void depthwise_tangent(View y, const Norm& norm, View u, View w, const Conv2dGeometry& g,
                           View out) override {
      ReferenceBackend::depthwise_tangent(y, norm, u, w, g, out);
      out.as<float>()[element] = 1;
    }
  } inner;
  CheckBackend check(inner);
  Tensor y = make_real(check, {1, 1, 4, 1}, {0, -0.01, -0.01, -0.01}, DType::f32),
         u = make_real(check, y.shape(), {1, 1, 1, 1}, DType::f32);
  Tensor w = make_real(check, {3, 3, 1}, std::vector<double>(9, 1), DType::f32);
  Tensor zero = make_real(check, {1, 1}, {0}, DType::f32),
         one = make_real(check, {1, 1}, {1}, DType::f32);
  NormTensors norm{zero, one, one.reshape({1}), zero.reshape({1}), 0, Activation::relu};
  for (inner.element = 0; inner.element < 2; inner.element++)
    CHECK_NOTHROW(ops::depthwise_tangent(y, norm, u, w, {3, 1, 1}));
  for (; inner.element < 4; inner.element++)
    CHECK_THROWS_AS(ops::depthwise_tangent(y, norm, u, w, {3, 1, 1}), InvariantError);
}

TEST_CASE("check: f64 is held to the precision of f64") {
  struct Rounded : ReferenceBackend {
    void add(View out, View a, View b) override {
      for (Index i = 0; i < out.numel(); i++)
        out.as<double>()[i] = float(a.as<double>()[i] + b.as<double>()[i]);
    }
  } inner;
  CheckBackend check(inner);
  Tensor a = f64(check, {1}, {0.1}), out = a.like();
  CHECK_THROWS_AS(ops::add(a, a, out), InvariantError);
}
