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
  return v.dtype == DType::f32   ? std::ldexp(1, -24)
         : v.dtype == DType::f64 ? std::ldexp(1, -53)
                                 : 0;
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
double random_sum(double terms, const View& a, const View& b) {
  return std::sqrt(terms) * rms(a) * rms(b);
}

// How large the numbers are that meet in z = c y + b and in x̂ = (y − mean)/√(var + eps): rounding
// is relative to these, not to z and x̂, which may come out small. And where ReLU's φ' may go
// either way, because z rounds to 0.
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
    double istd = 1 / std::sqrt(value_at(norm.var, s) + norm.eps),
           c = value_at(norm.gamma, i % channels) * istd;
    double beta = value_at(norm.beta, i % channels), mean = value_at(norm.mean, s),
           value = value_at(y, i);
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
constexpr double anything =
    std::numeric_limits<double>::infinity();  // as scale: the output is scratch

}  // namespace

// One operation: copies of its inputs are taken to the host at construction, for the reference and
// for the sizes that tolerances are made of (c(view)); run() runs it on both and compares. The
// inner backend's memory is only ever copied, never read. Outputs that are not among the inputs are
// filled with NaN first: what isn't written, or is read before, shows.
class Comparison {
 public:
  Comparison(CheckBackend& check, const char* op, std::vector<View> inputs,
             const Norm* norm = nullptr)
      : check_(check), op_(op), inputs_(std::move(inputs)) {
    check_.exercised_.insert(op);
    if (norm) inputs_.insert(inputs_.end(), {norm->mean, norm->var, norm->gamma, norm->beta});
    for (const View& v : inputs_)
      if (v && !copy_of(v)) copies_.push_back({v.data, fetch(v)});
  }

  View operator()(View v) const {  // as the reference sees it
    if (v) v.data = copy_of(v);
    return v;
  }
  Norm operator()(Norm norm) const {
    for (View* v : {&norm.mean, &norm.var, &norm.gamma, &norm.beta}) *v = (*this)(*v);
    return norm;
  }

  // call(backend, at): at() gives a view, or a norm, as that backend is to see it
  template <class Call>
  void run(std::vector<Output> outputs, const Call& call) {
    for (const Output& o : outputs) {
      if (!o.view || copy_of(o.view)) continue;
      copies_.push_back({o.view.data, Bytes(bytes(o.view) + 1, char(0xff))});  // NaN, or −1
      copy(o.view.data, copy_of(o.view), bytes(o.view), Backend::Direction::host_to_device);
    }
    call(check_.inner_, [](auto view_or_norm) { return view_or_norm; });
    call(check_.reference_, [this](auto view_or_norm) { return (*this)(view_or_norm); });
    for (const View& v : inputs_) {
      bool output = false;
      for (const Output& o : outputs) output = output || o.view.data == v.data;
      FISSION_CHECK(!v || output || fetch(v) == copies_[place_of(v)].data, describe(),
                    ": the input ", v.shape, " was overwritten");
    }
    for (const Output& o : outputs)
      if (o.view && o.scale != anything) compare(o);
  }

 private:
  using Bytes =
      std::vector<char>;  // one more than there are, so that the data of nothing is not null
  struct Copy {
    const void* original;
    Bytes data;
  };
  static std::size_t bytes(const View& v) { return v.numel() * size_of(v.dtype); }
  void copy(void* to, const void* from, std::size_t n, Backend::Direction direction) const {
    check_.inner_.copy(to, from, n, direction, Queue::compute);
    check_.inner_.synchronize();
  }
  Bytes fetch(const View& v) const {
    Bytes data(bytes(v) + 1);
    copy(data.data(), v.data, bytes(v), Backend::Direction::device_to_host);
    return data;
  }
  std::size_t place_of(const View& v) const {
    std::size_t i = 0;
    while (i < copies_.size() && copies_[i].original != v.data) i++;
    return i;
  }
  char* copy_of(const View& v) const {
    std::size_t i = place_of(v);
    return i < copies_.size() ? const_cast<char*>(copies_[i].data.data()) : nullptr;
  }
  std::string describe() const {
    std::string s = text("[check] ", op_, " on ", check_.inner_.name(), ", inputs");
    for (const View& v : inputs_) s += " " + (v ? name_of(v.dtype) + v.shape.str() : "null");
    return s;
  }

  // |got − expected| ≤ 8u (4 + √n) scale. u: unit_of(). A running sum of n terms rounds n times,
  // each time by up to u times the sum so far; as the signs of these errors are random, they add up
  // to about u √n times what the sum comes to (or would, if its terms had random signs: `scale`,
  // where a sum happens to cancel). 8: the worst of many elements is a few times the usual error.
  // 4: the handful of roundings, and of exp, in a formula without a sum. The reference's own error,
  // in double, does not count. Whole numbers are compared exactly.
  void compare(const Output& o) const {
    const Bytes data = fetch(o.view);
    View expected = (*this)(o.view), out = o.view;
    out.data = const_cast<char*>(data.data());
    double scale = std::max(peak(expected), o.scale);
    const double least =
        2 * double(std::numeric_limits<float>::min());  // a backend may take smaller numbers for 0
    double tolerance = 8 * unit_of(out) * (4 + std::sqrt(o.terms)) * scale + o.slack + least;
    Index worst = -1;
    double distance = 0;
    for (Index i = 0; i < out.numel(); i++) {
      double want = value_at(expected, i), got = value_at(out, i);
      if (want == got || (want != want && got != got) ||
          (o.skip && !o.skip->empty() && (*o.skip)[i]))
        continue;
      double d = std::abs(want - got);
      if (!(d <= distance))
        worst = i, distance = d == d ? d : anything;  // a NaN that is not expected is the worst
    }
    FISSION_CHECK(worst < 0 || distance <= tolerance, describe(), ": ", o.name, " ", out.shape,
                  " at ", position(out.shape, worst), ": expected ", value_at(expected, worst),
                  ", got ", value_at(out, worst), ", tolerance ", tolerance, " for sums of ",
                  o.terms, " and size ", scale);
  }

  CheckBackend& check_;
  const char* op_;
  std::vector<View> inputs_;
  std::vector<Copy> copies_;
};

void CheckBackend::copy(void* to, const void* from, std::size_t bytes, Direction direction,
                        Queue queue) {
  inner_.copy(to, from, bytes, direction, queue);
}

void CheckBackend::fill(View out, double value) {
  Comparison c(*this, "fill", {});
  c.run({{"out", out}}, [&](Backend& b, auto at) { b.fill(at(out), value); });
}
void CheckBackend::add(View out, View a, View b) {
  Comparison c(*this, "add", {a, b});
  c.run({{"out", out, 1, peak(c(a))}}, [&](Backend& k, auto at) { k.add(at(out), at(a), at(b)); });
}
void CheckBackend::add_scaled(View out, View x, double alpha) {
  Comparison c(*this, "add_scaled", {out, x});
  c.run({{"out", out, 1, peak(c(out))}},
        [&](Backend& b, auto at) { b.add_scaled(at(out), at(x), alpha); });
}
void CheckBackend::normalise_images(View out, View images, View mean, View std) {
  Comparison c(*this, "normalise_images", {images, mean, std});
  double least = anything;
  for (Index i = 0; i < std.numel(); i++) least = std::min(least, value_at(c(std), i));
  c.run({{"out", out, 1, (1 + peak(c(mean))) / least}},
        [&](Backend& b, auto at) { b.normalise_images(at(out), at(images), at(mean), at(std)); });
}

void CheckBackend::conv2d(View x, View w, const Conv2dGeometry& g, View y) {
  Comparison c(*this, "conv2d", {x, w});
  double n = double(g.kernel * g.kernel * x.shape[3]);
  c.run({{"y", y, n, random_sum(n, c(x), c(w))}},
        [&](Backend& b, auto at) { b.conv2d(at(x), at(w), g, at(y)); });
}
void CheckBackend::conv2d_backward_data(View dy, View w, const Conv2dGeometry& g, View dx) {
  Comparison c(*this, "conv2d_backward_data", {dy, w});
  double n = double(g.kernel * g.kernel * w.shape[0]);
  c.run({{"dx", dx, n, random_sum(n, c(dy), c(w))}},
        [&](Backend& b, auto at) { b.conv2d_backward_data(at(dy), at(w), g, at(dx)); });
}
void CheckBackend::conv2d_backward_filter(View x, View dy, const Conv2dGeometry& g, View dw) {
  Comparison c(*this, "conv2d_backward_filter", {x, dy});
  double n = double(dy.shape[0] * dy.shape[1] * dy.shape[2]);
  c.run({{"dw", dw, n, random_sum(n, c(x), c(dy))}},
        [&](Backend& b, auto at) { b.conv2d_backward_filter(at(x), at(dy), g, at(dw)); });
}
void CheckBackend::add_bias(View y, View b) {
  Comparison c(*this, "add_bias", {y, b});
  c.run({{"y", y, 1, peak(c(y))}}, [&](Backend& k, auto at) { k.add_bias(at(y), at(b)); });
}
void CheckBackend::sum_rows(View y, View out) {
  Comparison c(*this, "sum_rows", {y});
  double n = double(y.numel()) / double(std::max<Index>(out.numel(), 1));
  c.run({{"out", out, n, std::sqrt(n) * rms(c(y))}},
        [&](Backend& b, auto at) { b.sum_rows(at(y), at(out)); });
}

void CheckBackend::depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) {
  Comparison c(*this, "depthwise", {y, w}, norm);
  double n = double(g.kernel * g.kernel), size = norm ? size_of_norm(c(y), c(*norm)).z : rms(c(y));
  c.run({{"out", out, n, std::sqrt(n) * rms(c(w)) * size}}, [&](Backend& b, auto at) {
    Norm as_seen = norm ? at(*norm) : Norm();
    b.depthwise(at(y), norm ? &as_seen : nullptr, at(w), g, at(out));
  });
}
void CheckBackend::depthwise_tangent(View y, const Norm& norm, View u, View w,
                                     const Conv2dGeometry& g, View out) {
  Comparison c(*this, "depthwise_tangent", {y, u, w}, &norm);
  NormSize s = size_of_norm(c(y), c(norm));
  std::vector<bool> skip;  // the outputs that a value on a kink goes into: the convolution of the
                           // kinks with ones says which
  if (std::count(s.kink.begin(), s.kink.end(), true)) {
    std::vector<double> kinks(s.kink.begin(), s.kink.end()), ones(w.numel(), 1),
        reached(out.numel());
    auto on_host = [](std::vector<double>& values, View like) {
      return View{values.data(), DType::f64, like.shape};
    };
    reference_.depthwise(on_host(kinks, y), nullptr, on_host(ones, w), g, on_host(reached, out));
    skip.assign(reached.begin(), reached.end());
  }
  double taps = double(g.kernel * g.kernel);
  c.run(
      {{"out", out, taps, std::sqrt(taps) * rms(c(w)) * s.c * peak(c(u)) * (1 + s.z), 0, &skip}},
      [&](Backend& b, auto at) { b.depthwise_tangent(at(y), at(norm), at(u), at(w), g, at(out)); });
}
void CheckBackend::depthwise_backward(View y, const Norm* norm, View w, View dout,
                                      const Conv2dGeometry& g, View da, View dw) {
  Comparison c(*this, "depthwise_backward", {y, w, dout}, norm);
  double taps = double(g.kernel * g.kernel),
         places = double(dout.shape[0] * dout.shape[1] * dout.shape[2]);
  double size = norm ? size_of_norm(c(y), c(*norm)).z : rms(c(y));
  c.run({{"da", da, taps, random_sum(taps, c(w), c(dout))},
         {"dw", dw, places, std::sqrt(places) * rms(c(dout)) * size}},
        [&](Backend& b, auto at) {
          Norm as_seen = norm ? at(*norm) : Norm();
          b.depthwise_backward(at(y), norm ? &as_seen : nullptr, at(w), at(dout), g, at(da),
                               at(dw));
        });
}

void CheckBackend::depthwise_norm_backward(View y, const Norm& norm, bool training, View w,
                                           View dout, const Conv2dGeometry& g, View dy, View dgamma,
                                           View dbeta, View dw) {
  Comparison c(*this, "depthwise_norm_backward", {y, w, dout}, &norm);
  std::vector<double> memory(y.numel());  // how large the gradient is between the two steps
  View da{memory.data(), y.dtype, y.shape};
  Norm on_host = c(norm);
  reference_.depthwise_backward(c(y), &on_host, c(w), c(dout), g, da, View());
  NormSize s = size_of_norm(c(y), on_host, da);
  double taps = double(w.shape[0] * w.shape[1]), n = double(y.numel()) / double(norm.gamma.numel()),
         in_group = n / double(norm.mean.shape[0]);
  double size = std::max(peak(da), std::sqrt(taps) * rms(c(w)) * rms(c(dout))),
         sum = std::sqrt(n) * size;
  double off = (40 + taps) * unit_of(y) * (s.z + s.x_hat),
         kink_mean = s.kink_sum / in_group * (1 + s.x_hat * s.x_hat);
  double places = double(dout.numel()) / double(y.shape[3]);
  c.run({{"dy", dy, training ? in_group : taps, s.c * size,
          s.c * (off * size + (training ? kink_mean : 0)), &s.kink},
         {"dgamma", dgamma, n, sum, off * sum + s.kink_sum * s.x_hat},
         {"dbeta", dbeta, n, sum, off * sum + s.kink_sum},
         {"dw", dw, places, random_sum(places, c(dout), c(y)) * s.c + s.z * rms(c(dout))}},
        [&](Backend& b, auto at) {
          b.depthwise_norm_backward(at(y), at(norm), training, at(w), at(dout), g, at(dy),
                                    at(dgamma), at(dbeta), at(dw));
        });
}

void CheckBackend::moments(View y, View mean, View var) {
  Comparison c(*this, "moments", {y});
  double n = double(y.numel()) / double(mean.numel());
  // the mean's size is that of the values; the variance has no such excuse: it must not be found as
  // E[y²] − mean²
  c.run({{"mean", mean, n, peak(c(y))}, {"var", var, n}},
        [&](Backend& b, auto at) { b.moments(at(y), at(mean), at(var)); });
}
void CheckBackend::update_running(View running_mean, View running_var, View mean, View var,
                                  double momentum, Index count) {
  Comparison c(*this, "update_running", {running_mean, running_var, mean, var});
  double n = double(mean.shape[0]), size = peak(c(running_mean)) + peak(c(mean));
  c.run({{"running_mean", running_mean, n, size}, {"running_var", running_var, n}},
        [&](Backend& b, auto at) {
          b.update_running(at(running_mean), at(running_var), at(mean), at(var), momentum, count);
        });
}
void CheckBackend::norm_act(View y, const Norm& norm, View a) {
  Comparison c(*this, "norm_act", {y}, &norm);
  c.run({{"a", a, 1, size_of_norm(c(y), c(norm)).z}},
        [&](Backend& b, auto at) { b.norm_act(at(y), at(norm), at(a)); });
}
void CheckBackend::norm_act_backward(View da, View y, const Norm& norm, bool training, View dy,
                                     View dgamma, View dbeta) {
  Comparison c(*this, "norm_act_backward", {da, y}, &norm);
  NormSize s = size_of_norm(c(y), c(norm), c(da));
  double n = double(y.numel()) / double(norm.gamma.numel()),
         in_group = n / double(norm.mean.shape[0]), sum = std::sqrt(n) * rms(c(da));
  // On top of the sums' own rounding: dz and x̂ are off by a few units of what meets in them (|φ''|
  // ≤ ½), and at a kink dz may be 0 or da, which reaches the rest of its group through two means.
  double off = 40 * unit_of(y) * (s.z + s.x_hat),
         kink_mean = s.kink_sum / in_group * (1 + s.x_hat * s.x_hat);
  c.run({{"dy", dy, training ? in_group : 1, s.c * peak(c(da)),
          s.c * (off * peak(c(da)) + (training ? kink_mean : 0)), &s.kink},
         {"dgamma", dgamma, n, sum, off * sum + s.kink_sum * s.x_hat},
         {"dbeta", dbeta, n, sum, off * sum + s.kink_sum}},
        [&](Backend& b, auto at) {
          b.norm_act_backward(at(da), at(y), at(norm), training, at(dy), at(dgamma), at(dbeta));
        });
}
void CheckBackend::probe_activation(View delta, View y, const Norm& norm, const Curvature& k,
                                    View u, View h, View out, View dy) {
  Comparison c(*this, "probe_activation", {delta, y, u, h}, &norm);
  NormSize s = size_of_norm(c(y), c(norm));
  double sharp = norm.activation == Activation::relu ? k.relu_beta
                                                     : 1,  // how much faster φ'' changes than z
      product = peak(c(delta)) * s.c * s.c * peak(c(u)) * (1 + sharp * s.z);
  c.run({{"out", out, 1, product + s.c * peak(c(h)) * (1 + s.z), 0, h ? &s.kink : nullptr},
         {"dy", dy, 1, s.c * peak(c(delta)) * (1 + s.z), 0, &s.kink}},
        [&](Backend& b, auto at) {
          b.probe_activation(at(delta), at(y), at(norm), k, at(u), at(h), at(out), at(dy));
        });
}

void CheckBackend::average_pool(View x, const PoolGeometry& g, View y) {
  Comparison c(*this, "average_pool", {x});
  c.run({{"y", y, double(g.window * g.window), rms(c(x))}},
        [&](Backend& b, auto at) { b.average_pool(at(x), g, at(y)); });
}
void CheckBackend::average_pool_backward(View dy, const PoolGeometry& g, View dx) {
  Comparison c(*this, "average_pool_backward", {dy});
  double n = double(g.window * g.window);
  c.run({{"dx", dx, n, rms(c(dy)) / n}},
        [&](Backend& b, auto at) { b.average_pool_backward(at(dy), g, at(dx)); });
}
void CheckBackend::softmax_cross_entropy(View logits, View labels, double smoothing, View loss,
                                         View dlogits) {
  Comparison c(*this, "softmax_cross_entropy", {logits, labels});
  double n = double(logits.shape[0]), classes = double(logits.shape[1]),
         size = peak(c(logits)) + std::log(classes);
  c.run({{"loss", loss, n * classes, size}, {"dlogits", dlogits, classes, (1 + size) / n}},
        [&](Backend& b, auto at) {
          b.softmax_cross_entropy(at(logits), at(labels), smoothing, at(loss), at(dlogits));
        });
}
void CheckBackend::count_hits(View logits, View labels, View hits) {
  Comparison c(*this, "count_hits", {logits, labels, hits});
  c.run({{"hits", hits}},
        [&](Backend& b, auto at) { b.count_hits(at(logits), at(labels), at(hits)); });
}

void CheckBackend::sgd(View p, View g, View buffer, View lr, double momentum, double decay,
                       Index decayed, bool nesterov) {
  Comparison c(*this, "sgd", {p, g, buffer, lr});
  double size = peak(c(g)) + decay * peak(c(p)) + peak(c(buffer));
  c.run({{"p", p, 1, peak(c(p)) + peak(c(lr)) * size},
         {"g", g, 1, anything},
         {"buffer", buffer, 1, size}},
        [&](Backend& b, auto at) {
          b.sgd(at(p), at(g), at(buffer), at(lr), momentum, decay, decayed, nesterov);
        });
}
void CheckBackend::rmsprop(View p, View g, View s, View b, View lr, double alpha, double momentum,
                           double eps) {
  Comparison c(*this, "rmsprop", {p, g, s, b, lr});
  c.run({{"p", p, 1, peak(c(p))}, {"s", s}, {"b", b, 1, peak(c(b))}}, [&](Backend& k, auto at) {
    k.rmsprop(at(p), at(g), at(s), at(b), at(lr), alpha, momentum, eps);
  });
}
void CheckBackend::rayleigh(View v, View s_v, View rows, View quotient, View gradient) {
  Comparison c(*this, "rayleigh", {v, s_v, rows, gradient});
  double n = 1, quotients = 0,
         gradients = 0;  // of the largest row: ‖Sv‖/‖v‖, and 2 ‖Sv‖/‖v‖² twice
  View x = c(v), s_x = c(s_v), bounds = c(rows);
  for (Index r = 0; r < rows.shape[0]; r++) {
    Index first = Index(value_at(bounds, 2 * r)), length = Index(value_at(bounds, 2 * r + 1));
    double vv = 0, ss = 0;
    for (Index i = first; i < first + length; i++)
      vv += std::pow(value_at(x, i), 2), ss += std::pow(value_at(s_x, i), 2);
    n = std::max(n, double(length));
    if (vv > 0)
      quotients = std::max(quotients, std::sqrt(ss / vv)),
      gradients = std::max(gradients, 4 * std::sqrt(ss) / vv);
  }
  // what lies outside the rows stays as it is, so the gradient is an input as well
  c.run({{"quotient", quotient, n, quotients}, {"gradient", gradient, n, gradients}},
        [&](Backend& b, auto at) {
          b.rayleigh(at(v), at(s_v), at(rows), at(quotient), at(gradient));
        });
}
void CheckBackend::normalise_rows(View v, View rows) {
  Comparison c(*this, "normalise_rows", {v, rows});
  double n = double(v.numel()) / double(std::max<Index>(rows.shape[0], 1));
  c.run({{"v", v, n}}, [&](Backend& b, auto at) { b.normalise_rows(at(v), at(rows)); });
}
void CheckBackend::gather(View in, View row, View row_scale, View column, View column_scale,
                          View out) {
  Comparison c(*this, "gather", {in, row, row_scale, column, column_scale});
  c.run({{"out", out}}, [&](Backend& b, auto at) {
    b.gather(at(in), at(row), at(row_scale), at(column), at(column_scale), at(out));
  });
}

}  // namespace fission
