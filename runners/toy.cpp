// Splitting steepest descent on one screen (arXiv 1910.03103): read this first. A network of one
// hidden neuron learns which stripe of a line a number x lies in. It is trained until its gradient
// is about zero: no step of its parameters helps any more. Then each neuron's splitting index λ
// says what two copies of it are worth: the split changes the loss by (ε²/2) λ at once (E2, E3),
// and training is free again. Descent, matrices and split are those of split/, as in all programs.
// Expected: predicted and measured change agree in three digits, and each split lets the loss fall.
#include "runners/common/program.h"
#include "split/exact.h"
#include "split/rayleigh.h"
#include "split/surgery.h"
#include "tensor/eigen.h"

using namespace fission;

// (x, 1) → hidden neurons: 1×1 convolution, batch norm with fixed statistics, swish → two classes
class TwoLayers : public Network {
 public:
  TwoLayers(Index neurons, Backend& backend, std::uint64_t seed)
      : Network({"two layers", {neurons}, 2, 1, 2}, backend, DType::f64) {
    Index side = 1;
    int hidden = add_axis("hidden", 64, 0);
    add_block("hidden", "norm", -1, hidden, false, {1, 1, 0}, Activation::swish, side);
    out_ = add_linear("out", hidden, 2);
    allocate(), bind(out_), initialise(seed);
    ConvBlock& block = blocks_[0];  // its γ = 1 and β = 0 stay: they are constants
    block.g = Variable(block.g.value()), block.b = Variable(block.b.value());
  }
  Variable forward(const Variable& x, Trace* trace = nullptr) override {
    Variable a = blocks_[0](NormAct(x), trace);
    return out_(reshape(a, {a.shape()[0], a.shape()[3]}));
  }
  std::unique_ptr<Network> with_widths(const std::vector<Index>& widths) const override {
    return std::make_unique<TwoLayers>(widths[0], backend(), 0);
  }

 private:
  LinearLayer out_;
};

struct Line {  // 60 numbers from −1 to 1, and whether each lies in the middle stripe
  Tensor x, labels;
};
const ProbeSettings probe{
    Matrix::chain, {}, 0.1};  // 0.1: label smoothing, so that a minimum exists

double loss_and_gradient(Network& network, const Line& line) {
  network.begin_step();
  Loss loss = cross_entropy(network.forward(Variable(line.x)), line.labels, probe.smoothing);
  backward(loss);
  network.finish_step();
  return loss.value().item();
}

double train_until_stuck(Network& network, const Line& line) {
  Sgd descent(network, {0.9, 0});
  for (int step = 0;; step++, descent.step(0.2)) {
    double loss = loss_and_gradient(network, line), square = 0;
    for (double g : network.gradients().to_host()) square += g * g;
    if (square < 1e-16 || step == 50000) return loss;
  }
}

SplittingIndex rq_sgd(Network& network, const Line& line, std::uint64_t seed) {  // E7 to E11
  SolverSettings published;
  published.probe = probe;
  RayleighDescent descent(network, published, seed, 0);
  for (Index epoch = 0; epoch < published.epochs; epoch++) {
    descent.begin_epoch();
    for (int step = 0; step < 300; step++) descent.step(line.x, line.labels, epoch);
  }
  return descent.result();
}

double exact_index(Network& network, const Line& line, Index neuron) {  // E6, E10
  ExactMatrices matrices(network, {probe, {}});
  matrices.add(line.x, line.labels);
  ExactAxis hidden = matrices.mean()[0];
  solve(hidden);
  return hidden.lambda_min(neuron);
}

int main(int argc, char** argv) {
  CommandLine app{"Splits the neurons of a tiny network one by one, each time training is stuck.",
                  "toy"};
  Index splits = 3;
  double epsilon = 1e-3;
  std::uint64_t seed = 2;
  app.add_option("--splits", splits, "how many")->capture_default_str()->check(in_range(0, 20));
  app.add_option("--epsilon", epsilon, "the copies' distance from the neuron")
      ->capture_default_str()
      ->check(in_range(0.0, 1.0));
  app.add_option("--seed", seed, "of the first weights")->capture_default_str()->check(in_range(0));
  return run_program(app, argc, argv, [&] {
    Backend& reference = open_backend("reference");  // plain loops
    std::vector<double> x;
    std::vector<std::int32_t> labels;
    for (int i = -59; i < 60; i += 2)
      x.insert(x.end(), {i / 60.0, 1}), labels.push_back(std::abs(i) < 24);
    const Line line{make_real(reference, {60, 1, 1, 2}, x, DType::f64),
                    Tensor::from(reference, {60}, labels)};
    std::unique_ptr<Network> network = std::make_unique<TwoLayers>(1, reference, seed);
    for (Index round = 0;; round++) {
      const double stuck = train_until_stuck(*network, line);
      std::printf("neurons %ld, stuck at loss %.6f\n", long(network->widths()[0]), stuck);
      const SplittingIndex index = rq_sgd(*network, line, seed);
      const std::vector<double>& lambda = index.lambda[0];
      for (std::size_t o = 0; o < lambda.size(); o++)
        std::printf(
            "  neuron %zu: splitting index %.3e%s\n", o + 1, lambda[o],
            have_eigen() ? text(", exact ", exact_index(*network, line, Index(o))).c_str() : "");
      const auto best =
          std::size_t(std::min_element(lambda.begin(), lambda.end()) - lambda.begin());
      if (lambda[best] >= 0) return void(std::printf("every neuron is splitting stable (E3)\n"));
      if (round == splits) return;
      std::vector<char> split(lambda.size(), 0);
      split[best] = 1;
      network = split_network(*network, {split}, index.v, {epsilon});
      std::printf("split neuron %zu: loss change predicted %.4e, measured %.4e\n", best + 1,
                  epsilon * epsilon / 2 * lambda[best], loss_and_gradient(*network, line) - stuck);
    }
  });
}
