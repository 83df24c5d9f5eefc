// A whole file in memory, unpacked when it is gzip: known by its first bytes (1f 8b), not by its
// name. No more is taken than `most` says. It refuses what can't be read, a stream that ends early,
// a wrong checksum, and what follows the stream (UserError, with the file and the byte). Built
// without zlib (FISSION_HAVE_ZLIB) it refuses gzip files and says what to install.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fission {

// Asked once the file's first bytes are there, unpacked: how many are wanted in all? could_hold:
// how many may be there, judged by the size of the packed file (deflate packs 1032 bytes into one,
// no more)
using MostBytes =
    std::function<std::uint64_t(const std::vector<std::uint8_t>& first, std::uint64_t could_hold)>;
std::vector<std::uint8_t> read_file_maybe_gzip(const std::string& path,
                                               const MostBytes& most = nullptr);
bool have_gzip();  // was this built with zlib?

}  // namespace fission
