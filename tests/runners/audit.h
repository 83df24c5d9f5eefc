// The lines of an audit in JSON.
#pragma once
#include "tests/runners/options.h"

namespace fission::test {

inline std::vector<Json> lines_of(const ProcessResult& e) {
  std::vector<Json> lines;
  std::istringstream in(e.out);
  for (std::string line; std::getline(in, line);) lines.push_back(json_in(line));
  return lines;
}

}  // namespace fission::test
