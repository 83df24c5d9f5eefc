#include "split/probe.h"

namespace fission {
namespace {

// What one axis's neurons go through: the producer (dense convolution, φ₁), then the chain's
// depthwise blocks (φ₂ …). Backward reaches the last activation first. There the tangents of the
// whole chain are made,
//     u₁ = conv(x, V),   u_k = dw_k(φ'(z_{k−1}) ⊙ c_{k−1} ⊙ u_{k−1}),   so that J_k v = c_k u_k,
// and as backward passes each activation with its gradient δ_k,
//     (E6c)  g_k = δ_k ⊙ φ''(z_k) ⊙ c_k² ⊙ u_k  +  φ'(z_k) ⊙ c_k ⊙ dw_{k+1}ᵀ(g_{k+1}).
// At the first activation (E9)  S·v = conv_backward_filter(x, g₁). That is E8, the gradient of E7's
// y at y = 0; neither y nor a patch of x is ever made.
struct AxisProbe {
  std::vector<TraceEntry> chain;  // chain[0]: the producer
  Tensor v, s_v;                  // (O,K,K,I): the directions as filters, and where S·v goes
  Curvature curvature;
  Tensor x;               // the producer's input, held from the tangents to E9
  std::vector<Tensor> u;  // tangents
  Tensor g;               // g_{k+1} on the way down

  void make_tangents() {
    x = chain[0].x.value();
    chain[0].x.drop();
    u.push_back(ops::conv2d(x, v, chain[0].block->geometry));
    for (std::size_t k = 1; k < chain.size(); k++) {
      const TraceEntry& before = chain[k - 1];
      u.push_back(ops::depthwise_tangent(before.y.value(), *before.a.norm, u[k - 1],
                                         chain[k].block->w.value(), chain[k].block->geometry));
    }
  }

  // in the place of the activation's own backward rule
  void at_activation(std::size_t k, Tensor delta) {
    if (u.empty()) make_tangents();
    const TraceEntry& e = chain[k];
    Tensor h;
    if (g) {
      const ConvBlock& next = *chain[k + 1].block;
      h = e.y.value().like();
      ops::depthwise_backward(e.y.value(), nullptr, next.w.value(), g, next.geometry, &h, nullptr);
    }
    Tensor dy = delta.unique() ? delta : delta.like();
    g = std::move(u[k]);  // g_k is written where u_k lies
    ops::probe_activation(delta, e.y.value(), *e.a.norm, curvature, g, h ? &h : nullptr, g, &dy);
    if (k == 0) ops::conv2d_backward_filter(x, g, e.block->geometry, s_v);
    e.y.accumulate(std::move(dy));
  }
};

Tensor own_products(Network& network, const Tensor& x, const Tensor& labels, const Tensor& v,
                    const ProbeSettings& settings, Tensor& s_v) {
  GradientMode activations_only(Gradients::activations);
  network.set_training(false);
  Trace trace;
  Loss loss = cross_entropy(network.forward(Variable(x), &trace), labels, settings.smoothing);
  for (const Axis& axis : network.axes()) {
    auto probe = std::make_shared<AxisProbe>();
    const Stored& weight = network.stored()[network.producer(axis).weight];
    probe->v = network.view(weight, v), probe->s_v = network.view(weight, s_v);
    probe->curvature = settings.curvature;
    probe->chain.push_back(trace[axis.producer]);
    if (settings.matrix == Matrix::chain)
      for (int block : axis.chain) probe->chain.push_back(trace[block]);
    for (std::size_t k = 0; k < probe->chain.size(); k++)
      probe->chain[k].a.replace_backward(
          [probe, k](Tensor delta) { probe->at_activation(k, std::move(delta)); });
  }
  trace.clear();
  backward(loss);
  return loss.value();
}

}  // namespace

double splitting_macs(const Network& network, Matrix matrix) {
  const std::vector<LayerShape> layers = network.layer_shapes(network.widths());
  double total = -layers[0].macs();
  for (std::size_t l = 0; l < layers.size(); l++) {
    const bool splits = l < network.blocks().size() && !network.blocks()[l].depthwise;
    const bool chain = matrix == Matrix::chain && layers[l].kind == LayerShape::depthwise;
    total += (splits || chain ? 4 : 2) * layers[l].macs();
  }
  return total;
}

Tensor splitting_products(Network& network, const Tensor& x, const Tensor& labels, const Tensor& v,
                          const ProbeSettings& settings, Tensor& s_v, const BatchShare& share) {
  const Index n = labels.dim(0);
  Tensor loss = n > 0 ? own_products(network, x, labels, v, settings, s_v)
                      : ops::zeros(network.backend(), {1}, network.dtype());
  share.average(s_v, n);
  return loss;
}

}  // namespace fission
