#include "tensor/tensor.h"

#include "tensor/reference/reference.h"
#include "tests/tensor/values.h"

using namespace fission;
using namespace fission::testing;

TEST_CASE("tensor: what is set comes back, in every type") {
  CHECK(Tensor::from(reference(), {3}, std::vector<float>{1.5f, -2, 0}).to_host() ==
        std::vector<double>{1.5, -2, 0});
  CHECK(Tensor::from(reference(), {2}, std::vector<double>{1e-300, 3}).to_host() ==
        std::vector<double>{1e-300, 3});
  CHECK(Tensor::from(reference(), {2}, std::vector<std::int32_t>{-7, 2147483647}).to_host() ==
        std::vector<double>{-7, 2147483647});
  CHECK(Tensor::from(reference(), {2}, std::vector<std::uint8_t>{0, 255}).to_host() ==
        std::vector<double>{0, 255});
}

TEST_CASE("tensor: a copy shares the storage, a clone does not") {
  Tensor a = f64(reference(), {2}, {1, 2}), b = a, c = a.clone();
  ops::fill(a, 5);
  CHECK(b.to_host() == std::vector<double>{5, 5});
  CHECK(c.to_host() == std::vector<double>{1, 2});
  CHECK(a.shares_storage(b));
  CHECK_FALSE(a.shares_storage(c));
}

TEST_CASE("tensor: a slice is a window into the same storage") {
  Tensor a = f64(reference(), {2, 3}, {1, 2, 3, 4, 5, 6}), s = a.slice(2, {3});
  CHECK(s.to_host() == std::vector<double>{3, 4, 5});
  ops::fill(s, 0);
  CHECK(a.to_host() == std::vector<double>{1, 2, 0, 0, 0, 6});
  CHECK(s.slice(1, {2}).shares_storage(a));
  CHECK(a.slice(2, {4}).slice(3, {1}).item() == 6);
}

TEST_CASE("tensor: reshape keeps the order of the elements") {
  Tensor a = f64(reference(), {2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(a.reshape({3, 2}).to_host() == a.to_host());
  CHECK(a.reshape({3, 2}).shape() == Shape({3, 2}));
  CHECK(a.reshape({6}).shares_storage(a));
}

TEST_CASE("tensor: a tensor without elements is allowed") {
  Tensor a(reference(), {0, 4});
  CHECK(a.numel() == 0);
  CHECK(a.to_host().empty());
  CHECK(a.clone().numel() == 0);
}

TEST_CASE("tensor: rank 0 holds one number") { CHECK(f64(reference(), Shape(), {4}).item() == 4); }

TEST_CASE("tensor: freeing the last copy gives the memory back") {
  ReferenceBackend backend;
  {
    Tensor a(backend, {1000});
    Tensor b = a.slice(10, {5});
    a = Tensor();
    CHECK(backend.arena(Memory::device).statistics().in_use >= 4000);
  }
  CHECK(backend.arena(Memory::device).statistics().in_use == 0);
}

TEST_CASE("tensor: to() carries the numbers to another backend") {
  ReferenceBackend other;
  Tensor a = f64(reference(), {2}, {3, 4});
  {
    Tensor b = a.to(other);
    CHECK(&b.backend() == &other);
    CHECK(b.to_host() == a.to_host());
  }
}

TEST_CASE("tensor: errors show the shapes") {
  Tensor a = f64(reference(), {2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK_THROWS_WITH_AS(a.reshape({4}), doctest::Contains("[reshape] (2,3) to (4)"), InvariantError);
  CHECK_THROWS_WITH_AS(a.slice(4, {3}), doctest::Contains("[slice] (3) from element 4 of (2,3)"),
                       InvariantError);
  CHECK_THROWS_WITH_AS(a.slice(-1, {1}), doctest::Contains("[slice]"), InvariantError);
  CHECK_THROWS_WITH_AS(a.item(), doctest::Contains("[item] (2,3) has not one element"),
                       InvariantError);
  CHECK_THROWS_WITH_AS(a.copy_from(Tensor(reference(), {2, 3})),
                       doctest::Contains("[copy] f64(2,3) from f32(2,3)"), InvariantError);
  CHECK_THROWS_WITH_AS(Tensor::from(reference(), {3}, std::vector<float>{1}),
                       doctest::Contains("1 values for shape (3)"), InvariantError);
  CHECK_THROWS_WITH_AS(Shape({1, 2, 3, 4, 5}), doctest::Contains("rank 5, at most 4"),
                       InvariantError);
  CHECK_THROWS_WITH_AS(Shape({2, -1}), doctest::Contains("dimension 1 is -1"), InvariantError);
  CHECK_THROWS_WITH_AS(Tensor().backend(), doctest::Contains("null tensor"), InvariantError);
}

TEST_CASE("tensor: a convolution of the wrong channels says what is wrong") {
  Tensor x(reference(), {8, 32, 32, 3}), w(reference(), {16, 3, 3, 4});
  const char* message =
      "[conv2d] input (8,32,32,3), filter (16,3,3,4): 3 channels in, filter wants 4";
  CHECK_THROWS_WITH_AS(ops::conv2d(x, w, {3, 1, 1}), doctest::Contains(message), InvariantError);
}

TEST_CASE("tensor: operands of different types or backends are refused") {
  ReferenceBackend other;
  Tensor a(reference(), {2}, DType::f64), b(reference(), {2}, DType::f32),
      c(other, {2}, DType::f64);
  CHECK_THROWS_WITH_AS(ops::add(a, b, a), doctest::Contains("operands of type f32 and f64"),
                       InvariantError);
  CHECK_THROWS_WITH_AS(ops::add(a, c, a), doctest::Contains("operands on"), InvariantError);
}

TEST_CASE("tensor: an unknown device is the user's mistake, and says what there is") {
  CHECK_THROWS_WITH_AS(open_backend("tpu"),
                       doctest::Contains("unknown device \"tpu\"; expected one of: auto, "),
                       UserError);
}

TEST_CASE("tensor: a device is opened once") {
  CHECK(&open_backend("reference") == &open_backend("reference"));
  CHECK(&open_backend("auto") == &open_backend("auto"));
  if (device_list().find("cpu") != std::string::npos)
    CHECK(&open_backend("check") == &open_backend("check"));
}
