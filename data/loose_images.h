// Any images of a folder and the folders in it, in the order of their names, without labels (all
// are 0): cut out as evaluation does with ImageNet's (`resize` to more than `size`), or whole
// (`resize` is `size`); with one channel: grey. An image smaller than `size` gets a black border,
// as 28x28 ones have. Refused: a folder without files, a file that is no JPEG or PNG.
#pragma once
#include "data/images.h"

namespace fission {
namespace data {

class LooseImages : public ImageSource {
 public:
  LooseImages(const std::string& directory, Index size, Index resize, Index channels);
  Shape shape() const override { return {Index(paths_.size()), size_, size_, channels_}; }
  std::int32_t write(Index image, const Random* random, std::uint8_t* out) const override;
  const std::string& path(Index i) const { return paths_[std::size_t(i)]; }

 private:
  Index size_, resize_, channels_;
  std::vector<std::string> paths_;
};

}  // namespace data
}  // namespace fission
