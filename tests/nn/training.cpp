// Facts of a training step as the runners take it: fused or not it is the same step, every
// operation in it agrees with the reference, and once it is running it asks the system for no
// memory.
#include <doctest/doctest.h>

#include "tests/near.h"
#include "tests/training_steps.h"

using namespace fission;
using namespace fission::testing;

namespace {

std::vector<double> gradients(Small& s, bool fused) {
  s.network->set_training(true);
  s.network->begin_step();
  Trace trace;
  Variable loss = cross_entropy(s.network->forward(Variable(s.x), &trace), s.y, 0.1);
  if (!fused)  // a rule that was replaced, even by itself, is not passed over by the depthwise
               // convolution behind it
    for (const TraceEntry& e : trace) e.a.replace_backward(e.a.node().backward);
  trace.clear();
  backward(loss);
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
