// Small networks with everything in it drawn at random (batch norms too), for tests of the method's
// theory.
#pragma once
#include "split/probe.h"
#include "split/surgery.h"
#include "tensor/random.h"
#include "tests/reference_file.h"

namespace fission::testing {

inline Tensor random_flat(const Network& network, std::uint64_t item) {
  std::vector<double> v(network.parameter_count());
  Random random(17, random_purpose::test, item);
  for (std::size_t i = 0; i < v.size(); i++) v[i] = random.normal(i);
  return make_real(network.backend(), {network.parameter_count()}, v, network.dtype());
}

// Batch norms with statistics and parameters drawn at random
inline void randomise_norms(Network& network) {
  for (std::size_t i = 0; i < network.stored().size(); i++) {
    const Stored& s = network.stored()[i];
    if (s.kind != Stored::vector) continue;
    Random random(11, random_purpose::test, i);
    std::vector<double> values(s.shape.numel());
    bool variance = s.name.find("running_var") != std::string::npos,
         gamma = !variance && s.name.find(".weight") != std::string::npos;
    for (std::size_t j = 0; j < values.size(); j++)
      values[j] =
          variance ? 0.3 + 0.4 * random.uniform(j) : (gamma ? 1.3 : 0) + 0.3 * random.normal(j);
    Tensor place = s.value;
    place.copy_from(make_real(network.backend(), s.shape, values, network.dtype()));
  }
}

inline const std::vector<Index> small_v1{3, 4, 3, 5, 4, 3, 4, 3, 3, 4, 3, 3, 4, 5};
inline const std::vector<Index> small_v2{3, 2, 4, 3, 5, 2, 4, 3, 3, 4, 5, 3, 4, 3, 3, 2, 5, 3,
                                         4, 3, 3, 4, 5, 3, 4, 3, 3, 2, 4, 3, 5, 3, 4, 3, 5};
inline const std::vector<std::vector<Index>> small_models{small_v1, small_v2};

using Masks = std::vector<std::vector<char>>;
inline Masks random_masks(const Network& network,
                          std::uint64_t item) {  // about half of all neurons
  Masks m;
  Random random(19, random_purpose::test, item);
  std::size_t i = 0;
  for (const Axis& a : network.axes()) {
    m.emplace_back(a.width, 0);
    for (char& c : m.back()) c = char(random.below(i++, 2));
  }
  return m;
}

struct Small {
  std::unique_ptr<Network> network;
  Tensor x, y;
  explicit Small(const Machine& m = machines()[0], Activation activation = Activation::swish,
                 const std::vector<Index>& widths = small_v1) {
    NetworkConfig c;
    bool v2 = widths.size() == small_v2.size();
    if (v2) c.model = "mobilenet_v2";
    c.widths = widths, c.classes = 4, c.size = 16, c.activation = activation;
    network = make_network(c, m.backend, m.type, 7);
    randomise_norms(*network);
    if (v2) {  // its own initialisation of the classifier, 0.01, would make gradients of that size
      const Stored& s = network->stored()[network->stored().size() - 2];
      Tensor weight = s.value;
      ops::add_scaled(weight, weight.clone(), 29);
    }
    std::vector<double> images(3 * 16 * 16 * 3);
    Random random(13, random_purpose::test);
    for (std::size_t i = 0; i < images.size(); i++) images[i] = random.normal(i);
    x = make_real(m.backend, {3, 16, 16, 3}, images, m.type);
    y = Tensor::from(m.backend, {3}, std::vector<std::int32_t>{0, 3, 1});
    if (!v2) return;
    // 52 layers and ten sums deep, drawn statistics would let signals grow 10⁶-fold: they go 0.9 of
    // the way to the images' own
    GradientMode none(Gradients::none);
    network->set_training(true);
    for (int i = 0; i < 20; i++) network->forward(Variable(x));
    network->set_training(false);
  }
  Tensor products(const Tensor& v, Matrix matrix, Curvature curvature = {}) {
    Tensor s_v = network->like_parameters();
    splitting_products(*network, x, y, v, {matrix, curvature, 0}, s_v);
    return s_v;
  }
  Tensor logits(Network& n) const {
    GradientMode none(Gradients::none);
    n.set_training(false);
    return n.forward(Variable(x)).value();
  }
  double loss(Network& n) const {
    GradientMode none(Gradients::none);
    return cross_entropy(Variable(logits(n)), y, 0).value().item();
  }
  using Masks = testing::Masks;
  Masks nobody() const {
    Masks m;
    for (const Axis& a : network->axes()) m.emplace_back(a.width, 0);
    return m;
  }
  Masks everybody() const {
    Masks m = nobody();
    for (auto& layer : m) layer.assign(layer.size(), 1);
    return m;
  }
  Masks some(std::uint64_t item) const { return random_masks(*network, item); }
  // Σ over the split neurons of vᵀ S v, v normalised
  double form(const Tensor& v, const Masks& split, Matrix matrix) {
    Tensor unit = v.clone();
    ops::normalise_rows(unit, network->neuron_rows());
    Tensor s_v = products(unit, matrix);
    double sum = 0;
    for (std::size_t l = 0; l < split.size(); l++) {
      std::vector<double> p = of_axis(*network, l, unit), q = of_axis(*network, l, s_v);
      std::size_t d = p.size() / split[l].size();
      for (std::size_t i = 0; i < p.size(); i++) sum += split[l][i / d] ? p[i] * q[i] : 0;
    }
    return sum;
  }
  // the loss change of a real split over what E2 and E4 predict
  double ratio(const Tensor& v, const Masks& split, double epsilon, Matrix matrix = Matrix::chain,
               SplitStep step = SplitStep::exact) {
    double change = loss(*split_network(*network, split, v, {epsilon, step})) - loss(*network);
    return change / (epsilon * epsilon / 2 * form(v, split, matrix));
  }
};

// two batches of different size, of images drawn
class TwoBatches : public BatchSource {
 public:
  explicit TwoBatches(Backend& backend, Index first = 2, Index second = 1) {
    for (Index n : {first, second}) {
      std::vector<std::uint8_t> bytes(std::size_t(n * 16 * 16 * 3));
      Random random(7, random_purpose::test, std::uint64_t(n));
      for (std::size_t i = 0; i < bytes.size(); i++)
        bytes[i] = std::uint8_t(256 * random.uniform(i));
      batches_.push_back(
          {Tensor::from(backend, {n, 16, 16, 3}, bytes),
           Tensor::from(backend, {n}, std::vector<std::int32_t>(std::size_t(n), 1))});
    }
  }
  Index size() const override { return batches_[0].labels.numel() + batches_[1].labels.numel(); }
  Index steps() const override { return 2; }
  Batch next(Index, Index step) override { return batches_[std::size_t(step)]; }

 private:
  std::vector<Batch> batches_;
};

}  // namespace fission::testing
