// IDX files, as MNIST and Fashion-MNIST are published: big-endian magic (type, dimensions), sizes,
// then bytes. Gzip or not is told by the content. The grey 28×28 images stand in the middle of
// 32×32, on zeros, in one channel.
// Refused: another magic, sizes that do not fit the file, labels out of range, unequal numbers of
// images and labels.
#pragma once
#include <functional>

#include "data/dataset.h"

namespace fission {
namespace data {

struct IdxFile {
  std::vector<Index> dims;  // (count,H,W) or (count)
  std::vector<std::uint8_t> bytes;
};
// Unsigned bytes of that many dimensions; `check` sees the sizes before the rest is read.
IdxFile read_idx(const std::string& path, int rank,
                 const std::function<void(const std::vector<Index>&)>& check = nullptr);

struct IdxFormat {
  std::string name;
  std::vector<std::string> class_names;
  double mean = 0, std = 1;  // of the training images as they are handed on, 32×32
  bool flip = false;
};
IdxFormat fashion_mnist();
IdxFormat mnist();

Dataset load_idx(const IdxFormat& format, const std::string& directory, Split split,
                 Index first = 0);

}  // namespace data
}  // namespace fission
