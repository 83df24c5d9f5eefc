// Options that have another name now: refused in one line that says it, and so are runs of before.
#include <doctest/doctest.h>

#include "runners/common/renamed.h"
#include "tests/runners/growth.h"

using namespace fission;
using namespace fission::test;

TEST_CASE("renamed: each option's old name is refused, with the new one, and nothing is written") {
  Folder folder;
  const Arguments whole = tiny_growth(folder / "run");
  for (const Renamed& r : renamed_options) {
    std::string before = r.before;
    const auto space = before.find(' ');
    std::vector<Arguments> ways{{before}, {before, "paper"}, {before + "=paper"}};
    if (space != std::string::npos) {
      ways = {{before.substr(0, space), before.substr(space + 1)}};
      before[space] = '=', ways.push_back({before});
    }
    for (const Arguments& way : ways) {
      CAPTURE(way[0]);
      check_refused(launch("cifar", whole + way), {r.before, text("expected ", r.now)});
    }
  }
  CHECK(contents(folder / "run").empty());
  const ProcessResult eval = launch("eval", {"--curvature", "x", folder / "none"});
  check_refused(eval, {"--curvature"});
  CHECK(eval.err.find("--matrix") == std::string::npos);  // which eval has not
}

TEST_CASE("renamed: what an option is called now is no old name") {
  const ProcessResult help = launch("imagenet", {"--help"});
  for (const Renamed& r : renamed_options) {
    CAPTURE(r.now);
    CHECK(help.out.find(text("  ", r.now, " ")) != std::string::npos);
    CHECK(help.out.find(text("  ", r.before, " ")) == std::string::npos);
  }
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "run", "--momentum 0.5 --rounds 0")));
}

TEST_CASE("renamed: a run of before is refused by who goes on with it and by report") {
  Folder folder;
  const Arguments command = tiny_growth(folder / "run", "--rounds 0");
  require_done(launch("cifar", command));
  const std::string path = folder / "run/config.json";
  const Json now = Json::parse(read_file(path));
  for (const Renamed& r : renamed_options) {
    const std::string before = r.before + 2, name = r.now + 2;
    if (before.find(' ') != std::string::npos) continue;
    CAPTURE(before);
    REQUIRE(now.contains(name));
    Json old = now;
    old[before] = old.at(name), old.erase(name);
    write_file_atomically(path, old.dump(2) + "\n");
    const Contents there = contents(folder / "run");
    for (const ProcessResult& e :
         {launch("cifar", command), launch("report", {folder / "run", "--out", folder / "page"})})
      check_refused(e, {folder / "run", "earlier version", "'" + before + "'", "'" + name + "'"});
    CHECK(differing(there, contents(folder / "run")) == "");
  }
}
