// Variable: a tensor in the graph of a computation, with its gradient and the rule that sends the
// gradient on. A *rebuildable* variable (batch norm + activation) is computed when first asked for
// and dropped after each use; its own function rebuilds it in backward. So a training step keeps
// one activation-sized tensor a layer, the pre-activation, and a consumer that fuses it (depthwise)
// never writes it to memory at all.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "tensor/ops.h"
#include "tensor/tensor.h"

namespace fission {

// Every function there is; tests/gradients.cpp has a case for each, or does not compile.
enum class Function {
  leaf,
  conv2d,
  depthwise_conv2d,
  batch_norm_act,
  linear,
  average_pool,
  reshape,
  add,
  cross_entropy,
  count
};

struct Node;

class Variable {
 public:
  Variable() = default;
  explicit Variable(Tensor value);                       // a constant: no gradient
  static Variable parameter(Tensor value, Tensor grad);  // a leaf whose gradient lands in `grad`
  explicit operator bool() const { return node_ != nullptr; }

  Tensor value() const;  // computed now if it is rebuildable and absent
  void drop() const;     // lets a rebuildable value go
  const Shape& shape() const;
  bool requires_grad() const;
  Tensor grad() const;  // null: none has arrived
  void clear_grad() const;
  // g joins the gradient; it may be overwritten if nobody else holds it
  void accumulate(Tensor g) const;
  // The same for a gradient that a kernel writes: straight into a parameter's place where nothing
  // is there yet.
  void accumulate_written(const std::function<void(Tensor&)>& write) const;
  // Another rule in the place of this variable's own: the probe's, which makes S·v out of the
  // gradient as it passes (E9).
  void replace_backward(std::function<void(Tensor)> rule) const;

  Node& node() const { return *node_; }
  const std::shared_ptr<Node>& pointer() const { return node_; }

 private:
  friend Variable make_result(Function, Shape, std::vector<Variable>, Tensor,
                              std::function<void(Tensor)>);
  friend Variable make_rebuildable(Function, Shape, std::vector<Variable>, std::function<Tensor()>,
                                   std::function<void(Tensor)>);
  std::shared_ptr<Node> node_;
};

struct Node {
  Function function = Function::leaf;
  Shape shape;
  Tensor value, grad;
  Tensor slot;  // parameters: where the gradient lands
  bool requires_grad = false;
  std::vector<Variable> inputs;
  std::function<void(Tensor)> backward;  // takes ∂L/∂value, accumulates into the inputs
  std::function<Tensor()> rebuild;
  std::shared_ptr<const NormTensors>
      norm;  // batch_norm_act: what a consumer needs to fuse it (its input is inputs[0])
  bool replaced = false;  // by replace_backward()
  int consumers = 0;      // functions that took it as an input
};

// What a forward pass records: nothing (evaluation), gradients of activations only (the probe of
// E9), or of all.
enum class Gradients { none, activations, all };
Gradients gradient_mode();
class GradientMode {  // for the life of this object, on this thread
 public:
  explicit GradientMode(Gradients mode);
  ~GradientMode();
  GradientMode(const GradientMode&) = delete;

 private:
  Gradients before_;
};

// For functions.cpp. `backward` is kept only if some gradient is wanted.
Variable make_result(Function f, Shape shape, std::vector<Variable> inputs, Tensor value,
                     std::function<void(Tensor)> backward);
Variable make_rebuildable(Function f, Shape shape, std::vector<Variable> inputs,
                          std::function<Tensor()> rebuild, std::function<void(Tensor)> backward);

// ∂loss/∂everything below it. The graph is used up: memory goes back as the walk passes.
void backward(const Variable& loss);

}  // namespace fission
