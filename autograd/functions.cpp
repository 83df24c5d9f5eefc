#include "autograd/functions.h"

namespace fission {

// y = w * x.   dx = wᵀ * dy (transposed convolution),   dw = Σ_positions dy x
Variable conv2d(const Variable& x, const Variable& w, const Conv2dGeometry& g) {
  Tensor y = ops::conv2d(x.value(), w.value(), g);
  x.drop();
  bool dx = x.requires_grad(), dw = w.requires_grad();
  return make_result(Function::conv2d, y.shape(), {x, w}, y, [=](Tensor dy) {
    if (dw)
      w.accumulate_written(
          [&](Tensor& out) { ops::conv2d_backward_filter(x.value(), dy, g, out); });
    x.drop();
    if (dx) x.accumulate(ops::conv2d_backward_data(dy, w.value(), g, x.shape()));
  });
}

// a = φ(z), z = γ x̂ + β, x̂ = (y − mean)/√(var + eps).
// dz = da φ'(z), dβ = Σ dz, dγ = Σ dz x̂; with the batch's own statistics dy = γ/√(var + eps) (dz −
// mean(dz) − x̂ mean(dz x̂)), with fixed ones dy = γ/√(var + eps) dz.
NormAct batch_norm_act(const Variable& y, const Variable& gamma, const Variable& beta,
                       BatchNormState& state, Activation activation) {
  auto norm = std::make_shared<NormTensors>();
  norm->gamma = gamma.value(), norm->beta = beta.value(), norm->eps = state.eps,
  norm->activation = activation;
  Shape shape = y.shape(), one_group{1, shape[3]};
  bool training = norm->training = state.training;
  if (training) {
    ops::moments(y.value(), state.groups, norm->mean, norm->var);
    Index count = shape.numel() / shape[3] / state.groups;
    ops::update_running(state.running_mean, state.running_var, norm->mean, norm->var,
                        state.momentum, count);
  } else {
    norm->mean = state.running_mean.reshape(one_group),
    norm->var = state.running_var.reshape(one_group);
  }
  bool dparameters = gamma.requires_grad() || beta.requires_grad();
  auto rule = [=](Tensor da) {
    Tensor dy = da.unique() ? da : da.like();
    if (dparameters)
      gamma.accumulate_written([&](Tensor& dg) {
        beta.accumulate_written([&](Tensor& db) {
          ops::norm_act_backward(da, y.value(), *norm, training, dy, &dg, &db);
        });
      });
    else ops::norm_act_backward(da, y.value(), *norm, training, dy, nullptr, nullptr);
    y.accumulate(dy);
  };
  NormAct a(make_result(Function::batch_norm_act, shape, {y, gamma, beta}, Tensor(), rule,
                        [=] { return ops::norm_act(y.value(), *norm); }));
  a.y = y, a.gamma = gamma, a.beta = beta, a.norm = norm;
  return a;
}

// y_c = w_c * x_c for each channel c alone, dx and dw as conv2d's. A batch norm's activation x is
// computed on the way, row by row.
Variable depthwise_conv2d(const NormAct& x, const Variable& w, const Conv2dGeometry& g) {
  const Variable source = x.norm ? x.y : x;
  Tensor y = ops::depthwise(source.value(), x.norm.get(), w.value(), g);
  bool dx = x.requires_grad(), dw = w.requires_grad();
  return make_result(Function::depthwise_conv2d, y.shape(), {x, w}, y, [=](Tensor dy) {
    Tensor from = source.value(), da = dx ? from.like() : Tensor();
    auto run = [&](Tensor* out) {
      ops::depthwise_backward(from, x.norm.get(), w.value(), dy, g, dx ? &da : nullptr, out);
    };
    if (dw) w.accumulate_written([&](Tensor& out) { run(&out); });
    else if (dx) run(nullptr);
    if (dx) x.accumulate(da);
  });
}

// The rules of depthwise_conv2d and batch_norm_act at once, where all that they make is wanted.
Variable norm_act_depthwise(const NormAct& x, const Variable& w, const Conv2dGeometry& g) {
  for (const Variable& v : {x.y, x.gamma, x.beta, w})
    if (!v || !v.requires_grad()) return depthwise_conv2d(x, w, g);
  Tensor out = ops::depthwise(x.y.value(), x.norm.get(), w.value(), g);
  return make_result(
      Function::norm_act_depthwise, out.shape(), {x.y, x.gamma, x.beta, w}, out, [=](Tensor dout) {
        Tensor y = x.y.value(), dy = y.like();
        w.accumulate_written([&](Tensor& dw) {
          x.gamma.accumulate_written([&](Tensor& dgamma) {
            x.beta.accumulate_written([&](Tensor& dbeta) {
              ops::depthwise_norm_backward(y, *x.norm, w.value(), dout, g, dy, dgamma, dbeta, dw);
            });
          });
        });
        x.y.accumulate(dy);
      });
}

// y = x Wᵀ + b, as a 1×1 convolution of one position.   dx = dy W,   dW = dyᵀ x,   db = Σ_n dy
Variable linear(const Variable& x, const Variable& w, const Variable& b) {
  FISSION_CHECK(x.shape().rank() == 2 && w.shape().rank() == 2, "[linear] input ", x.shape(),
                ", weight ", w.shape());
  Conv2dGeometry point;
  Shape x4{x.shape()[0], 1, 1, x.shape()[1]}, w4{w.shape()[0], 1, 1, w.shape()[1]},
      y4{x4[0], 1, 1, w4[0]};
  Tensor y =
      ops::conv2d(x.value().reshape(x4), w.value().reshape(w4), point).reshape({x4[0], w4[0]});
  ops::add_bias(y, b.value());
  bool dx = x.requires_grad(), dw = w.requires_grad(), db = b.requires_grad();
  return make_result(Function::linear, y.shape(), {x, w, b}, y, [=](Tensor dy) {
    if (db) b.accumulate_written([&](Tensor& out) { ops::sum_rows(dy, out); });
    if (dw) {
      w.accumulate_written([&](Tensor& out) {
        Tensor out4 = out.reshape(w4);
        ops::conv2d_backward_filter(x.value().reshape(x4), dy.reshape(y4), point, out4);
      });
    }
    if (dx)
      x.accumulate(ops::conv2d_backward_data(dy.reshape(y4), w.value().reshape(w4), point, x4)
                       .reshape(x.shape()));
  });
}

// y = mean over each window.   dx = dy / window² spread over it
Variable average_pool(const Variable& x, const PoolGeometry& g) {
  Tensor y = ops::average_pool(x.value(), g);
  x.drop();
  Shape shape = x.shape();
  bool dx = x.requires_grad();
  return make_result(Function::average_pool, y.shape(), {x}, y, [=](Tensor dy) {
    if (dx) x.accumulate(ops::average_pool_backward(dy, g, shape));
  });
}

// the same numbers under another shape
Variable reshape(const Variable& x, const Shape& shape) {
  Tensor y = x.value().reshape(shape);
  bool dx = x.requires_grad();
  return make_result(Function::reshape, shape, {x}, y, [=](Tensor dy) {
    if (dx) x.accumulate(dy.reshape(x.shape()));
  });
}

// y = a + b.   da = db = dy
Variable add(const Variable& a, const Variable& b) {
  Tensor y = a.value().like();
  ops::add(a.value(), b.value(), y);
  a.drop(), b.drop();
  bool da = a.requires_grad(), db = b.requires_grad();
  return make_result(Function::add, y.shape(), {a, b}, y, [=](Tensor dy) {
    if (da) a.accumulate(dy);
    if (db) b.accumulate(dy);
  });
}

// L = −(1/N) Σ_n Σ_k t_k log p_k, p = softmax(logits), t = (1 − s) onehot + s/classes.   dlogits =
// (p − t)/N
Loss cross_entropy(const Variable& logits, const Tensor& labels, double smoothing) {
  Tensor loss, dlogits;
  ops::softmax_cross_entropy(logits.value(), labels, smoothing, loss, dlogits);
  bool dx = logits.requires_grad();
  return make_result(Function::cross_entropy, loss.shape(), {logits}, loss,
                     [=](Tensor) {  // dL/dL = 1
                       if (dx) logits.accumulate(dlogits);
                     });
}

}  // namespace fission
