// What the reference's loops share: types chosen at run time, indices into (N,H,W,C), and E5 at one
// value.
#pragma once
#include <cmath>

#include "tensor/backend.h"

namespace fission::reference {

// f(T()) with T the element type of a real view
template <class F>
void with_real(DType type, const F& f) {
  FISSION_CHECK(type == DType::f32 || type == DType::f64, "[reference] a real type is wanted, not ",
                name_of(type));
  if (type == DType::f32) f(float());
  else f(double());
}

// (N,H,W,C) in memory; out of the image at(…) is null, which is what zero padding comes from
template <class T>
struct Images {
  T* data;
  Index n, h, w, c;
  Images(T* values, const Shape& shape)
      : data(values), n(shape[0]), h(shape[1]), w(shape[2]), c(shape[3]) {}
  explicit Images(View v) : Images(v.as<T>(), v.shape) {}
  T* at(Index in, Index ih, Index iw) const {
    return ih < 0 || ih >= h || iw < 0 || iw >= w ? nullptr : data + ((in * h + ih) * w + iw) * c;
  }
};

inline double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

inline double phi(Activation f, double z) {
  switch (f) {
    case Activation::none: return z;
    case Activation::swish: return z * sigmoid(z);
    case Activation::relu: return z > 0 || z != z ? z : 0;  // NaN stays NaN
  }
  return 0;
}

inline double phi_prime(Activation f, double z) {
  double s = sigmoid(z);
  switch (f) {
    case Activation::none: return 1;
    case Activation::swish: return s + z * s * (1 - s);
    case Activation::relu: return z > 0 ? 1 : 0;
  }
  return 0;
}

inline double phi_second(Activation f, const Curvature& k, double z) {
  double s = sigmoid(f == Activation::relu ? k.relu_beta * z : z);
  switch (f) {
    case Activation::none: return k.linear;  // a heuristic: the truth is 0
    case Activation::swish: return s * (1 - s) * (2 + z * (1 - 2 * s));
    case Activation::relu: return k.relu_beta * s * (1 - s);  // softplus's, in place of ReLU's 0
  }
  return 0;
}

// E5 of the method for each group and channel: z = c y + b, c = γ/√(var + eps), b = β − c·mean
template <class T>
struct Affine {
  const Norm& norm;
  Index groups, channels;
  explicit Affine(const Norm& n) : norm(n), groups(n.mean.shape[0]), channels(n.mean.shape[1]) {}
  double mean(Index g, Index c) const { return norm.mean.as<T>()[g * channels + c]; }
  double istd(Index g, Index c) const {
    return 1 / std::sqrt(norm.var.as<T>()[g * channels + c] + norm.eps);
  }
  double scale(Index g, Index c) const { return norm.gamma.as<T>()[c] * istd(g, c); }
  double z(Index g, Index c, double y) const {
    return scale(g, c) * y + (norm.beta.as<T>()[c] - scale(g, c) * mean(g, c));
  }
};

// f(i, c, g) for every value i of images (N,…,C), its channel and its group
template <class F>
void each_value(View images, Index groups, const F& f) {
  Index channels = images.shape[images.shape.rank() - 1], group = images.numel() / groups, i = 0;
  for (Index g = 0; g < groups; g++)
    for (; i < (g + 1) * group; i++) f(i, i % channels, g);
}

}  // namespace fission::reference
