// Options that had another name before: they are refused, and so are the folders of runs whose
// config.json has them.
#pragma once
#include <string>

#include "runners/common/command_line.h"
#include "tensor/check.h"

namespace fission {

struct Renamed {
  const char *before, *now;
};
constexpr Renamed renamed_options[] = {{"--round", "--rounding"},
                                       {"--momentum-factor", "--momentum"},
                                       {"--momentum zero", "--carry-momentum"},
                                       {"--momentum split", "--carry-momentum"},
                                       {"--curvature", "--matrix"},
                                       {"--check-pictures", "--check-images"}};

// UserError: one of them was given, to a program that has the new one
inline void refuse_renamed_options(const CommandLine& app, int argc, char** argv) {
  for (int i = 1; i < argc; i++) {
    std::string given = argv[i];
    if (const auto at = given.find('='); at != std::string::npos) given[at] = ' ';
    const std::string name = given.substr(0, given.find(' ')),
                      both = i + 1 < argc ? given + " " + argv[i + 1] : given;
    for (const Renamed& r : renamed_options)
      for (const std::string& what : {name, given, both})
        if (what == r.before && app.get_option_no_throw(r.now))
          user_error(r.before, ": renamed, expected ", r.now);
  }
}

// UserError: `config`, of a run's folder, is of a version that had them
template <class Json>
void refuse_renamed_settings(const Json& config, const std::string& directory) {
  for (const Renamed& r : renamed_options)
    if (config.contains(r.before + 2))
      user_error(directory, ": a run of an earlier version: its config.json has '", r.before + 2,
                 "', expected '", r.now + 2, "', as runs of this version have");
}

}  // namespace fission
