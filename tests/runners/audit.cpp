// Facts of the audit of a trained network: what holds is said to hold, and what cannot be judged is
// noted.
#include "tests/runners/audit.h"
#include "tensor/eigen.h"

using namespace fission;
using namespace fission::test;

namespace {

const Json* find(const std::vector<Json>& lines, const std::string& part) {
  for (const Json& l : lines)
    if (l.contains("what") && l.at("what").get<std::string>().find(part) != std::string::npos)
      return &l;
  return nullptr;
}

// few images and passes; what `more` says of an option holds
ProcessResult audit(const Arguments& more) {
  const std::vector<Arguments> all{{"--data", images() / "idx-more"},
                                   "--few 3",
                                   "--batches 3",
                                   "--batch 8",
                                   "--passes 3",
                                   "--rq-batch 8",
                                   "--neurons 2",
                                   "--threads 1"};
  Arguments a = Arguments{learned() + "/round-1.safetensors"} + more;
  for (const Arguments& option : all)
    if (std::find(more.begin(), more.end(), option[0]) == more.end()) a = a + option;
  return launch("audit", a);
}
const std::vector<Json>& base() {
  static const std::vector<Json> lines = lines_of(audit({"--json"}));
  return lines;
}

}  // namespace

TEST_CASE("audit: a trained network keeps to every equation, in prose and in JSON") {
  if (!have_eigen()) return check_refused(audit({}), {"Eigen"});
  for (const Json& l : base())
    if (l.contains("holds")) CHECK_MESSAGE(l.at("holds") == true, l.dump());
  CHECK(base().back().at("held").get<int>() > 15);
  for (const char* equation : {"E1", "E2", "E4", "E6", "E6c", "E10", "E11", "E12"})
    CHECK_MESSAGE(std::any_of(base().begin(), base().end(),
                              [&](const Json& l) {
                                return l.contains("equation") && l.at("equation") == equation;
                              }),
                  equation);
  ProcessResult prose =
      audit("--passes 40");  // a basis as large as any neuron has weights: Lanczos is exact
  require_done(prose);
  CHECK(prose.out.find("✓ E6c") != std::string::npos);
  CHECK(prose.out.find("✗") == std::string::npos);
  CHECK(prose.out.find(", 0 do not") != std::string::npos);
}

TEST_CASE("audit: weights too large to compute with are said, and end it") {
  if (!have_eigen()) return;
  Folder folder;
  for (const char* name : {"linear.weight", "layers.5.conv1.weight"})
    for (float size : {1e30f, 3e38f}) {
      CAPTURE(name);
      CAPTURE(size);
      TensorFile file = read_safetensors(learned() + "/round-0.safetensors");
      StoredTensor& weight = file.tensors.at(name);
      weight = StoredTensor::of(weight.shape, std::vector<float>(weight.numel(), size));
      write_safetensors(folder / "large.safetensors", file);
      const ProcessResult e =
          launch("audit", {folder / "large.safetensors", "--data", images() / "idx", "--few", "1",
                           "--batches", "1", "--batch", "8", "--neurons", "1", "--passes", "1"});
      CHECK(e.err.find("internal error") == std::string::npos);
      if (e.status == 2) CHECK(e.err.find("expected a network whose weights") != std::string::npos);
      else CHECK(e.status <= 1);  // in float64 it may still be judged
    }
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
  differs("--few 2", "matrix, float64");
  differs("--batches 2", "Lanczos: worst neuron");
  differs("--batch 6", "Lanczos: worst neuron");
  differs("--rq-batch 4", "RQ-SGD: worst neuron");
  differs("--seed 2", "float64, worst");
  differs({"--no-augment"}, "float64, worst");
  differs("--grow 0.6", "Lanczos: of the neurons");
  differs("--epsilon 0.005", "predicted and measured");
  what("--passes 2", "RQ-SGD, 2 passes");
  Folder folder;
  const ProcessResult kept = audit({"--json", "--findings", folder / "findings"});
  require_done(kept);
  CHECK(read_file(folder / "findings") == kept.out);
  what("--work 1e7", "layers that the oracle leaves out");
  what("--memory 100000", "layers that the oracle leaves out");
  check_refused(audit("--work 1"), {"--work"});
  auto split = [&](const Arguments& more) {
    Index n = 0;
    for (const Json& l : lines_of(audit(more + Arguments{"--json"})))
      n += l.contains("what") &&
           l.at("what").get<std::string>().find("fitted order") != std::string::npos;
    return n;
  };
  const ProcessResult unused = audit("--relu-beta 7 --few 999 --neurons 99");
  CHECK(std::count(unused.err.begin(), unused.err.end(), '\n') == 3);
  for (const char* option : {"relu-beta has", "few has", "neurons has"})
    CHECK(unused.err.find(text("warning: --", option, " no effect: ")) != std::string::npos);
  CHECK(split("--neurons 1") == 1);
  CHECK(split("--neurons 3") == 3);
  check_refused(audit({"--dataset", "cifar10", "--data", images() / "cifar10"}),
                {"32x32x1", "32x32x3"});
  check_refused(launch("audit", {}), {"checkpoint"});
  check_refused(launch("audit", {"x", "--reference", "y"}), {"--reference"});
  check_refused(audit("--few 0"), {"--few"});
  // the network's options are among the facts of state_dicts
  check_all_covered("audit",
                    {"--reference",  "--dataset",   "--data",     "--few",        "--batches",
                     "--batch",      "--passes",    "--rq-batch", "--neurons",    "--grow",
                     "--epsilon",    "--relu-beta", "--work",     "--memory",     "--seed",
                     "--no-augment", "--json",      "--findings", "--strict",     "--device",
                     "--threads",    "--model",     "--widths",   "--activation", "--size"});
}
TEST_CASE("options: audit's --relu-beta is the sharpness of ReLU's surrogate") {
  if (!have_eigen()) return;
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "run", "--rounds 0 --activation relu")));
  auto exact = [&](const char* beta) {
    ProcessResult e =
        launch("audit", {folder / "run/round-0.safetensors", "--data", images() / "idx", "--few",
                         "2", "--batches", "1", "--batch", "4", "--passes", "1", "--neurons", "1",
                         "--threads", "1", "--json", "--relu-beta", beta});
    std::vector<Json> lines = lines_of(e);
    const Json* l = find(lines, "paper's matrix, float64");
    REQUIRE(l);
    CHECK(l->at("holds") == true);
    return l->at("figure").get<double>();
  };
  CHECK(exact("1") != exact("3"));
}

TEST_CASE(
    "audit: what cannot be judged is noted: ReLU's surrogate, no step or a great one, no budget, "
    "nothing within it") {
  if (!have_eigen() || instrumented()) return;
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "run", "--rounds 0 --activation relu")));
  ProcessResult relu = launch(
      "audit", {folder / "run/round-0.safetensors", "--data", images() / "idx", "--few", "3",
                "--batches", "2", "--batch", "8", "--passes", "2", "--threads", "1", "--json"});
  require_done(relu);
  const std::vector<Json> lines = lines_of(relu);
  const Json* note = find(lines, "surrogate");
  REQUIRE(note);
  CHECK(note->contains("note"));
  CHECK(lines.back().at("held").get<int>() > 5);
  for (const Arguments& more :
       {Arguments("--epsilon 0"), Arguments("--epsilon 0.5"), Arguments("--grow 0"),
        Arguments("--grow 0.003"), Arguments("--grow 0.05"), Arguments("--few 100")}) {
    CAPTURE(more[1]);
    ProcessResult e = audit(more);
    require_done(e);
    CHECK(e.out.find("nan") == std::string::npos);
    CHECK(e.out.find("100 images") == std::string::npos);
  }
}
