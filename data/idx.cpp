#include "data/idx.h"

#include <algorithm>
#include <filesystem>

#include "tensor/check.h"
#include "tensor/gzip.h"
#include "tensor/tensor.h"

namespace fission {
namespace data {
namespace {

namespace fs = std::filesystem;
constexpr Index side = 28, padded = 32, border = (padded - side) / 2;

Index big_endian(const std::uint8_t* b) {
  return Index(b[0]) << 24 | Index(b[1]) << 16 | Index(b[2]) << 8 | Index(b[3]);
}

std::string hex(Index magic) {
  std::string s = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) s += "0123456789abcdef"[(magic >> shift) & 15];
  return s;
}

// "train-images-idx3-ubyte", or "train-images.idx3-ubyte", as many copies have it; in a folder of
// its name, as archives unpack; each with .gz behind, too. Which of them is gzip is seen when it is
// read.
std::string path_of(const std::string& directory, const std::string& stem,
                    const std::string& kind) {
  std::error_code ignored;
  const fs::path folder = directory;
  const std::string dash = stem + "-" + kind, dot = stem + "." + kind;
  for (const std::string& name : {dash, dot})
    for (const fs::path& path : {folder / name, folder / (name + ".gz"), folder / name / name})
      if (fs::exists(path, ignored) && !fs::is_directory(path, ignored)) return path.string();
  user_error("[idx] ", (folder / dash).string(), ": no such file, nor ", dash, ".gz or ", dot,
             "; expected the folder that holds the data set's four idx files");
}

}  // namespace

IdxFile read_idx(const std::string& path, int rank,
                 const std::function<void(const std::vector<Index>&)>& check) {
  IdxFile file;
  const Index header = 4 + 4 * rank, magic = 0x0800 + rank;  // 08: unsigned bytes
  std::vector<Index> dims;
  double bytes = 1;  // as a double: 32-bit sizes may multiply beyond 64 bits
  file.bytes = read_file_maybe_gzip(
      path, [&](const std::vector<std::uint8_t>& first, std::uint64_t could_hold) -> std::uint64_t {
        if (Index(first.size()) < header || big_endian(first.data()) != magic) return first.size();
        for (int i = 0; i < rank; i++) {
          dims.push_back(big_endian(first.data() + 4 + 4 * i));
          bytes *= double(dims.back());
        }
        if (check) check(dims);
        const bool packed = could_hold != UINT64_MAX;
        if (packed && double(header) + bytes > double(could_hold))
          user_error("[idx] ", path, ": sizes ", Shape(dims), " from byte 4; expected no more than",
                     " the ", could_hold, " bytes that a gzip file of this size can hold");
        // one more: does the file end there?
        return bytes < 1e18 ? std::uint64_t(header) + std::uint64_t(bytes) + 1 : UINT64_MAX;
      });
  const Index size = Index(file.bytes.size());
  if (size == 0)
    user_error("[idx] ", path, ": empty; expected an idx file with magic ", hex(magic),
               ": fetch it again");
  if (size >= 4 && big_endian(file.bytes.data()) != magic)
    user_error("[idx] ", path, ": magic ", hex(big_endian(file.bytes.data())),
               " at byte 0; expected ", hex(magic), " (unsigned bytes, ", rank,
               rank == 1 ? " dimension" : " dimensions", "): are images and labels interchanged?");
  if (size < header)
    user_error("[idx] ", path, ": ends at byte ", size, ", inside its header; expected ", header,
               " bytes of header: fetch it again");
  const Shape shape(dims);
  if (dims[0] == 0)
    user_error("[idx] ", path, ": sizes ", shape,
               " at byte 4: nothing in it; expected at least one entry");
  const bool truncated = double(size - header) < bytes;
  if (bytes != double(size - header))
    user_error("[idx] ", path, ": ", truncated ? "truncated, ends" : "too long, goes on",
               " at byte ", truncated ? size : header + Index(bytes), "; expected sizes ", shape,
               " from byte 4 to take ",
               header + bytes < 1e15 ? std::to_string(Index(header + bytes)) : "far more",
               " bytes: is the download complete?");
  file.dims = dims;
  file.bytes.erase(file.bytes.begin(), file.bytes.begin() + header);
  return file;
}

// Fashion-MNIST's mean and standard deviation are .2860 and .3530 over 28×28; over 32×32 with its
// zeros they are these, measured on the training set (a test measures them again).
IdxFormat fashion_mnist() {
  return {"fashion-mnist",
          {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
           "Bag", "Ankle boot"},
          0.2190,
          0.3318,
          true};
}
// From .1307 and .3081 over 28×28: mean × 784/1024, and the same for the mean square. A mirrored
// digit is no digit.
IdxFormat mnist() {
  return {"mnist", {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, 0.1000, 0.2752, false};
}

Dataset load_idx(const IdxFormat& format, const std::string& directory, Split split, Index first) {
  std::string stem = split == Split::train ? "train" : "t10k";
  std::string images_path = path_of(directory, stem + "-images", "idx3-ubyte"),
              labels_path = path_of(directory, stem + "-labels", "idx1-ubyte");
  IdxFile images = read_idx(images_path, 3, [&](const std::vector<Index>& dims) {
    if (dims[1] != side || dims[2] != side)
      user_error("[idx] ", images_path, ": images of ", dims[1], "x", dims[2],
                 " (sizes at byte 8); expected ", side, "x", side, ", as ", format.name,
                 " has them");
  });
  IdxFile labels = read_idx(labels_path, 1);
  Index there = images.dims[0];
  if (labels.dims[0] != there)
    user_error("[idx] ", labels_path, ": ", labels.dims[0], " labels (size at byte 4); expected ",
               there, ", one for each image of ", images_path, ": are they of the same split?");
  if (first > there)
    user_error("[idx] ", images_path, ": the first ", first,
               " images were asked for; expected at most ", there, ", all there are");

  Dataset d;
  d.name = format.name;
  d.count = first ? first : there;
  d.height = d.width = padded;
  d.channels = 1;
  d.classes = Index(format.class_names.size());
  d.class_names = format.class_names;
  d.mean = {format.mean};
  d.std = {format.std};
  d.flip = format.flip;
  d.images.assign(d.count * padded * padded, 0);
  for (Index i = 0; i < d.count; i++) {
    if (labels.bytes[i] >= d.classes)
      user_error("[idx] ", labels_path, ": label ", int(labels.bytes[i]), " in record ", i,
                 " (byte ", 8 + i, "); expected 0 to ", d.classes - 1);
    d.labels.push_back(labels.bytes[i]);
    for (Index y = 0; y < side; y++)
      std::copy_n(images.bytes.data() + (i * side + y) * side, side,
                  d.images.data() + (i * padded + y + border) * padded + border);
  }
  return d;
}

}  // namespace data
}  // namespace fission
