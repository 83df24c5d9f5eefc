// The stored images of tests/data/images.safetensors (tests/peers/make_images.py makes it),
// and folders of them.
#pragma once
#include "data/decode.h"
#include "nn/io/safetensors.h"
#include "tests/data/files.h"

namespace fission {
namespace test {

inline const TensorFile& stored_images() {
  static const TensorFile file = read_safetensors("tests/data/images.safetensors");
  return file;
}
inline Bytes stored(const std::string& name) {
  return stored_images().at(name).values<std::uint8_t>();
}
inline Bytes jpeg(const std::string& kind = "420") { return stored("decode/" + kind + "/file"); }

inline std::vector<std::string> kinds() {
  std::vector<std::string> all;
  for (const auto& t : stored_images().tensors)
    if (t.first.substr(0, 7) == "decode/" && t.first.substr(t.first.size() - 5) == "/file")
      all.push_back(t.first.substr(7, t.first.size() - 12));
  return all;
}
inline bool is_png(const std::string& kind) { return kind.substr(0, 3) == "png"; }

inline std::vector<data::Decoder> decoders() {  // of this build
  std::vector<data::Decoder> all;
  for (data::Decoder d : {data::Decoder::stb, data::Decoder::libjpeg})
    if (data::have_decoder(d)) all.push_back(d);
  return all;
}
// Can this build decode it? PNG wants stb_image.
inline bool decodable(const std::string& kind, data::Decoder d) {
  return data::have_decoder(is_png(kind) ? data::Decoder::stb : d);
}

// The pixels of a decoded part, (H,W,3)
inline Bytes pixels(const data::Decoded& d) {
  Bytes all;
  for (Index y = 0; y < d.view.height; y++)
    for (Index x = 0; x < d.view.width; x++)
      for (int c = 0; c < 3; c++) all.push_back(d.view.first[4 * (y * d.view.stride + x) + c]);
  return all;
}
inline Bytes decoded(const Bytes& file, data::Decoder decoder, data::Area area = {}) {
  data::Decoded d;
  data::decode(
      file.data(), file.size(),
      [&](Index h, Index w) {
        return data::Wanted{area.height ? area : data::Area{0, 0, h, w}};
      },
      d, decoder);
  return pixels(d);
}
// What the bytes are refused with; "" if they are decoded
inline std::string broken(const Bytes& file, data::Decoder decoder = data::Decoder::best) {
  try {
    decoded(file, decoder);
  } catch (const data::DecodeError& e) {
    return e.what();
  }
  return "";
}

inline int largest_difference(const Bytes& a, const Bytes& b) {
  if (a.size() != b.size()) return 256;
  int most = 0;
  for (std::size_t i = 0; i < a.size(); i++) most = std::max(most, std::abs(int(a[i]) - int(b[i])));
  return most;
}

}  // namespace test
}  // namespace fission
