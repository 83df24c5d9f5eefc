// What differs between oneDNN 2.6 and 3.x, and nothing else: how a convolution is described. In 2.x
// a `desc` object stands between shapes and primitive_desc; in 3.x the primitive_desc takes them
// itself, the engine first.
#pragma once
#include <oneapi/dnnl/dnnl.hpp>

namespace fission::cpu::onednn {

using Dims = dnnl::memory::dims;
using Description = dnnl::memory::desc;

struct Geometry {
  Dims strides, left, right;  // two each
};

inline dnnl::convolution_forward::primitive_desc forward(const dnnl::engine& e,
                                                         const Description& x, const Description& w,
                                                         const Description& y, const Geometry& g,
                                                         const dnnl::primitive_attr& attr) {
  const auto direct = dnnl::algorithm::convolution_direct;
  const auto training = dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
  return {e, training, direct, x, w, y, g.strides, g.left, g.right, attr};
#else
  return {{training, direct, x, w, y, g.strides, g.left, g.right}, attr, e};
#endif
}

template <class Backward>  // convolution_backward_data or _weights
typename Backward::primitive_desc backward(const dnnl::engine& e, const Description& x,
                                           const Description& w, const Description& y,
                                           const Geometry& g, const dnnl::primitive_attr& attr,
                                           const dnnl::convolution_forward::primitive_desc& hint) {
  const auto direct = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
  return {e, direct, x, w, y, g.strides, g.left, g.right, hint, attr};
#else
  return {{direct, x, w, y, g.strides, g.left, g.right}, attr, e, hint};
#endif
}

}  // namespace fission::cpu::onednn
