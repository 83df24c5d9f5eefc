#include "tensor/ops.h"

namespace fission::ops {
namespace {

// the operands of one operation lie on one backend and have one real type
Backend& common(const char* op, std::initializer_list<const Tensor*> tensors) {
  const Tensor* first = *tensors.begin();
  for (const Tensor* t : tensors) {
    FISSION_CHECK(*t, "[", op, "] a null tensor");
    FISSION_CHECK(&t->backend() == &first->backend(), "[", op, "] operands on ",
                  t->backend().name(), " and ", first->backend().name());
    FISSION_CHECK(t->dtype() == first->dtype(), "[", op, "] operands of type ", name_of(t->dtype()),
                  " and ", name_of(first->dtype()));
  }
  return first->backend();
}

void check_norm(const char* op, const Tensor& y, const NormTensors& n) {
  Index c = y.dim(y.shape().rank() - 1);
  common(op, {&y, &n.mean, &n.var, &n.gamma, &n.beta});
  FISSION_CHECK(n.mean.shape().rank() == 2 && n.mean.shape() == n.var.shape() &&
                    n.mean.dim(1) == c && n.gamma.shape() == Shape({c}) &&
                    n.beta.shape() == Shape({c}) && y.dim(0) % n.mean.dim(0) == 0,
                "[", op, "] input ", y.shape(), ", statistics ", n.mean.shape(), " ", n.var.shape(),
                ", gamma ", n.gamma.shape(), ", beta ", n.beta.shape());
}

Shape conv_shape(const char* op, const Shape& x, const Shape& w, const Conv2dGeometry& g) {
  FISSION_CHECK(x.rank() == 4 && w.rank() == 4 && w[1] == g.kernel && w[2] == g.kernel, "[", op,
                "] input ", x, ", filter ", w, ", kernel ", g.kernel);
  FISSION_CHECK(x[3] == w[3], "[", op, "] input ", x, ", filter ", w, ": ", x[3],
                " channels in, filter wants ", w[3]);
  FISSION_CHECK(g.out(x[1]) > 0 && g.out(x[2]) > 0, "[", op, "] input ", x, ", filter ", w,
                ": no output position");
  return {x[0], g.out(x[1]), g.out(x[2]), w[0]};
}

Shape depthwise_shape(const char* op, const Shape& x, const Shape& w, const Conv2dGeometry& g) {
  FISSION_CHECK(x.rank() == 4 && w.rank() == 3 && w[0] == g.kernel && w[1] == g.kernel &&
                    w[2] == x[3] && g.out(x[1]) > 0 && g.out(x[2]) > 0,
                "[", op, "] input ", x, ", filter ", w, ", kernel ", g.kernel);
  return {x[0], g.out(x[1]), g.out(x[2]), x[3]};
}

void check_like(const char* op, const Tensor& a, const Tensor& b) {
  FISSION_CHECK(a.shape() == b.shape(), "[", op, "] ", a.shape(), " and ", b.shape());
}

void check_labels(const char* op, const Tensor& logits, const Tensor& labels) {
  FISSION_CHECK(logits.shape().rank() == 2 && labels.dtype() == DType::i32 &&
                    labels.shape() == Shape({logits.dim(0)}),
                "[", op, "] logits ", logits.shape(), ", labels ", name_of(labels.dtype()),
                labels.shape());
}

void check_rows(const char* op, const Tensor& rows) {
  FISSION_CHECK(rows.dtype() == DType::i32 && rows.shape().rank() == 2 && rows.dim(1) == 2, "[", op,
                "] rows ", name_of(rows.dtype()), rows.shape());
}

}  // namespace

void fill(Tensor& out, double value) { out.backend().fill(out, value); }
Tensor zeros(Backend& backend, const Shape& shape, DType dtype) {
  Tensor t(backend, shape, dtype);
  fill(t, 0);
  return t;
}
Tensor zeros_like(const Tensor& x) { return zeros(x.backend(), x.shape(), x.dtype()); }

void add(const Tensor& a, const Tensor& b, Tensor& out) {
  check_like("add", a, b);
  check_like("add", a, out);
  common("add", {&a, &b, &out}).add(out, a, b);
}
void add_scaled(Tensor& out, const Tensor& x, double alpha) {
  check_like("add_scaled", out, x);
  common("add_scaled", {&out, &x}).add_scaled(out, x, alpha);
}
Tensor normalise_images(const Tensor& images, const Tensor& mean, const Tensor& std) {
  FISSION_CHECK(images.dtype() == DType::u8 && images.shape().rank() == 4 &&
                    mean.shape() == Shape({images.dim(3)}) && std.shape() == mean.shape(),
                "[normalise_images] images ", name_of(images.dtype()), images.shape(), ", mean ",
                mean.shape(), ", std ", std.shape());
  Tensor out(images.backend(), images.shape(), mean.dtype());
  common("normalise_images", {&mean, &std, &out}).normalise_images(out, images, mean, std);
  return out;
}

Tensor conv2d(const Tensor& x, const Tensor& w, const Conv2dGeometry& g) {
  Shape shape = conv_shape("conv2d", x.shape(), w.shape(), g);
  Backend& b = common("conv2d", {&x, &w});
  Tensor y(b, shape, x.dtype());
  b.conv2d(x, w, g, y);
  return y;
}
Tensor conv2d_backward_data(const Tensor& dy, const Tensor& w, const Conv2dGeometry& g,
                            const Shape& x) {
  FISSION_CHECK(dy.shape() == conv_shape("conv2d_backward_data", x, w.shape(), g),
                "[conv2d_backward_data] gradient ", dy.shape(), ", filter ", w.shape(), ", input ",
                x);
  Backend& b = common("conv2d_backward_data", {&dy, &w});
  Tensor dx(b, x, dy.dtype());
  b.conv2d_backward_data(dy, w, g, dx);
  return dx;
}
void conv2d_backward_filter(const Tensor& x, const Tensor& dy, const Conv2dGeometry& g,
                            Tensor& dw) {
  FISSION_CHECK(dy.shape() == conv_shape("conv2d_backward_filter", x.shape(), dw.shape(), g),
                "[conv2d_backward_filter] gradient ", dy.shape(), ", filter ", dw.shape(),
                ", input ", x.shape());
  common("conv2d_backward_filter", {&x, &dy, &dw}).conv2d_backward_filter(x, dy, g, dw);
}
void add_bias(Tensor& y, const Tensor& b) {
  FISSION_CHECK(y.shape().rank() > 0 && b.shape() == Shape({y.dim(y.shape().rank() - 1)}),
                "[add_bias] ", y.shape(), ", bias ", b.shape());
  common("add_bias", {&y, &b}).add_bias(y, b);
}
void sum_rows(const Tensor& y, Tensor& out) {
  FISSION_CHECK(y.shape().rank() > 0 && out.shape() == Shape({y.dim(y.shape().rank() - 1)}),
                "[sum_rows] ", y.shape(), " to ", out.shape());
  common("sum_rows", {&y, &out}).sum_rows(y, out);
}

Tensor depthwise(const Tensor& y, const NormTensors* norm, const Tensor& w,
                 const Conv2dGeometry& g) {
  Shape shape = depthwise_shape("depthwise", y.shape(), w.shape(), g);
  Backend& b = common("depthwise", {&y, &w});
  if (norm) check_norm("depthwise", y, *norm);
  Tensor out(b, shape, y.dtype());
  Norm view = norm ? norm->view() : Norm();
  b.depthwise(y, norm ? &view : nullptr, w, g, out);
  return out;
}
Tensor depthwise_tangent(const Tensor& y, const NormTensors& norm, const Tensor& u, const Tensor& w,
                         const Conv2dGeometry& g) {
  Shape shape = depthwise_shape("depthwise_tangent", y.shape(), w.shape(), g);
  Backend& b = common("depthwise_tangent", {&y, &u, &w});
  check_norm("depthwise_tangent", y, norm);
  check_like("depthwise_tangent", u, y);
  Tensor out(b, shape, y.dtype());
  b.depthwise_tangent(y, norm.view(), u, w, g, out);
  return out;
}
void depthwise_backward(const Tensor& y, const NormTensors* norm, const Tensor& w,
                        const Tensor& dout, const Conv2dGeometry& g, Tensor* da, Tensor* dw) {
  FISSION_CHECK(dout.shape() == depthwise_shape("depthwise_backward", y.shape(), w.shape(), g),
                "[depthwise_backward] gradient ", dout.shape(), ", filter ", w.shape(), ", input ",
                y.shape());
  if (norm) check_norm("depthwise_backward", y, *norm);
  if (da) check_like("depthwise_backward", *da, y);
  if (dw) check_like("depthwise_backward", *dw, w);
  Norm view = norm ? norm->view() : Norm();
  common("depthwise_backward", {&y, &w, &dout})
      .depthwise_backward(y, norm ? &view : nullptr, w, dout, g, da ? da->view() : View(),
                          dw ? dw->view() : View());
}

void depthwise_norm_backward(const Tensor& y, const NormTensors& norm, const Tensor& w,
                             const Tensor& dout, const Conv2dGeometry& g, Tensor& dy,
                             Tensor& dgamma, Tensor& dbeta, Tensor& dw) {
  const char* op = "depthwise_norm_backward";
  FISSION_CHECK(dout.shape() == depthwise_shape(op, y.shape(), w.shape(), g), "[", op,
                "] gradient ", dout.shape(), ", filter ", w.shape(), ", input ", y.shape());
  check_norm(op, y, norm);
  check_like(op, dy, y);
  check_like(op, dw, w);
  check_like(op, dgamma, norm.gamma);
  check_like(op, dbeta, norm.beta);
  common(op, {&y, &w, &dout, &dy, &dgamma, &dbeta, &dw})
      .depthwise_norm_backward(y, norm.view(), norm.training, w, dout, g, dy, dgamma, dbeta, dw);
}

void moments(const Tensor& y, Index groups, Tensor& mean, Tensor& var) {
  FISSION_CHECK(y.shape().rank() == 4 && groups > 0 && y.dim(0) % groups == 0, "[moments] input ",
                y.shape(), ", ", groups, " groups");
  mean = Tensor(y.backend(), {groups, y.dim(3)}, y.dtype());
  var = mean.like();
  y.backend().moments(y, mean, var);
}
void update_running(Tensor& running_mean, Tensor& running_var, const Tensor& mean,
                    const Tensor& var, double momentum, Index count) {
  FISSION_CHECK(mean.shape().rank() == 2 && mean.shape() == var.shape() &&
                    running_mean.shape() == Shape({mean.dim(1)}) &&
                    running_var.shape() == running_mean.shape() && count > 1,
                "[update_running] running ", running_mean.shape(), ", batch ", mean.shape(), ", ",
                count, " values a channel (the unbiased variance wants 2)");
  common("update_running", {&running_mean, &running_var, &mean, &var})
      .update_running(running_mean, running_var, mean, var, momentum, count);
}
Tensor norm_act(const Tensor& y, const NormTensors& norm) {
  check_norm("norm_act", y, norm);
  Tensor a = y.like();
  y.backend().norm_act(y, norm.view(), a);
  return a;
}
void norm_act_backward(const Tensor& da, const Tensor& y, const NormTensors& norm, bool training,
                       Tensor& dy, Tensor* dgamma, Tensor* dbeta) {
  check_norm("norm_act_backward", y, norm);
  check_like("norm_act_backward", da, y);
  check_like("norm_act_backward", dy, y);
  if (dgamma) check_like("norm_act_backward", *dgamma, norm.gamma);
  if (dbeta) check_like("norm_act_backward", *dbeta, norm.beta);
  common("norm_act_backward", {&da, &y, &dy})
      .norm_act_backward(da, y, norm.view(), training, dy, dgamma ? dgamma->view() : View(),
                         dbeta ? dbeta->view() : View());
}
void probe_activation(const Tensor& delta, const Tensor& y, const NormTensors& norm,
                      const Curvature& k, const Tensor& u, const Tensor* h, Tensor& out,
                      Tensor* dy) {
  check_norm("probe_activation", y, norm);
  for (const Tensor* t :
       {&delta, &u, h, static_cast<const Tensor*>(&out), static_cast<const Tensor*>(dy)})
    if (t) check_like("probe_activation", *t, y), common("probe_activation", {&y, t});
  y.backend().probe_activation(delta, y, norm.view(), k, u, h ? h->view() : View(), out,
                               dy ? dy->view() : View());
}

Tensor average_pool(const Tensor& x, const PoolGeometry& g) {
  FISSION_CHECK(x.shape().rank() == 4 && g.out(x.dim(1)) > 0 && g.out(x.dim(2)) > 0,
                "[average_pool] input ", x.shape(), ", window ", g.window);
  Tensor y(x.backend(), {x.dim(0), g.out(x.dim(1)), g.out(x.dim(2)), x.dim(3)}, x.dtype());
  x.backend().average_pool(x, g, y);
  return y;
}
Tensor average_pool_backward(const Tensor& dy, const PoolGeometry& g, const Shape& x) {
  FISSION_CHECK(dy.shape() == Shape({x[0], g.out(x[1]), g.out(x[2]), x[3]}),
                "[average_pool_backward] gradient ", dy.shape(), ", input ", x);
  Tensor dx(dy.backend(), x, dy.dtype());
  dy.backend().average_pool_backward(dy, g, dx);
  return dx;
}
void softmax_cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing,
                           Tensor& loss, Tensor& dlogits) {
  check_labels("softmax_cross_entropy", logits, labels);
  loss = Tensor(logits.backend(), {1}, logits.dtype());
  dlogits = logits.like();
  logits.backend().softmax_cross_entropy(logits, labels, smoothing, loss, dlogits);
}
void count_hits(const Tensor& logits, const Tensor& labels, Tensor& hits) {
  check_labels("count_hits", logits, labels);
  FISSION_CHECK(hits.dtype() == DType::i32 && hits.shape() == Shape({2}), "[count_hits] hits ",
                name_of(hits.dtype()), hits.shape());
  logits.backend().count_hits(logits, labels, hits);
}

void sgd(Tensor& p, Tensor& g, Tensor& buffer, const Tensor& lr, double momentum, double decay,
         Index decayed, bool nesterov) {
  check_like("sgd", p, g);
  check_like("sgd", p, buffer);
  FISSION_CHECK(lr.numel() == 1 && decayed >= 0 && decayed <= p.numel(), "[sgd] lr ", lr.shape(),
                ", decayed ", decayed, " of ", p.shape());
  common("sgd", {&p, &g, &buffer, &lr}).sgd(p, g, buffer, lr, momentum, decay, decayed, nesterov);
}
void rmsprop(Tensor& p, const Tensor& g, Tensor& s, Tensor& b, const Tensor& lr, double alpha,
             double momentum, double eps) {
  check_like("rmsprop", p, g);
  check_like("rmsprop", p, s);
  check_like("rmsprop", p, b);
  FISSION_CHECK(lr.numel() == 1, "[rmsprop] lr ", lr.shape());
  common("rmsprop", {&p, &g, &s, &b, &lr}).rmsprop(p, g, s, b, lr, alpha, momentum, eps);
}
void rayleigh(const Tensor& v, const Tensor& s_v, const Tensor& rows, Tensor& quotient,
              Tensor& gradient) {
  check_like("rayleigh", v, s_v);
  check_like("rayleigh", v, gradient);
  check_rows("rayleigh", rows);
  FISSION_CHECK(quotient.shape() == Shape({rows.dim(0)}), "[rayleigh] ", rows.dim(0),
                " rows, quotients ", quotient.shape());
  common("rayleigh", {&v, &s_v, &quotient, &gradient}).rayleigh(v, s_v, rows, quotient, gradient);
}
void normalise_rows(Tensor& v, const Tensor& rows) {
  check_rows("normalise_rows", rows);
  v.backend().normalise_rows(v, rows);
}
Tensor gather(const Tensor& in, const Tensor& row, const Tensor& row_scale, const Tensor& column,
              const Tensor& column_scale) {
  FISSION_CHECK(
      in.shape().rank() == 3 && row.dtype() == DType::i32 && column.dtype() == DType::i32 &&
          row.shape() == row_scale.shape() && column.shape() == column_scale.shape() &&
          row.shape().rank() == 1 && column.shape().rank() == 1,
      "[gather] input ", in.shape(), ", rows ", row.shape(), ", columns ", column.shape());
  Tensor out(in.backend(), {row.numel(), in.dim(1), column.numel()}, in.dtype());
  common("gather", {&in, &row_scale, &column_scale})
      .gather(in, row, row_scale, column, column_scale, out);
  return out;
}

}  // namespace fission::ops
