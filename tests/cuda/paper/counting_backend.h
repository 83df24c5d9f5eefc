// CountingBackend: passes each operation on to the CUDA backend, waits for it, and keeps what it
// loaded, stored, computed and launched (paper.cpp's hooks count), beside the least that it could
// have moved: each operand once, and once more for each pass that the operation's definition asks
// for. Dense convolutions are library calls: they do nothing here and count as moving each operand
// once.
#pragma once
#include <vector>

#include "tensor/backend.h"

namespace fission::paper {

struct Count {  // of one operation; bytes of device memory
  std::string operation;
  double loads = 0, stores = 0;                    // as the threads ask for them
  double distinct_loads = 0, distinct_stores = 0;  // each address once a launch
  double least = 0, operations = 0, launches = 0;
  bool library = false;
  double distinct() const { return distinct_loads + distinct_stores; }
};

extern Count* count;          // where the hooks add; null: nowhere
extern long operations_done;  // by kernels, since the start

inline double bytes(const View& v) { return v ? double(v.numel()) * double(size_of(v.dtype)) : 0; }

class CountingBackend : public Backend {
 public:
  explicit CountingBackend(Backend& inner) : inner_(inner) {}
  std::vector<Count> calls;

  std::string name() const override { return inner_.name(); }
  bool supports(DType type) const override { return inner_.supports(type); }
  Arena& arena(Memory kind) override { return inner_.arena(kind); }
  void copy(void* to, const void* from, std::size_t n, Direction direction, Queue queue) override {
    inner_.copy(to, from, n, direction, queue);
    if (direction == Direction::device_to_device) library("copy", 2 * double(n), 0);
  }
  std::unique_ptr<Event> record(Queue queue) override { return inner_.record(queue); }
  void wait(Queue queue, const Event& event) override { inner_.wait(queue, event); }
  void wait_on_host(const Event& event) override { inner_.wait_on_host(event); }
  void synchronize() override { inner_.synchronize(); }

  void fill(View out, double value) override {
    own("fill", {out}, [&] { inner_.fill(out, value); });
  }
  void add(View out, View a, View b) override {
    own("add", {out, a, b}, [&] { inner_.add(out, a, b); });
  }
  void add_scaled(View out, View x, double alpha) override {
    own("add_scaled", {out, out, x}, [&] { inner_.add_scaled(out, x, alpha); });
  }
  void normalise_pictures(View out, View pictures, View mean, View std) override {
    own("normalise_pictures", {out, pictures, mean, std},
        [&] { inner_.normalise_pictures(out, pictures, mean, std); });
  }

  void conv2d(View x, View w, const Conv2dGeometry&, View y) override { dense(x, w, y); }
  void conv2d_backward_data(View dy, View w, const Conv2dGeometry&, View dx) override {
    dense(dx, w, dy);
  }
  void conv2d_backward_filter(View x, View dy, const Conv2dGeometry&, View dw) override {
    dense(x, dw, dy);
  }
  void add_bias(View y, View b) override {
    own("add_bias", {y, y, b}, [&] { inner_.add_bias(y, b); });
  }
  void sum_rows(View y, View out) override {
    own("sum_rows", {y, out}, [&] { inner_.sum_rows(y, out); });
  }

  void depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) override {
    own("depthwise", {y, w, out}, [&] { inner_.depthwise(y, norm, w, g, out); });
  }
  void depthwise_tangent(View y, const Norm& norm, View u, View w, const Conv2dGeometry& g,
                         View out) override {
    own("depthwise_tangent", {y, u, w, out},
        [&] { inner_.depthwise_tangent(y, norm, u, w, g, out); });
  }
  void depthwise_backward(View y, const Norm* norm, View w, View dout, const Conv2dGeometry& g,
                          View da, View dw) override {
    own("depthwise_backward", {dw ? y : View(), w, dout, da, dw},
        [&] { inner_.depthwise_backward(y, norm, w, dout, g, da, dw); });
  }
  void depthwise_norm_backward(View y, const Norm& norm, bool training, View w, View dout,
                               const Conv2dGeometry& g, View dy, View dgamma, View dbeta,
                               View dw) override {
    own("depthwise_norm_backward",
        {y, y, w, w, dout, dout, dy, dgamma, dbeta,
         dw},  // dy needs sums over all of dz: two passes
        [&] {
          inner_.depthwise_norm_backward(y, norm, training, w, dout, g, dy, dgamma, dbeta, dw);
        });
  }

  void moments(View y, View mean, View var) override {
    own("moments", {y, mean, var}, [&] { inner_.moments(y, mean, var); });
  }
  void update_running(View running_mean, View running_var, View mean, View var, double momentum,
                      Index n) override {
    own("update_running", {running_mean, running_var, running_mean, running_var, mean, var},
        [&] { inner_.update_running(running_mean, running_var, mean, var, momentum, n); });
  }
  void norm_act(View y, const Norm& norm, View a) override {
    own("norm_act", {y, a}, [&] { inner_.norm_act(y, norm, a); });
  }
  void norm_act_backward(View da, View y, const Norm& norm, bool training, View dy, View dgamma,
                         View dbeta) override {
    const bool two = training || dgamma || dbeta;
    own("norm_act_backward", {da, y, two ? da : View(), two ? y : View(), dy, dgamma, dbeta},
        [&] { inner_.norm_act_backward(da, y, norm, training, dy, dgamma, dbeta); });
  }
  void curvature_product(View delta, View y, const Norm& norm, const Curvature& k, View u,
                         View out) override {
    own("curvature_product", {delta, y, u, out},
        [&] { inner_.curvature_product(delta, y, norm, k, u, out); });
  }
  void probe_activation(View delta, View y, const Norm& norm, const Curvature& k, View u, View h,
                        View out, View dy) override {
    own("probe_activation", {delta, y, u, h, out, dy},
        [&] { inner_.probe_activation(delta, y, norm, k, u, h, out, dy); });
  }

  void average_pool(View x, const PoolGeometry& g, View y) override {
    own("average_pool", {x, y}, [&] { inner_.average_pool(x, g, y); });
  }
  void average_pool_backward(View dy, const PoolGeometry& g, View dx) override {
    own("average_pool_backward", {dy, dx}, [&] { inner_.average_pool_backward(dy, g, dx); });
  }
  void softmax_cross_entropy(View logits, View labels, double smoothing, View loss,
                             View dlogits) override {
    own("softmax_cross_entropy", {logits, labels, loss, dlogits},
        [&] { inner_.softmax_cross_entropy(logits, labels, smoothing, loss, dlogits); });
  }
  void count_hits(View logits, View labels, View hits) override {
    own("count_hits", {logits, labels, hits}, [&] { inner_.count_hits(logits, labels, hits); });
  }

  void sgd(View p, View g, View b, View lr, double momentum, double decay, Index decayed,
           bool nesterov) override {
    own("sgd", {p, p, g, b, b, lr},
        [&] { inner_.sgd(p, g, b, lr, momentum, decay, decayed, nesterov); });
  }
  void rmsprop(View p, View g, View s, View b, View lr, double alpha, double momentum,
               double eps) override {
    own("rmsprop", {p, p, g, s, s, b, b, lr},
        [&] { inner_.rmsprop(p, g, s, b, lr, alpha, momentum, eps); });
  }
  void rayleigh(View v, View s_v, View rows, View quotient, View gradient) override {
    own("rayleigh", {v, s_v, rows, quotient, gradient},
        [&] { inner_.rayleigh(v, s_v, rows, quotient, gradient); });
  }
  void normalise_rows(View v, View rows) override {
    own("normalise_rows", {v, v, rows}, [&] { inner_.normalise_rows(v, rows); });
  }
  void gather(View in, View row, View row_scale, View column, View column_scale,
              View out) override {
    own("gather", {in, row, row_scale, column, column_scale, out},
        [&] { inner_.gather(in, row, row_scale, column, column_scale, out); });
  }

  void sum_over_processes(View x, double weight, Comm& comm) override {
    inner_.sum_over_processes(x, weight, comm);
  }  // of one process: not counted

 private:
  template <class Run>
  void own(const char* operation, const std::vector<View>& operands, const Run& run) {
    Count c;
    c.operation = operation;
    for (const View& v : operands) c.least += bytes(v);
    inner_.synchronize();
    const long before = operations_done;
    count = &c;
    run();
    inner_.synchronize();
    count = nullptr;
    c.operations = double(operations_done - before);
    calls.push_back(c);
  }
  void library(const char* operation, double moved, double operations) {
    Count c;
    c.operation = operation, c.least = c.loads = c.distinct_loads = moved,
    c.operations = operations, c.launches = 1, c.library = true;
    calls.push_back(c);
  }
  void dense(View x, View w, View y) {  // w (O,K,K,I)
    const bool point = w.shape[1] == 1;
    library(point ? "pointwise convolutions and classifier" : "first convolution",
            bytes(x) + bytes(w) + bytes(y),
            2.0 * double(y.numel()) * double(w.numel() / w.shape[0]));
  }
  Backend& inner_;
};

}  // namespace fission::paper
