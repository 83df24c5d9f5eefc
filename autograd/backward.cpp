#include <algorithm>
#include <unordered_set>

#include "autograd/variable.h"

namespace fission {

// Reverse mode: children before parents is a topological order (depth first, without recursion);
// walk it backwards, and each node has its whole gradient when its turn comes.
void backward(const Loss& l) {
  const Variable& loss = l.variable_;
  FISSION_CHECK(loss.shape().numel() == 1, "[backward] the loss has shape ", loss.shape(),
                ", not one element");
  using Pointer = std::shared_ptr<Node>;
  std::vector<Pointer> order;
  std::unordered_set<Node*> seen{&loss.node()};
  std::vector<std::pair<Pointer, std::size_t>> path{{loss.pointer(), 0}};
  while (!path.empty()) {
    auto& [node, next] = path.back();
    if (node->backward && next < node->inputs.size()) {
      const Variable& input = node->inputs[next++];
      if (input && input.node().requires_grad && seen.insert(&input.node()).second)
        path.push_back({input.pointer(), 0});
    } else {
      order.push_back(node);
      path.pop_back();
    }
  }

  // Rules may hold the variable that they belong to, as the probe's do: where one throws, the
  // others are let go, and what they hold with them.
  struct Left {
    std::vector<Pointer>& nodes;
    ~Left() {
      for (Pointer& node : nodes) node->backward = nullptr;
    }
  } left{order};
  Tensor one = loss.value().like();
  ops::fill(one, 1);
  loss.accumulate(one);
  while (!order.empty()) {
    Pointer node = std::move(order.back());
    order.pop_back();
    if (!node->backward) continue;  // a leaf
    auto rule = std::move(node->backward);
    if (node->grad) rule(std::move(node->grad));  // else nothing reached it
    node->grad = Tensor();
    node->backward = nullptr;
    node->rebuild = nullptr;
    node->inputs.clear();
  }
}

}  // namespace fission
