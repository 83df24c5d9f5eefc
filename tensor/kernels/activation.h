// Activations φ, φ', φ'' as functors over one pre-activation z, and the exponential they rest on.
// Section 3 of METHOD.md gives the derivatives; the surrogates of E6 are Curvature's (backend.h).
#pragma once
#include <cstdint>
#include <cstring>

#include "tensor/kernels/portable.h"

namespace fission::kernels {

// e^x for any x that is a number: x = n ln 2 + r with |r| ≤ ln 2 / 2, then 2^n · p(r), p a minimax
// polynomial of degree 6 (relative error 1.1e-8; 8.1e-8 with rounding, no bias). Beyond ±87 it
// saturates (1.6e-38, 6.1e37: finite and normal, so that 1/(1 + e^x) is neither subnormal nor
// slow). A NaN comes out as one of these: for formulas that keep the NaN elsewhere. The bounds are
// integer minima on the float's bits (positive floats are ordered as signed integers, negative ones
// backwards as unsigned). A comparison of floats here, or of integer variables without the "+ 0"
// that lets gcc see a minimum at once, becomes a branch whose constant side gcc carries to the end
// of the formula: 1.2 to 4 times slower.
FISSION_FORMULA float fast_exp_of_number(float x) {
  std::int32_t bits;
  std::memcpy(&bits, &x, 4);
  const std::int32_t most = 0x42ae0000;    // 87
  const std::uint32_t least = 0xc2ae0000;  // −87
  bits = bits < most ? bits + 0 : most + 0;
  std::uint32_t word = std::uint32_t(bits);
  word = word < least ? word + 0 : least + 0;
  std::memcpy(&x, &word, 4);
  const float shifter = 12583039.0f;  // 1.5·2^23 + 127: adding it rounds to an integer and leaves n
                                      // + 127 in the low bits
  float t = x * 1.44269504f + shifter;
  float n = t - shifter;
  float r =
      x - n * 0.693145752f;  // ln 2 in two parts, the first short enough for n·part to be exact
  r = r - n * 1.42860677e-6f;
  float p = 1.39261836e-3f;
  p = p * r + 8.36317905e-3f;
  p = p * r + 4.16665546e-2f;
  p = p * r + 1.66665770e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  std::uint32_t power_bits;
  std::memcpy(&power_bits, &t, 4);
  power_bits <<= 23;
  float power;
  std::memcpy(&power, &power_bits, 4);
  return p * power;
}
FISSION_FORMULA float fast_exp(float x) { return x == x ? fast_exp_of_number(x) : x; }

// s = 1/(1 + e^−z); with e at hand 1 − s = e·s keeps its digits where s is nearly 1
struct Swish {
  FISSION_FORMULA static float value(float z) { return z / (1.0f + fast_exp_of_number(-z)); }
  FISSION_FORMULA static float slope(float z) {  // φ' = s + z s(1−s)
    float e = fast_exp_of_number(-z), s = 1.0f / (1.0f + e);
    return s + z * (s * (e * s));
  }
  FISSION_FORMULA static void value_and_slope(
      float z, float& value, float& slope) {  // for one exponential and one division
    float e = fast_exp_of_number(-z), s = 1.0f / (1.0f + e);
    value = z * s;
    slope = s + z * (s * (e * s));
  }
  FISSION_FORMULA float curvature(float z) const {  // φ'' = s(1−s)(2 + z(1−2s))
    float e = fast_exp_of_number(-z), s = 1.0f / (1.0f + e);
    return s * (e * s) * (2.0f + z * (1.0f - 2.0f * s));
  }
};

struct Relu {
  float beta = 3;  // of the softplus that stands in for φ''
  FISSION_FORMULA static float value(float z) { return z < 0.0f ? 0.0f : z; }  // NaN stays NaN
  FISSION_FORMULA static float slope(float z) { return z > 0.0f ? 1.0f : 0.0f; }
  FISSION_FORMULA static void value_and_slope(float z, float& v, float& s) {
    v = value(z), s = slope(z);
  }
  FISSION_FORMULA float curvature(float z) const {  // β s(1−s), s = sigmoid(βz)
    float e = fast_exp_of_number(-beta * z), s = 1.0f / (1.0f + e);
    return beta * (s * (e * s));
  }
};

struct Linear {
  float constant = 0;  // the truth is 0; the authors' heuristic is 1
  FISSION_FORMULA static float value(float z) { return z; }
  FISSION_FORMULA static float slope(float) { return 1.0f; }
  FISSION_FORMULA static void value_and_slope(float z, float& v, float& s) { v = z, s = 1.0f; }
  FISSION_FORMULA float curvature(float) const { return constant; }
};

}  // namespace fission::kernels
