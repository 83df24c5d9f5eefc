// A backend that is wrong in one place: for the test that a comparison finds it, whatever the
// operation.
#pragma once
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tensor/reference/reference.h"

namespace fission::testing {

// The reference with one mistake: 1/1000 of the largest element, in one element of one output of
// one operation.
class Mistaken : public ReferenceBackend {
 public:
  Mistaken(const std::string& operation, int output) : operation_(operation), output_(output) {}
  bool made = false;

  void fill(View out, double value) override {
    ReferenceBackend::fill(out, value), spoil("fill", {out});
  }
  void add(View out, View a, View b) override {
    ReferenceBackend::add(out, a, b), spoil("add", {out});
  }
  void add_scaled(View out, View x, double alpha) override {
    ReferenceBackend::add_scaled(out, x, alpha), spoil("add_scaled", {out});
  }
  void normalise_pictures(View out, View p, View mean, View std) override {
    ReferenceBackend::normalise_pictures(out, p, mean, std), spoil("normalise_pictures", {out});
  }
  void conv2d(View x, View w, const Conv2dGeometry& g, View y) override {
    ReferenceBackend::conv2d(x, w, g, y), spoil("conv2d", {y});
  }
  void conv2d_backward_data(View dy, View w, const Conv2dGeometry& g, View dx) override {
    ReferenceBackend::conv2d_backward_data(dy, w, g, dx), spoil("conv2d_backward_data", {dx});
  }
  void conv2d_backward_filter(View x, View dy, const Conv2dGeometry& g, View dw) override {
    ReferenceBackend::conv2d_backward_filter(x, dy, g, dw), spoil("conv2d_backward_filter", {dw});
  }
  void add_bias(View y, View b) override {
    ReferenceBackend::add_bias(y, b), spoil("add_bias", {y});
  }
  void sum_rows(View y, View out) override {
    ReferenceBackend::sum_rows(y, out), spoil("sum_rows", {out});
  }
  void depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) override {
    ReferenceBackend::depthwise(y, norm, w, g, out), spoil("depthwise", {out});
  }
  void depthwise_tangent(View y, const Norm& norm, View u, View w, const Conv2dGeometry& g,
                         View out) override {
    ReferenceBackend::depthwise_tangent(y, norm, u, w, g, out), spoil("depthwise_tangent", {out});
  }
  void depthwise_backward(View y, const Norm* norm, View w, View dout, const Conv2dGeometry& g,
                          View da, View dw) override {
    ReferenceBackend::depthwise_backward(y, norm, w, dout, g, da, dw),
        spoil("depthwise_backward", {da, dw});
  }
  void depthwise_norm_backward(View y, const Norm& norm, bool training, View w, View dout,
                               const Conv2dGeometry& g, View dy, View dgamma, View dbeta,
                               View dw) override {
    ReferenceBackend::depthwise_norm_backward(y, norm, training, w, dout, g, dy, dgamma, dbeta, dw);
    spoil("depthwise_norm_backward", {dy, dgamma, dbeta, dw});
  }
  void moments(View y, View mean, View var) override {
    ReferenceBackend::moments(y, mean, var), spoil("moments", {mean, var});
  }
  void update_running(View rm, View rv, View mean, View var, double momentum,
                      Index count) override {
    ReferenceBackend::update_running(rm, rv, mean, var, momentum, count),
        spoil("update_running", {rm, rv});
  }
  void norm_act(View y, const Norm& norm, View a) override {
    ReferenceBackend::norm_act(y, norm, a), spoil("norm_act", {a});
  }
  void norm_act_backward(View da, View y, const Norm& norm, bool training, View dy, View dgamma,
                         View dbeta) override {
    ReferenceBackend::norm_act_backward(da, y, norm, training, dy, dgamma, dbeta),
        spoil("norm_act_backward", {dy, dgamma, dbeta});
  }
  void curvature_product(View delta, View y, const Norm& norm, const Curvature& k, View u,
                         View out) override {
    ReferenceBackend::curvature_product(delta, y, norm, k, u, out),
        spoil("curvature_product", {out});
  }
  void probe_activation(View delta, View y, const Norm& norm, const Curvature& k, View u, View h,
                        View out, View dy) override {
    ReferenceBackend::probe_activation(delta, y, norm, k, u, h, out, dy),
        spoil("probe_activation", {out, dy});
  }
  void average_pool(View x, const PoolGeometry& g, View y) override {
    ReferenceBackend::average_pool(x, g, y), spoil("average_pool", {y});
  }
  void average_pool_backward(View dy, const PoolGeometry& g, View dx) override {
    ReferenceBackend::average_pool_backward(dy, g, dx), spoil("average_pool_backward", {dx});
  }
  void softmax_cross_entropy(View logits, View labels, double smoothing, View loss,
                             View dlogits) override {
    ReferenceBackend::softmax_cross_entropy(logits, labels, smoothing, loss, dlogits),
        spoil("softmax_cross_entropy", {loss, dlogits});
  }
  void count_hits(View logits, View labels, View hits) override {
    ReferenceBackend::count_hits(logits, labels, hits), spoil("count_hits", {hits});
  }
  void sgd(View p, View g, View b, View lr, double momentum, double decay, Index decayed,
           bool nesterov) override {
    ReferenceBackend::sgd(p, g, b, lr, momentum, decay, decayed, nesterov), spoil("sgd", {p, b});
  }
  void rmsprop(View p, View g, View s, View b, View lr, double alpha, double momentum,
               double eps) override {
    ReferenceBackend::rmsprop(p, g, s, b, lr, alpha, momentum, eps), spoil("rmsprop", {p, s, b});
  }
  void rayleigh(View v, View s_v, View rows, View quotient, View gradient) override {
    ReferenceBackend::rayleigh(v, s_v, rows, quotient, gradient),
        spoil("rayleigh", {quotient, gradient});
  }
  void normalise_rows(View v, View rows) override {
    ReferenceBackend::normalise_rows(v, rows), spoil("normalise_rows", {v});
  }
  void gather(View in, View row, View row_scale, View column, View column_scale,
              View out) override {
    ReferenceBackend::gather(in, row, row_scale, column, column_scale, out), spoil("gather", {out});
  }

 private:
  void spoil(const std::string& operation, const std::vector<View>& outputs) {
    if (operation != operation_ || output_ >= int(outputs.size()) || !outputs[output_]) return;
    const View& out = outputs[output_];
    if (out.dtype == DType::i32) out.as<std::int32_t>()[0]++, made = true;
    if (out.dtype != DType::f32) return;
    float most = 0;
    for (Index i = 0; i < out.numel(); i++) most = std::max(most, std::abs(out.as<float>()[i]));
    if (most == 0) return;  // as dy is where a channel has one value
    out.as<float>()[out.numel() / 2] += most / 1000;
    made = true;
  }
  std::string operation_;
  int output_;
};

}  // namespace fission::testing
