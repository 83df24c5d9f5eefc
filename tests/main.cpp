// One program for all tests; each folder's facts lie in the folder of the same name.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
