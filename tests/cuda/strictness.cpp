// The fake of CUDA is shown to be strict: every kind of mistake, planted in mistakes.cpp, is
// caught by it, with a text that says what was done; and work that is right passes. Each runs in a
// process of its own, because some mistakes end one.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cuda/fake/mistakes.h"
#include "tests/cuda/module.h"
#include "tests/runners/program.h"

using namespace fission;
using namespace fission::testing;

namespace {

std::string said_by(
    const mistakes::Mistake* m) {  // what it threw, and what the process wrote as it died
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(ends[1], 2);
    for (int s : {SIGSEGV, SIGABRT}) signal(s, SIG_DFL);
    std::string text;
    try {
      FAKE_FUNCTION(fission_make)(m);
    } catch (const std::exception& e) {
      text = e.what();
    }
    _exit(write(2, text.data(), text.size()) == ssize_t(text.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string said;
  char buffer[1024];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    said.append(buffer, std::size_t(n));
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return said;
}

}  // namespace

TEST_CASE("cuda fake: each planted mistake is caught, and what is right is not" *
          doctest::skip(!have_fake())) {
  if (test::instrumented()) MESSAGE("skipped: races and alignment, for which there are no hooks");
  int count = 0;
  for (const mistakes::Mistake* m = FAKE_FUNCTION(fission_mistakes)(); m->name; m++, count++) {
    std::string said = said_by(m), wanted = m->caught;
    INFO(std::string(m->name), ": expected \"", wanted, "\", the fake said \"", said, "\"");
    CHECK(wanted.empty() == said.empty());
    CHECK(said.find(wanted) != std::string::npos);
  }
  CHECK(count > 50);  // the list was found at all
}
