// A directory of a test's own, gone with it, and what the tests of files share.
#pragma once
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tensor/check.h"

namespace {

struct Scratch {
  std::string path;
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "fission-test-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()));
    path = name;
  }
  ~Scratch() { std::filesystem::remove_all(path); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string operator/(const std::string& name) const { return path + "/" + name; }
};

inline void put(const std::string& path, const std::string& contents) {
  std::ofstream(path, std::ios::binary) << contents;
}
inline bool has(const std::string& message, const std::string& part) {
  return message.find(part) != std::string::npos;
}

template <class Action>
std::string refusal(Action action) {  // the message of its UserError, one line; "" if there is none
  try {
    action();
  } catch (const fission::UserError& e) {
    CHECK_FALSE(has(e.what(), "\n"));
    return e.what();
  }
  return "";
}
inline std::string length_bytes(std::uint64_t n) {  // a safetensors file's first
  std::string s;
  for (int i = 0; i < 8; i++) s += char(n >> 8 * i);
  return s;
}

}  // namespace
