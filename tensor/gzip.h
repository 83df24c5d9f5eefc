// A whole file in memory, unpacked when it is gzip: known by its first bytes (1f 8b), not by its
// name. It refuses what can't be read, a stream that ends early, a wrong checksum, and what follows
// the stream (UserError, with the file and the byte). Built without zlib (FISSION_HAVE_ZLIB) it
// refuses gzip files and says what to install.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace fission {

std::vector<std::uint8_t> read_file_maybe_gzip(const std::string& path);
bool have_gzip();  // was this built with zlib?

}  // namespace fission
