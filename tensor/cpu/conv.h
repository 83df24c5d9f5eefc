// ConvPlans: oneDNN's convolutions, ready to run, keyed by operation, shapes, geometry and threads.
// Activations are used where they lie, (N,H,W,C); a filter is reordered between our (O,K,K,I) and
// the primitive's own blocked format, in one buffer that all plans share. A step whose shapes were
// seen before creates nothing and allocates nothing.
#pragma once
#include <array>
#include <map>
#include <memory>

#include "tensor/allocator.h"
#include "tensor/backend.h"

namespace fission::cpu {

enum class ConvKind { forward, backward_data, backward_filter };

class ConvPlans {
 public:
  explicit ConvPlans(Arena& arena);
  ~ConvPlans();
  // x (N,H,W,I), w (O,K,K,I), y (N,H',W',O): the one that `kind` computes is written
  void run(ConvKind kind, View x, View w, View y, const Conv2dGeometry& g);

 private:
  struct Plan;
  struct Library;
  using Key = std::array<Index, 10>;
  Plan& plan(ConvKind kind, Shape x, const Shape& w, Shape y, const Conv2dGeometry& g);
  void* grow(void*& buffer, std::size_t& held, std::size_t bytes);

  Arena& arena_;
  std::unique_ptr<Library> library_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
  void *filter_ = nullptr, *workspace_ = nullptr;
  std::size_t filter_bytes_ = 0, workspace_bytes_ = 0;
};

}  // namespace fission::cpu
