// A test's own network, whose first axis has a chain of one, two or three activations: dense 3×3
// with stride 2 → 0, 1 or 2 depthwise 3×3 (the second with stride 2) → dense 1×1 → pool → linear.
// And a split of it that shares
// nothing with split/surgery: one neuron, tensor by tensor.
#pragma once
#include "tests/small_network.h"

namespace fission::testing {

class ChainNetwork : public Network {
 public:
  ChainNetwork(int activations, std::vector<Index> widths, const Machine& m, Activation activation)
      : Network(config_of(std::move(widths), activation), m.backend, m.type),
        activations(activations) {
    Index side = config().size;
    int first = add_axis("first", 64, 0), second = add_axis("second", 64, 0);
    add_block("a", "a.bn", -1, first, false, {3, 2, 1}, activation, side);
    for (int k = 1; k < activations; k++)
      add_block("dw" + std::to_string(k), "dw.bn" + std::to_string(k), first, first, true,
                {3, k == 2 ? 2 : 1, 1}, activation, side);
    add_block("b", "b.bn", first, second, false, {1, 1, 0}, activation, side);
    classifier_ = add_linear("linear", second, config().classes);
    allocate();
    bind(classifier_);
    initialise(3);
    randomise_norms(*this);
  }
  Variable forward(const Variable& x, Trace* trace = nullptr) override {
    NormAct a(x);
    for (ConvBlock& block : blocks_) a = block(a, trace);
    Variable mean = average_pool(a, {a.shape()[1], 1});
    return classifier_(reshape(mean, {mean.shape()[0], mean.shape()[3]}));
  }
  const int activations;

 private:
  static NetworkConfig config_of(std::vector<Index> widths, Activation activation) {
    NetworkConfig c;
    c.widths = std::move(widths), c.classes = 4, c.size = 12, c.activation = activation;
    return c;
  }
  LinearLayer classifier_;
};

struct ChainCase {
  Machine m;
  ChainNetwork network;
  Tensor x, y;
  ChainCase(const Machine& m, int activations, Activation activation = Activation::swish)
      : m(m), network(activations, {3, 4}, m, activation) {
    std::vector<double> images(5 * 12 * 12 * 3);
    Random random(13, random_purpose::test);
    for (std::size_t i = 0; i < images.size(); i++) images[i] = random.normal(i);
    x = make_real(m.backend, {5, 12, 12, 3}, images, m.type);
    y = Tensor::from(m.backend, {5}, std::vector<std::int32_t>{0, 3, 1, 2, 3});
  }
  double loss(Network& n) const {
    GradientMode none(Gradients::none);
    n.set_training(false);
    return cross_entropy(n.forward(Variable(x)), y, 0).value().item();
  }
  // The loss after neuron `o` of the first axis became w + ε u and w − ε u, entries (d) as its row
  // lies
  double split_loss(std::size_t o, const std::vector<double>& u, double epsilon) const {
    std::vector<Index> widths = network.widths();
    widths[0]++;
    ChainNetwork grown(network.activations, widths, m, network.config().activation);
    for (std::size_t i = 0; i < network.stored().size(); i++) {
      const Stored &old = network.stored()[i], &now = grown.stored()[i];
      std::vector<double> in = old.value.to_host(), out;
      if (old.first.axis == 0) {  // a row more
        std::size_t row = in.size() / std::size_t(old.shape[0]);
        out = in;
        out.insert(out.end(), in.begin() + o * row, in.begin() + (o + 1) * row);
        if (old.first.use == Use::produced)
          for (std::size_t j = 0; j < row; j++)
            out[o * row + j] += epsilon * u[j], out[in.size() + j] -= epsilon * u[j];
      } else if (old.last.axis == 0) {  // a column more; where it is consumed, both are half
        std::size_t c = std::size_t(old.shape[old.shape.rank() - 1]);
        double share = old.last.use == Use::consumed ? 0.5 : 1;
        for (std::size_t j = 0; j < in.size(); j++) {
          out.push_back(in[j] * (j % c == o ? share : 1));
          if (j % c == c - 1) out.push_back(in[j - (c - 1) + o] * share);
        }
      } else {
        out = in;
      }
      Tensor place = now.value;
      place.copy_from(make_real(m.backend, now.shape, out, m.type));
    }
    return loss(grown);
  }
};

}  // namespace fission::testing
