// The text of a file that people wrote: UTF-8, as JSON and terminals want it. A byte order mark at
// its begin, as Windows' editors put there, is left out. It refuses UTF-16 and other encodings
// (UserError, with the file and the byte).
#pragma once
#include <string>

namespace fission {

std::string utf8_text(const std::string& path, std::string contents);
// The first byte that is no UTF-8; npos: all of it is
std::size_t not_utf8(const std::string& s);

}  // namespace fission
