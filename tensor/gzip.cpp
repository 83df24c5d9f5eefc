#include "tensor/gzip.h"

#include <algorithm>
#include <cstring>

#include "tensor/check.h"
#include "tensor/read_file.h"
#if defined(FISSION_HAVE_ZLIB)
#include <zlib.h>
#endif

namespace fission {
namespace {

using Bytes = std::vector<std::uint8_t>;

bool is_gzip(const Bytes& b) { return b.size() >= 2 && b[0] == 0x1f && b[1] == 0x8b; }

constexpr std::size_t first_bytes = 1 << 16;  // after which it is asked how many are wanted

// The file as it lies; of one that is no gzip at most as many bytes as are wanted
Bytes packed_bytes(const std::string& path, const MostBytes& most) {
  FileReader file(path);
  Bytes bytes(std::size_t(std::min<std::uint64_t>(file.size(), first_bytes)));
  file.read(bytes.data(), bytes.size());
  std::uint64_t wanted = file.size();
  if (most && !is_gzip(bytes)) wanted = std::min(wanted, most(bytes, UINT64_MAX));
  const std::size_t first = bytes.size();
  bytes.resize(std::size_t(std::max<std::uint64_t>(first, wanted)));
  file.read(bytes.data() + first, bytes.size() - first);
  return bytes;
}

#if defined(FISSION_HAVE_ZLIB)
struct Inflater {
  z_stream stream{};
  Inflater() {
    FISSION_CHECK(inflateInit2(&stream, 16 + MAX_WBITS) == Z_OK, "[gzip] zlib ", zlibVersion(),
                  " can't start");
  }
  ~Inflater() { inflateEnd(&stream); }
};

Bytes unpack(const std::string& path, Bytes& packed, const MostBytes& most) {
  Inflater inflater;
  z_stream& z = inflater.stream;
  Bytes out(first_bytes);
  std::size_t in_at = 0, out_at = 0;
  std::uint64_t wanted = UINT64_MAX;
  bool asked = !most;
  auto ask = [&] {
    if (asked) return;
    asked = true;
    out.resize(out_at);
    wanted = std::max<std::uint64_t>(out_at, most(out, std::uint64_t(packed.size()) * 1032));
  };
  for (;;) {
    if (out_at == out.size()) {
      ask();
      if (out_at >= wanted) return out;
      out.resize(std::size_t(
          std::min<std::uint64_t>(wanted, std::max<std::uint64_t>(2 * out_at, 4 * packed.size()))));
    }
    constexpr std::size_t most = 1u << 30;  // zlib counts in 32 bits
    uInt in_now = uInt(std::min(packed.size() - in_at, most)),
         out_now = uInt(std::min(out.size() - out_at, most));
    z.next_in = packed.data() + in_at, z.avail_in = in_now;
    z.next_out = out.data() + out_at, z.avail_out = out_now;
    int status = inflate(&z, Z_NO_FLUSH);
    in_at += in_now - z.avail_in, out_at += out_now - z.avail_out;
    if (status == Z_STREAM_END) {
      if (in_at == packed.size()) return out.resize(out_at), ask(), out;
      if (packed[in_at] != 0x1f)
        user_error("[gzip] ", path, ": ", packed.size() - in_at,
                   " bytes follow the gzip stream, from byte ", in_at,
                   "; expected its end: fetch the file again");
      inflateReset(&z);  // several streams one after another are one file
    } else if (status == Z_BUF_ERROR ||
               (status == Z_OK && in_at == packed.size() && z.avail_out > 0)) {
      user_error("[gzip] ", path, ": ends early, at byte ", packed.size(),
                 ", in the middle of its gzip stream; expected more: ", "fetch the file again");
    } else if (status == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (status != Z_OK) {
      user_error("[gzip] ", path, ": damaged at byte ", in_at, ": ",
                 z.msg ? z.msg : "unknown error", " after ", out_at,
                 " bytes unpacked; expected a whole gzip stream: fetch the file again");
    }
  }
}
#else
Bytes unpack(const std::string& path, Bytes&, const MostBytes&) {
  user_error("[gzip] ", path,
             ": is gzip, and this program was built without zlib; expected an unpacked file: run "
             "`gunzip` on it, ",
             "or install zlib1g-dev and build again");
}
#endif

}  // namespace

std::vector<std::uint8_t> read_file_maybe_gzip(const std::string& path, const MostBytes& most) {
  Bytes bytes = packed_bytes(path, most);
  return is_gzip(bytes) ? unpack(path, bytes, most) : bytes;
}

bool have_gzip() {
#if defined(FISSION_HAVE_ZLIB)
  return true;
#else
  return false;
#endif
}

}  // namespace fission
