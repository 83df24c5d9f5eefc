// CheckBackend (`--device check`): runs every operation on an inner backend, and on the reference
// over copies of the inputs taken to the host beforehand, and compares all outputs. A mismatch
// throws, naming the operation, the shapes, the worst element, what was expected, what came, and
// the tolerance. It overrides every pure virtual, so that an operation left out here does not
// compile. Slow, by intention: it is a harness.
#pragma once
#include <set>

#include "tensor/backend.h"
#include "tensor/reference/reference.h"

namespace fission {

class CheckBackend : public Backend {
 public:
  explicit CheckBackend(Backend& inner) : inner_(inner) {}
  std::string name() const override { return "check(" + inner_.name() + ")"; }
  bool supports(DType type) const override { return inner_.supports(type); }
  const std::set<std::string>& exercised() const {
    return exercised_;
  }  // the operations that have run, by name

  Arena& arena(Memory kind) override { return inner_.arena(kind); }
  void copy(void* to, const void* from, std::size_t bytes, Direction direction,
            Queue queue) override;
  std::unique_ptr<Event> record(Queue queue) override { return inner_.record(queue); }
  void wait(Queue queue, const Event& event) override { inner_.wait(queue, event); }
  void wait_on_host(const Event& event) override { inner_.wait_on_host(event); }
  void synchronize() override { inner_.synchronize(); }

  void fill(View out, double value) override;
  void add(View out, View a, View b) override;
  void add_scaled(View out, View x, double alpha) override;
  void normalise_pictures(View out, View pictures, View mean, View std) override;

  void conv2d(View x, View w, const Conv2dGeometry& g, View y) override;
  void conv2d_backward_data(View dy, View w, const Conv2dGeometry& g, View dx) override;
  void conv2d_backward_filter(View x, View dy, const Conv2dGeometry& g, View dw) override;
  void add_bias(View y, View b) override;
  void sum_rows(View y, View out) override;

  void depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) override;
  void depthwise_tangent(View y, const Norm& norm, View u, View w, const Conv2dGeometry& g,
                         View out) override;
  void depthwise_backward(View y, const Norm* norm, View w, View dout, const Conv2dGeometry& g,
                          View da, View dw) override;
  void depthwise_norm_backward(View y, const Norm& norm, bool training, View w, View dout,
                               const Conv2dGeometry& g, View dy, View dgamma, View dbeta,
                               View dw) override;

  void moments(View y, View mean, View var) override;
  void update_running(View running_mean, View running_var, View mean, View var, double momentum,
                      Index count) override;
  void norm_act(View y, const Norm& norm, View a) override;
  void norm_act_backward(View da, View y, const Norm& norm, bool training, View dy, View dgamma,
                         View dbeta) override;
  void curvature_product(View delta, View y, const Norm& norm, const Curvature& k, View u,
                         View out) override;
  void probe_activation(View delta, View y, const Norm& norm, const Curvature& k, View u, View h,
                        View out, View dy) override;

  void average_pool(View x, const PoolGeometry& g, View y) override;
  void average_pool_backward(View dy, const PoolGeometry& g, View dx) override;
  void softmax_cross_entropy(View logits, View labels, double smoothing, View loss,
                             View dlogits) override;
  void count_hits(View logits, View labels, View hits) override;

  void sgd(View p, View g, View momentum_buffer, View lr, double momentum, double decay,
           Index decayed, bool nesterov) override;
  void rmsprop(View p, View g, View s, View b, View lr, double alpha, double momentum,
               double eps) override;
  void rayleigh(View v, View s_v, View rows, View quotient, View gradient) override;
  void normalise_rows(View v, View rows) override;
  void gather(View in, View row, View row_scale, View column, View column_scale, View out) override;
  void sum_over_processes(View x, double weight, Comm& comm) override {
    inner_.sum_over_processes(x, weight, comm);
  }  // no operation of one device

 private:
  friend class Comparison;
  Backend& inner_;
  ReferenceBackend reference_;
  std::set<std::string> exercised_;
};

}  // namespace fission
