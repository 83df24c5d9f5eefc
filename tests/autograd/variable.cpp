// Facts of the graph itself: what is kept, what is dropped and rebuilt, what goes back, who is
// called.
#include "autograd/functions.h"

#include "tests/small_network.h"

using namespace fission;
using namespace fission::testing;

namespace {
std::size_t in_use() { return open_backend("reference").arena(Memory::device).statistics().in_use; }
Loss loss_of(Small& s, Trace* trace = nullptr) {
  return cross_entropy(s.network->forward(Variable(s.x), trace), s.y, 0);
}
static_assert(!std::is_convertible_v<Loss, Variable>, "no function takes a loss");
Tensor vector(const std::vector<double>& values) {
  return Tensor::from(open_backend("reference"), {1, Index(values.size())}, values);
}
Variable parameter(const std::vector<double>& values) {
  return Variable::parameter(vector(values), vector(std::vector<double>(values.size(), 7)));
}
Variable sum(const Variable& x) {  // (1,n) → (1,1)
  Index n = x.shape()[1];
  return linear(x, Variable(vector(std::vector<double>(n, 1))),
                Variable(Tensor::from(open_backend("reference"), {1}, std::vector<double>{0})));
}
}  // namespace

TEST_CASE(
    "autograd: a batch norm's activation is dropped after its use, the pre-activation is kept") {
  Small s;
  Trace trace;
  Loss loss = loss_of(s, &trace);
  for (std::size_t i = 0; i + 1 < trace.size(); i++) {
    CHECK(!trace[i].a.node().value);
    CHECK(trace[i].y.node().value);
  }
}
TEST_CASE("autograd: a dropped activation is rebuilt to the same bits") {
  Small s;
  Trace trace;
  Loss loss = loss_of(s, &trace);
  std::vector<double> first = trace[2].a.value().to_host();
  trace[2].a.drop();
  CHECK(!trace[2].a.node().value);
  CHECK(trace[2].a.value().to_host() == first);
}
TEST_CASE("autograd: a training step keeps one activation-sized tensor a layer") {
  Small s;
  s.network->set_training(true);
  std::size_t before = in_use(), one_each = 0;
  Trace trace;
  Loss loss = loss_of(s, &trace);
  for (const TraceEntry& e : trace) one_each += e.y.value().bytes();
  // beside them: batch statistics, logits, and rounding of allocations to 256 bytes: some tensors
  // of a few channels a layer
  CHECK(in_use() - before < one_each + trace.size() * 1024);
}
TEST_CASE("autograd: after backward only the loss is left") {
  Small s;
  s.network->set_training(true);
  std::size_t before = in_use();
  {
    Loss loss = loss_of(s);
    CHECK(in_use() > before + 10000);
    backward(loss);
    CHECK(in_use() <= before + 3 * 256);  // the loss, its gradient, at most one more
  }
  CHECK(in_use() == before);
}
TEST_CASE(
    "autograd: rules that hold their own variables go with the rest, whether the last one throws, "
    "or sends nothing on") {
  Small s;
  const std::size_t before = in_use();
  for (bool throws : {true, false}) {
    Trace trace;
    Loss loss = loss_of(s, &trace);
    for (const TraceEntry& e : trace)
      e.a.replace_backward([a = e.a, throws](Tensor) {
        if (throws) throw OutOfMemory("no more");
      });
    if (throws) CHECK_THROWS_AS(backward(loss), OutOfMemory);
    else backward(loss);
  }
  CHECK(in_use() == before);
}
TEST_CASE("autograd: a graph that never sees backward goes back too, in every mode") {
  Small s;
  std::size_t before = in_use();
  for (Gradients g : {Gradients::none, Gradients::activations, Gradients::all}) {
    GradientMode mode(g);
    loss_of(s);
    CHECK(in_use() == before);
  }
}
TEST_CASE("autograd: in mode none nothing is recorded") {
  Small s;
  GradientMode none(Gradients::none);
  Trace trace;
  loss_of(s, &trace);
  for (const TraceEntry& e : trace) CHECK(!e.y.node().backward);
}
TEST_CASE(
    "autograd: in mode activations no gradient of a parameter is made, and the activations' are "
    "those of mode all") {
  Small s;
  std::vector<std::vector<double>> seen[2];
  for (int i : {0, 1}) {
    GradientMode mode(i ? Gradients::activations : Gradients::all);
    s.network->begin_step();
    Tensor g = s.network->gradients();
    ops::fill(g, 7);
    Trace trace;
    Loss loss = loss_of(s, &trace);
    for (const TraceEntry& e : trace)
      e.a.replace_backward([&, i, rule = e.a.node().backward](Tensor delta) {
        seen[i].push_back(delta.to_host()), rule(delta);
      });
    trace.clear();
    backward(loss);
    CHECK((largest(s.network->gradients().to_host()) == 7) == (i == 1));
    for (const Stored& t : s.network->stored())
      if (t.parameter) CHECK(bool(t.variable.grad()) == (i == 0));
  }
  CHECK(seen[0].size() == 27);
  CHECK(seen[0] == seen[1]);
}
TEST_CASE("autograd: in mode activations a parameter that is itself an operand gets none either") {
  GradientMode mode(Gradients::activations);
  Variable p = parameter({1, 2});
  backward(sum(add(p, p)));
  CHECK(!p.grad());
}
TEST_CASE("autograd: the mode ends with its scope") {
  {
    GradientMode none(Gradients::none);
    { GradientMode activations(Gradients::activations); }
    CHECK(gradient_mode() == Gradients::none);
  }
  CHECK(gradient_mode() == Gradients::all);
}
TEST_CASE("autograd: a parameter's gradient lands in its place, and replaces what lay there") {
  Tensor place = vector({7, 7});
  Variable p = Variable::parameter(vector({1, 2}), place);
  backward(sum(add(p, p)));
  CHECK(place.to_host() == std::vector<double>{2, 2});
  CHECK(p.grad().shares_storage(place));
  backward(sum(p));  // not cleared: it adds up
  CHECK(place.to_host() == std::vector<double>{3, 3});
}
TEST_CASE(
    "autograd: a replaced rule gets the gradient once, in its turn, and a gradient that it keeps "
    "is not written into") {
  Small s;
  Trace trace;
  Loss loss = loss_of(s, &trace);
  std::vector<std::string> order;
  Tensor kept;
  std::vector<double> then;
  trace[5].a.replace_backward([&, rule = trace[5].a.node().backward](Tensor g) {
    order.push_back("5"), kept = g, then = g.to_host(), rule(g);
  });
  trace[4].a.replace_backward(
      [&, rule = trace[4].a.node().backward](Tensor g) { order.push_back("4"), rule(g); });
  backward(loss);
  CHECK(order == std::vector<std::string>{"5", "4"});
  CHECK(kept.to_host() == then);  // the rules of what lies below did not write into it
  CHECK(largest(then) > 0);
}
TEST_CASE("autograd: parameters that no gradient reached get zero from finish_step") {
  Small s;
  Tensor g = s.network->gradients();
  ops::fill(g, 7);
  s.network->begin_step();
  s.network->finish_step();
  CHECK(largest(s.network->gradients().to_host()) == 0);
}
TEST_CASE("autograd: backward of more than one element is refused") {
  CHECK_THROWS_WITH_AS(backward(parameter({1, 2})),
                       doctest::Contains("the loss has shape (1,2), not one element"),
                       InvariantError);
}
TEST_CASE("autograd: a gradient of another shape is refused") {
  CHECK_THROWS_WITH_AS(parameter({1, 2}).accumulate(vector({1})),
                       doctest::Contains("gradient (1,1) for value (1,2)"), InvariantError);
}
