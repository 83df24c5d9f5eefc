// FNV-1a, 64 bit: are these the bytes that they were, or that another process has? No defence
// against intent.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>

namespace fission {

constexpr std::uint64_t hash_start = 0xcbf29ce484222325;
inline std::uint64_t hash_bytes(const void* data, std::size_t bytes,
                                std::uint64_t hash = hash_start) {
  const unsigned char* p = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; i++) hash = (hash ^ p[i]) * 0x100000001b3;
  return hash;
}
inline std::string hash_text(std::uint64_t hash) {
  char text[20];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

}  // namespace fission
