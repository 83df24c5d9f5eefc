// Batch norm + activation, forward and backward, and the elementwise products of E6 and E9 that
// rest on them. The activation's output is never kept: each pass rebuilds z = c y + b (E5) from the
// pre-activation, in registers.
#include <cmath>

#include "tensor/cpu/columns.h"
#include "tensor/cpu/cpu_backend.h"

namespace fission::cpu {

Coefficients coefficients(const Norm& norm, Index channels, Index run, Scratch& scratch) {
  Index groups = norm.mean.shape[0], length = run * channels;
  Coefficients out{run, length, scratch.take<float>(groups * length),
                   scratch.take<float>(groups * length)};
  const float *mean = norm.mean.as<float>(), *var = norm.var.as<float>(),
              *gamma = norm.gamma.as<float>(), *beta = norm.beta.as<float>();
  for (Index g = 0; g < groups; g++) {
    float *c = out.c + g * length, *b = out.b + g * length;
    for (Index k = 0; k < channels; k++) {
      double scale = gamma[k] / std::sqrt(double(var[g * channels + k]) + norm.eps);
      c[k] = float(scale);
      b[k] = float(beta[k] - scale * mean[g * channels + k]);
    }
    expand(c, channels, run, c);
    expand(b, channels, run, b);
  }
  return out;
}

// var = E[(y − s)²] − E[y − s]² with s near the mean, so that little cancels: s is the mean of a
// few pixels
void CpuBackend::moments(View y, View mean, View var) {
  Scratch::Frame frame(scratch_);
  const Index groups = mean.shape[0], channels = last_dim(y.shape), pixels = y.numel() / channels,
              per_group = pixels / groups;
  const Index run = run_pixels(channels), length = run * channels;
  const float* in = y.as<float>();
  float* shift = scratch_.take<float>(groups * length);
  for (Index g = 0; g < groups; g++) {
    const Index samples = std::min<Index>(16, per_group);
    for (Index c = 0; c < channels; c++) {
      double sum = 0;
      for (Index s = 0; s < samples; s++)
        sum += in[(g * per_group + s * per_group / samples) * channels + c];
      shift[g * length + c] = float(sum / double(samples));
    }
    expand(shift + g * length, channels, run, shift + g * length);
  }
  double* sums = column_sums<2>(
      pixels, groups, channels, run, scratch_,
      [&](Index g) {
        return [in, s = shift + g * length](Index i, Index j, float& sum, float& squares) {
          float d = in[i] - s[j];
          sum += d;
          squares += d * d;
        };
      },
      in);
  for (Index g = 0; g < groups; g++)
    for (Index c = 0; c < channels; c++) {
      double first = sums[(2 * g) * channels + c] / double(per_group),
             second = sums[(2 * g + 1) * channels + c] / double(per_group);
      mean.as<float>()[g * channels + c] = float(shift[g * length + c] + first);
      var.as<float>()[g * channels + c] = float(std::max(0.0, second - first * first));
    }
}

void CpuBackend::update_running(View running_mean, View running_var, View mean, View var,
                                double momentum, Index count) {
  const Index groups = mean.shape[0], channels = mean.shape[1];
  const double unbiased = double(count) / double(count - 1);
  for (Index c = 0; c < channels; c++) {
    double m = 0, v = 0;
    for (Index g = 0; g < groups; g++)
      m += mean.as<float>()[g * channels + c], v += var.as<float>()[g * channels + c];
    float &rm = running_mean.as<float>()[c], &rv = running_var.as<float>()[c];
    rm = float((1 - momentum) * rm + momentum * m / double(groups));
    rv = float((1 - momentum) * rv + momentum * unbiased * v / double(groups));
  }
}

namespace {

// f(i, c, b) for each element i with its coefficients, all groups, in parallel; streams: what it
// reads and writes beside y
template <class F, class... Streams>
void for_normed(View y, const Norm& norm, Scratch& scratch, F f, Streams... streams) {
  const Index channels = last_dim(y.shape), run = run_pixels(channels), groups = norm.mean.shape[0];
  Coefficients k = coefficients(norm, channels, run, scratch);
#pragma omp parallel if (worth_threads(y.numel()))
  for_my_groups(y.numel() / channels, groups, [&](Index g, Index first, Index last) {
    const float *c = k.c_of(g), *b = k.b_of(g);
    for_runs(
        first, last, channels, run, [=](Index i, Index j) { f(i, c[j], b[j]); }, y.as<float>(),
        streams...);
  });
}

}  // namespace

void CpuBackend::norm_act(View y, const Norm& norm, View a) {
  Scratch::Frame frame(scratch_);
  const float* in = y.as<float>();
  float* out = a.as<float>();
  with_activation(norm.activation, {}, [&](auto phi) {
    for_normed(
        y, norm, scratch_, [=](Index i, float c, float b) { out[i] = phi.value(c * in[i] + b); },
        out);
  });
}

// dβ = Σ dz;  dγ = Σ dz x̂;  dy = c dz + p y + q with p, q from the sums; dz lies in dy
void finish_norm_backward(View y, const Norm& norm, bool training, const Coefficients& k,
                          const double* sums, View dy, View dgamma, View dbeta, Scratch& scratch) {
  const Index groups = norm.mean.shape[0], channels = last_dim(y.shape),
              pixels = y.numel() / channels, per_group = pixels / groups, length = k.length;
  const float *in = y.as<float>(), *mean = norm.mean.as<float>(), *var = norm.var.as<float>();
  float* out = dy.as<float>();
  float *p = scratch.zeros<float>(groups * length), *q = scratch.zeros<float>(groups * length);
  for (Index c = 0; c < channels; c++) {
    double beta_sum = 0, gamma_sum = 0;
    for (Index g = 0; g < groups; g++) {
      double istd = 1 / std::sqrt(double(var[g * channels + c]) + norm.eps),
             scale = norm.gamma.as<float>()[c] * istd;
      double dz = sums[(2 * g) * channels + c], dz_x = sums[(2 * g + 1) * channels + c] * istd;
      beta_sum += dz;
      gamma_sum += dz_x;
      if (!training) continue;
      double slope = -scale * istd * dz_x / double(per_group);
      p[g * length + c] = float(slope);
      q[g * length + c] = float(-scale * dz / double(per_group) - slope * mean[g * channels + c]);
    }
    if (dbeta) dbeta.as<float>()[c] = float(beta_sum);
    if (dgamma) dgamma.as<float>()[c] = float(gamma_sum);
  }
  for (Index g = 0; g < groups; g++) {
    expand(p + g * length, channels, k.run, p + g * length);
    expand(q + g * length, channels, k.run, q + g * length);
  }
#pragma omp parallel if (worth_threads(y.numel()))
  for_my_groups(pixels, groups, [&](Index g, Index first, Index last) {
    const float *c = k.c_of(g), *pp = p + g * length, *qq = q + g * length;
    for_runs(
        first, last, channels, k.run,
        [=](Index i, Index j) { out[i] = c[j] * out[i] + (pp[j] * in[i] + qq[j]); }, in, out);
  });
}

const float* expanded_means(const Norm& norm, Index channels, const Coefficients& k,
                            Scratch& scratch) {
  const Index groups = norm.mean.shape[0];
  float* centre = scratch.take<float>(groups * k.length);
  for (Index g = 0; g < groups; g++)
    expand(norm.mean.as<float>() + g * channels, channels, k.run, centre + g * k.length);
  return centre;
}

// dz = da φ'(z);  dβ = Σ dz;  dγ = Σ dz x̂;  training: dy = c (dz − mean(dz) − x̂ mean(dz x̂)),
// else dy = c dz.
// Two passes: dz and its sums, dz left in dy; then dy from dz. (Exponentials cost more here than
// memory does.)
void CpuBackend::norm_act_backward(View da, View y, const Norm& norm, bool training, View dy,
                                   View dgamma, View dbeta) {
  Scratch::Frame frame(scratch_);
  const Index groups = norm.mean.shape[0], channels = last_dim(y.shape),
              pixels = y.numel() / channels, run = run_pixels(channels), length = run * channels;
  const float *in = y.as<float>(), *gradient = da.as<float>();
  float* out = dy.as<float>();
  with_activation(norm.activation, {}, [&](auto phi) {
    if (!training)
      if (!dgamma && !dbeta)
        return for_normed(
            y, norm, scratch_,
            [=](Index i, float c, float b) {
              out[i] = c * (gradient[i] * phi.slope(c * in[i] + b));
            },
            gradient);
    Coefficients k = coefficients(norm, channels, run, scratch_);
    const float* centre = expanded_means(norm, channels, k, scratch_);
    const double* sums = column_sums<2>(
        pixels, groups, channels, run, scratch_,
        [&](Index g) {
          return [=, c = k.c_of(g), b = k.b_of(g), m = centre + g * length](
                     Index i, Index j, float& sum, float& product) {
            float dz = gradient[i] * phi.slope(c[j] * in[i] + b[j]);
            out[i] = dz;
            sum += dz;
            product += dz * (in[i] - m[j]);
          };
        },
        in, gradient);
    finish_norm_backward(y, norm, training, k, sums, dy, dgamma, dbeta, scratch_);
  });
}

// E6c, E9: δ ⊙ φ''(z) ⊙ c² ⊙ u + φ'(z) ⊙ c ⊙ h, and φ'(z) ⊙ c ⊙ δ; a loop for each of what may be
// absent
void CpuBackend::probe_activation(View delta, View y, const Norm& norm, const Curvature& k, View u,
                                  View h, View out, View dy) {
  Scratch::Frame frame(scratch_);
  const float *d = delta.as<float>(), *in = y.as<float>(), *uu = u.as<float>(), *hh = h.as<float>();
  float *o = out.as<float>(), *back = dy.as<float>();
  with_activation(norm.activation, k, [&](auto phi) {
    auto product = [=](Index i, float z, float c) {
      return d[i] * phi.curvature(z) * (c * c) * uu[i];
    };
    if (h && dy)
      for_normed(
          y, norm, scratch_,
          [=](Index i, float c, float b) {
            float z = c * in[i] + b, first = phi.slope(z) * c;
            o[i] = product(i, z, c) + first * hh[i], back[i] = first * d[i];
          },
          d, uu, hh, o, back);
    else if (dy)
      for_normed(
          y, norm, scratch_,
          [=](Index i, float c, float b) {
            float z = c * in[i] + b;
            o[i] = product(i, z, c), back[i] = phi.slope(z) * c * d[i];
          },
          d, uu, o, back);
    else if (h)
      for_normed(
          y, norm, scratch_,
          [=](Index i, float c, float b) {
            float z = c * in[i] + b;
            o[i] = product(i, z, c) + phi.slope(z) * c * hh[i];
          },
          d, uu, hh, o);
    else
      for_normed(
          y, norm, scratch_,
          [=](Index i, float c, float b) { o[i] = product(i, c * in[i] + b, c); }, d, uu, o);
  });
}

void CpuBackend::add_bias(View y, View b) {
  Scratch::Frame frame(scratch_);
  const Index channels = last_dim(y.shape), run = run_pixels(channels);
  float *bias = scratch_.take<float>(run * channels), *to = y.as<float>();
  expand(b.as<float>(), channels, run, bias);
#pragma omp parallel if (worth_threads(y.numel()))
  {
    Range r = my_range(y.numel() / channels);
    for_runs(r.first, r.last, channels, run, [=](Index i, Index j) { to[i] += bias[j]; });
  }
}

void CpuBackend::sum_rows(View y, View out) {
  Scratch::Frame frame(scratch_);
  const Index channels = last_dim(y.shape);
  const float* in = y.as<float>();
  const double* sums =
      column_sums<1>(y.numel() / channels, 1, channels, run_pixels(channels), scratch_,
                     [=](Index) { return [=](Index i, Index, float& sum) { sum += in[i]; }; });
  for (Index c = 0; c < channels; c++) out.as<float>()[c] = float(sums[c]);
}

}  // namespace fission::cpu
