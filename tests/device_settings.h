// FISSION_TEST_SETTINGS: how the device under test is to be used, for a test that runs others anew:
// words of own, cudnn, autotune, workspace=BYTES.
#pragma once
#include <cstdlib>
#include <sstream>

#include "tensor/backend.h"

namespace fission::testing {

inline DeviceSettings device_settings() {
  DeviceSettings s;
  const char* given = std::getenv("FISSION_TEST_SETTINGS");
  std::istringstream words(given ? given : "");
  for (std::string word; std::getline(words, word, ',');) {
    if (word == "own" || word == "cudnn") s.convolution = word;
    else if (word == "autotune") s.autotune = true;
    else if (word.rfind("workspace=", 0) == 0) s.workspace_limit = std::stoul(word.substr(10));
    else
      user_error("FISSION_TEST_SETTINGS: '", word,
                 "'; expected own, cudnn, autotune or workspace=BYTES");
  }
  return s;
}

}  // namespace fission::testing
