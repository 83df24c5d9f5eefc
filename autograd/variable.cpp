#include "autograd/variable.h"

namespace fission {
namespace {
thread_local Gradients mode = Gradients::all;

bool wants_gradient(const std::vector<Variable>& inputs) {
  if (mode == Gradients::none) return false;
  if (mode == Gradients::activations) return true;
  for (const Variable& v : inputs)
    if (v && v.requires_grad()) return true;
  return false;
}
}  // namespace

Gradients gradient_mode() { return mode; }
GradientMode::GradientMode(Gradients m) : before_(mode) { mode = m; }
GradientMode::~GradientMode() { mode = before_; }

Variable::Variable(Tensor value) : node_(std::make_shared<Node>()) {
  node_->shape = value.shape();
  node_->value = std::move(value);
}
Variable Variable::parameter(Tensor value, Tensor grad) {
  Variable v(std::move(value));
  v.node_->slot = std::move(grad);
  v.node_->requires_grad = true;
  return v;
}

Tensor Variable::value() const {
  FISSION_CHECK(node_, "[variable] a null variable has no value");
  if (!node_->value && node_->rebuild) node_->value = node_->rebuild();
  return node_->value;
}
void Variable::drop() const {
  if (node_->rebuild) node_->value = Tensor();
}
const Shape& Variable::shape() const { return node_->shape; }
bool Variable::requires_grad() const {
  // a parameter's own gradient is wanted in mode `all` only
  return node_->requires_grad && !(node_->slot && mode != Gradients::all);
}
Tensor Variable::grad() const { return node_->grad; }
void Variable::clear_grad() const { node_->grad = Tensor(); }

void Variable::accumulate(Tensor g) const {
  FISSION_CHECK(g.shape() == node_->shape, "[accumulate] gradient ", g.shape(), " for value ",
                node_->shape);
  Tensor& grad = node_->grad;
  if (!grad && node_->slot) {
    node_->slot.copy_from(g);
    grad = node_->slot;
  } else if (!grad) {
    grad = std::move(g);
  } else if (node_->slot || grad.unique()) {
    ops::add(grad, g, grad);
  } else {
    Tensor sum = grad.like();
    ops::add(grad, g, sum);
    grad = sum;
  }
}
void Variable::accumulate_written(const std::function<void(Tensor&)>& write) const {
  if (node_->slot && !node_->grad) {
    write(node_->slot);
    node_->grad = node_->slot;
  } else {
    Tensor g = node_->slot ? node_->slot.like()
                           : Tensor(node_->value.backend(), node_->shape, node_->value.dtype());
    write(g);
    accumulate(g);
  }
}
void Variable::replace_backward(std::function<void(Tensor)> rule) const {
  FISSION_CHECK(node_->backward, "[replace_backward] no gradient passes here");
  node_->backward = std::move(rule);
}

Variable make_result(Function f, Shape shape, std::vector<Variable> inputs, Tensor value,
                     std::function<void(Tensor)> backward, std::function<Tensor()> rebuild) {
  Variable v(std::move(value));
  Node& node = v.node();
  node.function = f, node.shape = shape, node.rebuild = std::move(rebuild);
  if (wants_gradient(inputs)) {
    node.requires_grad = true;
    node.inputs = std::move(inputs), node.backward = std::move(backward);
  }
  return v;
}

}  // namespace fission
