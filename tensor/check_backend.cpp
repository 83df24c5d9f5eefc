#include "tensor/check_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <vector>

namespace fission {
namespace {

double value_at(const View& v, Index i) {
  switch (v.dtype) {
    case DType::f32: return v.as<float>()[i];
    case DType::f64: return v.as<double>()[i];
    case DType::i32: return v.as<std::int32_t>()[i];
    case DType::u8: return v.as<std::uint8_t>()[i];
  }
  return 0;
}
double unit_of(const View& v) {  // half the distance from 1 to the next number
  return v.dtype == DType::f32 ? std::ldexp(1, -24) : v.dtype == DType::f64 ? std::ldexp(1, -53) : 0;
}
double peak(const View& v) {  // max |v|, over what is finite
  double most = 0;
  for (Index i = 0; v && i < v.numel(); i++)
    if (std::isfinite(value_at(v, i))) most = std::max(most, std::abs(value_at(v, i)));
  return most;
}
double rms(const View& v) {
  double sum = 0;
  for (Index i = 0; i < v.numel(); i++) sum += value_at(v, i) * value_at(v, i);
  return v.numel() ? std::sqrt(sum / double(v.numel())) : 0;
}
// what a sum of products of two tensors' values comes to when the signs are random
double random_sum(double terms, const View& a, const View& b) { return std::sqrt(terms) * rms(a) * rms(b); }

// How large the numbers are that meet in z = c y + b and in x̂ = (y − mean)/√(var + eps): rounding is relative to
// these, not to z and x̂, which may come out small. And where ReLU's φ' may go either way, because z rounds to 0.
struct NormSize {
  double z = 0, c = 0, x_hat = 0;
  std::vector<bool> kink;
  double kink_sum = 0;  // Σ |da| there
};
NormSize size_of_norm(const View& y, const Norm& norm, const View& da = {}) {
  NormSize size;
  Index groups = norm.mean.shape[0], channels = norm.mean.shape[1], group = y.numel() / groups;
  if (norm.activation == Activation::relu) size.kink.resize(y.numel());
  for (Index i = 0; i < y.numel(); i++) {
    Index s = i / group * channels + i % channels;
    double istd = 1 / std::sqrt(value_at(norm.var, s) + norm.eps), c = value_at(norm.gamma, i % channels) * istd;
    double beta = value_at(norm.beta, i % channels), mean = value_at(norm.mean, s), value = value_at(y, i);
    double z = std::abs(c) * (std::abs(value) + std::abs(mean)) + std::abs(beta);
    size.z = std::max(size.z, z);
    size.c = std::max(size.c, std::abs(c));
    size.x_hat = std::max(size.x_hat, istd * (std::abs(value) + std::abs(mean)));
    if (size.kink.empty() || std::abs(c * (value - mean) + beta) > 16 * unit_of(y) * z) continue;
    size.kink[i] = true;
    if (da) size.kink_sum += std::abs(value_at(da, i));
  }
  return size;
}

std::string position(const Shape& shape, Index i) {
  Shape at = shape;
  for (int d = shape.rank() - 1; d >= 0; d--) at[d] = i % shape[d], i /= shape[d];
  return at.str();
}

struct Output {
  const char* name;
  View view;
  double terms = 1;  // how many are added up for one element
  double scale = 0;  // rounding is relative to this, or to max|expected| where that is more
  double slack = 0;  // absolute, on top
  const std::vector<bool>* skip = nullptr;  // elements that may be anything
};
constexpr double anything = std::numeric_limits<double>::infinity();  // as scale: the output is scratch

}  // namespace

// One operation: copies of its inputs and outputs are taken at construction, run() runs it on both and compares.
// Outputs that are not among the inputs are filled with NaN first: what isn't written, or is read before, shows.
class Comparison {
 public:
  Comparison(CheckBackend& check, const char* op, std::vector<View> inputs, std::vector<Output> outputs, const Norm* norm = nullptr)
      : check_(check), op_(op), inputs_(std::move(inputs)), outputs_(std::move(outputs)) {
    check_.exercised_.insert(op);
    if (norm) inputs_.insert(inputs_.end(), {norm->mean, norm->var, norm->gamma, norm->beta});
    check_.inner_.synchronize();
    for (const View& v : inputs_) keep(v);
    for (const Output& o : outputs_)
      if (o.view && !copy_of(o.view)) {
        std::memset(o.view.data, 0xff, bytes(o.view));  // NaN, or −1
        keep(o.view);
      }
  }

  // call(backend, at): at() gives a view, or a norm, as that backend is to see it
  template <class Call>
  void run(const Call& call) {
    call(check_.inner_, At{nullptr});
    check_.inner_.synchronize();
    call(check_.reference_, At{this});
    for (const View& v : inputs_) {
      bool output = false;
      for (const Output& o : outputs_) output = output || o.view.data == v.data;
      FISSION_CHECK(!v || output || !std::memcmp(v.data, copy_of(v), bytes(v)), describe(), ": the input ", v.shape, " was overwritten");
    }
    for (const Output& o : outputs_)
      if (o.view && o.scale != anything) compare(o);
  }

 private:
  struct At {
    const Comparison* copies;  // null: the views themselves
    View operator()(View v) const {
      if (copies && v) v.data = copies->copy_of(v);
      return v;
    }
    Norm operator()(const Norm& n) const {
      Norm m = n;
      for (View* v : {&m.mean, &m.var, &m.gamma, &m.beta}) *v = (*this)(*v);
      return m;
    }
  };
  struct Copy {
    const void* original;
    std::vector<char> data;
  };
  static std::size_t bytes(const View& v) { return v.numel() * size_of(v.dtype); }
  void keep(const View& v) {
    auto* p = static_cast<const char*>(v.data);
    if (!v || copy_of(v)) return;
    copies_.push_back({p, std::vector<char>(p, p + bytes(v))});
    copies_.back().data.push_back(0);  // never empty, so that its data is not null
  }
  void* copy_of(const View& v) const {
    for (const Copy& c : copies_)
      if (c.original == v.data) return const_cast<char*>(c.data.data());
    return nullptr;
  }
  std::string describe() const {
    std::string s = text("[check] ", op_, " on ", check_.inner_.name(), ", inputs");
    for (const View& v : inputs_) s += " " + (v ? name_of(v.dtype) + v.shape.str() : "null");
    return s;
  }

  // |got − expected| ≤ 8u (4 + √n) scale. u: unit_of(). A running sum of n terms rounds n times, each time
  // by up to u times the sum so far; as the signs of these errors are random, they add up to about u √n times what
  // the sum comes to (or would, if its terms had random signs: `scale`, where a sum happens to cancel). 8: the worst
  // of many elements is a few times the usual error. 4: the handful of roundings, and of exp, in a formula without a
  // sum. The reference's own error, in double, does not count. Whole numbers are compared exactly.
  void compare(const Output& o) const {
    View expected = o.view;
    expected.data = copy_of(o.view);
    double scale = std::max(peak(expected), o.scale);
    double tolerance = 8 * unit_of(o.view) * (4 + std::sqrt(o.terms)) * scale + o.slack;
    Index worst = -1;
    double distance = 0;
    for (Index i = 0; i < o.view.numel(); i++) {
      double want = value_at(expected, i), got = value_at(o.view, i);
      if (want == got || (want != want && got != got) || (o.skip && !o.skip->empty() && (*o.skip)[i])) continue;
      double d = std::abs(want - got);
      if (!(d <= distance)) worst = i, distance = d == d ? d : anything;  // a NaN that is not expected is the worst
    }
    FISSION_CHECK(worst < 0 || distance <= tolerance, describe(), ": ", o.name, " ", o.view.shape, " at ", position(o.view.shape, worst),
                  ": expected ", value_at(expected, worst), ", got ", value_at(o.view, worst), ", tolerance ", tolerance, " for sums of ",
                  o.terms, " and size ", scale);
  }

  CheckBackend& check_;
  const char* op_;
  std::vector<View> inputs_;
  std::vector<Output> outputs_;
  std::vector<Copy> copies_;
};

void CheckBackend::copy(void* to, const void* from, std::size_t bytes, Direction direction, Queue queue) {
  inner_.copy(to, from, bytes, direction, queue);
}

void CheckBackend::fill(View out, double value) {
  Comparison(*this, "fill", {}, {{"out", out}}).run([&](Backend& b, auto at) { b.fill(at(out), value); });
}
void CheckBackend::add(View out, View a, View b) {
  Comparison(*this, "add", {a, b}, {{"out", out, 1, peak(a)}}).run([&](Backend& k, auto at) { k.add(at(out), at(a), at(b)); });
}
void CheckBackend::add_scaled(View out, View x, double alpha) {
  Comparison(*this, "add_scaled", {out, x}, {{"out", out, 1, peak(out)}}).run([&](Backend& b, auto at) { b.add_scaled(at(out), at(x), alpha); });
}
void CheckBackend::normalise_pictures(View out, View pictures, View mean, View std) {
  double least = anything;
  for (Index i = 0; i < std.numel(); i++) least = std::min(least, value_at(std, i));
  Comparison(*this, "normalise_pictures", {pictures, mean, std}, {{"out", out, 1, (1 + peak(mean)) / least}}).run([&](Backend& b, auto at) {
    b.normalise_pictures(at(out), at(pictures), at(mean), at(std));
  });
}

void CheckBackend::conv2d(View x, View w, const Conv2dGeometry& g, View y) {
  double n = double(g.kernel * g.kernel * x.shape[3]);
  Comparison(*this, "conv2d", {x, w}, {{"y", y, n, random_sum(n, x, w)}}).run([&](Backend& b, auto at) { b.conv2d(at(x), at(w), g, at(y)); });
}
void CheckBackend::conv2d_backward_data(View dy, View w, const Conv2dGeometry& g, View dx) {
  double n = double(g.kernel * g.kernel * w.shape[0]);
  Comparison(*this, "conv2d_backward_data", {dy, w}, {{"dx", dx, n, random_sum(n, dy, w)}}).run([&](Backend& b, auto at) {
    b.conv2d_backward_data(at(dy), at(w), g, at(dx));
  });
}
void CheckBackend::conv2d_backward_filter(View x, View dy, const Conv2dGeometry& g, View dw) {
  double n = double(dy.shape[0] * dy.shape[1] * dy.shape[2]);
  Comparison(*this, "conv2d_backward_filter", {x, dy}, {{"dw", dw, n, random_sum(n, x, dy)}}).run([&](Backend& b, auto at) {
    b.conv2d_backward_filter(at(x), at(dy), g, at(dw));
  });
}
void CheckBackend::add_bias(View y, View b) {
  Comparison(*this, "add_bias", {y, b}, {{"y", y, 1, peak(y)}}).run([&](Backend& k, auto at) { k.add_bias(at(y), at(b)); });
}
void CheckBackend::sum_rows(View y, View out) {
  double n = double(y.numel()) / double(std::max<Index>(out.numel(), 1));
  Comparison(*this, "sum_rows", {y}, {{"out", out, n, std::sqrt(n) * rms(y)}}).run([&](Backend& b, auto at) { b.sum_rows(at(y), at(out)); });
}

void CheckBackend::depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) {
  double n = double(g.kernel * g.kernel), size = norm ? size_of_norm(y, *norm).z : rms(y);
  Comparison(*this, "depthwise", {y, w}, {{"out", out, n, std::sqrt(n) * rms(w) * size}}, norm).run([&](Backend& b, auto at) {
    Norm as_seen = norm ? at(*norm) : Norm();
    b.depthwise(at(y), norm ? &as_seen : nullptr, at(w), g, at(out));
  });
}
void CheckBackend::depthwise_backward(View y, const Norm* norm, View w, View dout, const Conv2dGeometry& g, View da, View dw) {
  double taps = double(g.kernel * g.kernel), places = double(dout.shape[0] * dout.shape[1] * dout.shape[2]);
  double size = norm ? size_of_norm(y, *norm).z : rms(y);
  Comparison(*this, "depthwise_backward", {y, w, dout},
             {{"da", da, taps, random_sum(taps, w, dout)}, {"dw", dw, places, std::sqrt(places) * rms(dout) * size}}, norm)
      .run([&](Backend& b, auto at) {
        Norm as_seen = norm ? at(*norm) : Norm();
        b.depthwise_backward(at(y), norm ? &as_seen : nullptr, at(w), at(dout), g, at(da), at(dw));
      });
}

void CheckBackend::depthwise_norm_backward(View y, const Norm& norm, bool training, View w, View dout, const Conv2dGeometry& g, View dy, View dgamma,
                                           View dbeta, View dw) {
  std::vector<double> memory(y.numel());  // how large the gradient is between the two steps
  View da{memory.data(), y.dtype, y.shape};
  reference_.depthwise_backward(y, &norm, w, dout, g, da, View());
  NormSize s = size_of_norm(y, norm, da);
  double taps = double(w.shape[0] * w.shape[1]), n = double(y.numel()) / double(norm.gamma.numel()), in_group = n / double(norm.mean.shape[0]);
  double size = std::max(peak(da), std::sqrt(taps) * rms(w) * rms(dout)), sum = std::sqrt(n) * size;
  double off = (40 + taps) * unit_of(y) * (s.z + s.x_hat), kink_mean = s.kink_sum / in_group * (1 + s.x_hat * s.x_hat);
  Comparison(*this, "depthwise_norm_backward", {y, w, dout},
             {{"dy", dy, training ? in_group : taps, s.c * size, s.c * (off * size + (training ? kink_mean : 0)), &s.kink},
              {"dgamma", dgamma, n, sum, off * sum + s.kink_sum * s.x_hat},
              {"dbeta", dbeta, n, sum, off * sum + s.kink_sum},
              {"dw", dw, double(dout.numel()) / double(y.shape[3]), random_sum(double(dout.numel()) / double(y.shape[3]), dout, y) * s.c + s.z * rms(dout)}}, &norm)
      .run([&](Backend& b, auto at) { b.depthwise_norm_backward(at(y), at(norm), training, at(w), at(dout), g, at(dy), at(dgamma), at(dbeta), at(dw)); });
}

void CheckBackend::moments(View y, View mean, View var) {
  double n = double(y.numel()) / double(mean.numel());
  // the mean's size is that of the values; the variance has no such excuse: it must not be found as E[y²] − mean²
  Comparison(*this, "moments", {y}, {{"mean", mean, n, peak(y)}, {"var", var, n}}).run([&](Backend& b, auto at) {
    b.moments(at(y), at(mean), at(var));
  });
}
void CheckBackend::update_running(View running_mean, View running_var, View mean, View var, double momentum, Index count) {
  double n = double(mean.shape[0]), size = peak(running_mean) + peak(mean);
  Comparison(*this, "update_running", {running_mean, running_var, mean, var},
             {{"running_mean", running_mean, n, size}, {"running_var", running_var, n}})
      .run([&](Backend& b, auto at) { b.update_running(at(running_mean), at(running_var), at(mean), at(var), momentum, count); });
}
void CheckBackend::norm_act(View y, const Norm& norm, View a) {
  Comparison(*this, "norm_act", {y}, {{"a", a, 1, size_of_norm(y, norm).z}}, &norm).run([&](Backend& b, auto at) {
    b.norm_act(at(y), at(norm), at(a));
  });
}
void CheckBackend::norm_act_backward(View da, View y, const Norm& norm, bool training, View dy, View dgamma, View dbeta) {
  NormSize s = size_of_norm(y, norm, da);
  double n = double(y.numel()) / double(norm.gamma.numel()), in_group = n / double(norm.mean.shape[0]), sum = std::sqrt(n) * rms(da);
  // On top of the sums' own rounding: dz and x̂ are off by a few units of what meets in them (|φ''| ≤ ½), and at a
  // kink dz may be 0 or da, which reaches the rest of its group through two means.
  double off = 40 * unit_of(y) * (s.z + s.x_hat), kink_mean = s.kink_sum / in_group * (1 + s.x_hat * s.x_hat);
  Comparison(*this, "norm_act_backward", {da, y},
             {{"dy", dy, training ? in_group : 1, s.c * peak(da), s.c * (off * peak(da) + (training ? kink_mean : 0)), &s.kink},
              {"dgamma", dgamma, n, sum, off * sum + s.kink_sum * s.x_hat},
              {"dbeta", dbeta, n, sum, off * sum + s.kink_sum}}, &norm)
      .run([&](Backend& b, auto at) { b.norm_act_backward(at(da), at(y), at(norm), training, at(dy), at(dgamma), at(dbeta)); });
}
void CheckBackend::curvature_product(View delta, View y, const Norm& norm, const Curvature& k, View u, View out) {
  NormSize s = size_of_norm(y, norm);
  double sharp = norm.activation == Activation::relu ? k.relu_beta : 1;  // how much faster φ'' changes than z
  Comparison(*this, "curvature_product", {delta, y, u}, {{"out", out, 1, peak(delta) * s.c * s.c * peak(u) * (1 + sharp * s.z)}}, &norm)
      .run([&](Backend& b, auto at) { b.curvature_product(at(delta), at(y), at(norm), k, at(u), at(out)); });
}
void CheckBackend::tangent(View y, const Norm& norm, View u, bool accumulate, View out) {
  NormSize s = size_of_norm(y, norm);
  std::vector<View> inputs = {y, u};
  if (accumulate) inputs.push_back(out);
  double before = accumulate ? peak(out) : 0;
  Comparison(*this, "tangent", inputs, {{"out", out, 1, before + s.c * peak(u) * (1 + s.z), 0, &s.kink}}, &norm).run([&](Backend& b, auto at) {
    b.tangent(at(y), at(norm), at(u), accumulate, at(out));
  });
}

void CheckBackend::probe_activation(View delta, View y, const Norm& norm, const Curvature& k, View u, View h, View out, View dy) {
  NormSize s = size_of_norm(y, norm);
  double sharp = norm.activation == Activation::relu ? k.relu_beta : 1, product = peak(delta) * s.c * s.c * peak(u) * (1 + sharp * s.z);
  Comparison(*this, "probe_activation", {delta, y, u, h},
             {{"out", out, 1, product + s.c * peak(h) * (1 + s.z), 0, h ? &s.kink : nullptr}, {"dy", dy, 1, s.c * peak(delta) * (1 + s.z), 0, &s.kink}}, &norm)
      .run([&](Backend& b, auto at) { b.probe_activation(at(delta), at(y), at(norm), k, at(u), at(h), at(out), at(dy)); });
}

void CheckBackend::average_pool(View x, const PoolGeometry& g, View y) {
  Comparison(*this, "average_pool", {x}, {{"y", y, double(g.window * g.window), rms(x)}}).run([&](Backend& b, auto at) {
    b.average_pool(at(x), g, at(y));
  });
}
void CheckBackend::average_pool_backward(View dy, const PoolGeometry& g, View dx) {
  double n = double(g.window * g.window);
  Comparison(*this, "average_pool_backward", {dy}, {{"dx", dx, n, rms(dy) / n}}).run([&](Backend& b, auto at) {
    b.average_pool_backward(at(dy), g, at(dx));
  });
}
void CheckBackend::softmax_cross_entropy(View logits, View labels, double smoothing, View loss, View dlogits) {
  double n = double(logits.shape[0]), classes = double(logits.shape[1]), size = peak(logits) + std::log(classes);
  Comparison(*this, "softmax_cross_entropy", {logits, labels}, {{"loss", loss, n * classes, size}, {"dlogits", dlogits, classes, (1 + size) / n}})
      .run([&](Backend& b, auto at) { b.softmax_cross_entropy(at(logits), at(labels), smoothing, at(loss), at(dlogits)); });
}
void CheckBackend::count_hits(View logits, View labels, View hits) {
  Comparison(*this, "count_hits", {logits, labels, hits}, {{"hits", hits}}).run([&](Backend& b, auto at) {
    b.count_hits(at(logits), at(labels), at(hits));
  });
}

void CheckBackend::sgd(View p, View g, View buffer, View lr, double momentum, double decay, Index decayed, bool nesterov) {
  double size = peak(g) + decay * peak(p) + peak(buffer);
  Comparison(*this, "sgd", {p, g, buffer, lr},
             {{"p", p, 1, peak(p) + peak(lr) * size}, {"g", g, 1, anything}, {"buffer", buffer, 1, size}})
      .run([&](Backend& b, auto at) { b.sgd(at(p), at(g), at(buffer), at(lr), momentum, decay, decayed, nesterov); });
}
void CheckBackend::rmsprop(View p, View g, View s, View b, View lr, double alpha, double momentum, double eps) {
  Comparison(*this, "rmsprop", {p, g, s, b, lr}, {{"p", p, 1, peak(p)}, {"s", s}, {"b", b, 1, peak(b)}}).run([&](Backend& k, auto at) {
    k.rmsprop(at(p), at(g), at(s), at(b), at(lr), alpha, momentum, eps);
  });
}
void CheckBackend::rayleigh(View v, View s_v, View rows, View quotient, View gradient) {
  double n = 1, quotients = 0, gradients = 0;  // of the largest row: ‖Sv‖/‖v‖, and 2 ‖Sv‖/‖v‖² twice
  for (Index r = 0; r < rows.shape[0]; r++) {
    Index first = Index(value_at(rows, 2 * r)), length = Index(value_at(rows, 2 * r + 1));
    double vv = 0, ss = 0;
    for (Index i = first; i < first + length; i++) vv += std::pow(value_at(v, i), 2), ss += std::pow(value_at(s_v, i), 2);
    n = std::max(n, double(length));
    if (vv > 0) quotients = std::max(quotients, std::sqrt(ss / vv)), gradients = std::max(gradients, 4 * std::sqrt(ss) / vv);
  }
  // what lies outside the rows stays as it is, so the gradient is an input as well
  Comparison(*this, "rayleigh", {v, s_v, rows, gradient}, {{"quotient", quotient, n, quotients}, {"gradient", gradient, n, gradients}})
      .run([&](Backend& b, auto at) { b.rayleigh(at(v), at(s_v), at(rows), at(quotient), at(gradient)); });
}
void CheckBackend::normalise_rows(View v, View rows) {
  double n = double(v.numel()) / double(std::max<Index>(rows.shape[0], 1));
  Comparison(*this, "normalise_rows", {v, rows}, {{"v", v, n}}).run([&](Backend& b, auto at) { b.normalise_rows(at(v), at(rows)); });
}
void CheckBackend::gather(View in, View row, View row_scale, View column, View column_scale, View out) {
  Comparison(*this, "gather", {in, row, row_scale, column, column_scale}, {{"out", out}}).run([&](Backend& b, auto at) {
    b.gather(at(in), at(row), at(row_scale), at(column), at(column_scale), at(out));
  });
}

}  // namespace fission
