#include "tensor/profile_backend.h"

#include <algorithm>
#include <chrono>

namespace fission {

// The tensors among an operation's arguments, in their order, and a convolution's kernel
struct ProfileBackend::Operands {
  std::vector<View> views;
  Index kernel = 0;
  template <class... Arguments>
  explicit Operands(const Arguments&... arguments) {
    (add(arguments), ...);
  }
  void add(const View& v) { views.push_back(v); }
  void add(const Conv2dGeometry& g) { kernel = g.kernel; }
  template <class Other>
  void add(const Other&) {}

  double bytes() const {
    double sum = 0;
    for (std::size_t i = 0; i < views.size(); i++) {
      const bool seen = std::any_of(views.begin(), views.begin() + std::ptrdiff_t(i),
                                    [&](const View& v) { return v.data == views[i].data; });
      if (views[i] && !seen) sum += double(views[i].numel()) * double(size_of(views[i].dtype));
    }
    return sum;
  }
  // A convolution's values of y (or of dy) times the products that each is a sum of
  double macs(const std::string& name) const {
    if (kernel == 0) return 0;
    const double taps = double(kernel * kernel);
    if (name == "conv2d") return double(views[2].numel()) * taps * double(views[0].shape[3]);
    if (name == "conv2d_backward_data")
      return double(views[0].numel()) * taps * double(views[2].shape[3]);
    if (name == "conv2d_backward_filter")
      return double(views[1].numel()) * taps * double(views[0].shape[3]);
    if (name == "depthwise") return double(views[2].numel()) * taps;
    if (name == "depthwise_tangent") return double(views[3].numel()) * taps;
    const int gradients = name == "depthwise_backward" ? bool(views[3]) + bool(views[4]) : 2;
    return gradients * double(views[2].numel()) * taps;
  }
};

template <class Call>
void ProfileBackend::time(const std::string& name, const Operands& operands, Call call) {
  const bool dense = name.rfind("conv2d", 0) == 0;
  Row& row = rows_[dense ? text(name, " ", operands.kernel, "x", operands.kernel) : name];
  const Index regions = regions_ ? regions_() : 0;
  const auto begin = std::chrono::steady_clock::now();
  call();
  inner_.synchronize();
  row.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (regions_) row.regions += regions_() - regions;
  row.calls++, row.macs += operands.macs(name), row.bytes += operands.bytes();
}

#define FISSION_TIME(name, parameters, arguments, outputs)           \
  void ProfileBackend::name parameters {                             \
    time(#name, Operands arguments, [&] { inner_.name arguments; }); \
  }
FISSION_OPERATIONS(FISSION_TIME)
#undef FISSION_TIME

}  // namespace fission
