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

#if DNNL_VERSION_MAJOR >= 3

inline dnnl::convolution_forward::primitive_desc forward(const dnnl::engine& e,
                                                         const Description& x, const Description& w,
                                                         const Description& y, const Geometry& g,
                                                         const dnnl::primitive_attr& attr) {
  return {e,
          dnnl::prop_kind::forward_training,
          dnnl::algorithm::convolution_direct,
          x,
          w,
          y,
          g.strides,
          g.left,
          g.right,
          attr};
}
inline dnnl::convolution_backward_data::primitive_desc backward_data(
    const dnnl::engine& e, const Description& x, const Description& w, const Description& y,
    const Geometry& g, const dnnl::primitive_attr& attr,
    const dnnl::convolution_forward::primitive_desc& hint) {
  return {e, dnnl::algorithm::convolution_direct, x, w, y, g.strides, g.left, g.right, hint, attr};
}
inline dnnl::convolution_backward_weights::primitive_desc backward_weights(
    const dnnl::engine& e, const Description& x, const Description& w, const Description& y,
    const Geometry& g, const dnnl::primitive_attr& attr,
    const dnnl::convolution_forward::primitive_desc& hint) {
  return {e, dnnl::algorithm::convolution_direct, x, w, y, g.strides, g.left, g.right, hint, attr};
}

#else

inline dnnl::convolution_forward::primitive_desc forward(const dnnl::engine& e,
                                                         const Description& x, const Description& w,
                                                         const Description& y, const Geometry& g,
                                                         const dnnl::primitive_attr& attr) {
  dnnl::convolution_forward::desc d(dnnl::prop_kind::forward_training,
                                    dnnl::algorithm::convolution_direct, x, w, y, g.strides, g.left,
                                    g.right);
  return {d, attr, e};
}
inline dnnl::convolution_backward_data::primitive_desc backward_data(
    const dnnl::engine& e, const Description& x, const Description& w, const Description& y,
    const Geometry& g, const dnnl::primitive_attr& attr,
    const dnnl::convolution_forward::primitive_desc& hint) {
  dnnl::convolution_backward_data::desc d(dnnl::algorithm::convolution_direct, x, w, y, g.strides,
                                          g.left, g.right);
  return {d, attr, e, hint};
}
inline dnnl::convolution_backward_weights::primitive_desc backward_weights(
    const dnnl::engine& e, const Description& x, const Description& w, const Description& y,
    const Geometry& g, const dnnl::primitive_attr& attr,
    const dnnl::convolution_forward::primitive_desc& hint) {
  dnnl::convolution_backward_weights::desc d(dnnl::algorithm::convolution_direct, x, w, y,
                                             g.strides, g.left, g.right);
  return {d, attr, e, hint};
}

#endif

}  // namespace fission::cpu::onednn
