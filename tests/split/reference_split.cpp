// Surgery against the authors' copy code (split_apply_small, of MobileNetV1;
// split_apply_mbv2_small). Tolerances: f64 1e-9, loss differences 1e-13 absolute; f32 new
// parameters 1e-6 and logits 5e-5 (the reference's table).
#include "split/probe.h"
#include "split/surgery.h"
#include "tests/near.h"
#include "tests/reference_file.h"

using namespace fission;
using namespace fission::testing;

namespace {
struct Before {
  TensorFile file;
  std::unique_ptr<Network> network;
  Tensor x, y, v;
  std::vector<std::vector<char>> split;
  explicit Before(const Machine& m, const std::string& name = "split_apply_small")
      : file(reference_file(name)),
        network(reference_network(file, m)),
        x(images(file, "input", m)),
        y(labels(file, m)),
        v(directions(*network, file, "eigvec/")) {
    for (std::size_t l = 0; l < network->axes().size(); l++) {
      std::vector<double> mask = numbers(file, "mask/" + layer_name(l));
      split.emplace_back(mask.begin(), mask.end());
    }
  }
  std::unique_ptr<Network> grown(double epsilon, SplitStep step) const {
    return split_network(*network, split, v, {epsilon, step});
  }
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
const std::pair<const char*, double> epsilons[] = {
    {"eps0", 0}, {"eps1e-2", 1e-2}, {"eps1e-1", 1e-1}};
// and the ε whose new parameters are all there
struct File {
  const char* name;
  std::pair<const char*, double> whole;
};
const File files[] = {{"split_apply_small", epsilons[1]}, {"split_apply_mbv2_small", epsilons[2]}};

template <class Check>
void on_machines(Check check) {
  for (const Machine& m : machines()) {
    INFO(m.name());
    check(Before(m), m);
  }
}
template <class Check>
void on_all(Check check) {
  for (const File& file : files)
    for (const Machine& m : machines()) {
      INFO(file.name, " on ", m.name());
      check(Before(m, file.name), m, file);
    }
}
}  // namespace

TEST_CASE("surgery: the new widths are the authors'") {
  for (const File& file : files) {
    Before b(machines()[0], file.name);
    std::vector<double> rows =
        numbers(b.file, "new_cfg");  // MobileNetV2: (width, stride, skip) an axis
    std::vector<Index> widths = b.grown(0, SplitStep::exact)->widths();
    for (std::size_t l = 0; l < widths.size(); l++)
      CHECK(widths[l] == Index(rows[l * (rows.size() / widths.size())]));
  }
}
TEST_CASE("surgery: with the authors' step every new parameter and statistic is theirs") {
  on_all([](const Before& b, const Machine& m, const File& f) {
    auto grown = b.grown(f.whole.second, SplitStep::paper);
    std::string prefix = std::string(f.whole.first) + "/f64/new_param/";
    for (const Stored& s : grown->stored()) {
      INFO(s.name);
      CHECK(relative(to_pytorch(s, s.value.to_host()), numbers(b.file, prefix + s.name)) <
            m.tolerance(1e-6));
    }
  });
}
TEST_CASE("surgery: with ε = 0 every new convolution weight is the authors'") {
  on_machines([](const Before& b, const Machine& m) {
    auto grown = b.grown(0, SplitStep::exact);
    int compared = 0;
    for (const Stored& s : grown->stored()) {
      std::string name = "eps0/f64/new_param/" + s.name;
      if (!b.file.has(name)) continue;
      compared++;
      CHECK(relative(to_pytorch(s, s.value.to_host()), numbers(b.file, name)) < m.tolerance(1e-6));
    }
    CHECK(compared >= 14);
  });
}
TEST_CASE(
    "surgery: logits after the authors' step are theirs, with running and with batch statistics") {
  on_all([](const Before& b, const Machine& m, const File&) {
    CHECK(relative(b.logits(*b.network), numbers(b.file, "before/f64/logits_eval")) <
          m.tolerance(5e-5));
    int compared = 0;
    for (const auto& [name, epsilon] : epsilons)
      for (bool training : {false, true}) {
        std::string logits =
            std::string(name) + (training ? "/f64/logits_train" : "/f64/logits_eval");
        if (!b.file.has(logits)) continue;
        compared++;
        INFO(logits);
        CHECK(relative(b.logits(*b.grown(epsilon, SplitStep::paper), training),
                       numbers(b.file, logits)) < m.tolerance(5e-5));
      }
    CHECK(compared == (b.network->config().model == "mobilenet_v1" ? 6 : 2));
  });
}
TEST_CASE("surgery: logits after the exact step are those of the reference's halved directions") {
  on_machines([](const Before& b, const Machine& m) {
    CHECK(relative(b.logits(*b.grown(1e-2, SplitStep::exact)),
                   numbers(b.file, "corrected_eps1e-2/f64/logits_eval")) < m.tolerance(5e-5));
  });
}
// Rows of loss_change: ε, loss before, change with the authors' step, with v halved, Σ ε²/2 λ, Σ
// ε²/2 uᵀ S_full u
TEST_CASE("surgery: loss changes of both steps are the reference's, to 1e-13") {
  Before b(machines()[0]);
  double before = b.loss(*b.network);
  std::vector<double> rows = numbers(b.file, "loss_change");
  for (std::size_t r = 0; r < rows.size(); r += 6) {
    INFO("epsilon ", rows[r]);
    CHECK(std::abs(before - rows[r + 1]) < 1e-13);
    CHECK(std::abs(b.loss(*b.grown(rows[r], SplitStep::paper)) - before - rows[r + 2]) < 1e-13);
    CHECK(std::abs(b.loss(*b.grown(rows[r], SplitStep::exact)) - before - rows[r + 3]) < 1e-13);
  }
}
TEST_CASE("probe: E4's sum over the split neurons is the reference's, of either matrix") {
  Before b(machines()[0]);
  Tensor u = directions(*b.network, reference_file("exact_eigen_small"), "b/min_eigvec/"),
         s_u = b.network->like_parameters();
  std::vector<double> rows = numbers(b.file, "loss_change");
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
      CHECK(rows[r] * rows[r] / 2 * sum ==
            near(rows[r + (matrix == Matrix::paper ? 4 : 5)]).epsilon(1e-9));
  }
}
