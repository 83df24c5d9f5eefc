// Variable: a tensor in the graph of a computation: its value, its gradient, the variables that it
// was made of (inputs), and the rule that sends the gradient on to them (backward). A function
// (functions.cpp) computes the value and hands it to make_result() with the rule: for y = w * x,
//     dy ↦ x.accumulate(wᵀ * dy), w.accumulate(Σ dy x).
// backward(loss) walks from the loss to its inputs and on to theirs, and calls each rule once, when
// the variable's gradient is whole. A parameter is a variable without inputs: its gradient stays.
// A batch norm's activation is *rebuildable*: computed when first asked for, dropped after each
// use, and computed again in backward. So a training step keeps one activation-sized tensor a
// layer, the pre-activation.
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
  norm_act_depthwise,
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
  std::function<Tensor()> rebuild;       // computes an absent value
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

// For functions.cpp. Inputs and rule are kept only if some gradient is wanted. A value that is null
// is one to rebuild.
Variable make_result(Function f, Shape shape, std::vector<Variable> inputs, Tensor value,
                     std::function<void(Tensor)> backward,
                     std::function<Tensor()> rebuild = nullptr);

// Where backward() starts: a variable of one element. No function takes a Loss as its input, so
// dL/dL = 1 is all that its own rule must know.
class Loss {
 public:
  Loss(Variable variable) : variable_(std::move(variable)) {}
  Tensor value() const { return variable_.value(); }

 private:
  friend void backward(const Loss&);
  Variable variable_;
};

// ∂loss/∂everything below it. The graph is used up: memory goes back as the walk passes.
void backward(const Loss& loss);

}  // namespace fission
