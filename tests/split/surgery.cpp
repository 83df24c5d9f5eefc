// What theory says of the surgery: it preserves the function at ε = 0, is even in ε, and carries
// buffers the same way.
#include "split/surgery.h"

#include "tests/near.h"
#include "tests/small_network.h"

using namespace fission;
using namespace fission::testing;

namespace {
const std::vector<std::vector<Index>> width_lists = {{3, 4, 3, 5, 4, 3, 4, 3, 3, 4, 3, 3, 4, 5},
                                                     {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
                                                     {8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5, 6, 7},
                                                     small_v2,
                                                     std::vector<Index>(35, 1)};

std::vector<Masks> masks(const Small& s) {
  Masks single = s.nobody(), neighbours = s.nobody(), last = s.nobody();
  single[0][0] = 1;
  neighbours[3].back() = 1, neighbours[4].front() = 1,
  neighbours[5].assign(neighbours[5].size(), 1);
  last.back().back() = 1;
  return {s.nobody(), s.everybody(), single, neighbours, last, s.some(1), s.some(2)};
}
}  // namespace

TEST_CASE("surgery: at ε = 0 the logits stay, for every mask and list of widths") {
  for (const Machine& m : machines())
    for (const auto& widths : width_lists) {
      Small s(m, Activation::swish, widths);
      Tensor v = random_flat(*s.network, 1);
      std::vector<double> before = s.logits(*s.network).to_host();
      int i = 0;
      for (const Masks& split : masks(s)) {
        INFO(m.name(), ", ", s.network->config().model, ", first width ", widths[0], ", mask ",
             i++);
        // f64: 14 or 52 layers of sums in another order; f32: the reference's table, max abs 3e-5,
        // logits here are of size 1
        CHECK(relative(s.logits(*split_network(*s.network, split, v, {0, SplitStep::exact})),
                       before) < m.tolerance(3e-5, 1e-12));
      }
    }
}
TEST_CASE("surgery: three splits in a row at ε = 0 leave the logits, of every model") {
  for (const Machine& m : machines())
    for (const auto& widths : small_models) {
      Small s(m, Activation::swish, widths);
      INFO(m.name(), ", ", s.network->config().model);
      std::vector<double> before = s.logits(*s.network).to_host();
      auto grown =
          split_network(*s.network, s.some(1), random_flat(*s.network, 1), {0, SplitStep::exact});
      for (std::uint64_t round : {2, 3})
        grown = split_network(*grown, random_masks(*grown, round), random_flat(*grown, round),
                              {0, SplitStep::exact});
      CHECK(grown->widths()[0] > widths[0]);
      CHECK(relative(s.logits(*grown), before) < m.tolerance(3e-5, 1e-12));  // as above
    }
}
TEST_CASE("surgery: at ε = 0 the logits stay for unequal shares of the outgoing weights too") {
  for (const auto& widths : small_models)
    for (double share : {0.2, 0.7}) {
      Small s(machines()[0], Activation::swish, widths);
      INFO(s.network->config().model, ", share ", share);
      auto grown = split_network(*s.network, s.some(1), random_flat(*s.network, 1),
                                 {0, SplitStep::exact, true, share, 1.5});
      CHECK(relative(s.logits(*grown), s.logits(*s.network).to_host()) <
            1e-12);  // f64: sums in another order
    }
}
TEST_CASE("surgery: rows are as long as before again, and the function is the same") {
  for (const auto& widths : small_models) {
    Small s(machines()[0], Activation::swish, widths);
    Tensor v = random_flat(*s.network, 3);
    SurgerySettings settings{0.3, SplitStep::exact, false, 0.5, 0.5};
    auto plain = split_network(*s.network, s.some(2), v, settings);
    settings.keep_norms = true;
    auto kept = split_network(*s.network, s.some(2), v, settings);
    CHECK(relative(s.logits(*kept), s.logits(*plain).to_host()) < 1e-12);  // f64: rounding
    settings.relative = true;
    const std::vector<double> before = step_lengths(*s.network, settings),
                              after = step_lengths(*kept, settings);
    std::size_t row = 0, old = 0;
    for (const auto& axis : s.some(2)) {
      std::vector<double> expected(before.begin() + std::ptrdiff_t(old),
                                   before.begin() + std::ptrdiff_t(old + axis.size()));
      for (std::size_t o = 0; o < axis.size(); o++)
        if (axis[o]) expected.push_back(before[old + o]);
      for (double length : expected) CHECK(after[row++] == near(length).epsilon(1e-12));
      old += axis.size();
    }
  }
}
TEST_CASE("surgery: with unequal shares a split changes the loss by the same (ε²/2) v̂ᵀS v̂ (E2w)") {
  for (const auto& widths : small_models) {
    Small s(machines()[0], Activation::swish, widths);
    Tensor v = random_flat(*s.network, 3);
    Masks split = s.some(2);
    for (double share : {0.3, 0.8}) {
      auto ratio = [&](double epsilon) {
        double change = s.loss(*split_network(*s.network, split, v,
                                              {epsilon, SplitStep::exact, false, share})) -
                        s.loss(*s.network);
        return change / (epsilon * epsilon / 2 * s.form(v, split, Matrix::chain));
      };
      INFO(s.network->config().model, ", share ", share);
      const double far = std::abs(ratio(1e-3) - 1), near_by = std::abs(ratio(1e-4) - 1);
      CHECK(near_by < 5e-2);
      CHECK(far / near_by ==
            near(10).epsilon(0.2));  // a term of order ε³, which equal shares cancel
    }
  }
}
TEST_CASE(
    "surgery: relative steps change the loss by the same if w_o is scaled under its batch norm "
    "(E3r)") {
  for (const auto& widths : small_models) {
    Small s(machines()[0], Activation::swish, widths);
    Masks split = s.some(2);
    Tensor v = random_flat(*s.network, 3);
    auto change = [&] {
      return s.loss(*split_network(*s.network, split, v, {0.1, SplitStep::exact, true})) -
             s.loss(*s.network);
    };
    const double before = change();
    double absolute = s.form(v, split, Matrix::chain);
    for (const Axis& axis :
         s.network->axes()) {  // w, mean and √(var + eps) three times as large: the same function
      const ConvBlock& b = s.network->producer(axis);
      Tensor w = s.network->stored()[b.weight].value,
             mean = s.network->stored()[b.running_mean].value,
             var = s.network->stored()[b.running_var].value;
      ops::add_scaled(w, w.clone(), 2);
      ops::add_scaled(mean, mean.clone(), 2);
      std::vector<double> values = var.to_host();
      for (double& x : values) x = 9 * (x + 1e-5) - 1e-5;
      var.copy_from(make_real(var.backend(), var.shape(), values, var.dtype()));
    }
    CHECK(change() ==
          near(before).epsilon(1e-9));  // rounding of losses of size 1 over changes of 1e-3
    CHECK(s.form(v, split, Matrix::chain) == near(absolute / 9).epsilon(1e-9));
  }
}
TEST_CASE("surgery: a skip path's rows are copied without a step, its columns halved") {
  Small s(machines()[0], Activation::swish, small_v2);
  for (const SkipConv& skip : s.network->skips()) {
    Masks split = s.nobody();
    split[skip.in_axis][0] = split[skip.out_axis][1] = 1;
    auto grown =
        split_network(*s.network, split, random_flat(*s.network, 1), {0.1, SplitStep::exact});
    std::size_t in = std::size_t(s.network->axes()[skip.in_axis].width),
                out = std::size_t(s.network->axes()[skip.out_axis].width);
    std::vector<double> w = s.network->stored()[skip.weight].value.to_host(),
                        now = grown->stored()[skip.weight].value.to_host();
    REQUIRE(now.size() == (in + 1) * (out + 1));
    for (std::size_t o = 0; o <= out; o++)
      for (std::size_t i = 0; i <= in; i++) {
        double old = w[(o == out ? 1 : o) * in + (i == in ? 0 : i)];
        CHECK(now[o * (in + 1) + i] == (i == 0 || i == in ? 0.5 * old : old));
      }
  }
}
TEST_CASE("surgery: nobody split is the same network, to the bit, whatever ε") {
  for (const auto& widths : small_models) {
    Small s(machines()[0], Activation::swish, widths);
    auto same =
        split_network(*s.network, s.nobody(), random_flat(*s.network, 1), {0.1, SplitStep::exact});
    CHECK(same->parameters().to_host() == s.network->parameters().to_host());
    CHECK(same->statistics().to_host() == s.network->statistics().to_host());
  }
}
TEST_CASE("surgery: ε → −ε only swaps the copies: the loss stays") {
  for (const auto& widths : small_models) {
    Small s(machines()[0], Activation::swish, widths);
    Tensor v = random_flat(*s.network, 1);
    double plus = s.loss(*split_network(*s.network, s.some(1), v, {0.05, SplitStep::exact}));
    double minus = s.loss(*split_network(*s.network, s.some(1), v, {-0.05, SplitStep::exact}));
    CHECK(std::abs(plus - s.loss(*s.network)) > 1e-6);
    CHECK(std::abs(plus - minus) < 1e-13);  // rounding of losses of size 1
  }
}
TEST_CASE("surgery: new channels come after the old ones, in the order of the old indices") {
  Small s;
  Masks split = s.nobody();
  split[3] = {1, 0, 0, 1, 1};
  auto grown =
      split_network(*s.network, split, random_flat(*s.network, 1), {0.1, SplitStep::exact});
  const ConvBlock &old = s.network->producer(s.network->axes()[3]),
                  &now = grown->producer(grown->axes()[3]);
  for (int ConvBlock::*part :
       {&ConvBlock::gamma, &ConvBlock::beta, &ConvBlock::running_mean, &ConvBlock::running_var}) {
    std::vector<double> a = s.network->stored()[old.*part].value.to_host();
    CHECK(grown->stored()[now.*part].value.to_host() ==
          std::vector<double>{a[0], a[1], a[2], a[3], a[4], a[0], a[3], a[4]});
  }
}
TEST_CASE("surgery: a split row goes to w + εv̂ and w − εv̂ with v̂ of length 1, the others stay") {
  Small s;
  Masks split = s.nobody();
  split[1] = {0, 0, 1, 0};
  Tensor v = random_flat(*s.network, 1);
  auto grown = split_network(*s.network, split, v, {0.1, SplitStep::exact});
  std::vector<double> w = of_axis(*s.network, 1, s.network->parameters()),
                      u = of_axis(*s.network, 1, v);
  std::vector<double> now = of_axis(*grown, 1, grown->parameters());
  double norm = std::sqrt(u[6] * u[6] + u[7] * u[7] +
                          u[8] * u[8]);  // pointwise over 3 channels: neuron 2 holds 6, 7, 8
  std::vector<double> expected = w;
  for (std::size_t i = 6; i < 9; i++) expected[i] += 0.1 * u[i] / norm;
  for (std::size_t i = 6; i < 9; i++) expected.push_back(w[i] - 0.1 * u[i] / norm);
  CHECK(distance(now, expected) < 1e-15);  // one rounding
}
TEST_CASE("surgery: the length of v̂ is of no account") {
  Small s;
  Tensor v = random_flat(*s.network, 1), longer = ops::zeros_like(v);
  ops::add_scaled(longer, v, 8);  // a power of two: the same digits
  CHECK(split_network(*s.network, s.some(1), v, {0.1, SplitStep::exact})->parameters().to_host() ==
        split_network(*s.network, s.some(1), longer, {0.1, SplitStep::exact})
            ->parameters()
            .to_host());
}
TEST_CASE("surgery: neurons that do not split need no direction") {
  Small s;
  Masks split = s.nobody();
  split[2][1] = 1;
  Tensor v = random_flat(*s.network, 1), alone = s.network->like_parameters();
  const Stored& w = neurons(*s.network, 2);
  Index d = w.shape.numel() / w.shape[0];
  alone.slice(w.offset + d, {d}).copy_from(v.slice(w.offset + d, {d}));
  CHECK(split_network(*s.network, split, alone, {0.1, SplitStep::exact})->parameters().to_host() ==
        split_network(*s.network, split, v, {0.1, SplitStep::exact})->parameters().to_host());
}
TEST_CASE("surgery: both steps are one where no two neighbouring layers split") {
  Small s;
  Masks split = s.nobody();
  split[2][0] = split[6][1] = split[13][2] = 1;
  Tensor v = random_flat(*s.network, 1);
  CHECK(split_network(*s.network, split, v, {0.1, SplitStep::exact})->parameters().to_host() ==
        split_network(*s.network, split, v, {0.1, SplitStep::paper})->parameters().to_host());
}
TEST_CASE(
    "surgery: the grown network starts in evaluation mode with no gradient, and the old one is as "
    "it was") {
  Small s;
  std::vector<double> before = s.network->parameters().to_host();
  auto grown =
      split_network(*s.network, s.some(1), random_flat(*s.network, 1), {0.1, SplitStep::exact});
  CHECK(largest(grown->gradients().to_host()) == 0);
  for (const ConvBlock& b : grown->blocks()) CHECK(!b.norm.training);
  CHECK(s.network->parameters().to_host() == before);
}
TEST_CASE("surgery: masks of other sizes are refused") {
  Small s;
  Tensor v = random_flat(*s.network, 1);
  Masks few = s.nobody(), thin = s.nobody();
  few.pop_back(), thin[4].pop_back();
  CHECK_THROWS_WITH_AS(split_network(*s.network, few, v, {}),
                       doctest::Contains("13 masks, 14 axes"), InvariantError);
  CHECK_THROWS_WITH_AS(split_network(*s.network, thin, v, {}),
                       doctest::Contains("axis L04 has 4 channels, its mask 3"), InvariantError);
}

TEST_CASE("surgery: a buffer is carried as the weights are, ε apart") {
  for (const auto& widths : small_models) {
    Small s(machines()[0], Activation::swish, widths);
    auto grown =
        split_network(*s.network, s.some(1), random_flat(*s.network, 1), {0, SplitStep::exact});
    CHECK(split_buffer(*s.network, *grown, s.some(1), s.network->parameters()).to_host() ==
          grown->parameters().to_host());
  }
}
TEST_CASE(
    "surgery: a carried buffer's linear form of the weights is the old one where only inputs "
    "double") {
  // what a consumer adds up is kept: the sum of the classifier's columns over each old channel's
  // copies
  Small s;
  Masks split = s.nobody();
  split[13] = {1, 0, 0, 1, 0};
  Tensor buffer = random_flat(*s.network, 4);
  auto grown = split_network(*s.network, split, buffer, {0, SplitStep::exact});
  Tensor carried = split_buffer(*s.network, *grown, split, buffer);
  auto classifier = [](const Network& n, const Tensor& flat) {
    for (const Stored& t : n.stored())
      if (t.kind == Stored::matrix) return n.view(t, flat).to_host();
    return std::vector<double>();
  };
  std::vector<double> old = classifier(*s.network, buffer), now = classifier(*grown, carried);
  REQUIRE(now.size() == 4 * 7);
  for (std::size_t o = 0; o < 4; o++) {
    CHECK(now[o * 7] + now[o * 7 + 5] == old[o * 5]);
    CHECK(now[o * 7 + 3] + now[o * 7 + 6] == old[o * 5 + 3]);
    CHECK(now[o * 7 + 1] == old[o * 5 + 1]);
  }
}
