#include "split/exact.h"

#include <algorithm>
#include <cmath>

#include "tensor/eigen.h"
#include "tensor/threads.h"

namespace fission {
namespace {

using Numbers = std::vector<double>;

double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }
// φ' and φ'' of section 3 of METHOD.md, with the surrogates of Curvature
double slope(Activation f, double z) {
  const double s = sigmoid(z);
  switch (f) {  // a new one is warned of by the compiler
    case Activation::none: return 1;
    case Activation::relu: return z > 0;
    case Activation::swish: return s + z * s * (1 - s);
  }
  return NAN;
}
double bend(Activation f, const Curvature& k, double z) {
  const double s = sigmoid(f == Activation::relu ? k.relu_beta * z : z);
  switch (f) {
    case Activation::none: return k.linear;
    case Activation::relu: return k.relu_beta * s * (1 - s);
    case Activation::swish: return s * (1 - s) * (2 + z * (1 - 2 * s));
  }
  return NAN;
}

// One activation of a neuron's chain for one batch, on the host.
struct Stage {
  Conv2dGeometry geometry;  // of the convolution before it
  Index h = 0, w = 0, channels = 0;
  Numbers filter;         // (K,K,C) where that is depthwise
  Numbers c;              // (C) of E5
  Numbers first, second;  // (N,H,W,C): φ'(z), and δ φ''(z)
  std::size_t at(Index n, Index p, Index o) const {
    return std::size_t((n * h * w + p) * channels + o);
  }
};

struct AxisBatch {
  Numbers x;  // (N,H,W,I): the producer's input
  Index n = 0, h = 0, w = 0, in = 0;
  std::vector<Stage> chain;
};

Stage make_stage(const ConvBlock& block, const Tensor& y, const NormTensors& norm,
                 const Curvature& curvature, const Tensor& delta) {
  Stage s;
  s.geometry = block.geometry, s.h = y.dim(1), s.w = y.dim(2), s.channels = y.dim(3);
  if (block.depthwise) s.filter = block.w.value().to_host();
  Numbers mean = norm.mean.to_host(), var = norm.var.to_host(), gamma = norm.gamma.to_host(),
          beta = norm.beta.to_host();
  for (std::size_t o = 0; o < mean.size(); o++)
    s.c.push_back(gamma[o] / std::sqrt(var[o] + norm.eps));
  s.first = y.to_host(), s.second = delta.to_host();
  parallel_for(y.dim(0), [&](Index n) {
    for (std::size_t i = s.at(n, 0, 0); i < s.at(n + 1, 0, 0); i++) {
      std::size_t o = i % s.c.size();
      double z = s.c[o] * (s.first[i] - mean[o]) + beta[o];  // E5
      s.first[i] = slope(norm.activation, z), s.second[i] *= bend(norm.activation, curvature, z);
    }
  });
  return s;
}

// J₁(p) = c x_p: the zero-padded patch at each position of image n, (H'·W', d)
void patches(const AxisBatch& b, Index n, double c, Numbers& j) {
  const Stage& s = b.chain[0];
  Index k = s.geometry.kernel;
  j.assign(std::size_t(s.h * s.w * k * k * b.in), 0.0);
  double* out = j.data();
  for (Index oh = 0; oh < s.h; oh++)
    for (Index ow = 0; ow < s.w; ow++)
      for (Index kh = 0; kh < k; kh++)
        for (Index kw = 0; kw < k; kw++, out += b.in) {
          Index ih = oh * s.geometry.stride - s.geometry.padding + kh,
                iw = ow * s.geometry.stride - s.geometry.padding + kw;
          if (ih < 0 || ih >= b.h || iw < 0 || iw >= b.w) continue;
          for (Index i = 0; i < b.in; i++)
            out[i] = c * b.x[std::size_t(((n * b.h + ih) * b.w + iw) * b.in + i)];
        }
}

// J_{k+1}(q) = c_{k+1} Σ_p K(q,p) φ'(z_k(p)) J_k(p)
void through_depthwise(const Stage& from, const Stage& to, Index n, Index o, Index d,
                       const Numbers& j, Numbers& out) {
  Index k = to.geometry.kernel;
  out.assign(std::size_t(to.h * to.w * d), 0.0);
  for (Index oh = 0; oh < to.h; oh++)
    for (Index ow = 0; ow < to.w; ow++)
      for (Index kh = 0; kh < k; kh++)
        for (Index kw = 0; kw < k; kw++) {
          Index ih = oh * to.geometry.stride - to.geometry.padding + kh,
                iw = ow * to.geometry.stride - to.geometry.padding + kw;
          if (ih < 0 || ih >= from.h || iw < 0 || iw >= from.w) continue;
          Index p = ih * from.w + iw;
          double factor = to.c[std::size_t(o)] *
                          to.filter[std::size_t((kh * k + kw) * to.channels + o)] *
                          from.first[from.at(n, p, o)];
          const double* in = j.data() + p * d;
          double* q = out.data() + (oh * to.w + ow) * d;
          for (Index i = 0; i < d; i++) q[i] += factor * in[i];
        }
}

// (E6c)  S_o += weight · Σ_k Σ_p δ_k(p) φ''(z_k(p)) J_kᵀJ_k, the lower triangle; with one
// activation, E6.
void add_neuron(const AxisBatch& b, Index o, Index d, double weight, double* s) {
  Numbers j, next;
  for (Index n = 0; n < b.n; n++)
    for (std::size_t k = 0; k < b.chain.size(); k++) {
      const Stage& stage = b.chain[k];
      if (k == 0) patches(b, n, stage.c[std::size_t(o)], j);
      else through_depthwise(b.chain[k - 1], stage, n, o, d, j, next), j.swap(next);
      for (Index p = 0; p < stage.h * stage.w; p++) {
        double g = weight * stage.second[stage.at(n, p, o)];
        const double* row = j.data() + p * d;
        for (Index i = 0; i < d; i++)
          for (Index l = 0; l <= i; l++) s[i * d + l] += g * row[i] * row[l];
      }
    }
}

}  // namespace

ExactMatrices::ExactMatrices(Network& network, ExactSettings settings)
    : network_(network), settings_(std::move(settings)) {
  if (settings_.axes.empty())
    for (std::size_t l = 0; l < network.axes().size(); l++) settings_.axes.push_back(int(l));
  double bytes = 0;
  for (int l : settings_.axes) {
    FISSION_CHECK(l >= 0 && l < int(network.axes().size()), "[exact] axis ", l, " of ",
                  network.axes().size());
    const Axis& axis = network.axes()[std::size_t(l)];
    ExactAxis a;
    a.axis = l, a.neurons = axis.width,
    a.d = network.stored()[network.producer(axis).weight].shape.numel() / axis.width;
    double own = 8.0 * double(a.neurons) * double(a.d) * double(a.d);
    bytes += own;
    if (bytes > settings_.memory)
      user_error("[exact] layer ", axis.name, ": ", a.neurons, " neurons with d = ", a.d, " need ",
                 own, " bytes of splitting matrices, ", bytes,
                 " with the layers before it; expected at most ", settings_.memory,
                 ": ask for fewer layers, or allow more");
    sum_.push_back(std::move(a));
  }
  for (ExactAxis& a : sum_) a.s.assign(std::size_t(a.neurons * a.d * a.d), 0.0);
}

double ExactMatrices::add(const Tensor& x, const Tensor& labels) {
  GradientMode activations_only(Gradients::activations);
  network_.set_training(false);
  Trace trace;
  Loss loss =
      cross_entropy(network_.forward(Variable(x), &trace), labels, settings_.probe.smoothing);
  double images = double(x.dim(0));
  for (ExactAxis& sum : sum_) {
    const Axis& axis = network_.axes()[std::size_t(sum.axis)];
    std::vector<int> blocks{axis.producer};
    if (settings_.probe.matrix == Matrix::chain)
      blocks.insert(blocks.end(), axis.chain.begin(), axis.chain.end());
    auto batch = std::make_shared<AxisBatch>();
    batch->chain.resize(blocks.size());
    for (std::size_t k = 0; k < blocks.size(); k++) {
      const TraceEntry& e = trace[std::size_t(blocks[k])];
      // in the place of the activation's own rule: the last activation's δ comes first, the
      // producer's last
      e.a.replace_backward([=, &sum, block = e.block, in = e.x, y = e.y,
                            norm = e.a.norm](Tensor delta) {
        batch->chain[k] = make_stage(*block, y.value(), *norm, settings_.probe.curvature, delta);
        if (k == 0) {
          Tensor input = in.value();
          in.drop();
          batch->x = input.to_host();
          batch->n = input.dim(0), batch->h = input.dim(1), batch->w = input.dim(2),
          batch->in = input.dim(3);
          parallel_for(sum.neurons, [&](Index o) {
            add_neuron(*batch, o, sum.d, images, sum.s.data() + o * sum.d * sum.d);
          });
        }
        Tensor dy = delta.like();
        ops::norm_act_backward(delta, y.value(), *norm, false, dy, nullptr, nullptr);
        y.accumulate(std::move(dy));
      });
    }
  }
  trace.clear();
  backward(loss);
  images_ += images;
  return loss.value().item();
}

std::vector<ExactAxis> ExactMatrices::mean() const {
  FISSION_CHECK(images_ > 0, "[exact] no batch to take a mean of");
  std::vector<ExactAxis> all = sum_;
  for (ExactAxis& a : all)
    for (Index o = 0; o < a.neurons; o++) {
      double* s = a.s.data() + o * a.d * a.d;
      for (Index i = 0; i < a.d; i++)
        for (Index l = 0; l <= i; l++) s[l * a.d + i] = s[i * a.d + l] /= images_;
    }
  return all;
}

// The least R(v) of E10, by all eigenvalues
void solve(ExactAxis& a) {
  Index d = a.d;
  a.eigenvalues.resize(std::size_t(a.neurons * d)), a.v_min.resize(a.eigenvalues.size());
  parallel_for(a.neurons, [&](Index o) {
    SymmetricEigen eigen = symmetric_eigen(d, a.s.data() + o * d * d);
    std::copy(eigen.values.begin(), eigen.values.end(), a.eigenvalues.begin() + o * d);
    const double *u = eigen.vectors.data(),
                 *most = std::max_element(
                     u, u + d, [](double x, double y) { return std::abs(x) < std::abs(y); });
    for (Index i = 0; i < d; i++)
      a.v_min[std::size_t(o * d + i)] = std::copysign(1.0, *most) * u[i];
  });
}

std::vector<ExactAxis> exact(Network& network, BatchSource& source, const ImageInput& input,
                             const ExactSettings& settings) {
  require_eigen("[exact] eigenvalues of the splitting matrices");
  ExactMatrices matrices(network, settings);
  for (Index step = 0; step < source.steps(); step++) {
    Batch batch = source.next(0, step);
    matrices.add(input(batch), batch.labels);
  }
  std::vector<ExactAxis> axes = matrices.mean();
  for (ExactAxis& a : axes) solve(a);
  return axes;
}

SplittingIndex splitting_index(const Network& network, const std::vector<ExactAxis>& axes) {
  SplittingIndex index;
  for (const Axis& axis : network.axes()) index.lambda.emplace_back(axis.width, 0.0);
  index.v = network.like_parameters();
  for (const ExactAxis& a : axes) {
    for (Index o = 0; o < a.neurons; o++)
      index.lambda[std::size_t(a.axis)][std::size_t(o)] = a.lambda_min(o);
    const Stored& w =
        network.stored()[network.producer(network.axes()[std::size_t(a.axis)]).weight];
    network.view(w, index.v)
        .copy_from(make_real(network.backend(), w.shape, a.v_min, network.dtype()));
  }
  return index;
}

}  // namespace fission
