// What the tests of data/ share: a folder that goes away, bytes to fill files with, and the text of
// a refusal.
#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tensor/check.h"
#include "tensor/geometry.h"

namespace fission {
namespace test {

using Bytes = std::vector<std::uint8_t>;

class Folder {
 public:
  Folder() {
    static std::atomic<int> number{0};
    do
      path_ = std::filesystem::temp_directory_path() /
              text("fission-test-", std::uintptr_t(&number), "-", number++);
    while (!std::filesystem::create_directory(path_));  // another process may have this one
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string str() const { return path_.string(); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const Bytes& bytes) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream file(path_ / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
    file.close();
    REQUIRE(file.good());
    return *this / name;
  }

 private:
  std::filesystem::path path_;
};

inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
inline Bytes first(const Bytes& b, std::size_t n) {
  return Bytes(b.begin(), b.begin() + std::ptrdiff_t(n));
}
inline Bytes big_endian(std::uint32_t v) {
  return {std::uint8_t(v >> 24), std::uint8_t(v >> 16), std::uint8_t(v >> 8), std::uint8_t(v)};
}
inline Bytes little_endian(std::uint32_t v) {
  return {std::uint8_t(v), std::uint8_t(v >> 8), std::uint8_t(v >> 16), std::uint8_t(v >> 24)};
}

// Bytes that look random and are the same everywhere
inline Bytes noise(std::size_t n, std::uint32_t seed = 1) {
  Bytes b(n);
  for (auto& v : b) v = std::uint8_t((seed = seed * 1664525u + 1013904223u) >> 24);
  return b;
}

// gzip without compression: stored blocks, so that a test needs no library to write one
inline Bytes gzip(const Bytes& content) {
  Bytes out = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
  std::uint32_t crc = ~0u;
  for (std::size_t at = 0; at == 0 || at < content.size();) {
    std::size_t n = std::min<std::size_t>(content.size() - at, 65535);
    out = out + Bytes{std::uint8_t(at + n == content.size()), std::uint8_t(n), std::uint8_t(n >> 8),
                      std::uint8_t(~n), std::uint8_t(~n >> 8)};
    for (std::size_t i = at; i < at + n; i++) {
      out.push_back(content[i]);
      crc ^= content[i];
      for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    at += n;
    if (n == 0) break;
  }
  return out + little_endian(~crc) + little_endian(std::uint32_t(content.size()));
}

// The one line that a user's mistake ends with; "" if there was no refusal
template <class Work>
std::string refusal(const Work& work) {
  try {
    work();
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

// A refusal must be one line that holds each of these
inline void check_line(const std::string& line, std::initializer_list<std::string> parts) {
  CAPTURE(line);
  CHECK(!line.empty());
  CHECK(line.find('\n') == std::string::npos);
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(line.find(part) != std::string::npos);
  }
}

}  // namespace test
}  // namespace fission
