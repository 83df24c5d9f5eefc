// The operations of backend.h as a list, for all code that repeats them:
// X(name, (parameters), (arguments), (outputs)). An operation that is only half written does not
// compile.
#pragma once
#include "tensor/backend.h"

// clang-format off
#define FISSION_OPERATIONS(X) \
  X(fill, (View out, double value), (out, value), (out)) \
  X(add, (View out, View a, View b), (out, a, b), (out)) \
  X(add_scaled, (View out, View x, double alpha), (out, x, alpha), (out)) \
  X(normalise_images, (View out, View images, View mean, View std), (out, images, mean, std), (out)) \
  X(conv2d, (View x, View w, const Conv2dGeometry& g, View y), (x, w, g, y), (y)) \
  X(conv2d_backward_data, (View dy, View w, const Conv2dGeometry& g, View dx), (dy, w, g, dx), (dx)) \
  X(conv2d_backward_filter, (View x, View dy, const Conv2dGeometry& g, View dw), (x, dy, g, dw), (dw)) \
  X(add_bias, (View y, View b), (y, b), (y)) \
  X(sum_rows, (View y, View out), (y, out), (out)) \
  X(depthwise, (View y, const Norm* norm, View w, const Conv2dGeometry& g, View out), (y, norm, w, g, out), (out)) \
  X(depthwise_tangent, (View y, const Norm& norm, View u, View w, const Conv2dGeometry& g, View out), (y, norm, u, w, g, out), (out)) \
  X(depthwise_backward, (View y, const Norm* norm, View w, View dout, const Conv2dGeometry& g, View da, View dw), (y, norm, w, dout, g, da, dw), (da, dw)) \
  X(depthwise_norm_backward, (View y, const Norm& norm, bool training, View w, View dout, const Conv2dGeometry& g, View dy, View dgamma, View dbeta, View dw), (y, norm, training, w, dout, g, dy, dgamma, dbeta, dw), (dy, dgamma, dbeta, dw)) \
  X(moments, (View y, View mean, View var), (y, mean, var), (mean, var)) \
  X(update_running, (View running_mean, View running_var, View mean, View var, double momentum, Index count), (running_mean, running_var, mean, var, momentum, count), (running_mean, running_var)) \
  X(norm_act, (View y, const Norm& norm, View a), (y, norm, a), (a)) \
  X(norm_act_backward, (View da, View y, const Norm& norm, bool training, View dy, View dgamma, View dbeta), (da, y, norm, training, dy, dgamma, dbeta), (dy, dgamma, dbeta)) \
  X(probe_activation, (View delta, View y, const Norm& norm, const Curvature& k, View u, View h, View out, View dy), (delta, y, norm, k, u, h, out, dy), (out, dy)) \
  X(average_pool, (View x, const PoolGeometry& g, View y), (x, g, y), (y)) \
  X(average_pool_backward, (View dy, const PoolGeometry& g, View dx), (dy, g, dx), (dx)) \
  X(softmax_cross_entropy, (View logits, View labels, double smoothing, View loss, View dlogits), (logits, labels, smoothing, loss, dlogits), (loss, dlogits)) \
  X(count_hits, (View logits, View labels, View hits), (logits, labels, hits), (hits)) \
  X(sgd, (View p, View g, View momentum_buffer, View lr, double momentum, double decay, Index decayed, bool nesterov), (p, g, momentum_buffer, lr, momentum, decay, decayed, nesterov), (p, momentum_buffer)) \
  X(rmsprop, (View p, View g, View s, View b, View lr, double alpha, double momentum, double eps), (p, g, s, b, lr, alpha, momentum, eps), (p, s, b)) \
  X(rayleigh, (View v, View s_v, View rows, View quotient, View gradient), (v, s_v, rows, quotient, gradient), (quotient, gradient)) \
  X(normalise_rows, (View v, View rows), (v, rows), (v)) \
  X(gather, (View in, View row, View row_scale, View column, View column_scale, View out), (in, row, row_scale, column, column_scale, out), (out))
// clang-format on

// in a class that implements all of them:  FISSION_OPERATIONS(FISSION_OVERRIDE)
#define FISSION_OVERRIDE(name, parameters, arguments, outputs) void name parameters override;
