#include "tests/runners/images.h"

#include "tensor/random.h"

namespace fission {
namespace test {

Bytes plane(Index image, int label, int side, int colour) {
  Random random(5, random_purpose::test, std::uint64_t(image * 3 + colour));
  Bytes b(std::size_t(side * side));
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++) {
      bool stripe = (label < 5 ? y : x) % 4 < 2;
      std::uint32_t noise = random.below(std::uint64_t(y * side + x), 20);
      b[std::size_t(y * side + x)] = std::uint8_t(40 * (label % 5) + (stripe ? 50 : 0) +
                                                  10 * (label % (colour + 1)) + int(noise));
    }
  return b;
}

void write_idx(const Folder& folder, const std::string& place, Index train, Index test,
               Index first) {
  for (bool training : {true, false}) {
    Index n = training ? train : test;
    const Bytes count = big_endian(std::uint32_t(n));
    Bytes images = big_endian(0x803) + count + big_endian(28) + big_endian(28),
          labels = big_endian(0x801) + count;
    for (Index i = 0; i < n; i++) {
      labels.push_back(std::uint8_t(i % 10));
      images = std::move(images) + plane(first + (training ? i : 100000 + i), int(i % 10), 28);
    }
    std::string stem = place + (training ? "/train" : "/t10k");
    folder.write(stem + "-images-idx3-ubyte", images);
    folder.write(stem + "-labels-idx1-ubyte", labels);
  }
}

void write_cifar(const Folder& folder, const std::string& place, const std::string& file,
                 Index records, int labels, Index drawn) {
  Bytes bytes;
  for (Index i = 0; i < drawn; i++) {
    if (labels == 2) bytes.push_back(std::uint8_t(i % 20));
    bytes.push_back(std::uint8_t(i % 10));
    for (int c = 0; c < 3; c++) bytes = std::move(bytes) + plane(i, int(i % 10), 32, c);
  }
  std::filesystem::resize_file(folder.write(place + "/" + file, bytes),
                               std::uintmax_t(records * (3072 + labels)));
}

const Folder& images() {
  static const Folder folder;
  static const bool written = [] {
    write_idx(folder, "idx", 48, 32);
    write_idx(folder, "idx-other", 48, 32, 1000);
    write_idx(folder, "idx-more", 240, 80);
    for (int f = 1; f <= 5; f++)
      write_cifar(folder, "cifar10", text("data_batch_", f, ".bin"), 10000, 1, f == 1 ? 32 : 0);
    write_cifar(folder, "cifar10", "test_batch.bin", 10000, 1, 32);
    write_cifar(folder, "cifar100", "train.bin", 50000, 2, 32);
    write_cifar(folder, "cifar100", "test.bin", 10000, 2, 32);
    return true;
  }();
  (void)written;
  return folder;
}

}  // namespace test
}  // namespace fission
