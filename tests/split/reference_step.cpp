// One step of RQ-SGD against the authors' numbers (tests/reference, variant b: all batch norms
// fixed). Tolerances: f64 1e-9, which is 1000 times what two independent programs differ by there;
// f32 the reference's table, which is 5 to 10 times the f32–f64 difference measured with another
// library. MobileNetV2's linear bottlenecks have φ'' = 1, as theirs.
#include "split/rayleigh.h"
#include "tests/reference_file.h"

using namespace fission;
using namespace fission::testing;

namespace {
struct Step {
  TensorFile file;
  std::unique_ptr<Network> network;
  Tensor x, y, loss;
  std::unique_ptr<RayleighDescent> descent;
  Step(const std::string& name, const Machine& m)
      : file(reference_file(name)),
        network(reference_network(file, m)),
        x(images(file, "input", m)),
        y(labels(file, m)) {
    SolverSettings settings;
    settings.probe.matrix = Matrix::paper, settings.probe.curvature.linear = 1;
    descent = std::make_unique<RayleighDescent>(*network, settings, 0, 0);
    descent->v() = directions(*network, file, "v/");
    descent->begin_epoch();
    loss = descent->step(x, y, 0);
  }
};
struct File {
  const char* name;
  double products, quotients;  // f32 tolerances
};
const File files[] = {
    {"rq_step_small", 2e-4, 3e-4}, {"rq_step_small_relu", 2e-4, 3e-4}, {"mbv2_small", 1e-4, 1e-4}};

// quotients of all neurons, in the order of axes
std::vector<double> quotients(const Step& s) {
  std::vector<double> all;
  for (std::size_t l = 0; l < s.network->axes().size(); l++)
    for (double r : numbers(s.file, "b/f64/rq/" + layer_name(l))) all.push_back(r);
  return all;
}

const Step& step_of(const std::string& name, const Machine& m) {  // each is done once
  static std::map<std::string, std::unique_ptr<Step>> done;
  auto& s = done[name + " " + m.name()];
  if (!s) s = std::make_unique<Step>(name, m);
  return *s;
}

template <class Check>
void on_both(Check check) {
  for (const File& file : files)
    for (const Machine& m : machines()) {
      INFO(file.name, " on ", m.name());
      check(step_of(file.name, m), m, file);
    }
}
}  // namespace

TEST_CASE("reference network: logits in evaluation mode are the authors'") {
  on_both([](const Step& s, const Machine& m, const File&) {
    GradientMode none(Gradients::none);
    CHECK(relative(s.network->forward(Variable(s.x)).value(), numbers(s.file, "b/f64/logits")) <
          m.tolerance(5e-5));
  });
}
TEST_CASE("probe: its loss is the authors' cross-entropy") {
  on_both([](const Step& s, const Machine& m, const File&) {
    CHECK(relative(s.loss, numbers(s.file, "b/f64/loss")) < m.tolerance(1e-5));
  });
}
TEST_CASE("probe: S·v of the paper's matrix is the authors' ∂L/∂y") {
  on_both([](const Step& s, const Machine& m, const File& f) {
    CHECK(relative(*s.network, s.descent->products(), s.file, "b/f64/sv/") <
          m.tolerance(f.products));
  });
}
TEST_CASE("rayleigh: quotients of the first step are the authors'") {
  on_both([](const Step& s, const Machine& m, const File& f) {
    CHECK(relative(s.descent->quotients(), quotients(s)) < m.tolerance(f.quotients));
  });
}
TEST_CASE("rayleigh: E11's gradient is the authors'") {
  on_both([](const Step& s, const Machine& m, const File& f) {
    CHECK(relative(*s.network, s.descent->gradient(), s.file, "b/f64/rq_grad/") <
          m.tolerance(f.products));
  });
}
TEST_CASE("rayleigh: directions after one RMSprop step and normalisation are the authors'") {
  on_both([](const Step& s, const Machine& m, const File&) {
    CHECK(relative(*s.network, s.descent->v(), s.file, "b/f64/v_after_1_step/") <
          m.tolerance(1e-5));
  });
}
