// The one check of every number that an option takes: NaN, infinity and what is out of range are
// refused, by the option's name. (CLI::Range lets NaN pass.)
#pragma once
#include <CLI/CLI.hpp>

#include "tensor/check.h"

namespace fission {

inline CLI::Validator in_range(double least, double most = 1e15) {
  return CLI::Validator(
      [least, most](std::string& s) {
        double v = 0;
        return CLI::detail::lexical_cast(s, v) && v >= least && v <= most
                   ? std::string()
                   : text("'", s, "': expected a number from ", least, " to ", most);
      },
      "", "");
}

}  // namespace fission
