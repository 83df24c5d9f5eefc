// Thirty steps of RQ-SGD against the authors' train() (rq_sgd_trajectory, variant b), on one batch
// and on four in turn.
// Tolerances: f64 1e-9; f32 the reference's table: quotients 5e-4 of the layer's largest,
// directions 3e-4 absolute.
#include "split/rayleigh.h"
#include "tests/reference_file.h"

using namespace fission;
using namespace fission::testing;

namespace {
constexpr std::size_t steps = 30;

struct Trajectory {
  TensorFile file = reference_file("rq_sgd_trajectory");
  std::unique_ptr<Network> network;
  std::unique_ptr<RayleighDescent> descent;
  std::vector<std::vector<double>> quotients;  // [step]
  std::vector<Tensor> v;                       // [step]: after it
  std::vector<double> loss;
  SplittingIndex index;
  Trajectory(const Machine& m, bool alternating) : network(reference_network(file, m)) {
    SolverSettings settings;
    settings.probe.matrix = Matrix::paper;
    descent = std::make_unique<RayleighDescent>(*network, settings, 0, 0);
    descent->v() = directions(*network, file, "v0/");
    descent->begin_epoch();
    for (std::size_t t = 0; t < steps; t++) {
      Index batch = alternating ? Index(t % 4) : 0;
      loss.push_back(
          descent->step(images(file, "inputs", m, batch), labels(file, m, batch), 0).item());
      quotients.push_back(descent->quotients().to_host());
      v.push_back(descent->v().clone());
    }
    index = descent->result();
  }
};

const Trajectory& trajectory(const Machine& m, bool alternating) {  // each is run once
  static std::map<std::string, std::unique_ptr<Trajectory>> run;
  auto& t = run[m.name() + (alternating ? " alternating" : " fixed")];
  if (!t) t = std::make_unique<Trajectory>(m, alternating);
  return *t;
}

template <class Check>
void each_trajectory(Check check) {
  for (const Machine& m : machines())
    for (bool alternating : {false, true}) {
      std::string prefix = alternating ? "b/alternating/" : "b/fixed/";
      INFO(prefix, " on ", m.name());
      check(trajectory(m, alternating), prefix, m);
    }
}
}  // namespace

TEST_CASE("rayleigh: the loss of each of 30 steps is the authors'") {
  each_trajectory([](const Trajectory& t, const std::string& prefix, const Machine& m) {
    CHECK(relative(t.loss, numbers(t.file, prefix + "loss")) < m.tolerance(1e-5));
  });
}
TEST_CASE("rayleigh: quotients over 30 steps are the authors', first of the unnormalised v₀") {
  each_trajectory([](const Trajectory& t, const std::string& prefix, const Machine& m) {
    std::size_t first = 0;
    for (std::size_t l = 0; l < t.network->axes().size(); l++) {
      std::size_t width = std::size_t(t.network->axes()[l].width);
      std::vector<double> got;
      for (const auto& q : t.quotients)
        got.insert(got.end(), q.begin() + first, q.begin() + first + width);
      CHECK(relative(got, numbers(t.file, prefix + "rq/" + layer_name(l))) < m.tolerance(5e-4));
      first += width;
    }
  });
}
TEST_CASE("rayleigh: directions after 1, 2, 5, 10, 20 and 30 steps are the authors'") {
  each_trajectory([](const Trajectory& t, const std::string& prefix, const Machine& m) {
    for (std::size_t after : {1, 2, 5, 10, 20, 30}) {
      std::string name = after == 30 ? "v_final/" : "v_after_" + std::to_string(after) + "/";
      for (std::size_t l = 0; l < t.network->axes().size(); l++) {
        INFO(name, layer_name(l));
        CHECK(distance(of_axis(*t.network, l, t.v[after - 1]),
                       numbers(t.file, prefix + name + layer_name(l))) < m.tolerance(3e-4));
      }
    }
  });
}
TEST_CASE("rayleigh: RMSprop's buffers after 30 steps are the authors'") {
  each_trajectory([](const Trajectory& t, const std::string& prefix, const Machine& m) {
    if (!m.exact()) return;  // f32 is judged by what comes of them
    for (auto& [name, tensor] : t.descent->state()) {
      if (name == "squares")
        CHECK(relative(*t.network, tensor, t.file, prefix + "rmsprop_square_avg/") < 1e-9);
      if (name == "buffer")
        CHECK(relative(*t.network, tensor, t.file, prefix + "rmsprop_momentum_buffer/") < 1e-9);
    }
  });
}
TEST_CASE("rayleigh: λ̂ is the plain mean of an epoch's quotients, as the authors return it") {
  each_trajectory([](const Trajectory& t, const std::string& prefix, const Machine& m) {
    for (std::size_t l = 0; l < t.network->axes().size(); l++)
      CHECK(relative(t.index.lambda[l], numbers(t.file, prefix + "epoch_avg_rq/" + layer_name(l))) <
            m.tolerance(5e-4));
  });
}
TEST_CASE(
    "rayleigh: v̂ is the plain mean of an epoch's directions before their updates, as the authors "
    "return it") {
  each_trajectory([](const Trajectory& t, const std::string& prefix, const Machine& m) {
    for (std::size_t l = 0; l < t.network->axes().size(); l++)
      CHECK(distance(of_axis(*t.network, l, t.index.v),
                     numbers(t.file, prefix + "epoch_avg_v/" + layer_name(l))) < m.tolerance(3e-4));
  });
}
