// The authors' numbers, by the audit's statements; and the audit of reference files itself: what
// holds is said to hold, what does not is not, and broken files are named.
#include <functional>

#include "nn/io/safetensors.h"
#include "runners/audit/compare.h"
#include "runners/audit/reference.h"
#include "tensor/eigen.h"
#include "tests/one_thread.h"
#include "tests/runners/audit.h"

using namespace fission;
using namespace fission::test;

namespace {

// What the audit finds of a file of tests/reference, as strictly as small networks keep it: so many
// statements, which all hold
std::vector<Finding> check_authors(const std::string& name, int statements) {
  Findings f(Findings::Print::nothing);
  audit_reference(f, text("tests/reference/", name, ".safetensors"), open_backend("auto"), {},
                  true);
  INFO(name);
  for (const Finding& one : f.all()) CHECK_MESSAGE(one.holds, one.prose());
  CHECK(f.held() == statements);
  return f.all();
}

ProcessResult audit_reference(const std::string& path, const Arguments& more = {}) {
  return launch("audit", Arguments{"--reference", path, "--json", "--threads", "1"} + more);
}
// the same with one thing changed
ProcessResult audit_changed(const std::string& name,
                            const std::function<void(TensorFile&)>& change) {
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

// Each on the reference backend in float64 and on the device in float32
TEST_CASE(
    "authors: one step of RQ-SGD: logits, loss, S·v, quotients, their gradient and directions") {
  check_authors("rq_step_small", 14);
  check_authors("rq_step_small_relu", 14);
  check_authors("mbv2_small", 12);
}
TEST_CASE(
    "authors: splitting matrices of both kinds, S·v of them, eigenvalues and eigenvectors, and "
    "what single splits change") {
  if (have_eigen()) check_authors("exact_eigen_small", 26);
}
TEST_CASE(
    "authors: thirty steps of RQ-SGD on one batch and on four, where a thousand and the published "
    "recipe end, and where Lanczos does") {
  testing::OneThread one;
  check_authors("rq_sgd_trajectory", have_eigen() ? 44 : 42);
}
TEST_CASE("authors: two training steps: logits, loss, gradients, parameters, statistics") {
  check_authors("train_step_small", 106);
}
TEST_CASE("authors: splits: widths, parameters, logits, losses, and what they change") {
  check_authors("split_apply_small", 34);
  check_authors("split_apply_mbv2_small", 10);
}
TEST_CASE(
    "authors: 15 selections, and 13 of them where the fraction is dropped; proven 0/1 optima; "
    "costs") {
  int same = 0;
  for (const auto& [name, statements] :
       {std::pair{"select_cifar100", 125}, {"select_imagenet", 125}, {"select_mbv2", 115}})
    for (const Finding& one : check_authors(name, statements)) {
      CHECK_MESSAGE(one.what.find("not proven") == std::string::npos, one.what);
      same +=
          one.figure == 0 &&
          one.what.find("dropping the fraction: neurons selected otherwise") != std::string::npos;
    }
  CHECK(same == 13);
}
TEST_CASE("options: audit's --strict judges every neuron and every training step") {
  auto of = [](const char* file, const Arguments& more) {
    const ProcessResult e = audit_reference(text("tests/reference/", file, ".safetensors"), more);
    require_done(e);
    return e;
  };
  for (bool strict : {false, true}) {
    const Arguments more = strict ? Arguments{"--strict"} : Arguments{};
    CHECK(lines_of(of("train_step_small", more)).back().at("held") == (strict ? 106 : 76));
    CHECK((of("rq_step_small_relu", more).out.find("median neuron") == std::string::npos) ==
          strict);
  }
  check_refused(launch("audit", {"x", "--strict"}), {"--strict", "--reference"});
}
TEST_CASE("audit: what no statement reads is said, by families, and nothing where all is read") {
  auto unread = [](const ProcessResult& e) {
    std::string found;
    for (const Json& l : lines_of(e))
      if (l.contains("what") &&
          l.at("what").get<std::string>().find("that no statement reads") != std::string::npos)
        found = l.dump();
    return found;
  };
  const std::string some = unread(audit_changed("rq_step_small", [](TensorFile&) {}));
  for (const char* part : {"254 of 466 tensors", "b/block_out/… (14)", "b/block_out_grad/… (14)",
                           "variant a (168)", "their float32 (58)"}) {
    CAPTURE(part);
    CHECK(some.find(part) != std::string::npos);
  }
  ProcessResult none = audit_changed("rq_step_small", [](TensorFile& f) {
    for (auto i = f.tensors.begin(); i != f.tensors.end();)
      i = i->first.compare(0, 2, "a/") == 0 || i->first.compare(0, 6, "b/f32/") == 0 ||
                  i->first.compare(0, 11, "b/block_out") == 0
              ? f.tensors.erase(i)
              : std::next(i);
  });
  require_done(none);
  CHECK(unread(none).empty());
}
TEST_CASE("audit: one wrong number of the authors' is found, and the status is 1") {
  const std::pair<const char*, const char*> wrong[] = {
      {"rq_step_small", "b/f64/sv/L03"},
      {"rq_step_small", "b/f64/rq_grad/L13"},
      {"rq_step_small", "b/f64/logits"},
      {"split_apply_small", "eps1e-2/f64/new_param/layers.4.bn1.bias"},
      {"split_apply_small", "before/f64/logits_train"},
      {"split_apply_small", "loss_change"},
      {"train_step_small", "ls0_cifar/f64/eval_logits_after_2_steps"},
      {"rq_sgd_trajectory", "b/fixed/v_after_5/L03"},
      {"select_cifar100", "seed_g0.7/objective"},
      {"select_cifar100", "seed_g0.7/layer_cap"},
      {"select_cifar100", "seed_g0.7/cost_per_layer"}};
  for (const auto& [name, tensor] : wrong) {
    ProcessResult e = audit_changed(name, [&, t = tensor](TensorFile& f) {
      put(f.tensors.at(t), 0, f.tensors.at(t).values<double>()[0] * 1.01 + 1e-3);
    });
    CAPTURE(tensor);
    CHECK(e.status == 1);
    CHECK(lines_of(e).back().at("failed").get<int>() >= 1);
  }
  ProcessResult mask = audit_changed("select_cifar100", [](TensorFile& f) {
    StoredTensor& t = f.tensors.at("seed_g0.25/mask_highs");
    std::vector<double> v = t.as_doubles();
    v[5] = 1 - v[5];
    t = StoredTensor::of(t.shape, v);
  });
  CHECK(mask.status == 1);
}
TEST_CASE(
    "audit: each statement on a long trajectory, on a program's solution and on a prediction finds "
    "its own wrong number") {
  struct Wrong {
    const char* file;
    std::vector<std::pair<std::string, std::size_t>> numbers;
    std::size_t statements = 1;  // that each makes wrong
  };
  std::vector<Wrong> all = {{"rq_sgd_trajectory",
                             {{"b/long/rq_at_marks/L03", 0},
                              {"b/long/rq_at_marks/L03", 8 * 6},
                              {"b/avg4/recipe_rq/L05", 1},
                              {"b/avg4/recipe_v/L05", 1},
                              {"b/fixed/rmsprop_square_avg/L02", 0},
                              {"b/alternating/rmsprop_momentum_buffer/L02", 0}}},
                            {"split_apply_small", {{"loss_change", 5}}},
                            {"select_cifar100",
                             {{"seed_g0.25/lp_x_highs", 10}, {"seed_g0.7/lp_x_interior_point", 6}},
                             2}};  // β, and so the objective
  if (have_eigen()) all[0].numbers.push_back({"b/avg4/min_eigval/L05", 0});
  if (have_eigen())
    all.push_back({"exact_eigen_small",
                   {{"b/split_check", 4},
                    {"b/split_check", 7 + 6},
                    {"b/split_check_real", 5},
                    {"b/split_check_real", 8 + 7}}});
  for (const Wrong& w : all) {
    if (instrumented() && std::string(w.file) != "select_cifar100") continue;
    ProcessResult e = audit_changed(w.file, [&](TensorFile& f) {
      for (const auto& [tensor, i] : w.numbers)
        put(f.tensors.at(tensor), i, f.tensors.at(tensor).values<double>()[i] * 1.01 + 1e-5);
    });
    CAPTURE(w.file);
    CHECK(e.status == 1);
    CHECK(lines_of(e).back().at("failed") == w.numbers.size() * w.statements);
  }
  ProcessResult best = audit_changed("select_cifar100", [](TensorFile& f) {
    put(f.tensors.at("seed_g0.25/milp_mask"), 5,
        1 - f.tensors.at("seed_g0.25/milp_mask").values<float>()[5]);
  });
  CHECK(best.status == 1);
  CHECK(lines_of(best).back().at("failed") == 2);  // its worth, and the widths that it makes
}
TEST_CASE("audit: numbers that stand twice in a file are held beside each other") {
  const std::pair<const char*, const char*> wrong[] = {
      {"split_apply_small", "eps1e-1/f64/loss_eval"},
      {"split_apply_small", "new_cfg"},
      {"split_apply_mbv2_small", "new_cfg"},
      {"rq_step_small", "plain_eval_forward/f64/logits"},
      {"select_cifar100", "seed_g0.7/cost"},
      {"select_cifar100", "seed_g0.7/group"},
      {"select_cifar100", "seed_g0.7/mask_interior_point"},
      {"select_cifar100", "seed_g0.7/new_cfg_interior_point"},
      {"select_cifar100", "seed_g0.7/milp_new_cfg"}};
  for (const auto& [name, tensor] : wrong) {
    if (instrumented() && std::string(name) != "select_cifar100") continue;
    ProcessResult e = audit_changed(name, [&, t = tensor](TensorFile& f) {
      StoredTensor& stored = f.tensors.at(t);
      std::vector<double> v = stored.as_doubles();
      v[0] = std::string(t).find("mask") != std::string::npos ? 1 - v[0]
             : stored.dtype == "I64"                          ? v[0] + 1
                                                              : v[0] * 1.001;
      stored = StoredTensor::of(stored.shape, v);
    });
    CAPTURE(tensor);
    CHECK(e.status == 1);
    CHECK(lines_of(e).back().at("failed").get<int>() >= 1);
  }
  for (std::size_t which : {1, 3}) {  // the second solver's objectives
    ProcessResult e = audit_changed("select_cifar100", [&](TensorFile& f) {
      put(f.tensors.at("seed_g0.7/objective"), which,
          f.tensors.at("seed_g0.7/objective").values<double>()[which] * 1.001);
    });
    CHECK(lines_of(e).back().at("failed") == 1);
  }
}
TEST_CASE("audit: a bound gives way to what rounding was measured to do, and to nothing else") {
  const Machine f64{open_backend("reference"), DType::f64},
      f32{open_backend("reference"), DType::f32};
  auto holds = [](const Machine& m, double figure, double bound, double spread) {
    Findings f(Findings::Print::nothing);
    int asked = 0;
    audit::hold(f, m, "E1", "a statement of the test", figure, bound,
                [&] { return asked++, spread; });
    CHECK(asked == (figure > bound && std::isfinite(figure)));
    return f.failed() == 0;
  };
  CHECK(holds(f64, 1e-9, 1e-9, 0));
  CHECK_FALSE(holds(f64, 2e-9, 1e-9, 1e-11));
  CHECK(holds(f64, 2e-9, 1e-9, 2.1e-11));  // a hundred times
  CHECK_FALSE(holds(f64, 2e-4, 1e-9, 1));  // and never beyond 1e-4
  CHECK_FALSE(holds(f32, 2e-3, 1e-3, 1.9e-4));
  CHECK(holds(f32, 2e-3, 1e-3, 2.1e-4));  // ten times
  CHECK_FALSE(holds(f32, 0.2, 1e-3, 1));  // and never beyond a tenth
  CHECK_FALSE(holds(f32, NAN, 1e-3, 1));
  CHECK_FALSE(holds(f32, INFINITY, 1e-3, 1));
}
TEST_CASE(
    "audit: a reference file with a missing tensor, another shape, a NaN, or of an unknown kind is "
    "named, status 2") {
  auto remove = [](const char* name) { return [name](TensorFile& f) { f.tensors.erase(name); }; };
  check_refused(audit_changed("rq_step_small", remove("b/f64/sv/L03")),
                {"changed.safetensors", "b/f64/sv/L03"});
  check_refused(audit_changed("rq_step_small", remove("param/linear.weight")),
                {"changed.safetensors", "param/linear.weight"});
  check_refused(audit_changed("rq_step_small", remove("input")), {"changed.safetensors", "input"});
  check_refused(audit_changed("rq_step_small", remove("labels")),
                {"changed.safetensors", "labels"});
  check_refused(audit_changed("select_cifar100", remove("seed_g0.25/lambda")),
                {"changed.safetensors", "seed_g0.25/lambda"});
  auto reshape = [](const char* name, std::vector<std::int64_t> shape) {
    return [name, shape](TensorFile& f) {
      Index n = 1;
      for (auto d : shape) n *= d;
      f.tensors.at(name) = StoredTensor::of(shape, std::vector<double>(std::size_t(n), 0.5));
    };
  };
  check_refused(audit_changed("rq_step_small", reshape("v/L03", {2, 2})),
                {"v/L03", "(2,2)", "(6,8)"});
  check_refused(audit_changed("rq_step_small", reshape("b/f64/rq/L03", {1})), {"b/f64/rq/L03"});
  check_refused(audit_changed("rq_step_small", reshape("labels", {4})), {"labels"});
  check_refused(audit_changed("select_cifar100", reshape("seed_g0.25/cost_per_layer", {3})),
                {"seed_g0.25/cost_per_layer"});
  check_refused(audit_changed("select_cifar100", remove("seed_g0.25/lp_x_highs")),
                {"seed_g0.25/lp_x_highs"});
  check_refused(audit_changed("select_cifar100", reshape("seed_g0.25/milp_mask", {3})),
                {"seed_g0.25/milp_mask", "272"});
  check_refused(audit_changed("split_apply_small", reshape("loss_change", {3, 5})),
                {"loss_change", "(3,5)", "(rows, 6)"});
  check_refused(
      audit_changed("rq_step_small",
                    [](TensorFile& f) { put(f.tensors.at("b/f64/sv/L03"), 1, double(NAN)); }),
      {"b/f64/sv/L03", "NaN"});
  check_refused(audit_changed("rq_step_small", [](TensorFile& f) { f.metadata["kind"] = "guess"; }),
                {"'guess'", "rq_step"});
  check_refused(
      audit_changed("rq_step_small", [](TensorFile& f) { f.metadata["network"] = "vgg"; }),
      {"'vgg'", "mobilenet_v1"});
  check_refused(
      audit_changed("rq_step_small", [](TensorFile& f) { f.metadata.erase("activation"); }),
      {"activation"});
  check_refused(audit_reference("no/such/file"), {"no/such/file"});
  // nothing passes for want of numbers: a kind whose tensors are not there, part of a set, no rows
  auto remove_all = [](const std::string& part) {
    return [part](TensorFile& f) {
      for (auto i = f.tensors.begin(); i != f.tensors.end();)
        i = i->first.find(part) != std::string::npos ? f.tensors.erase(i) : std::next(i);
    };
  };
  for (const char* kind : {"trajectory", "train_step", "split", "select"})
    check_refused(audit_changed("rq_step_small", [&](TensorFile& f) { f.metadata["kind"] = kind; }),
                  {"changed.safetensors", "expected"});
  check_refused(audit_changed("rq_sgd_trajectory", remove_all("/loss")), {"b/fixed/loss"});
  for (const char* tensor : {"b/long/marks", "b/long/rq_at_marks/L03",
                             "b/avg4/recipe_v/L03"})  // without the trajectories before them
    check_refused(audit_changed("rq_sgd_trajectory",
                                [&](TensorFile& f) {
                                  remove_all("b/fixed/")(f), remove_all("b/alternating/")(f),
                                      remove(tensor)(f);
                                }),
                  {tensor});
  check_refused(audit_changed("rq_sgd_trajectory", remove("b/fixed/v_final/L00")),
                {"b/fixed/v_final/L00"});
  check_refused(audit_changed("train_step_small", remove_all("/param_after/")), {"param_after"});
  check_refused(
      audit_changed("train_step_small", remove("ls0_cifar/f64/step1/grad/layers.3.bn1.weight")),
      {"ls0_cifar/f64/step1/grad/layers.3.bn1.weight"});
  check_refused(audit_changed("train_step_small", remove_all("/step2/")),
                {"ls0.1_cifar/f64/step2/logits"});
  check_refused(
      audit_changed("split_apply_small", remove("eps1e-2/f64/new_param/layers.4.bn1.bias")),
      {"eps1e-2/f64/new_param/layers.4.bn1.bias"});
  check_refused(audit_changed("split_apply_small", remove_all("f64/new_param/")), {"new_param"});
  check_refused(audit_changed("select_cifar100", remove_all("/grow")), {"grow"});
  check_refused(audit_changed("split_apply_small", reshape("loss_change", {0, 6})),
                {"loss_change"});
  if (have_eigen())
    check_refused(audit_changed("exact_eigen_small", remove("b/S_dwterm/L00")), {"b/S_dwterm/L00"});
  // one of its kind, where the others are there
  for (const auto& [file, tensor] : std::vector<std::pair<const char*, const char*>>{
           {"split_apply_small", "loss_change"},
           {"split_apply_small", "before/f64/logits_train"},
           {"split_apply_small", "eps1e-1/f64/logits_eval"},
           {"split_apply_small", "eps1e-1/f64/loss_eval"},
           {"select_cifar100", "seed_g0.25/layer_cap"},
           {"select_cifar100", "seed_g0.25/vanilla_mask"},
           {"select_cifar100", "seed_g0.25/grow"},
           {"select_cifar100", "seed_g0.25/lp_x_interior_point"},
           {"select_cifar100", "seed_g0.25/mask_interior_point"},
           {"select_cifar100", "seed_g0.25/cost"}}) {
    if (instrumented() && std::string(file) != "select_cifar100") continue;
    check_refused(audit_changed(file, remove(tensor)), {"changed.safetensors", tensor});
  }
  check_refused(audit_changed("rq_sgd_trajectory", remove_all("b/fixed/v_after_5/")),
                {"b/fixed/v_after_5/L00"});
  check_refused(audit_changed("train_step_small", remove_all("ls0_cifar/f64/step2/grad/")),
                {"ls0_cifar/f64/step2/grad/layers.0.conv2d.weight"});
  check_refused(audit_changed("split_apply_small",
                              remove("eps0/f64/new_param/layers.4.sp_conv.conv2d.weight")),
                {"eps0/f64/new_param/layers.4.sp_conv.conv2d.weight"});
  if (have_eigen())
    check_refused(audit_changed("exact_eigen_small", remove("b/split_check_real")),
                  {"b/split_check_real"});
  if (have_eigen())
    check_refused(audit_changed("exact_eigen_small", remove_all("b/S_dwterm/")),
                  {"b/S_dwterm/L00"});
  // dimensions in another order, or more of them
  auto turned = [](const char* name) {
    return [name](TensorFile& f) {
      StoredTensor& t = f.tensors.at(name);
      std::vector<std::int64_t> shape(t.shape.rbegin(), t.shape.rend());
      if (shape == t.shape || shape.size() == 1) shape.insert(shape.begin(), 1);
      t = StoredTensor::of(shape, t.as_doubles());
    };
  };
  for (const char* tensor : {"v/L03", "b/f64/sv/L03", "b/f64/rq/L03", "b/f64/logits",
                             "b/f64/v_after_1_step/L13", "labels"})
    check_refused(audit_changed("rq_step_small", turned(tensor)),
                  {"changed.safetensors", tensor, "shape", "expected ("});
  for (const char* tensor :
       {"seed_g0.25/lambda", "seed_g0.25/objective", "seed_g0.25/mask_highs", "seed_g0.25/grow"})
    check_refused(audit_changed("select_cifar100", turned(tensor)),
                  {"changed.safetensors", tensor, "shape", "expected ("});
  check_refused(audit_changed("split_apply_small",
                              turned("eps1e-2/f64/new_param/layers.4.sp_conv.conv2d.weight")),
                {"layers.4.sp_conv.conv2d.weight", "shape"});
  // numbers that make no network, split, or selection
  check_refused(audit_changed("rq_step_small", reshape("param/layers.0.bn.weight", {0})),
                {"param/layers.0.bn.weight"});
  check_refused(audit_changed("rq_step_small", reshape("input", {8, 3, 32, 16})), {"32x16"});
  check_refused(audit_changed("rq_step_small", reshape("input", {0, 3, 32, 32})), {"'input'"});
  check_refused(
      audit_changed("train_step_small",
                    [&](TensorFile& f) {
                      reshape("inputs", {1, 4, 3, 32, 32})(f), reshape("labels", {1, 4})(f),
                          f.tensors.at("labels") = StoredTensor::of({1, 4}, std::vector<double>(4));
                    }),
      {"'inputs'", "1 batches"});
  auto whole = [](const char* name) {
    return [name](TensorFile& f) {
      StoredTensor& t = f.tensors.at(name);
      const std::vector<double> values = t.as_doubles();
      t = StoredTensor::of(t.shape, std::vector<std::int64_t>(values.begin(), values.end()));
    };
  };
  for (const auto& [file, tensor] :
       std::vector<std::pair<const char*, const char*>>{{"rq_step_small", "v/L13"},
                                                        {"rq_step_small", "input"},
                                                        {"rq_sgd_trajectory", "v0/L13"},
                                                        {"mbv2_small", "v/L34"},
                                                        {"exact_eigen_small", "b/split_check"}}) {
    check_refused(audit_changed(file, whole(tensor)),
                  {"changed.safetensors", tensor, "dtype I64, expected F32 or F64"});
  }
  check_refused(audit_changed("split_apply_small", reshape("mask/L03", {6})), {"mask/L03", "0.5"});
  check_refused(audit_changed("select_cifar100", reshape("seed_g0.25/grow", {1, 1, 0})),
                {"seed_g0.25/grow"});
  check_refused(audit_changed("select_cifar100",
                              [](TensorFile& f) { put(f.tensors.at("seed_g0.25/grow"), 0, -1.0); }),
                {"seed_g0.25/grow", "-1"});
  check_refused(audit_changed("select_cifar100",
                              [](TensorFile& f) { f.metadata["network"] = "mobilenet_v2"; }),
                {"cfg", "35"});
  check_refused(
      audit_changed("select_cifar100", [](TensorFile& f) { f.metadata["threshold"] = "high"; }),
      {"threshold"});
}
