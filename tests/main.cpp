// One program for all tests; each folder's facts lie in the folder of the same name.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cstdlib>

// What `--device auto` finds must not depend on whether the CUDA module was built beside the tests;
// those that want one name it.
static const int no_module =
    std::getenv("FISSION_TEST_DEVICE") ? 0 : setenv("FISSION_CUDA_MODULE", "none", 0);
