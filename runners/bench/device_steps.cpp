#include "runners/bench/device_steps.h"

#include <algorithm>
#include <cmath>

#include "nn/training.h"
#include "runners/common/console.h"
#include "split/rayleigh.h"
#include "tensor/random.h"

namespace fission {
namespace {

// A few steps of each kind from the same start
struct Steps {
  std::vector<double> losses,
      quotients[2];  // of training; R(v) of every neuron by both matrices, after some steps
  std::vector<double> gradient;  // of the first training step's loss, all parameters
  double slope = 0,
         slope_found =
             0;  // along that gradient: its square norm, and central differences of the loss
};
Steps steps_on(Backend& backend, bool quick) {
  NetworkConfig c;
  c.widths = parse_widths(c.model, quick ? four_wide : "seed"), c.size = quick ? 16 : 32;
  auto network = make_network(c, backend, DType::f32, 1);
  const Index batch = quick ? 16 : 64;
  Random random(1, random_purpose::test);
  std::vector<float> images(std::size_t(batch * c.size * c.size * c.channels));
  std::vector<std::int32_t> classes(static_cast<std::size_t>(batch));
  for (std::size_t i = 0; i < images.size(); i++) images[i] = float(random.normal(i));
  for (std::size_t i = 0; i < classes.size(); i++)
    classes[i] = std::int32_t(random.below(i, std::uint32_t(c.classes), 1));
  Tensor x = Tensor::from(backend, {batch, c.size, c.size, c.channels}, images),
         labels = Tensor::from(backend, {batch}, classes);

  Steps s;
  for (Matrix matrix : {Matrix::paper, Matrix::chain}) {
    SolverSettings settings;
    settings.probe.matrix = matrix;
    RayleighDescent descent(*network, settings, 1, 1);
    for (int step = 0; step < 3; step++) descent.step(x, labels, 0);
    s.quotients[matrix == Matrix::chain] = descent.quotients().to_host();
  }
  auto loss = [&] {
    GradientMode all(Gradients::all);
    network->set_training(true);
    network->begin_step();
    Loss l = cross_entropy(network->forward(Variable(x)), labels, 0);
    backward(l);
    network->finish_step();
    return l.value().item();
  };
  loss();
  s.gradient = network->gradients().to_host();
  for (double g : s.gradient) s.slope += g * g;
  const Tensor gradient = network->gradients().clone(), start = network->parameters().clone();
  Tensor parameters = network->parameters();
  const double h =
      0.005 /
      s.slope;  // the loss changes by 0.005 to either side: 10,000 times what float rounds of it
  for (double sign : {1.0, -1.0}) {
    ops::add_scaled(parameters, gradient, sign * h);
    s.slope_found += sign * loss() / (2 * h);
    parameters.copy_from(start);
  }
  TrainingSettings training;
  Sgd sgd(*network, training.sgd);
  Meter meter(backend, DType::f32);
  for (int step = 0; step < 3; step++) {
    meter.clear();
    train_step(*network, sgd, x, labels, training, 0.01, meter);
    s.losses.push_back(meter.read().loss);
  }
  return s;
}

double distance(const std::vector<double>& a,
                const std::vector<double>& b) {  // max|a − b| / max|b|
  double most = 0, size = 0;
  for (std::size_t i = 0; i < b.size(); i++) {
    if (!std::isfinite(a[i])) return NAN;
    most = std::max(most, std::abs(a[i] - b[i])), size = std::max(size, std::abs(b[i]));
  }
  return most / size;
}

}  // namespace

// Bounds: the CPU's two backends, which add in other orders, were found 5e-7 (losses), 2e-6
// (quotients) and 8e-6 (gradient) apart, and the differences, over which the loss bends, 8e-4 off;
// some ten times that.
void against_cpu(Findings& f, Backend& device, bool quick) {
  Backend& cpu = open_backend(device_list().find("cpu") == std::string::npos ? "reference" : "cpu");
  f.note("", "compared with", cpu.name());
  Steps here = steps_on(device, quick), there = steps_on(cpu, quick);
  for (std::size_t i = 0; i < here.losses.size(); i++)
    f.note("", text("loss of training step ", i + 1),
           compact(here.losses[i]) + " and " + compact(there.losses[i]));
  f.at_most("", "gradient of all parameters", distance(here.gradient, there.gradient), 1e-4);
  f.at_most("", "its square norm and central differences along it: |x − y| / |y|",
            std::abs(here.slope - here.slope_found) / std::abs(here.slope_found), 5e-3);
  f.at_most("", "training: losses, max|x − y| / max|y|", distance(here.losses, there.losses), 1e-5);
  f.at_most("", "RQ-SGD, paper's matrix: all quotients after 3 steps",
            distance(here.quotients[0], there.quotients[0]), 5e-5);
  f.at_most("", "RQ-SGD, chain's matrix: all quotients after 3 steps",
            distance(here.quotients[1], there.quotients[1]), 5e-5);
}

}  // namespace fission
