// The reference's batch norm with its activation (E5 of the method), the depthwise convolution over
// it, and the products of E6 and E9. Image n of N belongs to group n/(N/G) of the G groups.
#include <vector>

#include "tensor/reference/loops.h"
#include "tensor/reference/reference.h"

namespace fission {
using namespace reference;

namespace {

// out[n,h',w',c] = Σ_{kh,kw} a[n, h's + kh − p, w's + kw − p, c] w[kh,kw,c]; the padding is 0. a:
// y's shape
template <class T>
void convolve(std::vector<double> values, View y, View w, const Conv2dGeometry& g, View out_) {
  Images<double> a(values.data(), y.shape);
  Images<T> out(out_);
  for (Index n = 0; n < out.n; n++)
    for (Index h = 0; h < out.h; h++)
      for (Index v = 0; v < out.w; v++)
        for (Index c = 0; c < out.c; c++) {
          double sum = 0;
          for (Index kh = 0; kh < g.kernel; kh++)
            for (Index kw = 0; kw < g.kernel; kw++)
              if (const double* in =
                      a.at(n, h * g.stride + kh - g.padding, v * g.stride + kw - g.padding))
                sum += in[c] * w.as<T>()[(kh * g.kernel + kw) * a.c + c];
          out.at(n, h, v)[c] = T(sum);
        }
}

// φ(norm(y)), or y itself: what a depthwise convolution reads
template <class T>
std::vector<double> activated(View y, const Norm* norm) {
  std::vector<double> a(y.as<T>(), y.as<T>() + y.numel());
  if (!norm) return a;
  Affine<T> affine(*norm);
  each_value(y, affine.groups, [&](Index i, Index c, Index g) {
    a[i] = phi(norm->activation, affine.z(g, c, a[i]));
  });
  return a;
}

}  // namespace

// over φ(norm(y)): the padding is 0 after φ
void ReferenceBackend::depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g,
                                 View out) {
  with_real(y.dtype, [&](auto real) {
    using T = decltype(real);
    convolve<T>(activated<T>(y, norm), y, w, g, out);
  });
}

// J₁ of E6c and the way to J₂: over φ'(z) ⊙ c ⊙ u
void ReferenceBackend::depthwise_tangent(View y, const Norm& norm, View u, View w,
                                         const Conv2dGeometry& g, View out) {
  with_real(y.dtype, [&](auto real) {
    using T = decltype(real);
    std::vector<double> j(y.numel());
    Affine<T> affine(norm);
    each_value(y, affine.groups, [&](Index i, Index c, Index g) {
      double first = phi_prime(norm.activation, affine.z(g, c, y.as<T>()[i]));
      j[i] = first * affine.scale(g, c) * u.as<T>()[i];
    });
    convolve<T>(j, y, w, g, out);
  });
}

// da[n,h,w,c] = Σ dout[n,h',w',c] w[kh,kw,c] and dw[kh,kw,c] = Σ dout[n,h',w',c]
// φ(norm(y))[n,h,w,c], both over all h = h's + kh − p, w = w's + kw − p in the image
void ReferenceBackend::depthwise_backward(View y_, const Norm* norm, View w, View dout_,
                                          const Conv2dGeometry& g, View da, View dw) {
  with_real(y_.dtype, [&](auto real) {
    using T = decltype(real);
    std::vector<double> activations = dw ? activated<T>(y_, norm) : std::vector<double>(y_.numel());
    Images<double> a(activations.data(), y_.shape);
    Images<T> dout(dout_);
    std::vector<double> sum_a(da ? y_.numel() : 0), sum_w(w.numel());
    for (Index n = 0; n < dout.n; n++)
      for (Index h = 0; h < dout.h; h++)
        for (Index v = 0; v < dout.w; v++)
          for (Index kh = 0; kh < g.kernel; kh++)
            for (Index kw = 0; kw < g.kernel; kw++) {
              const double* in =
                  a.at(n, h * g.stride + kh - g.padding, v * g.stride + kw - g.padding);
              for (Index c = 0; in && c < a.c; c++) {
                double gradient = dout.at(n, h, v)[c];
                Index tap = (kh * g.kernel + kw) * a.c + c;
                if (da) sum_a[in - a.data + c] += gradient * w.as<T>()[tap];
                if (dw) sum_w[tap] += gradient * in[c];
              }
            }
    for (Index i = 0; da && i < da.numel(); i++) da.as<T>()[i] = T(sum_a[i]);
    for (Index i = 0; dw && i < dw.numel(); i++) dw.as<T>()[i] = T(sum_w[i]);
  });
}

// the two steps, one after the other
void ReferenceBackend::depthwise_norm_backward(View y, const Norm& norm, bool training, View w,
                                               View dout, const Conv2dGeometry& g, View dy,
                                               View dgamma, View dbeta, View dw) {
  std::vector<double> memory(y.numel());
  View da{memory.data(), y.dtype, y.shape};
  ReferenceBackend::depthwise_backward(y, &norm, w, dout, g, da, dw);
  ReferenceBackend::norm_act_backward(da, y, norm, training, dy, dgamma, dbeta);
}

// mean = 1/M Σ y, var = 1/M Σ (y − mean)², over the M values of a group and channel
void ReferenceBackend::moments(View y, View mean, View var) {
  with_real(y.dtype, [&](auto real) {
    using T = decltype(real);
    Index groups = mean.shape[0], channels = mean.shape[1];
    double count = double(y.numel() / (groups * channels));
    std::vector<double> first(mean.numel()), second(mean.numel());
    each_value(y, groups,
               [&](Index i, Index c, Index g) { first[g * channels + c] += y.as<T>()[i] / count; });
    each_value(y, groups, [&](Index i, Index c, Index g) {
      double d = y.as<T>()[i] - first[g * channels + c];
      second[g * channels + c] += d * d / count;
    });
    for (Index i = 0; i < mean.numel(); i++)
      mean.as<T>()[i] = T(first[i]), var.as<T>()[i] = T(second[i]);
  });
}

// running = (1−m) running + m · 1/G Σ_g batch; the variance unbiased first: × count/(count−1)
void ReferenceBackend::update_running(View running_mean, View running_var, View mean, View var,
                                      double momentum, Index count) {
  with_real(mean.dtype, [&](auto real) {
    using T = decltype(real);
    Index groups = mean.shape[0], channels = mean.shape[1];
    double unbiased = double(count) / double(count - 1);
    for (Index c = 0; c < channels; c++) {
      double m = 0, v = 0;
      for (Index g = 0; g < groups; g++)
        m += mean.as<T>()[g * channels + c], v += var.as<T>()[g * channels + c];
      T &rm = running_mean.as<T>()[c], &rv = running_var.as<T>()[c];
      rm = T((1 - momentum) * rm + momentum * m / double(groups));
      rv = T((1 - momentum) * rv + momentum * unbiased * v / double(groups));
    }
  });
}

// a = φ(z), z = c y + b
void ReferenceBackend::norm_act(View y, const Norm& norm, View a) {
  with_real(y.dtype, [&](auto real) {
    using T = decltype(real);
    Affine<T> affine(norm);
    each_value(y, affine.groups, [&](Index i, Index c, Index g) {
      a.as<T>()[i] = T(phi(norm.activation, affine.z(g, c, y.as<T>()[i])));
    });
  });
}

// dz = da φ'(z); dβ = Σ dz, dγ = Σ dz x̂ with x̂ = (y − mean)/√(var + eps), both over all groups;
// evaluation: dy = c dz; training, where mean and var are y's own: dy = c (dz − mean_g(dz) − x̂
// mean_g(dz x̂))
void ReferenceBackend::norm_act_backward(View da, View y, const Norm& norm, bool training, View dy,
                                         View dgamma, View dbeta) {
  with_real(y.dtype, [&](auto real) {
    using T = decltype(real);
    Affine<T> affine(norm);
    Index groups = affine.groups, channels = affine.channels;
    double count = double(y.numel() / (groups * channels));
    std::vector<double> sum_dz(groups * channels), sum_dzx(groups * channels);
    auto dz = [&](Index i, Index c, Index g) {
      return da.as<T>()[i] * phi_prime(norm.activation, affine.z(g, c, y.as<T>()[i]));
    };
    auto x_hat = [&](Index i, Index c, Index g) {
      return (y.as<T>()[i] - affine.mean(g, c)) * affine.istd(g, c);
    };
    each_value(y, groups, [&](Index i, Index c, Index g) {
      sum_dz[g * channels + c] += dz(i, c, g);
      sum_dzx[g * channels + c] += dz(i, c, g) * x_hat(i, c, g);
    });
    for (Index c = 0; c < channels; c++) {
      double beta = 0, gamma = 0;
      for (Index g = 0; g < groups; g++)
        beta += sum_dz[g * channels + c], gamma += sum_dzx[g * channels + c];
      if (dbeta) dbeta.as<T>()[c] = T(beta);
      if (dgamma) dgamma.as<T>()[c] = T(gamma);
    }
    if (!dy) return;
    each_value(y, groups,
               [&](Index i, Index c,
                   Index g) {  // each value reads only its own da, so dy may lie where da does
                 double through_statistics = sum_dz[g * channels + c] / count +
                                             x_hat(i, c, g) * sum_dzx[g * channels + c] / count;
                 dy.as<T>()[i] =
                     T(affine.scale(g, c) * (dz(i, c, g) - (training ? through_statistics : 0)));
               });
  });
}

// E6c, E9: out = δ ⊙ φ''(z) ⊙ c² ⊙ u + φ'(z) ⊙ c ⊙ h, dy = φ'(z) ⊙ c ⊙ δ
void ReferenceBackend::probe_activation(View delta, View y, const Norm& norm, const Curvature& k,
                                        View u, View h, View out, View dy) {
  with_real(y.dtype, [&](auto real) {
    using T = decltype(real);
    Affine<T> affine(norm);
    each_value(y, affine.groups, [&](Index i, Index c, Index g) {
      double scale = affine.scale(g, c), z = affine.z(g, c, y.as<T>()[i]),
             d = delta.as<T>()[i];  // read first: dy may lie where delta does, out where u does
      double first = phi_prime(norm.activation, z), second = phi_second(norm.activation, k, z);
      out.as<T>()[i] =
          T(d * second * scale * scale * u.as<T>()[i] + (h ? first * scale * h.as<T>()[i] : 0));
      if (dy) dy.as<T>()[i] = T(first * scale * d);
    });
  });
}

}  // namespace fission
