#include "data/loose_images.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/decode.h"
#include "data/image_folder.h"
#include "tensor/check.h"
#include "tensor/read_file.h"

namespace fission {
namespace data {

LooseImages::LooseImages(const std::string& directory, Index size, Index resize, Index channels)
    : size_(size), resize_(resize), channels_(channels) {
  namespace fs = std::filesystem;
  if (!have_decoder(Decoder::best))
    user_error("this build has no decoder of JPEG; expected stb_image or libjpeg-turbo");
  std::error_code error;
  for (fs::recursive_directory_iterator i(directory, error), end; !error && i != end;
       i.increment(error)) {
    const std::string name = i->path().filename().string();
    if (left_behind(name)) i.disable_recursion_pending();
    else if (i->is_regular_file(error)) paths_.push_back(i->path().string());
  }
  if (error) user_error(directory, ": ", error.message(), ", expected a folder of images");
  if (paths_.empty()) user_error(directory, ": no file there, expected images (JPEG, PNG)");
  std::sort(paths_.begin(), paths_.end());
}

std::int32_t LooseImages::write(Index image, const Random*, std::uint8_t* out) const {
  const std::string bytes = read_file(path(image));
  Decoded decoded;
  try {
    auto all = [](Index height, Index width) { return Wanted{{0, 0, height, width}}; };
    decode(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), all, decoded);
  } catch (const DecodeError& e) {
    user_error(path(image), ": ", e.what(), "; expected a whole JPEG or PNG");
  }
  const PixelView& v = decoded.view;
  std::vector<std::uint8_t> rgb(std::size_t(size_ * size_ * 3), 0);
  if (v.height <= size_ && v.width <= size_) {
    const Index top = (size_ - v.height) / 2, left = (size_ - v.width) / 2;
    for (Index y = 0; y < v.height; y++)
      for (Index x = 0; x < v.width; x++)
        std::copy_n(v.first + (y * v.stride + x) * 4, 3,
                    rgb.begin() + ((top + y) * size_ + left + x) * 3);
  } else {  // Resize(resize_), CenterCrop(size_) of torchvision
    const Index shorter = std::min(v.height, v.width),
                other = resize_ * std::max(v.height, v.width) / shorter,
                height = v.height <= v.width ? resize_ : other,
                width = v.height <= v.width ? other : resize_;
    auto middle = [&](Index side) { return Index(std::nearbyint(double(side - size_) / 2)); };
    resize(v, decoded.box, height, width, {middle(height), middle(width), size_, size_}, false,
           rgb.data());
  }
  for (Index i = 0; i < size_ * size_; i++) {
    const std::uint8_t* p = rgb.data() + i * 3;
    if (channels_ == 3) std::copy_n(p, 3, out + i * 3);
    else
      out[i] =
          std::uint8_t((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 32768) >> 16);  // Pillow's L
  }
  return 0;
}

}  // namespace data
}  // namespace fission
