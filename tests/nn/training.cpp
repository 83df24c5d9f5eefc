// Facts of a training step as the runners take it: fused or not it is the same step, every
// operation in it agrees with the reference, and once it is running it asks the system for no
// memory.
#include <doctest/doctest.h>

#include "tensor/profile_backend.h"
#include "tests/near.h"
#include "tests/training_steps.h"

using namespace fission;
using namespace fission::testing;

namespace {

std::vector<double> gradients(Small& s, bool fused) {
  s.network->set_training(true);
  s.network->begin_step();
  Trace trace;
  backward(cross_entropy(s.network->forward(Variable(s.x), fused ? nullptr : &trace), s.y, 0.1));
  return s.network->gradients().to_host();
}

}  // namespace

TEST_CASE("training: the fused backward pass gives the gradients of the unfused one") {
  for (const Machine& m : machines())
    for (Activation f : {Activation::swish, Activation::relu}) {
      Small s(m, f);
      std::vector<double> fused = gradients(s, true), plain = gradients(s, false);
      // f64: a few hundred roundings. f32: gradients through 26 batch norms over as few as 3 values
      // are ill-conditioned; the reference numbers' own f32 gradients differ by 1.4e-4
      // (tests/reference/README.md), and 1e-3 is what they are held to.
      double most = 0, bound = m.type == DType::f64 ? 1e-11 : 1e-3;
      for (double g : plain) most = std::max(most, std::abs(g));
      for (std::size_t i = 0; i < plain.size(); i++) {
        if (std::abs(fused[i] - plain[i]) > bound * most)
          FAIL_CHECK("parameter ", i, ": ", fused[i], " fused, ", plain[i], " not");
      }
    }
}

TEST_CASE("training: a batch norm before a depthwise convolution is one pass with it, both ways") {
  for (const std::vector<Index>& widths : small_models) {
    ProfileBackend counted(open_backend("reference"));
    Steps steps({counted, DType::f64}, widths);
    counted.clear();
    steps.train();
    Index all = 0, depthwise = 0;
    for (const ConvBlock& b : steps.s.network->blocks()) all++, depthwise += b.depthwise;
    auto rows = counted.rows();
    CHECK(rows["depthwise_norm_backward"].calls == depthwise);
    CHECK(rows["norm_act_backward"].calls == all - depthwise);
  }
}

TEST_CASE("training: a running training or RQ-SGD step asks the system for no memory") {
  for (const Machine& m : machines()) {
    Steps steps(m);
    for (int i = 0; i < 3; i++) steps.train(), steps.rayleigh();
    Arena& arena = m.backend.arena(Memory::device);
    std::size_t calls = arena.statistics().system_calls, used = arena.statistics().in_use;
    for (int i = 0; i < 3; i++) steps.train(), steps.rayleigh();
#if defined(__SANITIZE_ADDRESS__)
    calls = arena.statistics().system_calls;  // there every block is the system's own
#endif
    CHECK(arena.statistics().system_calls == calls);
    CHECK(arena.statistics().in_use == used);
  }
}

TEST_CASE(
    "training: whole training and RQ-SGD steps agree with the reference, operation by operation") {
  if (device_list().find("cpu") == std::string::npos) {
    MESSAGE("skipped: this build has no cpu backend");
    return;
  }
  Machine check{open_backend("check"), DType::f32};
  Steps steps(check);
  for (int i = 0; i < 2; i++) {
    CHECK_NOTHROW(steps.train());
    CHECK_NOTHROW(steps.rayleigh());
  }
}

TEST_CASE(
    "training: batch-norm groups are part of the step: two groups of the same images give the "
    "statistics of one") {
  for (Index groups : {1, 2}) {
    Small s;
    std::vector<double> once = s.x.to_host(), twice = once;
    twice.insert(twice.end(), once.begin(), once.end());
    Tensor x = make_real(s.x.backend(), {6, 16, 16, 3}, twice, DType::f64);
    Tensor y = Tensor::from(s.x.backend(), {6}, std::vector<std::int32_t>{0, 3, 1, 0, 3, 1});
    TrainingSettings settings;
    settings.bn_batch = groups == 2 ? 3 : 0;
    Sgd sgd(*s.network, settings.sgd);
    Meter meter(s.x.backend(), DType::f64);
    train_step(*s.network, sgd, x, y, settings, 0.01, meter);
    static double loss = 0;
    if (groups == 1) loss = meter.read().loss;
    CHECK(meter.read().loss == near(loss).epsilon(1e-12));  // the same images, the same means
    CHECK(meter.read().count == 6);
  }
}

TEST_CASE("training: measured statistics are the batches' own") {
  for (const Machine& m : machines()) {
    Small s(m);
    TwoBatches source(m.backend, 3, 2);
    ImageInput input(m.backend, m.type, {0.5, 0.5, 0.5}, {0.2, 0.2, 0.2});
    Tensor statistics = s.network->statistics();
    ops::fill(statistics, 3);  // what was there leaves no trace
    measure_statistics(*s.network, source, input);
    // of the first convolution: weighted by the batches' images
    const ConvBlock& first = s.network->blocks()[0];
    std::vector<double> mean, var;
    for (Index step : {0, 1}) {
      const Batch batch = source.next(0, step);
      const double weight = double(batch.labels.numel()) / 5;
      const Variable y = conv2d(Variable(input(batch)), first.w, first.geometry);
      Tensor means, vars;
      ops::moments(y.value(), 1, means, vars);
      const double count = double(y.shape().numel() / y.shape()[3]);
      mean.resize(std::size_t(means.numel())), var.resize(mean.size());
      for (std::size_t c = 0; c < mean.size(); c++)
        mean[c] += weight * means.to_host()[c],
            var[c] += weight * vars.to_host()[c] * count / (count - 1);
    }
    auto check = [&](int stored, const std::vector<double>& expected) {
      const std::vector<double> got = s.network->stored()[std::size_t(stored)].value.to_host();
      for (std::size_t c = 0; c < expected.size(); c++)
        CHECK(std::abs(got[c] - expected[c]) <= (m.type == DType::f64 ? 1e-12 : 1e-5));
    };
    check(first.running_mean, mean), check(first.running_var, var);
  }
}
