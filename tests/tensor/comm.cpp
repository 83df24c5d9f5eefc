// Facts of one process alone, and of how several settle whether they agree. Several under mpirun:
// tests/mpi.sh.
#include "tensor/comm.h"

#include <doctest/doctest.h>

#include "tests/two_processes.h"

using namespace fission;

TEST_CASE(
    "comm: a program that no launcher started is one process, which agrees with itself and whose "
    "sums are its own") {
  CHECK(&processes() == &alone());
  CHECK(alone().rank() == 0);
  CHECK(alone().size() == 1);
  CHECK_FALSE(alone().disagreement("anything"));
  double x = 3;
  alone().sum(&x, 1);
  CHECK(x == 3);
}

TEST_CASE("comm: what processes disagree on is told with both texts") {
  struct Other
      : testing::Played {  // process 0, and the other one, of whom every second text is heard
    Other() : Played(0, {{0, 1}}) {}
    void broadcast(void* x, std::size_t bytes, int from) override {
      const std::string theirs = "lr 2";
      if (from == 0) return;
      if (bytes == sizeof(std::uint64_t) && !length_known)
        *static_cast<std::uint64_t*>(x) = theirs.size(), length_known = true;
      else std::copy(theirs.begin(), theirs.end(), static_cast<char*>(x));
    }
    bool length_known = false;
  } other;
  CHECK_THROWS_WITH_AS(
      other.require_same("the options", "lr 10", "a hint"),
      "the options of process 1: lr 2; expected what process 0 has: lr 10 (a hint)", UserError);
}
