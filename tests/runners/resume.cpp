// Facts of going on after a stop (SIGKILL at any moment): the bits, the log and the table of a run
// that was left alone.
#include <doctest/doctest.h>
#include <signal.h>

#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "tensor/eigen.h"
#include "tensor/random.h"
#include "tests/runners/growth.h"

using namespace fission;
using namespace fission::test;

namespace {

// Every stage twice; a checkpoint after each step
Arguments two_rounds(const std::string& out, bool carry_momentum = false) {
  return tiny_growth(out, {"--rounds", "2", "--epochs", "2",
                           carry_momentum ? "--carry-momentum=true" : "--carry-momentum=false",
                           "--checkpoint-minutes", "0"});
}

// A run that was left alone, once for all tests
struct Alone {
  Folder folder;
  ProcessResult ended;
  Contents files;
  explicit Alone(bool carry_momentum)
      : ended(launch("cifar", two_rounds(folder / "run", carry_momentum))),
        files(contents(folder / "run")) {
    require_done(ended);
  }
};
const Alone& alone(bool carry_momentum = false) {
  static const Alone zeroed(false), carried(true);
  return carry_momentum ? carried : zeroed;
}

void check_like_alone(const std::string& out, const ProcessResult& last,
                      bool carry_momentum = false) {
  require_done(last);
  CHECK(differing(contents(out), alone(carry_momentum).files) == "");
  CHECK(table_of(last.out) == table_of(alone(carry_momentum).ended.out));
}

// Where killed runs stood: "train 0" is round 0's training, "amid" it if the checkpoint lies within
// an epoch
struct Seen {
  std::set<std::string> places;
  Index kills = 0, amid_write = 0, after_log = 0;
  void look(const std::string& out) {
    kills++;
    Contents now = contents(out);
    for (const auto& file : now) amid_write += file.first.find(".tmp") != std::string::npos;
    if (!now.count("checkpoint.safetensors")) return;
    TensorFile file = read_safetensors(out + "/checkpoint.safetensors");  // whole at every moment
    std::string place = file.metadata_at("stage") + " " + file.metadata_at("round");
    places.insert(place);
    if (file.metadata_at("step") == "1" || file.metadata_at("step") == "2")
      places.insert("amid " + place);
    after_log += log_of(out).size() > std::stoul(file.metadata_at("log_lines"));
  }
};

// The same command until it ends by itself, killed each time where `next` says
Seen kill_until_done(const std::string& out, bool carry_momentum,
                     const std::function<std::string(Index launched)>& next) {
  Seen seen;
  for (Index i = 0; i < 300; i++) {
    ProcessResult e = launch(Launch{"cifar", two_rounds(out, carry_momentum), next(i)});
    if (e.signal == SIGKILL) {
      seen.look(out);
      continue;
    }
    check_like_alone(out, e, carry_momentum);
    return seen;
  }
  FAIL("300 launches did not end the run");
  return seen;
}

// Any moments of a run
auto moments(unsigned seed) {
  return [random = std::mt19937(seed),
          any = std::uniform_real_distribution<double>(0.01, alone().ended.seconds)]() mutable {
    return any(random);
  };
}

// Any of the points, at a count from 1 to 7 (so that the work goes on), the same ones each time
std::string drawn_point(std::uint64_t chain, Index i) {
  Random random(chain, random_purpose::test);
  const char* points[] = {"before-write", "before-rename", "after-rename", "after-log"};
  std::uint32_t point = random.below(std::uint64_t(i), 4);
  return text(points[point], ":", 1 + random.below(std::uint64_t(i), point == 3 ? 2 : 7, 1));
}

}  // namespace

TEST_CASE(
    "resume: killed at drawn points of writing, a run ends with the bits of one left alone, in "
    "every stage of both rounds") {
  Seen all;
  for (std::uint64_t chain = 1; chain <= 4; chain++) {
    CAPTURE(chain);
    Folder folder;
    Seen seen =
        kill_until_done(folder / "run", false, [&](Index i) { return drawn_point(chain, i); });
    all.places.insert(seen.places.begin(), seen.places.end());
    all.kills += seen.kills, all.amid_write += seen.amid_write, all.after_log += seen.after_log;
  }
  for (const char* place : {"amid train 0", "amid solve 1", "train 1", "amid solve 2", "train 2"}) {
    CAPTURE(std::string(place));
    CHECK(all.places.count(place) == 1);
  }
  CHECK(all.kills >= 10);
  CHECK(all.amid_write >= 3);  // a temporary file was left, and is gone at the end
  CHECK(all.after_log >= 1);   // between a log line and its checkpoint
}

TEST_CASE("resume: momentum that is carried through the split survives kills too") {
  Folder folder;
  Seen seen = kill_until_done(folder / "run", true, [](Index i) { return drawn_point(11, i); });
  CHECK(seen.kills >= 3);
}

TEST_CASE(
    "resume: killed after each file that it writes, one by one, a run ends with the bits of one "
    "left alone") {
  if (instrumented()) return;  // the drawn points above are the shorter form
  Folder folder;
  Contents before;
  Index count = 1;
  Seen seen = kill_until_done(folder / "run", false, [&](Index) {
    Contents now = contents(folder / "run");
    if (now.count("log.jsonl"))  // as it was left, it can be looked at
      require_done(launch("report", {folder / "run", "--out", folder / "page"}));
    count = now == before ? count + 1
                          : 1;  // files between two checkpoints are written again: go one further
    before = now;
    return text("after-rename:", count);
  });
  CHECK(seen.kills >= 40);  // config.json, 24 steps, 5 stages of 3 files
}

TEST_CASE("resume: killed at random moments, a run ends with the bits of one left alone") {
  const unsigned seed = std::random_device()();
  CAPTURE(seed);
  auto moment = moments(seed);
  Folder folder;
  Index kills = 0;
  ProcessResult e;
  for (Index i = 0; i < (instrumented() ? 4 : 12) && e.status != 0; i++) {
    Launch l{"cifar", two_rounds(folder / "run")};
    l.kill_after = moment();
    e = launch(l);
    kills += e.signal == SIGKILL;
  }
  MESSAGE(kills, " kills at random moments");
  check_like_alone(folder / "run", launch("cifar", two_rounds(folder / "run")));
}

TEST_CASE(
    "resume: a signal at any moment, and the run saves and ends with 128 + its number; it ends "
    "with "
    "the bits of one left alone") {
  const unsigned seed = std::random_device()();
  CAPTURE(seed);
  auto moment = moments(seed);
  const int signals[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGHUP, SIGXCPU};
  Folder folder;
  const Arguments command = merged({"--checkpoint-minutes 60"}, two_rounds(folder / "run"));
  Index saved = 0, times = instrumented() ? 4 : 12;
  for (Index i = 0; i < times; i++) {
    Launch l{"cifar", command};
    l.kill_after = moment(), l.kill_with = signals[i % 6];
    const ProcessResult e = launch(l);
    CAPTURE(e.err);
    CHECK(e.signal == 0);
    if (e.status == 0) break;
    CHECK(e.status == 128 + l.kill_with);
    CHECK(std::count(e.err.begin(), e.err.end(), '\n') == 1);
    saved += e.err.find(": saved in ") != std::string::npos;
  }
  MESSAGE(saved, " times saved at random moments");
  check_like_alone(folder / "run", launch("cifar", command));
}

TEST_CASE(
    "resume: a signal at each place where no step is taken is answered there, with the state "
    "before it, and nothing is computed twice that a line of the log knows of") {
  for (const char* solver : {"rq-sgd", "lanczos"}) {
    if (std::string(solver) == "lanczos" && !have_eigen()) continue;
    CAPTURE(std::string(solver));
    Folder folder;
    auto command = [&](const std::string& name) {
      return tiny_growth(folder / name, {"--solver", solver, "--epochs", "2", "--tune-epochs", "2",
                                         "--checkpoint-minutes", "60"});
    };
    const ProcessResult whole = launch("cifar", command("whole"));
    require_done(whole);
    const Index lines = Index(log_of(folder / "whole").size());
    std::set<std::string> places;
    for (Index line = 1; line <= lines; line++) {  // the signal comes right behind it
      const std::string name = text("after-", line);
      const ProcessResult e =
          launch(Launch{"cifar", command(name), text("after-log:", line, ":", SIGTERM)});
      CAPTURE(line);
      CAPTURE(e.err);
      CHECK(e.status == 128 + SIGTERM);
      CHECK(e.err.find("cifar: SIGTERM: saved in ") == 0);
      TensorFile file = read_safetensors(folder / name + "/checkpoint.safetensors");
      places.insert(file.metadata_at("stage") + " " + file.metadata_at("round") + " " +
                    file.metadata_at("epoch") + " " + file.metadata_at("step"));
      const ProcessResult again = launch("cifar", command(name));
      require_done(again);
      CHECK(differing(contents(folder / name), contents(folder / "whole")) == "");
      CHECK(table_of(again.out) == table_of(whole.out));
    }
    CHECK(places.count("train 0 2 0") == 1);  // the seed's last evaluation
    CHECK(places.count("solve 1 2 0") == 1);  // the split's, and the residuals'
    CHECK(places.count("train 1 2 0") == 1);
    CHECK(places.count("train 0 1 1") == 1);  // a step was taken first
  }
}

TEST_CASE("resume: a signal during an epoch's evaluation keeps the epoch's steps") {
  Folder folder;
  // the third checkpoint is that of the last of three steps
  const Arguments command = two_rounds(folder / "run");
  const ProcessResult e = launch(Launch{"cifar", command, text("after-rename:4:", SIGINT)});
  CHECK(e.status == 128 + SIGINT);
  CHECK(e.err.find("round 0, train, epoch 1, step 3;") != std::string::npos);
  check_like_alone(folder / "run", launch("cifar", command));
}

TEST_CASE("resume: the second signal ends at once, and nothing is broken") {
  // A step of the plain loops mostly takes longer than the second signal takes to come. Where it
  // does not, the first one's checkpoint is there, and it is tried again.
  bool second = false;
  for (int attempt = 0; attempt < 20 && !second; attempt++) {
    Folder folder;
    const Arguments command = two_rounds(folder / "run");
    Launch l{"cifar", command + Arguments("--device reference")};
    l.kill_on = "epoch 1 of", l.kill_with = SIGTERM, l.kills = 2;
    const ProcessResult e = launch(l);
    CHECK(e.status == 128 + SIGTERM);
    second = e.err == "cifar: SIGTERM: the second signal, ended at once\n";
    if (!second) CHECK(e.err.find("SIGTERM: saved in ") != std::string::npos);
    if (!second) continue;
    require_done(launch("cifar", l.arguments));
    Folder other;
    require_done(launch("cifar", two_rounds(other / "run") + Arguments("--device reference")));
    CHECK(differing(contents(folder / "run"), contents(other / "run")) == "");
  }
  CHECK(second);
}

TEST_CASE("resume: of runs started together in one folder one has it, the others are refused") {
  for (bool same : {false, true}) {
    CAPTURE(same);
    for (int again = 0; again < (instrumented() ? 2 : 5); again++) {
      Folder folder;
      std::vector<ProcessResult> ended(3);
      std::vector<std::thread> all;
      for (std::size_t i = 0; i < ended.size(); i++)
        all.emplace_back([&, i] {
          ended[i] =
              launch("cifar", tiny_growth(folder / "run", {"--seed", same ? "7" : text(7 + i)}));
        });
      for (std::thread& t : all) t.join();
      Index winners = 0;
      std::string seed;
      for (std::size_t i = 0; i < ended.size(); i++) {
        CAPTURE(ended[i].err);
        winners += ended[i].status == 0;
        if (ended[i].status == 0) seed = same ? "7" : text(7 + i);
        else {
          CHECK(ended[i].status == 2);
          CHECK(std::count(ended[i].err.begin(), ended[i].err.end(), '\n') == 1);
        }
      }
      CHECK(winners >= 1);
      if (!same) CHECK(winners == 1);
      // the folder is the winner's, whole, as if it had been alone
      require_done(launch("cifar", tiny_growth(folder / "alone", {"--seed", seed})));
      CHECK(differing(contents(folder / "run"), contents(folder / "alone")) == "");
    }
  }
}

TEST_CASE("resume: between due checkpoints a killed run goes on from its last stage") {
  Folder folder;
  Arguments command = tiny_growth(folder / "run", "--checkpoint-minutes 60 --tune-epochs 2");
  ProcessResult killed =
      launch(Launch{"cifar", command,
                    "after-log:5"});  // training, two of RQ-SGD, the split, tuning's first epoch
  CHECK(killed.signal == SIGKILL);
  CHECK(killed.out.find("network:") !=
        std::string::npos);  // what was said is not lost with the process
  TensorFile file = read_safetensors(folder / "run/checkpoint.safetensors");
  CHECK(file.metadata_at("stage") + file.metadata_at("round") + file.metadata_at("epoch") +
            file.metadata_at("step") ==
        "train100");
  CHECK(log_of(folder / "run").size() == 5);
  ProcessResult e = launch("cifar", command);
  require_done(e);
  CHECK(e.out.find("going on from " +
                   folder / "run/checkpoint.safetensors: round 1, train, epoch 1, step 0") !=
        std::string::npos);
  Folder other;
  ProcessResult whole =
      launch("cifar", tiny_growth(other / "run", "--checkpoint-minutes 60 --tune-epochs 2"));
  CHECK(differing(contents(folder / "run"), contents(other / "run")) == "");
  CHECK(table_of(e.out) == table_of(whole.out));
}

TEST_CASE(
    "resume: with two threads a killed run ends with the bits of one left alone with two threads") {
  Folder folder;
  Arguments killed = tiny_growth(folder / "killed", "--threads 2 --checkpoint-minutes 0");
  CHECK(launch(Launch{"cifar", killed, "before-rename:9"}).signal == SIGKILL);  // amid RQ-SGD
  ProcessResult e = launch("cifar", killed),
                whole = launch("cifar",
                               tiny_growth(folder / "whole", "--threads 2 --checkpoint-minutes 0"));
  require_done(e);
  CHECK(differing(contents(folder / "killed"), contents(folder / "whole")) == "");
  CHECK(table_of(e.out) == table_of(whole.out));
}

TEST_CASE(
    "resume: killed after every fourth file, a run with Lanczos ends with the bits of one left "
    "alone") {
  if (!have_eigen()) return;
  Folder folder;
  auto command = [&](const char* name) {
    return tiny_growth(folder / name, "--solver lanczos --rq-epochs 3 --checkpoint-minutes 0");
  };
  ProcessResult whole = launch("cifar", command("whole"));
  Seen seen;
  ProcessResult e = launch(Launch{"cifar", command("killed"), "after-rename:4"});
  for (Index i = 0; i < 20 && e.signal == SIGKILL; i++)
    seen.look(folder / "killed"), e = launch(Launch{"cifar", command("killed"), "after-rename:4"});
  require_done(e);
  CHECK(seen.places.count("amid solve 1") == 1);
  CHECK(differing(contents(folder / "killed"), contents(folder / "whole")) == "");
  CHECK(table_of(e.out) == table_of(whole.out));
}

TEST_CASE("resume: the finished run, run again, prints its table and changes nothing") {
  ProcessResult again = launch("cifar", two_rounds(alone().folder / "run"));
  check_like_alone(alone().folder / "run", again);
  CHECK(again.out.find("RQ-SGD epoch") == std::string::npos);
}

TEST_CASE(
    "resume: another configuration for an existing run is refused, the differing options named, "
    "and nothing is touched") {
  const Arguments changed("--rounds 3 --epochs 2 --lr 0.05 --no-augment");
  check_refused(launch("cifar", tiny_growth(alone().folder / "run", changed)),
                {alone().folder / "run holds another run: ", "--lr was 0.1, now 0.05",
                 "--rounds was 2, now 3", "--no-augment was false, now true", "another --out"});
  CHECK(differing(contents(alone().folder / "run"), alone().files) == "");
}

TEST_CASE("resume: another run's checkpoint under this run's name is refused, both named") {
  Folder folder;
  ProcessResult killed = launch(Launch{"cifar", tiny_growth(folder / "run"), "after-log:2"});
  CHECK(killed.signal == SIGKILL);
  for (const Arguments& other :
       {Arguments("--seed 8"), Arguments("--widths 0.125"), Arguments("--activation relu")}) {
    CAPTURE(other[0]);
    Folder elsewhere;
    require_done(launch("cifar", tiny_growth(elsewhere / "run", Arguments("--rounds 0") + other)));
    std::string checkpoint = folder / "run/checkpoint.safetensors";
    std::filesystem::copy_file(elsewhere / "run/checkpoint.safetensors", checkpoint,
                               std::filesystem::copy_options::overwrite_existing);
    Contents before = contents(folder / "run");
    check_refused(launch("cifar", tiny_growth(folder / "run")),
                  {checkpoint, "another run's checkpoint", "seed 7"});
    CHECK(differing(contents(folder / "run"), before) == "");
  }
}

TEST_CASE("resume: a run whose checkpoint was removed is refused, and left as it is") {
  for (const char* left : {"log.jsonl", "results.csv", "round-0.safetensors"}) {
    CAPTURE(std::string(left));
    Folder folder;
    std::filesystem::copy(alone().folder / "run", folder / "run");
    for (const char* file : {"checkpoint.safetensors", "log.jsonl", "results.csv"})
      if (std::string(file) != left) std::filesystem::remove(folder / "run/" + file);
    Contents before = contents(folder / "run");
    check_refused(launch("cifar", two_rounds(folder / "run")),
                  {text("run: ", left, " of a run, but no checkpoint.safetensors, expected both"),
                   "another --out"});
    CHECK(differing(contents(folder / "run"), before) == "");
  }
}

TEST_CASE("resume: a table that was removed or changed is made again; of other files it is said") {
  Folder folder;
  const std::string run = folder / "run";
  std::filesystem::copy(alone().folder / "run", run);
  for (const char* table : {"", "0", "another run's\n"}) {
    std::filesystem::remove(run + "/results.csv");
    if (*table) folder.write("run/results.csv", Bytes(table, table + std::strlen(table)));
    const ProcessResult again = launch("cifar", two_rounds(run));
    check_like_alone(run, again);
    CHECK(again.err == "");
  }
  std::filesystem::resize_file(run + "/round-1-neurons.csv", 0);
  std::filesystem::remove(run + "/round-0.safetensors");
  std::filesystem::resize_file(run + "/round-1.safetensors", 3000);
  std::filesystem::copy_file(run + "/round-1-split.safetensors", run + "/round-2-split.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  const std::string log = read_file(run + "/log.jsonl") + "more\n";
  folder.write("run/log.jsonl", Bytes(log.begin(), log.end()));
  const ProcessResult said = launch("cifar", two_rounds(run));
  require_done(said);
  CHECK(said.err == text("warning: ", run,
                         ": missing, broken or another run's, and not made again: "
                         "round-0.safetensors, round-1-neurons.csv, round-1.safetensors, "
                         "round-2-split.safetensors\n"));
  CHECK(log_of(run).size() == log_of(alone().folder / "run").size());
}

TEST_CASE("resume: a log shorter than the checkpoint knows of is refused, and left as it is") {
  Folder folder;
  std::filesystem::copy(alone().folder / "run", folder / "run");
  std::filesystem::resize_file(folder / "run/log.jsonl",
                               std::filesystem::file_size(folder / "run/log.jsonl") - 1);
  Contents before = contents(folder / "run");
  check_refused(launch("cifar", two_rounds(folder / "run")),
                {"log.jsonl: line 10: missing, expected the 10 lines"});
  CHECK(differing(contents(folder / "run"), before) == "");
  const std::string log = read_file(alone().folder / "run/log.jsonl"),
                    last = log.substr(log.rfind('\n', log.size() - 2) + 1);
  for (const std::string& first : {std::string("garbage\n"), last, std::string("[]\n")}) {
    const std::string all = first + log;
    folder.write("run/log.jsonl", Bytes(all.begin(), all.end()));
    check_refused(
        launch("cifar", two_rounds(folder / "run")),
        {first == last ? "log.jsonl: line 1: 'round': 2, expected 0 or 1" : "log.jsonl: line 1: "});
  }
}

TEST_CASE("resume: a checkpoint whose config.json is gone is refused") {
  Folder folder;
  std::filesystem::copy(learned(), folder / "run");
  std::filesystem::remove(folder / "run/config.json");
  check_refused(launch("cifar", tiny_growth(folder / "run")),
                {"a checkpoint without its config.json"});
}

TEST_CASE(
    "seed: the same gives the same bits whatever the loader's threads, another gives others") {
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "a")));
  require_done(launch("cifar", tiny_growth(folder / "b", "--loader-threads 3")));
  require_done(launch("cifar", tiny_growth(folder / "c", "--seed 8")));
  CHECK(differing(contents(folder / "a"), contents(folder / "b")) == "");
  CHECK(differing(contents(folder / "a"), contents(folder / "c")) == names(contents(folder / "a")));
}
