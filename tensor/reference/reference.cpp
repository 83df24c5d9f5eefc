// The reference's memory, elementwise operations, convolutions, pooling, losses, optimisers, rows
// and surgery.
// Batch norm and what is made of it: norm.cpp.
#include "tensor/reference/reference.h"

#include <cstring>
#include <vector>

#include "tensor/reference/loops.h"

namespace fission {
using namespace reference;

void ReferenceBackend::copy(void* to, const void* from, std::size_t bytes, Direction, Queue) {
  if (bytes) std::memmove(to, from, bytes);  // views of one buffer may overlap
}

void ReferenceBackend::fill(View out, double value) {
  auto set = [&](auto* p) {
    for (Index i = 0; i < out.numel(); i++) p[i] = static_cast<std::decay_t<decltype(*p)>>(value);
  };
  switch (out.dtype) {
    case DType::f32: return set(out.as<float>());
    case DType::f64: return set(out.as<double>());
    case DType::i32: return set(out.as<std::int32_t>());
    case DType::u8: return set(out.as<std::uint8_t>());
  }
}

void ReferenceBackend::add(View out, View a, View b) {
  with_real(out.dtype, [&](auto real) {
    using T = decltype(real);
    for (Index i = 0; i < out.numel(); i++) out.as<T>()[i] = a.as<T>()[i] + b.as<T>()[i];
  });
}

void ReferenceBackend::add_scaled(View out, View x, double alpha) {
  with_real(out.dtype, [&](auto real) {
    using T = decltype(real);
    for (Index i = 0; i < out.numel(); i++)
      out.as<T>()[i] = T(out.as<T>()[i] + alpha * x.as<T>()[i]);
  });
}

void ReferenceBackend::normalise_images(View out, View images, View mean, View std) {
  with_real(out.dtype, [&](auto real) {
    using T = decltype(real);
    Index channels = mean.numel();
    for (Index i = 0; i < out.numel(); i++)  // (p/255 − mean)/std
      out.as<T>()[i] = T((images.as<std::uint8_t>()[i] / 255.0 - mean.as<T>()[i % channels]) /
                         std.as<T>()[i % channels]);
  });
}

// y[n,h',w',o] = Σ_{kh,kw,i} x[n, h's + kh − p, w's + kw − p, i] w[o,kh,kw,i]
void ReferenceBackend::conv2d(View x_, View w_, const Conv2dGeometry& g, View y_) {
  with_real(y_.dtype, [&](auto real) {
    using T = decltype(real);
    Images<T> x(x_), y(y_), w(w_);  // a filter (O,K,K,I) is indexed like O images
    for (Index n = 0; n < y.n; n++)
      for (Index h = 0; h < y.h; h++)
        for (Index v = 0; v < y.w; v++)
          for (Index o = 0; o < y.c; o++) {
            double sum = 0;
            for (Index kh = 0; kh < g.kernel; kh++)
              for (Index kw = 0; kw < g.kernel; kw++)
                if (const T* in =
                        x.at(n, h * g.stride + kh - g.padding, v * g.stride + kw - g.padding)) {
                  const T* filter = w.at(o, kh, kw);
                  for (Index i = 0; i < x.c; i++) sum += double(in[i]) * filter[i];
                }
            y.at(n, h, v)[o] = T(sum);
          }
  });
}

// dx[n,h,w,i] = Σ dy[n,h',w',o] w[o,kh,kw,i] over all (h',w',kh,kw) with h = h's + kh − p, w = w's
// + kw − p
void ReferenceBackend::conv2d_backward_data(View dy_, View w_, const Conv2dGeometry& g, View dx_) {
  with_real(dx_.dtype, [&](auto real) {
    using T = decltype(real);
    Images<T> dx(dx_), dy(dy_), w(w_);
    std::vector<double> sum(dx.c);
    for (Index n = 0; n < dx.n; n++)
      for (Index h = 0; h < dx.h; h++)
        for (Index v = 0; v < dx.w; v++) {
          sum.assign(dx.c, 0);
          for (Index kh = 0; kh < g.kernel; kh++)
            for (Index kw = 0; kw < g.kernel; kw++) {
              Index from_h = h - kh + g.padding, from_w = v - kw + g.padding;  // h's, w's
              if (from_h < 0 || from_w < 0 || from_h % g.stride || from_w % g.stride) continue;
              const T* gradient = dy.at(n, from_h / g.stride, from_w / g.stride);
              for (Index o = 0; gradient && o < dy.c; o++) {
                const T* filter = w.at(o, kh, kw);
                for (Index i = 0; i < dx.c; i++) sum[i] += double(gradient[o]) * filter[i];
              }
            }
          for (Index i = 0; i < dx.c; i++) dx.at(n, h, v)[i] = T(sum[i]);
        }
  });
}

// dw[o,kh,kw,i] = Σ_{n,h',w'} dy[n,h',w',o] x[n, h's + kh − p, w's + kw − p, i]
void ReferenceBackend::conv2d_backward_filter(View x_, View dy_, const Conv2dGeometry& g,
                                              View dw_) {
  with_real(dw_.dtype, [&](auto real) {
    using T = decltype(real);
    Images<T> x(x_), dy(dy_), dw(dw_);
    std::vector<double> sum(x.c);
    for (Index o = 0; o < dy.c; o++)
      for (Index kh = 0; kh < g.kernel; kh++)
        for (Index kw = 0; kw < g.kernel; kw++) {
          sum.assign(x.c, 0);
          for (Index n = 0; n < dy.n; n++)
            for (Index h = 0; h < dy.h; h++)
              for (Index v = 0; v < dy.w; v++)
                if (const T* in =
                        x.at(n, h * g.stride + kh - g.padding, v * g.stride + kw - g.padding)) {
                  double gradient = dy.at(n, h, v)[o];
                  for (Index i = 0; i < x.c; i++) sum[i] += gradient * in[i];
                }
          for (Index i = 0; i < x.c; i++) dw.at(o, kh, kw)[i] = T(sum[i]);
        }
  });
}

void ReferenceBackend::add_bias(View y, View b) {
  with_real(y.dtype, [&](auto real) {
    using T = decltype(real);
    for (Index i = 0; i < y.numel(); i++) y.as<T>()[i] += b.as<T>()[i % b.numel()];
  });
}

void ReferenceBackend::sum_rows(View y, View out) {
  with_real(y.dtype, [&](auto real) {
    using T = decltype(real);
    for (Index c = 0; c < out.numel(); c++) {
      double sum = 0;
      for (Index i = c; i < y.numel(); i += out.numel()) sum += y.as<T>()[i];
      out.as<T>()[c] = T(sum);
    }
  });
}

// y[n,h',w',c] = 1/window² Σ_{kh,kw} x[n, h's + kh, w's + kw, c]
void ReferenceBackend::average_pool(View x_, const PoolGeometry& g, View y_) {
  with_real(y_.dtype, [&](auto real) {
    using T = decltype(real);
    Images<T> x(x_), y(y_);
    for (Index n = 0; n < y.n; n++)
      for (Index h = 0; h < y.h; h++)
        for (Index v = 0; v < y.w; v++)
          for (Index c = 0; c < y.c; c++) {
            double sum = 0;
            for (Index kh = 0; kh < g.window; kh++)
              for (Index kw = 0; kw < g.window; kw++)
                sum += x.at(n, h * g.stride + kh, v * g.stride + kw)[c];
            y.at(n, h, v)[c] = T(sum / double(g.window * g.window));
          }
  });
}

// dx[n,h,w,c] = 1/window² Σ dy[n,h',w',c] over the windows that hold (h,w)
void ReferenceBackend::average_pool_backward(View dy_, const PoolGeometry& g, View dx_) {
  with_real(dx_.dtype, [&](auto real) {
    using T = decltype(real);
    Images<T> dx(dx_), dy(dy_);
    std::vector<double> sum(dx_.numel());
    for (Index n = 0; n < dy.n; n++)
      for (Index h = 0; h < dy.h; h++)
        for (Index v = 0; v < dy.w; v++)
          for (Index kh = 0; kh < g.window; kh++)
            for (Index kw = 0; kw < g.window; kw++) {
              Index to = dx.at(n, h * g.stride + kh, v * g.stride + kw) - dx.data;
              for (Index c = 0; c < dy.c; c++)
                sum[to + c] += dy.at(n, h, v)[c] / double(g.window * g.window);
            }
    for (Index i = 0; i < dx_.numel(); i++) dx.data[i] = T(sum[i]);
  });
}

// targets t = (1−s)·onehot + s/classes, p = softmax(logits): loss = −1/N Σ_n Σ_c t log p, dlogits =
// (p − t)/N
void ReferenceBackend::softmax_cross_entropy(View logits, View labels, double smoothing, View loss,
                                             View dlogits) {
  with_real(logits.dtype, [&](auto real) {
    using T = decltype(real);
    Index images = logits.shape[0], classes = logits.shape[1];
    double total = 0;
    for (Index n = 0; n < images; n++) {
      const T* l = logits.as<T>() + n * classes;
      Index label = labels.as<std::int32_t>()[n];
      FISSION_CHECK(label >= 0 && label < classes, "[softmax_cross_entropy] label ", label,
                    " of image ", n, ", ", classes, " classes");
      double most = l[0],
             sum = 0;  // log Σ exp l = most + log Σ exp(l − most), which cannot overflow
      for (Index c = 1; c < classes; c++) most = l[c] > most ? l[c] : most;
      for (Index c = 0; c < classes; c++) sum += std::exp(l[c] - most);
      for (Index c = 0; c < classes; c++) {
        double log_p = l[c] - most - std::log(sum);
        double t = (c == label ? 1 - smoothing : 0) + smoothing / double(classes);
        if (t != 0) total -= t * log_p;  // 0·log 0 = 0
        if (dlogits) dlogits.as<T>()[n * classes + c] = T((std::exp(log_p) - t) / double(images));
      }
    }
    if (loss) loss.as<T>()[0] = T(total / double(images));
  });
}

// A label's rank is the number of other logits that are not less than its own: ties count against
// it, and so does NaN; a label whose own logit is NaN is never hit.
void ReferenceBackend::count_hits(View logits, View labels, View hits) {
  with_real(logits.dtype, [&](auto real) {
    using T = decltype(real);
    Index images = logits.shape[0], classes = logits.shape[1];
    for (Index n = 0; n < images; n++) {
      const T* l = logits.as<T>() + n * classes;
      Index label = labels.as<std::int32_t>()[n], rank = 0;
      FISSION_CHECK(label >= 0 && label < classes, "[count_hits] label ", label, " of image ", n,
                    ", ", classes, " classes");
      for (Index c = 0; c < classes; c++) rank += c != label && !(l[c] < l[label]);
      bool number = l[label] == l[label];
      hits.as<std::int32_t>()[0] += number && rank < 1;
      hits.as<std::int32_t>()[1] += number && rank < 5;
    }
  });
}

// g' = g + wd·p (the first `decayed` only); b = μ b + g'; p −= lr·b, nesterov: p −= lr (g' + μ b).
// g stays as it is.
void ReferenceBackend::sgd(View p, View g, View b, View lr, double momentum, double decay,
                           Index decayed, bool nesterov) {
  with_real(p.dtype, [&](auto real) {
    using T = decltype(real);
    double rate = lr.as<T>()[0];
    for (Index i = 0; i < p.numel(); i++) {
      double gradient = g.as<T>()[i] + (i < decayed ? decay * p.as<T>()[i] : 0);
      double buffer = momentum * b.as<T>()[i] + gradient;
      double step = nesterov ? gradient + momentum * buffer : buffer;
      b.as<T>()[i] = T(buffer);
      p.as<T>()[i] = T(p.as<T>()[i] - rate * step);
    }
  });
}

// s = α s + (1−α) g²; b = μ b + g/(√s + eps); p −= lr·b
void ReferenceBackend::rmsprop(View p, View g, View s, View b, View lr, double alpha,
                               double momentum, double eps) {
  with_real(p.dtype, [&](auto real) {
    using T = decltype(real);
    double rate = lr.as<T>()[0];
    for (Index i = 0; i < p.numel(); i++) {
      double gradient = g.as<T>()[i];
      double square = alpha * s.as<T>()[i] + (1 - alpha) * gradient * gradient;
      double buffer = momentum * b.as<T>()[i] + gradient / (std::sqrt(square) + eps);
      s.as<T>()[i] = T(square);
      b.as<T>()[i] = T(buffer);
      p.as<T>()[i] = T(p.as<T>()[i] - rate * buffer);
    }
  });
}

// E10: R = vᵀSv / vᵀv; E11: ∇R = 2 (Sv·vᵀv − v·vᵀSv) / (vᵀv)². Outside the rows the gradient stays
// as it is.
void ReferenceBackend::rayleigh(View v_, View s_v_, View rows, View quotient, View gradient) {
  with_real(v_.dtype, [&](auto real) {
    using T = decltype(real);
    for (Index r = 0; r < rows.shape[0]; r++) {
      Index first = rows.as<std::int32_t>()[2 * r], length = rows.as<std::int32_t>()[2 * r + 1];
      const T *v = v_.as<T>() + first, *s_v = s_v_.as<T>() + first;
      double vv = 0, vsv = 0;
      for (Index i = 0; i < length; i++) vv += double(v[i]) * v[i], vsv += double(v[i]) * s_v[i];
      if (quotient) quotient.as<T>()[r] = T(vsv / vv);
      for (Index i = 0; gradient && i < length; i++)
        gradient.as<T>()[first + i] = T(2 * (s_v[i] * vv - v[i] * vsv) / (vv * vv));
    }
  });
}

void ReferenceBackend::normalise_rows(View v_, View rows) {
  with_real(v_.dtype, [&](auto real) {
    using T = decltype(real);
    for (Index r = 0; r < rows.shape[0]; r++) {
      T* v = v_.as<T>() + rows.as<std::int32_t>()[2 * r];
      Index length = rows.as<std::int32_t>()[2 * r + 1];
      double vv = 0;
      for (Index i = 0; i < length; i++) vv += double(v[i]) * v[i];
      for (Index i = 0; i < length; i++) v[i] = T(v[i] / std::sqrt(vv));  // v ← v/‖v‖
    }
  });
}

void ReferenceBackend::gather(View in, View row, View row_scale, View column, View column_scale,
                              View out) {
  with_real(out.dtype, [&](auto real) {
    using T = decltype(real);
    Index inner = in.shape[1], columns = in.shape[2];
    for (Index r = 0; r < out.shape[0]; r++)
      for (Index k = 0; k < inner; k++)
        for (Index c = 0; c < out.shape[2]; c++) {
          Index from =
              (row.as<std::int32_t>()[r] * inner + k) * columns + column.as<std::int32_t>()[c];
          double scale = double(row_scale.as<T>()[r]) * column_scale.as<T>()[c];
          out.as<T>()[(r * inner + k) * out.shape[2] + c] = T(scale * in.as<T>()[from]);
        }
  });
}

}  // namespace fission
