// Facts of the audit: what holds is said to hold, what does not is not, and broken references are named.
#include <functional>

#include "nn/safetensors.h"
#include "tensor/eigen.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {

std::vector<Json> lines_of(const Ended& e) {
  std::vector<Json> lines;
  std::istringstream in(e.out);
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}
const Json* find(const std::vector<Json>& lines, const std::string& part) {
  for (const Json& l : lines)
    if (l.contains("what") && l.at("what").get<std::string>().find(part) != std::string::npos) return &l;
  return nullptr;
}

// few pictures and passes; what `more` says of an option holds
Ended audit(const Arguments& more) {
  const std::vector<Arguments> all{{"--data", pictures() / "idx-more"}, {"--few", "3"}, {"--batches", "3"}, {"--batch", "8"}, {"--passes", "3"},
                                   {"--rq-batch", "8"}, {"--neurons", "2"}, {"--threads", "1"}};
  Arguments a = Arguments{learned() + "/round-1.safetensors"} + more;
  for (const Arguments& option : all)
    if (std::find(more.begin(), more.end(), option[0]) == more.end()) a = a + option;
  return launch("audit", a);
}
const std::vector<Json>& base() {
  static const std::vector<Json> lines = lines_of(audit({"--json"}));
  return lines;
}

Ended audit_reference(const std::string& path) { return launch("audit", {"--reference", path, "--json", "--threads", "1"}); }
// the same with one thing changed
Ended audit_changed(const std::string& name, const std::function<void(TensorFile&)>& change) {
  Folder folder;
  TensorFile file = read_safetensors("tests/reference/" + name + ".safetensors");
  change(file);
  write_safetensors(folder / "changed.safetensors", file);
  return audit_reference(folder / "changed.safetensors");
}
template <class T>
void put(StoredTensor& t, std::size_t i, T value) {
  std::vector<T> v = t.values<T>();
  v.at(i) = value;
  t = StoredTensor::of(t.shape, v);
}

}  // namespace

TEST_CASE("audit: a trained network keeps to every equation, in prose and in JSON") {
  if (!have_eigen()) return check_refused(audit({}), {"Eigen"});
  for (const Json& l : base())
    if (l.contains("holds")) CHECK_MESSAGE(l.at("holds") == true, l.dump());
  CHECK(base().back().at("held").get<int>() > 15);
  for (const char* equation : {"E1", "E2", "E4", "E6", "E6c", "E10", "E11", "E12"})
    CHECK_MESSAGE(std::any_of(base().begin(), base().end(), [&](const Json& l) { return l.contains("equation") && l.at("equation") == equation; }), equation);
  Ended prose = audit({"--passes", "40"});  // a basis as large as any neuron has weights: Lanczos is exact
  require_done(prose);
  CHECK(prose.out.find("✓ E6c") != std::string::npos);
  CHECK(prose.out.find("✗") == std::string::npos);
  CHECK(prose.out.find(", 0 do not") != std::string::npos);
}

TEST_CASE("options: every option of audit has its effect") {
  if (!have_eigen() || instrumented()) return;  // a score of audits, each ten times slower then
  auto what = [&](const Arguments& more, const std::string& part) {
    std::vector<Json> lines = lines_of(audit(more + Arguments{"--json"}));
    const Json* l = find(lines, part);
    CHECK_MESSAGE(l, part);
    return l ? l->dump() : "";
  };
  auto differs = [&](const Arguments& more, const std::string& part) {
    const Json* l = find(base(), part);
    REQUIRE(l);
    CHECK(what(more, part) != l->dump());
  };
  differs({"--few", "2"}, "matrix, float64");
  differs({"--batches", "2"}, "Lanczos: worst neuron");
  differs({"--batch", "6"}, "Lanczos: worst neuron");
  differs({"--rq-batch", "4"}, "RQ-SGD: worst neuron");
  differs({"--seed", "2"}, "float64, worst");
  differs({"--no-augment"}, "float64, worst");
  differs({"--grow", "0.6"}, "Lanczos: of the neurons");
  differs({"--epsilon", "0.005"}, "predicted and measured");
  what({"--passes", "2"}, "RQ-SGD, 2 passes");
  what({"--work", "1e7"}, "layers that the oracle leaves out");
  what({"--memory", "100000"}, "layers that the oracle leaves out");
  check_refused(audit({"--work", "1"}), {"--work"});
  auto split = [&](const Arguments& more) {
    Index n = 0;
    for (const Json& l : lines_of(audit(more + Arguments{"--json"}))) n += l.contains("what") && l.at("what").get<std::string>().find("fitted order") != std::string::npos;
    return n;
  };
  CHECK(split({"--neurons", "1"}) == 1);
  CHECK(split({"--neurons", "3"}) == 3);
  check_refused(audit({"--dataset", "cifar10", "--data", pictures() / "cifar10"}), {"32x32x1", "32x32x3"});
  check_refused(launch("audit", {}), {"checkpoint"});
  check_refused(launch("audit", {"x", "--reference", "y"}), {"--reference"});
  check_refused(audit({"--few", "0"}), {"--few"});
  check_all_covered("audit", {"--reference", "--dataset", "--data", "--few", "--batches", "--batch", "--passes", "--rq-batch", "--neurons", "--grow", "--epsilon",
                              "--relu-beta", "--work", "--memory", "--seed", "--no-augment", "--json", "--device", "--threads"});
}
TEST_CASE("options: audit's --relu-beta is the sharpness of ReLU's surrogate") {
  if (!have_eigen()) return;
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "run", {"--rounds", "0", "--activation", "relu"})));
  auto exact = [&](const char* beta) {
    Ended e = launch("audit", {folder / "run/round-0.safetensors", "--data", pictures() / "idx", "--few", "2", "--batches", "1", "--batch", "4", "--passes", "1",
                               "--neurons", "1", "--threads", "1", "--json", "--relu-beta", beta});
    std::vector<Json> lines = lines_of(e);
    const Json* l = find(lines, "paper's matrix, float64");
    REQUIRE(l);
    CHECK(l->at("holds") == true);
    return l->at("figure").get<double>();
  };
  CHECK(exact("1") != exact("3"));
}

TEST_CASE("audit: what cannot be judged is told: ReLU's surrogate, no step or a great one, no budget, nothing within it") {
  if (!have_eigen() || instrumented()) return;
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "run", {"--rounds", "0", "--activation", "relu"})));
  Ended relu = launch("audit", {folder / "run/round-0.safetensors", "--data", pictures() / "idx", "--few", "3", "--batches", "2", "--batch", "8", "--passes", "2", "--threads", "1", "--json"});
  require_done(relu);
  const std::vector<Json> lines = lines_of(relu);
  const Json* told = find(lines, "surrogate");
  REQUIRE(told);
  CHECK(told->contains("told"));
  CHECK(lines.back().at("held").get<int>() > 5);
  for (const Arguments& more : {Arguments{"--epsilon", "0"}, Arguments{"--epsilon", "0.5"}, Arguments{"--grow", "0"}, Arguments{"--grow", "0.003"}, Arguments{"--grow", "0.05"}, Arguments{"--few", "100"}}) {
    CAPTURE(more[1]);
    Ended e = audit(more);
    require_done(e);
    CHECK(e.out.find("nan") == std::string::npos);
    CHECK(e.out.find("100 pictures") == std::string::npos);
  }
}

TEST_CASE("audit: every file of the authors' numbers holds") {
  for (const char* name : {"rq_step_small", "rq_step_small_relu", "exact_eigen_small", "train_step_small", "split_apply_small", "split_apply_mbv2_small",
                           "mbv2_small", "rq_sgd_trajectory", "select_cifar100"}) {
    if (instrumented() && std::string(name) != "rq_step_small") continue;
    if (std::string(name) == "exact_eigen_small" && !have_eigen()) continue;
    Ended e = audit_reference(text("tests/reference/", name, ".safetensors"));
    CAPTURE(name);
    require_done(e);
    CHECK(lines_of(e).back().at("failed") == 0);
  }
}
TEST_CASE("audit: one wrong number of the authors' is found, and the status is 1") {
  const std::pair<const char*, const char*> wrong[] = {{"rq_step_small", "b/f64/sv/L03"}, {"rq_step_small", "b/f64/rq_grad/L13"}, {"rq_step_small", "b/f64/logits"},
                                                       {"split_apply_small", "eps1e-2/f64/new_param/layers.4.bn1.bias"}, {"split_apply_small", "before/f64/logits_train"},
                                                       {"split_apply_small", "loss_change"}, {"train_step_small", "ls0_cifar/f64/eval_logits_after_2_steps"},
                                                       {"rq_sgd_trajectory", "b/fixed/v_after_5/L03"}, {"select_cifar100", "seed_g0.7/objective"},
                                                       {"select_cifar100", "seed_g0.7/layer_cap"}, {"select_cifar100", "seed_g0.7/cost_per_layer"}};
  for (const auto& [name, tensor] : wrong) {
    Ended e = audit_changed(name, [&, t = tensor](TensorFile& f) { put(f.tensors.at(t), 0, f.tensors.at(t).values<double>()[0] * 1.01 + 1e-3); });
    CAPTURE(tensor);
    CHECK(e.status == 1);
    CHECK(lines_of(e).back().at("failed").get<int>() >= 1);
  }
  Ended mask = audit_changed("select_cifar100", [](TensorFile& f) {
    StoredTensor& t = f.tensors.at("seed_g0.25/mask_highs");
    std::vector<double> v = t.as_doubles();
    v[5] = 1 - v[5];
    t = StoredTensor::of(t.shape, v);
  });
  CHECK(mask.status == 1);
}
TEST_CASE("audit: each statement on a long trajectory, on a program's solution and on a prediction finds its own wrong number") {
  struct Wrong {
    const char* file;
    std::vector<std::pair<std::string, std::size_t>> numbers;
    std::size_t statements = 1;  // that each makes wrong
  };
  std::vector<Wrong> all = {{"rq_sgd_trajectory", {{"b/long/rq_at_marks/L03", 0}, {"b/long/rq_at_marks/L03", 8 * 6}, {"b/avg4/recipe_rq/L05", 1}, {"b/avg4/recipe_v/L05", 1},
                                                   {"b/fixed/rmsprop_square_avg/L02", 0}, {"b/alternating/rmsprop_momentum_buffer/L02", 0}}},
                            {"split_apply_small", {{"loss_change", 5}}},
                            {"select_cifar100", {{"seed_g0.25/lp_x_highs", 10}, {"seed_g0.7/lp_x_interior_point", 6}}, 2}};  // β, and so the objective
  if (have_eigen()) all[0].numbers.push_back({"b/avg4/min_eigval/L05", 0});
  if (have_eigen()) all.push_back({"exact_eigen_small", {{"b/split_check", 4}, {"b/split_check", 7 + 6}, {"b/split_check_real", 5}, {"b/split_check_real", 8 + 7}}});
  for (const Wrong& w : all) {
    if (instrumented() && std::string(w.file) != "select_cifar100") continue;
    Ended e = audit_changed(w.file, [&](TensorFile& f) {
      for (const auto& [tensor, i] : w.numbers) put(f.tensors.at(tensor), i, f.tensors.at(tensor).values<double>()[i] * 1.01 + 1e-5);
    });
    CAPTURE(w.file);
    CHECK(e.status == 1);
    CHECK(lines_of(e).back().at("failed") == w.numbers.size() * w.statements);
  }
  Ended best = audit_changed("select_cifar100", [](TensorFile& f) { put(f.tensors.at("seed_g0.25/milp_mask"), 5, 1 - f.tensors.at("seed_g0.25/milp_mask").values<float>()[5]); });
  CHECK(best.status == 1);
  CHECK(lines_of(best).back().at("failed") == 1);
}
TEST_CASE("audit: a reference file with a missing tensor, another shape, a NaN, or of an unknown kind is named, status 2") {
  auto remove = [](const char* name) { return [name](TensorFile& f) { f.tensors.erase(name); }; };
  check_refused(audit_changed("rq_step_small", remove("b/f64/sv/L03")), {"changed.safetensors", "b/f64/sv/L03"});
  check_refused(audit_changed("rq_step_small", remove("param/linear.weight")), {"changed.safetensors", "param/linear.weight"});
  check_refused(audit_changed("rq_step_small", remove("input")), {"changed.safetensors", "input"});
  check_refused(audit_changed("rq_step_small", remove("labels")), {"changed.safetensors", "labels"});
  check_refused(audit_changed("select_cifar100", remove("seed_g0.25/lambda")), {"changed.safetensors", "seed_g0.25/lambda"});
  auto reshape = [](const char* name, std::vector<std::int64_t> shape) {
    return [name, shape](TensorFile& f) {
      Index n = 1;
      for (auto d : shape) n *= d;
      f.tensors.at(name) = StoredTensor::of(shape, std::vector<double>(std::size_t(n), 0.5));
    };
  };
  check_refused(audit_changed("rq_step_small", reshape("v/L03", {2, 2})), {"v/L03", "4 numbers"});
  check_refused(audit_changed("rq_step_small", reshape("b/f64/rq/L03", {1})), {"b/f64/rq/L03"});
  check_refused(audit_changed("rq_step_small", reshape("labels", {4})), {"labels"});
  check_refused(audit_changed("select_cifar100", reshape("seed_g0.25/cost_per_layer", {3})), {"seed_g0.25/cost_per_layer"});
  check_refused(audit_changed("select_cifar100", remove("seed_g0.25/lp_x_highs")), {"seed_g0.25/lp_x_highs"});
  check_refused(audit_changed("select_cifar100", reshape("seed_g0.25/milp_mask", {3})), {"seed_g0.25/milp_mask", "272"});
  check_refused(audit_changed("split_apply_small", reshape("loss_change", {3, 5})), {"loss_change", "18"});
  check_refused(audit_changed("rq_step_small", [](TensorFile& f) { put(f.tensors.at("b/f64/sv/L03"), 1, double(NAN)); }), {"b/f64/sv/L03", "NaN"});
  check_refused(audit_changed("rq_step_small", [](TensorFile& f) { f.metadata["kind"] = "guess"; }), {"'guess'", "rq_step"});
  check_refused(audit_changed("rq_step_small", [](TensorFile& f) { f.metadata["network"] = "vgg"; }), {"'vgg'", "mobilenet_v1"});
  check_refused(audit_changed("rq_step_small", [](TensorFile& f) { f.metadata.erase("activation"); }), {"activation"});
  check_refused(audit_reference("no/such/file"), {"no/such/file"});
  // nothing passes for want of numbers: a kind whose tensors are not there, part of a set, no rows
  auto remove_all = [](const std::string& part) {
    return [part](TensorFile& f) {
      for (auto i = f.tensors.begin(); i != f.tensors.end();) i = i->first.find(part) != std::string::npos ? f.tensors.erase(i) : std::next(i);
    };
  };
  for (const char* kind : {"trajectory", "train_step", "split", "select"})
    check_refused(audit_changed("rq_step_small", [&](TensorFile& f) { f.metadata["kind"] = kind; }), {"changed.safetensors", "expected"});
  check_refused(audit_changed("rq_sgd_trajectory", remove_all("/loss")), {"b/fixed/loss"});
  for (const char* tensor : {"b/long/marks", "b/long/rq_at_marks/L03", "b/avg4/recipe_v/L03"})  // without the trajectories before them
    check_refused(audit_changed("rq_sgd_trajectory", [&](TensorFile& f) { remove_all("b/fixed/")(f), remove_all("b/alternating/")(f), remove(tensor)(f); }), {tensor});
  check_refused(audit_changed("rq_sgd_trajectory", remove("b/fixed/v_final/L00")), {"b/fixed/v_final/L00"});
  check_refused(audit_changed("train_step_small", remove_all("/param_after/")), {"param_after"});
  check_refused(audit_changed("train_step_small", remove("ls0_cifar/f64/step1/grad/layers.3.bn1.weight")), {"ls0_cifar/f64/step1/grad/layers.3.bn1.weight"});
  check_refused(audit_changed("train_step_small", remove_all("/step2/")), {"eval_logits_after_1_steps"});
  check_refused(audit_changed("split_apply_small", remove("eps1e-2/f64/new_param/layers.4.bn1.bias")), {"eps1e-2/f64/new_param/layers.4.bn1.bias"});
  check_refused(audit_changed("split_apply_small", remove_all("f64/new_param/")), {"new_param"});
  check_refused(audit_changed("select_cifar100", remove_all("/grow")), {"grow"});
  check_refused(audit_changed("split_apply_small", reshape("loss_change", {0, 6})), {"loss_change"});
  if (have_eigen()) check_refused(audit_changed("exact_eigen_small", remove("b/S_dwterm/L00")), {"b/S_dwterm/L00"});
  // numbers that make no network, split, or selection
  check_refused(audit_changed("rq_step_small", reshape("param/layers.0.bn.weight", {0})), {"param/layers.0.bn.weight"});
  check_refused(audit_changed("rq_step_small", reshape("input", {8, 3, 32, 16})), {"32x16"});
  check_refused(audit_changed("rq_step_small", reshape("input", {0, 3, 32, 32})), {"'input'"});
  check_refused(audit_changed("train_step_small", [&](TensorFile& f) { reshape("inputs", {1, 4, 3, 32, 32})(f), reshape("labels", {1, 4})(f), f.tensors.at("labels") = StoredTensor::of({1, 4}, std::vector<double>(4)); }),
                {"'inputs'", "1 batches"});
  check_refused(audit_changed("split_apply_small", reshape("mask/L03", {6})), {"mask/L03", "0.5"});
  check_refused(audit_changed("select_cifar100", reshape("seed_g0.25/grow", {1, 1, 0})), {"seed_g0.25/grow"});
  check_refused(audit_changed("select_cifar100", [](TensorFile& f) { put(f.tensors.at("seed_g0.25/grow"), 0, -1.0); }), {"seed_g0.25/grow", "-1"});
  check_refused(audit_changed("select_cifar100", [](TensorFile& f) { f.metadata["network"] = "mobilenet_v2"; }), {"cfg", "35"});
  check_refused(audit_changed("select_cifar100", [](TensorFile& f) { f.metadata["threshold"] = "high"; }), {"threshold"});
}
