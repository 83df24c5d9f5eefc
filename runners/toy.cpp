// Splitting steepest descent on one screen (arXiv 1910.03103): read this first. A two-layer network
// learns which of three stripes a number x lies in. It is trained until no step of its parameters
// helps (a gradient of zero); then the neuron with the least eigenvalue of its splitting matrix is
// split in two, which changes the loss by ε²/2 λ_min at once, and sets training free again.
// Expected: predicted and real gain agree in three digits, and the loss falls after each split.
#include <cmath>

#include "autograd/functions.h"
#include "runners/common/program.h"
#include "tensor/random.h"

using namespace fission;
using Numbers = std::vector<double>;

struct Toy {
  Backend& reference = open_backend("reference");  // plain loops in float64
  Index n = 60;
  Numbers inputs;                    // x_p = (x, 1), one a row: a neuron's weights θ = (w, b)
  std::vector<std::int32_t> stripe;  // 0 1 0: the middle is apart, and no single swish can tell
  Numbers theta, out, bias{0, 0};    // (neurons, 2), (2 classes, neurons), (2)
  Numbers delta, z,
      gradient;  // ∂L/∂a (n, neurons), pre-activations (n, neurons), ∂L/∂(θ, out, bias)
  Index neurons() const { return Index(theta.size()) / 2; }

  // L = mean cross-entropy of out · a + bias with a = φ(z), z = θ · x_p: forward and backward
  // through the engine
  double loss() {
    Index m = neurons();
    auto tensor = [&](const Shape& s, const Numbers& values) {
      return make_real(reference, s, values, DType::f64);
    };
    auto parameter = [&](const Shape& s, const Numbers& values) {
      return Variable::parameter(tensor(s, values), tensor(s, Numbers(values.size())));
    };
    Variable w = parameter({m, 1, 1, 2}, theta), v = parameter({2, m}, out),
             b = parameter({2}, bias);
    Variable one = Variable(tensor({m}, Numbers(m, 1.0))), zero = Variable(tensor({m}, Numbers(m)));
    BatchNormState identity{tensor({m}, Numbers(m)), tensor({m}, Numbers(m, 1.0)), 0};
    Variable y = conv2d(Variable(tensor({n, 1, 1, 2}, inputs)), w, {1, 1, 0});
    Variable a = batch_norm_act(y, one, zero, identity, Activation::swish), h = reshape(a, {n, m});
    Variable l = cross_entropy(linear(h, v, b), Tensor::from(reference, {n}, stripe), 0.1);
    a.replace_backward([&, send_on = a.node().backward](Tensor d) {
      delta = d.to_host(), send_on(d);
    });  // δ passes here
    z = y.value().to_host();
    backward(l);
    gradient.clear();
    for (const Variable& p : {w, v, b})
      for (double g : p.grad().to_host()) gradient.push_back(g);
    return l.value().item();
  }

  double train_until_stuck() {  // gradient descent with momentum
    Numbers step;
    for (Index i = 0;; i++) {
      double l = loss(), length = 0;
      for (double g : gradient) length += g * g;
      if (std::sqrt(length) < 1e-8 || i == 50000) return l;
      step.resize(gradient.size());
      for (std::size_t j = 0; j < step.size(); j++) {
        step[j] = 0.9 * step[j] - 0.2 * gradient[j];
        (j < theta.size()                ? theta[j]
         : j < theta.size() + out.size() ? out[j - theta.size()]
                                         : bias[j - theta.size() - out.size()]) += step[j];
      }
    }
  }

  // (E6) S = Σ_p δ φ''(z) x_p x_pᵀ, 2 by 2; its least eigenvalue, and that eigenvector (unit
  // length)
  double least_eigenvalue(Index o, double* v) const {
    double a = 0, b = 0, c = 0;
    for (Index p = 0; p < n; p++) {
      const double *x = &inputs[2 * p], zp = z[p * neurons() + o], s = 1 / (1 + std::exp(-zp));
      double weight = delta[p * neurons() + o] * s * (1 - s) * (2 + zp * (1 - 2 * s));
      a += weight * x[0] * x[0], b += weight * x[0] * x[1], c += weight * x[1] * x[1];
    }
    double lambda = (a + c) / 2 - std::hypot((a - c) / 2, b), length = std::hypot(b, lambda - a);
    v[0] = length > 0 ? b / length : 1, v[1] = length > 0 ? (lambda - a) / length : 0;
    return lambda;
  }

  // (E2) two copies θ ± εv, which share the outgoing weight: each takes half of it
  void split(Index o, double epsilon, const double* v) {
    Numbers wider;
    for (int k = 0; k < 2; k++) {
      out[k * neurons() + o] /= 2;
      wider.insert(wider.end(), &out[k * neurons()], &out[k * neurons()] + neurons());
      wider.push_back(out[k * neurons() + o]);
    }
    out = wider;
    for (int i = 0; i < 2; i++)
      theta.push_back(theta[2 * o + i] - epsilon * v[i]), theta[2 * o + i] += epsilon * v[i];
  }
};

int main(int argc, char** argv) {
  CLI::App app{
      "Splits the neurons of a tiny network one by one, each time training is stuck; prints "
      "predicted and real gain.",
      "toy"};
  Index splits = 3;
  double epsilon = 1e-3;
  std::uint64_t seed = 2;
  app.add_option("--splits", splits, "how many")->capture_default_str()->check(CLI::Range(0, 20));
  app.add_option("--epsilon", epsilon, "the copies' distance from the neuron")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--seed", seed, "of the first weights")->capture_default_str();
  return run_program(app, argc, argv, [&] {
    Toy toy;
    for (Index p = 0; p < toy.n; p++) {
      double x = 2 * (double(p) + 0.5) / double(toy.n) - 1;
      toy.inputs.push_back(x), toy.inputs.push_back(1), toy.stripe.push_back(std::abs(x) < 0.4);
    }
    Random random(seed, random_purpose::initialisation);
    for (int i = 0; i < 2; i++)
      toy.theta.push_back(random.normal(i)), toy.out.push_back(random.normal(i + 2));
    std::printf("neurons  loss when stuck  lambda_min  gain predicted  real gain\n");
    for (Index round = 0; round <= splits; round++) {
      double loss = toy.train_until_stuck(), least = INFINITY, direction[2] = {0, 0};
      Index best = -1;
      for (Index o = 0; o < toy.neurons(); o++) {
        double v[2], lambda = toy.least_eigenvalue(o, v);
        if (lambda < least) least = lambda, best = o, direction[0] = v[0], direction[1] = v[1];
      }
      if (least >= 0) best = -1;
      std::printf("%7ld  %15.6f  %10.3e", long(toy.neurons()), loss, least);
      if (best < 0) std::printf("  every neuron is splitting stable (E3)");
      if (best >= 0 && round < splits) {
        toy.split(best, epsilon, direction);
        std::printf("  %14.6e  %9.3e", epsilon * epsilon / 2 * least, toy.loss() - loss);
      }
      std::printf("\n");
      if (best < 0) return;
    }
  });
}
