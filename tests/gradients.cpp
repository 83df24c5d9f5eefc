// Every function of autograd against central differences (autograd/gradcheck.h), in f64 on the
// reference backend. The table is indexed by enum class Function: a function without a case does
// not compile.
// Tolerance 1e-8: at h = 1e-5 truncation (h²/6·L''') and rounding (1e-16·L/h) are 1e-11 for an L
// and derivatives of size 1; here sums have up to some hundred terms. A wrong term is off by 1e-2
// and more.
#include <array>

#include "autograd/functions.h"
#include "autograd/gradcheck.h"
#include "tests/tensor/values.h"

using namespace fission;

namespace {
using testing::reference;

Tensor random_tensor(const Shape& shape, std::uint64_t item) {
  return testing::random_tensor(reference(), shape, item, 1, 0, DType::f64);
}

// One check: parameters drawn at random, and a function of them
struct Check {
  std::vector<Variable> p;
  std::uint64_t drawn = 0;
  Variable parameter(const Shape& shape) {
    p.push_back(Variable::parameter(random_tensor(shape, drawn++),
                                    ops::zeros(reference(), shape, DType::f64)));
    return p.back();
  }
  // L = a random linear form of the result, through reshape and linear, which have cases of their
  // own
  void operator()(const std::function<Variable()>& result) {
    auto loss = [&] {
      Variable y = result();
      Index n = y.shape().numel();
      return linear(reshape(y, {1, n}), Variable(random_tensor({1, n}, 1000)),
                    Variable(ops::zeros(reference(), {1}, DType::f64)));
    };
    GradientError e = check_gradients(loss, p);
    INFO("parameter ", e.parameter, " element ", e.element, ": analytic ", e.analytic, ", numeric ",
         e.numeric);
    CHECK(e.error < 1e-8);
  }
};

void conv2d_case() {
  for (auto [kernel, stride, padding] :
       {std::array<Index, 3>{1, 1, 0}, {3, 1, 1}, {3, 2, 1}, {3, 2, 0}, {1, 2, 0}}) {
    Conv2dGeometry g{kernel, stride, padding};
    INFO("kernel ", g.kernel, " stride ", g.stride, " padding ", g.padding);
    Check check;
    Variable x = check.parameter({2, 5, 4, 3}), w = check.parameter({5, g.kernel, g.kernel, 3});
    check([&] { return conv2d(x, w, g); });
  }
}

BatchNormState state_of(Index channels, bool training, Index groups) {
  BatchNormState s;
  s.training = training, s.groups = groups;
  s.running_mean = random_tensor({channels}, 500);
  std::vector<double> var = random_tensor({channels}, 501).to_host();
  for (double& v : var) v = 0.5 + v * v;
  s.running_var = Tensor::from(reference(), {channels}, var);
  return s;
}

// then(batch norm + activation of y (4,3,3,3), w); training changes the running statistics, which
// it doesn't read
void batch_norm_checks(Activation activation, const Shape& w_shape,
                       const std::function<Variable(const NormAct&, const Variable&)>& then) {
  for (auto [training, groups] : {std::pair<bool, Index>{false, 1}, {true, 1}, {true, 2}}) {
    INFO("training ", training, " groups ", groups, " activation ", int(activation));
    Check check;
    BatchNormState state = state_of(3, training, groups);
    Variable y = check.parameter({4, 3, 3, 3}), gamma = check.parameter({3}),
             beta = check.parameter({3}), w = check.parameter(w_shape);
    if (activation ==
        Activation::relu) {  // every |z| > 1, far from ReLU's corner: |γ x̂| is at most 0.1·√35
      gamma.value().set(std::vector<double>{0.05, 0.1, -0.05}.data(), 24);
      beta.value().set(std::vector<double>{4, -4, 4}.data(), 24);
    }
    check([&] { return then(batch_norm_act(y, gamma, beta, state, activation), w); });
  }
}

void batch_norm_act_case() {  // add takes the activation itself, twice
  for (Activation f : {Activation::none, Activation::swish, Activation::relu})
    batch_norm_checks(f, {4, 3, 3, 3},
                      [](const Variable& a, const Variable& w) { return add(add(a, a), w); });
}

// of a plain variable, and of a batch norm's activation, which it computes on its way
template <Variable function(const NormAct&, const Variable&, const Conv2dGeometry&)>
void depthwise_case() {
  for (Conv2dGeometry g : {Conv2dGeometry{3, 1, 1}, {3, 2, 1}, {1, 1, 0}}) {
    INFO("kernel ", g.kernel, " stride ", g.stride);
    Check plain;
    NormAct x(plain.parameter({2, 5, 4, 3}));
    Variable w = plain.parameter({g.kernel, g.kernel, 3});
    plain([&] { return function(x, w, g); });
    for (Activation f : {Activation::none, Activation::swish, Activation::relu})
      batch_norm_checks(f, {g.kernel, g.kernel, 3},
                        [g](const NormAct& a, const Variable& v) { return function(a, v, g); });
  }
}

void linear_case() {
  Check check;
  Variable x = check.parameter({3, 5}), w = check.parameter({4, 5}), b = check.parameter({4});
  check([&] { return linear(x, w, b); });
}

void average_pool_case() {
  for (PoolGeometry g :
       {PoolGeometry{5, 1}, PoolGeometry{2, 2}, PoolGeometry{3, 1}, PoolGeometry{2, 1}}) {
    INFO("window ", g.window, " stride ", g.stride);
    Check check;
    Variable x = check.parameter({2, 5, 5, 3});
    check([&] { return average_pool(x, g); });
  }
}

void reshape_case() {
  Check check;
  Variable x = check.parameter({2, 3, 2, 1});
  check([&] { return reshape(x, {4, 3}); });
}

void add_case() {
  Check check;
  Variable a = check.parameter({2, 3}), b = check.parameter({2, 3});
  check([&] { return add(a, b); });
}

void cross_entropy_case() {
  for (double smoothing : {0.0, 0.1}) {
    INFO("smoothing ", smoothing);
    Check check;
    Variable logits = check.parameter({4, 3});
    Tensor labels = Tensor::from(reference(), {4}, std::vector<std::int32_t>{0, 2, 1, 2});
    GradientError e =
        check_gradients([&] { return cross_entropy(logits, labels, smoothing); }, check.p);
    CHECK(e.error < 1e-8);
  }
}

void leaf_case() {  // a parameter is its own function: its gradient is the form's row
  Check check;
  Variable x = check.parameter({7});
  check([&] { return x; });
}

struct Entry {
  Function function;
  const char* name;
  void (*check)();
};
constexpr Entry table[] = {
    {Function::leaf, "leaf", leaf_case},
    {Function::conv2d, "conv2d", conv2d_case},
    {Function::depthwise_conv2d, "depthwise_conv2d", depthwise_case<depthwise_conv2d>},
    {Function::norm_act_depthwise, "norm_act_depthwise", depthwise_case<norm_act_depthwise>},
    {Function::batch_norm_act, "batch_norm_act", batch_norm_act_case},
    {Function::linear, "linear", linear_case},
    {Function::average_pool, "average_pool", average_pool_case},
    {Function::reshape, "reshape", reshape_case},
    {Function::add, "add", add_case},
    {Function::cross_entropy, "cross_entropy", cross_entropy_case},
};
constexpr bool in_order() {
  for (std::size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
    if (table[i].function != Function(i)) return false;
  return true;
}
static_assert(sizeof(table) / sizeof(table[0]) == std::size_t(Function::count),
              "a function of autograd has no case here");
static_assert(in_order(), "the table is indexed by enum class Function");
}  // namespace

TEST_CASE("gradients: every function's are those of central differences") {
  for (const Entry& e : table) {
    INFO(e.name);
    e.check();
  }
}

TEST_CASE("gradients: a variable that is used twice gets the sum") {
  Check check;
  Variable x = check.parameter({2, 4, 4, 2}), w = check.parameter({2, 3, 3, 2});
  check([&] {
    Variable y = conv2d(x, w, {3, 1, 1});
    return add(add(y, x), conv2d(add(y, y), w, {3, 1, 1}));
  });
}
TEST_CASE("gradients: through a block whose activation two consumers read, one of them fused") {
  Check check;
  BatchNormState first = state_of(3, true, 2), second = state_of(3, true, 2);
  Variable x = check.parameter({4, 4, 4, 2}), w = check.parameter({3, 3, 3, 2});
  Variable d = check.parameter({3, 3, 3}), p = check.parameter({3, 1, 1, 3});
  Variable g1 = check.parameter({3}), b1 = check.parameter({3}), g2 = check.parameter({3}),
           b2 = check.parameter({3});
  check([&] {
    NormAct a = batch_norm_act(conv2d(x, w, {3, 1, 1}), g1, b1, first, Activation::swish);
    Variable c =
        batch_norm_act(norm_act_depthwise(a, d, {3, 1, 1}), g2, b2, second, Activation::swish);
    return add(conv2d(c, p, {1, 1, 0}), a);
  });
}
TEST_CASE("gradients: a bias or β gets its own even if weight or γ is a constant") {
  Check check;
  BatchNormState state = state_of(3, false, 1);
  Variable y = check.parameter({2, 2, 2, 3}), beta = check.parameter({3}), b = check.parameter({4});
  Variable gamma(random_tensor({3}, 700)), w(random_tensor({4, 12}, 701));
  check([&] {
    return linear(reshape(batch_norm_act(y, gamma, beta, state, Activation::swish), {2, 12}), w, b);
  });
}
TEST_CASE("gradients: ReLU's is 0 below 0 and 1 above") {
  auto tensor = [](const Shape& shape, const std::vector<double>& v) {
    return Tensor::from(reference(), shape, v);
  };
  BatchNormState state;
  state.running_mean = tensor({1}, {0}), state.running_var = tensor({1}, {1}), state.eps = 0;
  Variable y = Variable::parameter(tensor({1, 1, 4, 1}, {-2, -1e-9, 1e-9, 3}),
                                   tensor({1, 1, 4, 1}, {7, 7, 7, 7}));
  Variable one(tensor({1}, {1})), zero(tensor({1}, {0}));
  Variable a = batch_norm_act(y, one, zero, state, Activation::relu);
  backward(linear(reshape(a, {1, 4}), Variable(tensor({1, 4}, {1, 1, 1, 1})), zero));
  CHECK(y.grad().to_host() == std::vector<double>{0, 0, 1, 1});
}
