#include "tensor/text_file.h"

#include "tensor/check.h"

namespace fission {

std::size_t not_utf8(const std::string& s) {
  auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  for (std::size_t i = 0; i < s.size();) {
    const unsigned first = byte(i), next = byte(i + 1);
    const std::size_t length = first < 0x80   ? 1
                               : first < 0xC2 ? 0
                               : first < 0xE0 ? 2
                               : first < 0xF0 ? 3
                               : first < 0xF5 ? 4
                                              : 0;
    bool good = length > 0;
    for (std::size_t k = 1; k < length; k++) good = good && (byte(i + k) & 0xC0) == 0x80;
    // no longer than need be, no half of a pair of UTF-16, and not beyond U+10FFFF
    good = good && !(first == 0xE0 && next < 0xA0) && !(first == 0xED && next > 0x9F) &&
           !(first == 0xF0 && next < 0x90) && !(first == 0xF4 && next > 0x8F);
    if (!good) return i;
    i += length;
  }
  return std::string::npos;
}

std::string utf8_text(const std::string& path, std::string contents) {
  auto begins = [&](const char* with) { return contents.rfind(with, 0) == 0; };
  if (begins("\xFF\xFE") || begins("\xFE\xFF"))
    user_error(path, ": byte 0: the file is UTF-16, expected text in UTF-8: save it as that");
  if (begins("\xEF\xBB\xBF")) contents.erase(0, 3);
  if (contents.find('\0') != std::string::npos)
    user_error(path, ": byte ", contents.find('\0'), ": a zero byte, expected text in UTF-8");
  if (const std::size_t at = not_utf8(contents); at != std::string::npos)
    user_error(path, ": byte ", at, ": no UTF-8, expected text in UTF-8: save it as that");
  return contents;
}

}  // namespace fission
