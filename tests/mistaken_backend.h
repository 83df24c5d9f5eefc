// A backend that is wrong in one place: for the test that a comparison finds it, whatever the
// operation.
#pragma once
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tensor/reference/reference.h"

namespace fission::testing {

// The reference with one mistake: 1/1000 of the largest element, in one element of one output of
// one operation.
class Mistaken : public ReferenceBackend {
 public:
  Mistaken(const std::string& operation, int output) : operation_(operation), output_(output) {}
  bool made = false;

#define FISSION_MISTAKE(name, parameters, arguments, outputs) \
  void name parameters override {                             \
    ReferenceBackend::name arguments;                         \
    spoil(#name, views outputs);                              \
  }
  FISSION_OPERATIONS(FISSION_MISTAKE)
#undef FISSION_MISTAKE

 private:
  template <class... V>
  static std::vector<View> views(V... v) {
    return {v...};
  }
  void spoil(const std::string& operation, const std::vector<View>& outputs) {
    if (operation != operation_ || output_ >= int(outputs.size()) || !outputs[output_]) return;
    const View& out = outputs[output_];
    if (out.dtype == DType::i32) out.as<std::int32_t>()[0]++, made = true;
    if (out.dtype != DType::f32) return;
    float most = 0;
    for (Index i = 0; i < out.numel(); i++) most = std::max(most, std::abs(out.as<float>()[i]));
    if (most == 0) return;  // as dy is where a channel has one value
    out.as<float>()[out.numel() / 2] += most / 1000;
    made = true;
  }
  std::string operation_;
  int output_;
};

}  // namespace fission::testing
