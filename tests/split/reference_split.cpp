// Surgery against the authors' copy code (split_apply_small). Tolerances: f64 1e-9, loss differences 1e-13 absolute;
// f32 new parameters 1e-6 and logits 5e-5 (the reference's table).
#include "split/probe.h"
#include "split/surgery.h"
#include "tests/reference_file.h"

using namespace fission;
using namespace fission::testing;

namespace {
const TensorFile& file() {
  static const TensorFile f = reference_file("split_apply_small");
  return f;
}
struct Before {
  std::unique_ptr<Network> network;
  Tensor x, y, v;
  std::vector<std::vector<char>> split;
  explicit Before(const Machine& m)
      : network(reference_network(file(), m)), x(pictures(file(), "input", m)), y(labels(file(), m)),
        v(directions(*network, file(), "eigvec/")) {
    for (std::size_t l = 0; l < network->axes().size(); l++) {
      std::vector<double> mask = numbers(file(), "mask/" + layer_name(l));
      split.emplace_back(mask.begin(), mask.end());
    }
  }
  std::unique_ptr<Network> grown(double epsilon, SplitStep step) const { return split_network(*network, split, v, {epsilon, step}); }
  Tensor logits(Network& n, bool training = false) const {
    GradientMode none(Gradients::none);
    n.set_training(training);
    return n.forward(Variable(x)).value();
  }
  double loss(Network& n) const {
    GradientMode none(Gradients::none);
    return cross_entropy(Variable(logits(n)), y, 0).value().item();
  }
};
const std::pair<const char*, double> epsilons[] = {{"eps0", 0}, {"eps1e-2", 1e-2}, {"eps1e-1", 1e-1}};

template <class Check>
void on_machines(Check check) {
  for (const Machine& m : machines()) {
    INFO(m.name());
    check(Before(m), m);
  }
}
}  // namespace

TEST_CASE("surgery: the new widths are the authors'") {
  std::vector<double> widths = numbers(file(), "new_cfg");
  CHECK(Before(machines()[0]).grown(0, SplitStep::exact)->widths() == std::vector<Index>(widths.begin(), widths.end()));
}
TEST_CASE("surgery: with the authors' step every new parameter and statistic is theirs") {
  on_machines([](const Before& b, const Machine& m) {
    auto grown = b.grown(1e-2, SplitStep::paper);
    for (const Stored& s : grown->stored()) {
      INFO(s.name);
      CHECK(relative(to_pytorch(s, s.value.to_host()), numbers(file(), "eps1e-2/f64/new_param/" + s.name)) < m.tolerance(1e-6));
    }
  });
}
TEST_CASE("surgery: with ε = 0 every new convolution weight is the authors'") {
  on_machines([](const Before& b, const Machine& m) {
    auto grown = b.grown(0, SplitStep::exact);
    int compared = 0;
    for (const Stored& s : grown->stored()) {
      std::string name = "eps0/f64/new_param/" + s.name;
      if (!file().has(name)) continue;
      compared++;
      CHECK(relative(to_pytorch(s, s.value.to_host()), numbers(file(), name)) < m.tolerance(1e-6));
    }
    CHECK(compared >= 14);
  });
}
TEST_CASE("surgery: logits after the authors' step are theirs, with running and with batch statistics") {
  on_machines([](const Before& b, const Machine& m) {
    CHECK(relative(b.logits(*b.network), numbers(file(), "before/f64/logits_eval")) < m.tolerance(5e-5));
    for (const auto& [name, epsilon] : epsilons) {
      INFO(name);
      auto grown = b.grown(epsilon, SplitStep::paper);
      CHECK(relative(b.logits(*grown), numbers(file(), std::string(name) + "/f64/logits_eval")) < m.tolerance(5e-5));
      CHECK(relative(b.logits(*grown, true), numbers(file(), std::string(name) + "/f64/logits_train")) < m.tolerance(5e-5));
    }
  });
}
TEST_CASE("surgery: logits after the exact step are those of the reference's halved directions") {
  on_machines([](const Before& b, const Machine& m) {
    CHECK(relative(b.logits(*b.grown(1e-2, SplitStep::exact)), numbers(file(), "corrected_eps1e-2/f64/logits_eval")) < m.tolerance(5e-5));
  });
}
// Rows of loss_change: ε, loss before, change with the authors' step, with v halved, Σ ε²/2 λ, Σ ε²/2 uᵀ S_full u
TEST_CASE("surgery: loss changes of both steps are the reference's, to 1e-13") {
  Before b(machines()[0]);
  double before = b.loss(*b.network);
  std::vector<double> rows = numbers(file(), "loss_change");
  for (std::size_t r = 0; r < rows.size(); r += 6) {
    INFO("epsilon ", rows[r]);
    CHECK(std::abs(before - rows[r + 1]) < 1e-13);
    CHECK(std::abs(b.loss(*b.grown(rows[r], SplitStep::paper)) - before - rows[r + 2]) < 1e-13);
    CHECK(std::abs(b.loss(*b.grown(rows[r], SplitStep::exact)) - before - rows[r + 3]) < 1e-13);
  }
}
TEST_CASE("probe: E4's sum over the split neurons is the reference's, of either matrix") {
  Before b(machines()[0]);
  Tensor u = directions(*b.network, reference_file("exact_eigen_small"), "b/min_eigvec/"), s_u = b.network->like_parameters();
  std::vector<double> rows = numbers(file(), "loss_change");
  for (Matrix matrix : {Matrix::paper, Matrix::chain}) {
    ProbeSettings settings;
    settings.matrix = matrix;
    splitting_products(*b.network, b.x, b.y, u, settings, s_u);
    double sum = 0;
    for (std::size_t l = 0; l < b.split.size(); l++) {
      std::vector<double> p = of_axis(*b.network, l, u), q = of_axis(*b.network, l, s_u);
      std::size_t d = p.size() / b.split[l].size();
      for (std::size_t i = 0; i < p.size(); i++) sum += b.split[l][i / d] ? p[i] * q[i] : 0;
    }
    for (std::size_t r = 0; r < rows.size(); r += 6)  // 1e-9: independent programs
      CHECK(rows[r] * rows[r] / 2 * sum == doctest::Approx(rows[r + (matrix == Matrix::paper ? 4 : 5)]).epsilon(1e-9));
  }
}
