// Every operation as a free function over tensors: checks the shapes (the message shows them),
// makes the output, and hands over to the tensors' backend. Formulas: backend.h. Shapes: legend in
// tensor.h.
#pragma once
#include "tensor/backend.h"
#include "tensor/tensor.h"

namespace fission {

// Batch norm's tensors, kept alive; as the backend sees them: view().
struct NormTensors {
  Tensor mean, var;    // (G,C)
  Tensor gamma, beta;  // (C)
  double eps = 1e-5;
  Activation activation = Activation::none;
  bool training =
      false;  // mean and var are those of the very input: a gradient goes through them too
  Norm view() const { return {mean, var, gamma, beta, eps, activation}; }
};

namespace ops {

void fill(Tensor& out, double value);
Tensor zeros(Backend& backend, const Shape& shape, DType dtype);
Tensor zeros_like(const Tensor& x);
void add(const Tensor& a, const Tensor& b, Tensor& out);      // same shapes
void add_scaled(Tensor& out, const Tensor& x, double alpha);  // out += alpha x
Tensor normalise_images(const Tensor& images, const Tensor& mean,
                        const Tensor& std);  // (N,H,W,C) u8, (C), (C) → (N,H,W,C) of mean's type

Tensor conv2d(const Tensor& x, const Tensor& w,
              const Conv2dGeometry& g);  // (N,H,W,I), (O,K,K,I) → (N,H',W',O)
Tensor conv2d_backward_data(const Tensor& dy, const Tensor& w, const Conv2dGeometry& g,
                            const Shape& x);  // → (N,H,W,I)
void conv2d_backward_filter(const Tensor& x, const Tensor& dy, const Conv2dGeometry& g,
                            Tensor& dw);      // → (O,K,K,I)
void add_bias(Tensor& y, const Tensor& b);    // (…,C) += (C)
void sum_rows(const Tensor& y, Tensor& out);  // (…,C) → (C)

Tensor depthwise(const Tensor& y, const NormTensors* norm, const Tensor& w,
                 const Conv2dGeometry& g);  // (N,H,W,C), (K,K,C) → (N,H',W',C)
Tensor depthwise_tangent(const Tensor& y, const NormTensors& norm, const Tensor& u, const Tensor& w,
                         const Conv2dGeometry& g);  // the same, u like y
void depthwise_backward(const Tensor& y, const NormTensors* norm, const Tensor& w,
                        const Tensor& dout, const Conv2dGeometry& g, Tensor* da,
                        Tensor* dw);  // either may be null
// both backward steps at once; norm.training says whether the gradient goes through the statistics
void depthwise_norm_backward(const Tensor& y, const NormTensors& norm, const Tensor& w,
                             const Tensor& dout, const Conv2dGeometry& g, Tensor& dy,
                             Tensor& dgamma, Tensor& dbeta, Tensor& dw);

void moments(const Tensor& y, Index groups, Tensor& mean,
             Tensor& var);  // (N,H,W,C) → (G,C), (G,C); makes them
void update_running(Tensor& running_mean, Tensor& running_var, const Tensor& mean,
                    const Tensor& var, double momentum, Index count);
Tensor norm_act(const Tensor& y, const NormTensors& norm);  // (N,H,W,C)
void norm_act_backward(const Tensor& da, const Tensor& y, const NormTensors& norm, bool training,
                       Tensor& dy, Tensor* dgamma, Tensor* dbeta);
// h and dy may be null; out may be u, dy may be delta
void probe_activation(const Tensor& delta, const Tensor& y, const NormTensors& norm,
                      const Curvature& k, const Tensor& u, const Tensor* h, Tensor& out,
                      Tensor* dy);

Tensor average_pool(const Tensor& x, const PoolGeometry& g);  // (N,H,W,C) → (N,H',W',C)
Tensor average_pool_backward(const Tensor& dy, const PoolGeometry& g, const Shape& x);
void softmax_cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing,
                           Tensor& loss, Tensor& dlogits);  // (N,C), (N) → (1), (N,C); makes them
void count_hits(const Tensor& logits, const Tensor& labels,
                Tensor& hits);  // hits (2) i32: top-1 and top-5, added to

void sgd(Tensor& p, Tensor& g, Tensor& buffer, const Tensor& lr, double momentum, double decay,
         Index decayed, bool nesterov);
void rmsprop(Tensor& p, const Tensor& g, Tensor& s, Tensor& b, const Tensor& lr, double alpha,
             double momentum, double eps);
void rayleigh(const Tensor& v, const Tensor& s_v, const Tensor& rows, Tensor& quotient,
              Tensor& gradient);
void normalise_rows(Tensor& v, const Tensor& rows);
Tensor gather(const Tensor& in, const Tensor& row, const Tensor& row_scale, const Tensor& column,
              const Tensor& column_scale);  // (R,K,C) → (R',K,C')

}  // namespace ops
}  // namespace fission
