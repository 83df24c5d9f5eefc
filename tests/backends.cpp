// Every operation, on every backend of this build, against the reference: through the check
// backend, over many shapes and all switches. It fails if backend.h names an operation that was
// never run here, and each operation is shown to be guarded by planting a mistake in it. The
// tolerance is the check backend's (tensor/check_backend.cpp).
#include <algorithm>
#include <cstdlib>
#include <set>

#include "tensor/check_backend.h"
#include "tensor/threads.h"
#include "tests/device_settings.h"
#include "tests/mistaken_backend.h"
#include "tests/runners/program.h"
#include "tests/tensor/values.h"

using namespace fission;
using namespace fission::testing;

namespace {

constexpr Activation activations[] = {Activation::none, Activation::swish, Activation::relu};

// Shapes are drawn: odd widths, because that is where vector code ends; sizes down to 1, where
// padding is most of it.
struct Draw {
  Random random;
  std::uint64_t at = 0;
  Draw(std::uint64_t item) : random(2, random_purpose::test, item) {}
  Index of(const std::vector<Index>& from) {
    return from[random.below(at++, std::uint32_t(from.size()))];
  }
  Index width() { return of({1, 3, 5, 7, 8, 9, 13, 16, 21, 24, 27, 37, 64, 69}); }
  Index batch() { return of({1, 2, 5, 8}); }
  Index size() { return of({1, 2, 3, 4, 5, 6, 7, 8, 9, 32}); }
  Conv2dGeometry geometry(Index smallest) {
    Index kernel = of({1, 3, 3, 5}), padding = kernel > smallest || of({0, 1}) ? kernel / 2 : 0;
    return {kernel, of({1, 2}), padding};
  }
};

// a tensor that begins between the places where vector loads may: as a layer's weights do in the
// network's one buffer
Tensor amid(Backend& b, const Shape& shape, std::uint64_t item) {
  return random_tensor(b, {shape.numel() + 1}, item).slice(1, shape);
}

void elementwise(Backend& b, int count) {
  Draw draw(1);
  for (int i = 0; i < count; i++) {
    Shape shape = {draw.batch(), draw.size(), draw.size(), draw.width()};
    Tensor x = random_tensor(b, shape, 1), y = random_tensor(b, shape, 2), out = x.like(),
           bias = random_tensor(b, {shape[3]}, 3), sums = bias.like();
    ops::fill(out, 0.1);
    ops::add(x, y, out);
    ops::add(out, y, out);
    ops::add(x, out, out);
    ops::add(out, out, out);
    ops::add_scaled(out, x, -0.3);
    ops::add(x, amid(b, shape, 5), out);
    ops::add_bias(out, bias);
    ops::sum_rows(out, sums);
    Tensor matrix = out.reshape({out.numel() / shape[3], shape[3]});
    ops::add_bias(matrix, bias);
    ops::sum_rows(matrix, sums);
    std::vector<std::uint8_t> bytes(x.numel());
    for (std::size_t k = 0; k < bytes.size(); k++) bytes[k] = std::uint8_t(draw.random.bits(k, 3));
    ops::normalise_images(Tensor::from(b, shape, bytes), bias,
                          random_tensor(b, {shape[3]}, 4, 0.01, 0.2));
  }
  for (DType type : {DType::i32, DType::u8}) {
    Tensor whole(b, {37}, type);
    ops::fill(whole, 3);
  }
}

void convolution(Backend& b, const Shape& shape, Index out, const Conv2dGeometry& g) {
  Tensor x = random_tensor(b, shape, 1),
         w = random_tensor(b, {out, g.kernel, g.kernel, shape[3]}, 2), dw = w.like();
  Tensor y = ops::conv2d(x, w, g), dy = random_tensor(b, y.shape(), 3);
  ops::conv2d_backward_data(dy, w, g, x.shape());
  ops::conv2d_backward_filter(x, dy, g, dw);
  ops::conv2d(x, w,
              g);  // plans and blocked copies are cached: a second call, and one with other weights
  ops::add_scaled(w, random_tensor(b, w.shape(), 4), 1);
  ops::conv2d(x, w, g);
  ops::conv2d_backward_data(dy, w, g, x.shape());
}

void convolutions(Backend& b, int count) {
  Draw draw(2);
  for (int i = 0; i < count; i++) {
    const Index h = draw.size(), v = draw.of({h, draw.size()}), in = draw.width(),
                out = draw.width();
    const Conv2dGeometry g = draw.geometry(std::min(h, v));
    convolution(b, {draw.batch(), h, v, in}, out, g);
  }
}

void depthwise(Backend& b, int count) {
  Draw draw(3);
  for (int i = 0; i < count; i++) {
    Index h = draw.size(), v = draw.of({h, draw.size()});
    Conv2dGeometry g = draw.geometry(std::min(h, v));
    Tensor y = random_tensor(b, {draw.batch(), h, v, draw.width()}, 1, 2, 3),
           w = random_tensor(b, {g.kernel, g.kernel, y.dim(3)}, 2);
    Tensor dout = random_tensor(b, ops::depthwise(y, nullptr, w, g).shape(), 3), da = y.like(),
           dw = w.like(), u = random_tensor(b, y.shape(), 5);
    ops::depthwise_backward(y, nullptr, w, dout, g, &da, &dw);
    for (Activation f : activations) {
      NormTensors norm = random_norm(y, y.dim(0) % 2 ? 1 : draw.of({1, 2}), f, 4);
      ops::depthwise(y, &norm, w, g);
      ops::depthwise_tangent(y, norm, u, w, g);
      ops::depthwise_backward(y, &norm, w, dout, g, &da, &dw);
      ops::depthwise_backward(y, &norm, w, dout, g, &da, nullptr);
      ops::depthwise_backward(y, &norm, w, dout, g, nullptr, &dw);
      Tensor dgamma = norm.gamma.like(), dbeta = dgamma.like();
      for (bool training : {true, false}) {
        norm.training = training;
        ops::depthwise_norm_backward(y, norm, w, dout, g, da, dgamma, dbeta, dw);
      }
    }
  }
}

void norms(Backend& b, int count) {
  Draw draw(4);
  for (int i = 0; i < count; i++) {
    Shape shape = {draw.batch(), draw.size(), draw.size(), draw.width()};
    if (i == 0)
      shape = {2, 5, 5,
               149};  // so many and odd: the cpu backend's runs of pixels are no whole vectors
    Tensor y = random_tensor(b, shape, 1, 2, 3), da = random_tensor(b, shape, 2),
           u = random_tensor(b, shape, 3), dy = y.like();
    for (Activation f : activations)
      for (Index groups : {1, 2}) {
        if (shape[0] % groups) continue;
        NormTensors norm = random_norm(y, groups, f, 4);
        Tensor dgamma = norm.gamma.like(), dbeta = norm.beta.like(), in_place = da.clone();
        ops::norm_act(y, norm);
        Tensor passed = da.clone(), out = y.like(), h = random_tensor(b, shape, 5), g = u.clone();
        ops::probe_activation(da, y, norm, {3, 1}, u, &h, out, &dy);
        ops::probe_activation(da, y, norm, {1, 0}, u, &h, out, nullptr);
        ops::probe_activation(da, y, norm, {3, 1}, u, nullptr, out, nullptr);
        ops::probe_activation(passed, y, norm, {2, 1}, g, nullptr, g, &passed);
        ops::probe_activation(passed, y, norm, {3, 1}, g, &h, g, nullptr);
        for (bool training : {true, false}) {
          ops::norm_act_backward(da, y, norm, training, dy, &dgamma, &dbeta);
          ops::norm_act_backward(da, y, norm, training, dy, nullptr, nullptr);
          ops::norm_act_backward(da, y, norm, training, dy, &dgamma, nullptr);
          ops::norm_act_backward(da, y, norm, training, dy, nullptr, &dbeta);
        }
        ops::norm_act_backward(da, y, norm, true, in_place, &dgamma, &dbeta);
        in_place.copy_from(da);
        ops::norm_act_backward(in_place, y, norm, false, in_place, &dgamma, &dbeta);
        in_place.copy_from(da);
        ops::norm_act_backward(in_place, y, norm, true, in_place, &dgamma, &dbeta);
        if (Index values = y.numel() / shape[3]; values > 1)
          ops::update_running(norm.beta, norm.gamma, norm.mean, norm.var, 0.1,
                              std::max<Index>(values / groups, 2));
      }
  }
  Tensor far = random_tensor(b, {8, 9, 9, 21}, 9, 0.5, 100), mean,
         var;  // a variance found as E[y²] − mean² is lost here
  ops::moments(far, 2, mean, var);
}

void pooling(Backend& b, int count) {
  Draw draw(5);
  for (int i = 0; i < count; i++) {
    Index h = draw.size(), v = draw.of({h, draw.size()}),
          window = draw.of({1, 2, 3, std::min(h, v)});
    PoolGeometry g = {std::min({window, h, v}), draw.of({1, 2, 3, window})};
    Shape shape = {draw.batch(), h, v, draw.width()};
    Tensor x = draw.of({0, 1}) ? random_tensor(b, shape, 1) : amid(b, shape, 1);
    ops::average_pool_backward(random_tensor(b, ops::average_pool(x, g).shape(), 2), g, x.shape());
  }
}

void losses(Backend& b, int count) {
  Draw draw(6);
  for (int i = 0; i < count; i++) {
    Index n = draw.batch() * draw.width(), classes = draw.of({1, 2, 4, 5, 6, 7, 10, 37, 100, 1000});
    Tensor logits = random_tensor(b, {n, classes}, 1, draw.of({1, 1, 20})), loss, dlogits;
    if (i % 3 == 1) {  // rounded, so that there are ties
      std::vector<double> values = logits.to_host();
      for (double& v : values) v = std::round(v);
      logits = make_real(b, logits.shape(), values, DType::f32);
    }
    std::vector<std::int32_t> label(n);
    for (Index k = 0; k < n; k++)
      label[k] = std::int32_t(draw.random.below(k, std::uint32_t(classes), 2));
    Tensor labels = Tensor::from(b, {n}, label),
           hits = Tensor::from(b, {2}, std::vector<std::int32_t>{3, 5});
    for (double smoothing : {0.0, 0.1})
      ops::softmax_cross_entropy(logits, labels, smoothing, loss, dlogits);
    b.softmax_cross_entropy(logits, labels, 0.1, loss, View());
    b.softmax_cross_entropy(logits, labels, 0.1, View(), dlogits);
    ops::count_hits(logits, labels, hits);
    if (i % 3 != 2) continue;
    std::vector<double> values =
        logits.to_host();  // some NaN, on a label and beside it, and an image of nothing else
    for (std::size_t k = 0; k < values.size(); k++)
      if (draw.random.below(k, 7, 1) == 0 || Index(k) < classes) values[k] = NAN;
    ops::count_hits(make_real(b, logits.shape(), values, DType::f32), labels, hits);
  }
}

void optimisers(Backend& b, int count) {
  Draw draw(7);
  for (int i = 0; i < count; i++) {
    Index n = draw.width() * draw.of({1, 16, 113}), decayed = draw.of({0, n / 2, n});
    Tensor p = i % 2 ? random_tensor(b, {n}, 1) : amid(b, {n}, 1), g = random_tensor(b, {n}, 2),
           buffer = random_tensor(b, {n}, 3), lr = make_real(b, {1}, {0.05}, DType::f32);
    Tensor s = ops::zeros_like(p);
    for (int step = 0; step < 2; step++) {
      for (bool nesterov : {true, false}) {
        Tensor gradient = g.clone();
        ops::sgd(p, gradient, buffer, lr, 0.9, 1e-2, decayed, nesterov);
      }
      ops::rmsprop(p, g, s, buffer, lr, 0.9, 0.9, 1e-8);
    }
  }
}

void rows(Backend& b, int count) {
  Draw draw(8);
  for (int i = 0; i < count; i++) {
    std::vector<std::int32_t> bounds;  // rows of different lengths, with gaps, not all in order
    Index at = draw.of({0, 3}), n = draw.width();
    for (Index r = 0; r < n; r++) {
      Index length = draw.of({1, 9, 27, 64, 69, 333});
      bounds.insert(draw.of({0, 1}) ? bounds.begin() : bounds.end(),
                    {std::int32_t(at), std::int32_t(length)});
      at += length + draw.of({0, 0, 5});
    }
    Tensor v = random_tensor(b, {at + 2}, 1), s_v = random_tensor(b, v.shape(), 2),
           table = Tensor::from(b, {n, 2}, bounds);
    Tensor quotient(b, {n}), gradient = random_tensor(b, v.shape(), 3);
    ops::rayleigh(v, s_v, table, quotient, gradient);
    b.rayleigh(v, s_v, table, View(), gradient);
    b.rayleigh(v, s_v, table, quotient, View());
    ops::normalise_rows(v, table);
  }
}

void surgery(Backend& b, int count) {
  Draw draw(9);
  for (int i = 0; i < count; i++) {
    Index r = draw.width(), k = draw.of({1, 9, 25}), c = draw.width(), r2 = r + draw.of({0, 1, 5}),
          c2 = c + draw.of({0, 2, 7});
    auto picks = [&](Index many, Index from, int lane) {
      std::vector<std::int32_t> p(many);
      for (Index at = 0; at < many; at++)
        p[at] = std::int32_t(draw.random.below(at, std::uint32_t(from), lane));
      return Tensor::from(b, {many}, p);
    };
    ops::gather(random_tensor(b, {r, k, c}, 1), picks(r2, r, 1), random_tensor(b, {r2}, 2),
                picks(c2, c, 2), random_tensor(b, {c2}, 3));
  }
}

const std::vector<void (*)(Backend&, int)> families = {
    elementwise, convolutions, depthwise, norms, pooling, losses, optimisers, rows, surgery};

const std::set<std::string> operations = {
#define FISSION_NAME(name, parameters, arguments, outputs) #name,
    FISSION_OPERATIONS(FISSION_NAME)
#undef FISSION_NAME
};

// FISSION_TEST_DEVICE: a device to test in place of those that every machine has; how `make
// gpu-check` runs this on a GPU
std::vector<Backend*> backends() {
  if (const char* device = std::getenv("FISSION_TEST_DEVICE"))
    return {&open_backend(device, testing::device_settings())};
  std::vector<Backend*> all = {&open_backend("reference")};
  if (device_list().find("cpu") != std::string::npos) all.push_back(&open_backend("cpu"));
  return all;
}

}  // namespace

TEST_CASE("backends: every operation agrees with the reference") {
  for (Backend* inner : backends())
    for (auto family : families) {
      CheckBackend check(*inner);
      CHECK_NOTHROW(family(check, test::instrumented() ? 15 : 60));
    }
}

TEST_CASE("backends: depthwise convolutions of so many images that a GPU's blocks go round again") {
  for (Backend* inner : backends()) {
    CheckBackend b(*inner);
    const Shape shape = {test::instrumented() ? 300 : 2100, 1, 1, 256};
    const Conv2dGeometry g{3, 1, 1};
    Tensor y = random_tensor(b, shape, 1, 2, 3), w = random_tensor(b, {3, 3, 256}, 2),
           dout = random_tensor(b, shape, 3), dy = y.like(), dw = w.like();
    for (Index groups : {1, 2}) {
      NormTensors norm = random_norm(y, groups, Activation::swish, 4);
      Tensor dgamma = norm.gamma.like(), dbeta = norm.beta.like();
      norm.training = true;
      CHECK_NOTHROW(ops::depthwise(y, &norm, w, g));
      CHECK_NOTHROW(ops::depthwise_norm_backward(y, norm, w, dout, g, dy, dgamma, dbeta, dw));
    }
  }
}

// Such a convolution is a product of matrices, of which a filter's gradient is cut into parts of
// the pixels or of the channels, as the
// threads and both sizes have it: several of each.
TEST_CASE(
    "backends: pointwise convolutions agree with the reference, whatever the threads make of "
    "them") {
  const int before = compute_threads();
  for (Backend* inner : backends())
    for (int threads : {before, 3, 8}) {
      CheckBackend check(*inner);
      set_compute_threads(threads);
      CHECK_NOTHROW(convolution(check, {8, 25, 25, 62}, 37, {1, 1, 0}));
      CHECK_NOTHROW(convolution(check, {8, 16, 16, 37}, 69, {1, 1, 0}));
      CHECK_NOTHROW(
          convolution(check, {2, 3, 3, 133}, 69, {1, 1, 0}));  // few pixels for the weights
      CHECK_NOTHROW(convolution(check, {8, 16, 16, 21}, 37, {1, 1, 0}));  // few weights
      CHECK_NOTHROW(convolution(check, {6, 26, 26, 3}, 133, {1, 2, 0}));  // pixels are left out
      CHECK_NOTHROW(
          convolution(check, {7, 9, 9, 131}, 17, {1, 1, 0}));  // more channels in than out
      CHECK_NOTHROW(convolution(check, {5, 16, 16, 64}, 96, {1, 1, 0}));  // whole vectors
      CHECK_NOTHROW(convolution(check, {2, 8, 8, 213}, 197, {1, 1, 0}));  // sums in sections
      CHECK_NOTHROW(convolution(check, {2, 1, 1, 512}, 10, {1, 1, 0}));
      CHECK_NOTHROW(convolution(check, {1, 1, 1, 5}, 70, {1, 1, 0}));   // one pixel
      CHECK_NOTHROW(convolution(check, {3, 40, 40, 1}, 1, {1, 1, 0}));  // one channel
    }
  set_compute_threads(before);
}

TEST_CASE(
    "backends: squares of gradients too small for a normal float are right as 0, and only the "
    "optimisers take them so") {
  for (Backend* inner : backends()) {
    CheckBackend check(*inner);
    Tensor p(check, {20000}), g = p.like(), squares = p.like(), buffer = p.like(), lr(check, {1});
    ops::fill(p, 1), ops::fill(g, 1e-20), ops::fill(squares, 0), ops::fill(buffer, 0),
        ops::fill(lr, 0.1);
    CHECK_NOTHROW(ops::rmsprop(p, g, squares, buffer, lr, 0.99, 0.9, 1e-8));
    volatile float small = 1e-40f;
    CHECK(small * 2 > 0);  // this thread counts as before
    Tensor sum = p.like();
    ops::fill(g, 1e-40);
    ops::add(g, g, sum);
    CHECK(sum.to_host()[0] == doctest::Approx(2e-40).epsilon(1e-4));
  }
}

TEST_CASE("backends: empty convolutions are refused") {
  for (Backend* b : backends()) {
    if (b->name() != "cpu") continue;
    Tensor none(*b, {0, 4, 4, 16}), w(*b, {32, 1, 1, 16}), y(*b, {0, 4, 4, 32});
    CHECK_THROWS_AS(ops::conv2d(none, w, {1, 1, 0}), InvariantError);
    CHECK_THROWS_AS(ops::conv2d_backward_data(y, w, {1, 1, 0}, none.shape()), InvariantError);
    CHECK_THROWS_AS(ops::conv2d_backward_filter(none, y, {1, 1, 0}, w), InvariantError);
  }
}

// Where the processor has AVX-512, the tests before this one never run the cpu backend's loops for
// 8 floats; this one does.
TEST_CASE("backends: every operation agrees with the reference without AVX-512 too") {
  if (device_list().find("cpu") == std::string::npos || std::getenv("ONEDNN_MAX_CPU_ISA") ||
      std::getenv("FISSION_TEST_DEVICE"))
    return;
  ::setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
  test::ProcessResult narrow =
      test::launch("tests", {"-tc=backends: every operation agrees with the "
                             "reference,backends: pointwise convolutions*"});
  ::unsetenv("ONEDNN_MAX_CPU_ISA");
  INFO(narrow.out);
  CHECK(narrow.status == 0);
  CHECK(narrow.out.find("2 passed") != std::string::npos);
}

TEST_CASE("backends: no operation of backend.h is left out here") {
  CheckBackend check(open_backend("reference"));
  for (auto family : families) family(check, 3);
  CHECK(check.exercised() == operations);
}

TEST_CASE("backends: a mistake in any output of any operation is caught, and the operation named") {
  for (const std::string& operation : operations)
    for (int output = 0; output < 3; output++) {
      Mistaken mistaken(operation, output);
      CheckBackend check(mistaken);
      std::string message;
      try {
        for (auto family : families) family(check, 2);
      } catch (const InvariantError& e) {
        message = e.what();
      }
      INFO(operation, ", output ", output, ": ", message);
      CHECK(mistaken.made == (message.find("[check] " + operation + " on reference") == 0));
      CHECK((output > 0 || mistaken.made));
    }
}

TEST_CASE("backends: copies arrive on both queues, behind an event") {
  for (Backend* b : backends()) {
    std::vector<float> from = {1, 2, 3}, to(3);
    Tensor there(*b, {3});
    b->copy(there.data(), from.data(), 12, Backend::Direction::host_to_device, Queue::transfer);
    b->wait(Queue::compute, *b->record(Queue::transfer));
    Tensor twice = there.clone();
    ops::add(there, there, twice);
    b->copy(to.data(), twice.data(), 12, Backend::Direction::device_to_host, Queue::compute);
    b->wait_on_host(*b->record(Queue::compute));
    CHECK(to == std::vector<float>{2, 4, 6});
  }
}

TEST_CASE("backends: the same operation twice gives the same bits") {
  for (Backend* b : backends()) {
    Tensor x = random_tensor(*b, {8, 9, 9, 37}, 1), w = random_tensor(*b, {21, 3, 3, 37}, 2), mean,
           var, mean2, var2;
    Conv2dGeometry g{3, 1, 1};
    Tensor y = ops::conv2d(x, w, g), dw = w.like(), dw2 = w.like();
    CHECK(y.to_host() == ops::conv2d(x, w, g).to_host());
    CHECK(ops::conv2d_backward_data(y, w, g, x.shape()).to_host() ==
          ops::conv2d_backward_data(y, w, g, x.shape()).to_host());
    ops::conv2d_backward_filter(x, y, g, dw);
    ops::conv2d_backward_filter(x, y, g, dw2);
    CHECK(dw.to_host() == dw2.to_host());
    ops::moments(y, 2, mean, var);
    ops::moments(y, 2, mean2, var2);
    CHECK(mean.to_host() == mean2.to_host());
    CHECK(var.to_host() == var2.to_host());
  }
}
