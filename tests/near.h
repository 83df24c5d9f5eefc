// x within a relative ε. doctest's Approx adds 1 to the size of what it compares, so that a wrong
// small number passes.
#pragma once
#include <doctest/doctest.h>

namespace fission {

inline doctest::Approx near(double x) { return doctest::Approx(x).scale(1e-290); }  // 0 is near 0

}  // namespace fission
