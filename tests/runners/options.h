// Tables of options: each has a case that gives it a value other than the default, and shows what
// it did.
#pragma once
#include <doctest/doctest.h>

#include "tests/runners/growth.h"

namespace fission {
namespace test {

struct Listed {
  std::string name, group, text;  // text: the whole entry, from the name on
  bool takes_value() const { return text.size() > name.size() + 1 && text[name.size() + 1] != ' '; }
};

// How many threads a program has that was asked for two: one, in a build without OpenMP
int two_threads();

// What every program that computes takes; their cases: device_options.cpp
inline const std::set<std::string> gpu_options{"--conv", "--autotune", "--tf32",
                                               "--no-deterministic", "--memory-limit"};

// What a program's --help lists, but --help itself
std::vector<Listed> listed_options(const std::string& program);

void check_all_covered(const std::string& program, std::set<std::string> covered);

// Every option that takes a value shows its default: "--lr FLOAT=0.1" (CLI11 2.2), "--lr FLOAT
// [0.1]" (2.4), or says "default: …"
void check_defaults_shown(const std::string& program);

}  // namespace test
}  // namespace fission
