#include "data/idx.h"

#include <sys/stat.h>

#include <cmath>

#include "tensor/gzip.h"
#include "tests/data/files.h"

using namespace fission;
using namespace fission::data;
using namespace fission::test;

namespace {

Bytes images_file(std::uint32_t count, std::uint32_t side = 28) {
  return big_endian(0x00000803) + big_endian(count) + big_endian(side) + big_endian(side) +
         noise(std::size_t(count) * side * side);
}
Bytes labels_file(const Bytes& labels) {
  return big_endian(0x00000801) + big_endian(std::uint32_t(labels.size())) + labels;
}
const std::string train_images = "train-images-idx3-ubyte",
                  train_labels = "train-labels-idx1-ubyte";

struct Three : Folder {  // three images, all well
  Three() {
    write(train_images, images_file(3));
    write(train_labels, labels_file({9, 0, 3}));
  }
  Dataset load(Index first = 0) const {
    return load_idx(fashion_mnist(), str(), Split::train, first);
  }
  std::string refused(Index n = 0) const {
    return refusal([&] { load(n); });
  }
};

}  // namespace

TEST_CASE("idx: 28x28 images stand in the middle of 32x32, on zeros") {
  Three folder;
  Dataset d = folder.load();
  CHECK(d.count == 3);
  CHECK((d.height == 32 && d.width == 32 && d.channels == 1 && d.classes == 10));
  CHECK(d.labels == std::vector<std::int32_t>{9, 0, 3});
  CHECK(d.class_names.at(9) == "Ankle boot");
  Bytes raw = noise(3 * 28 * 28);
  Index wrong = 0;
  for (int i = 0; i < 3; i++)
    for (int y = 0; y < 32; y++)
      for (int x = 0; x < 32; x++) {
        bool inside = y >= 2 && y < 30 && x >= 2 && x < 30;
        wrong += d.image(i)[y * 32 + x] != (inside ? raw[(i * 28 + y - 2) * 28 + x - 2] : 0);
      }
  CHECK(wrong == 0);
}

TEST_CASE("idx: the first few images, and no more than there are") {
  Three folder;
  CHECK(folder.load(2).labels == std::vector<std::int32_t>{9, 0});
  check_line(folder.refused(4), {folder / train_images, "first 4", "at most 3"});
}

TEST_CASE("idx: gzip is known by the content, whatever the name says") {
  if (!have_gzip()) {
    MESSAGE("skipped: built without zlib");
    return;
  }
  Three plain, packed, renamed;
  std::vector<std::uint8_t> expected = plain.load().images;
  for (const std::string& name : {train_images, train_labels}) {
    std::filesystem::remove(packed / name);
    std::filesystem::rename(renamed / name,
                            renamed / (name + ".gz"));  // not gzip, in spite of its name
  }
  packed.write(train_images + ".gz", gzip(images_file(3)));
  packed.write(train_labels, gzip(labels_file({9, 0, 3})));  // gzip, in spite of its name
  CHECK(packed.load().images == expected);
  CHECK(packed.load().labels == plain.load().labels);
  CHECK(renamed.load().images == expected);
}

TEST_CASE("gzip: large files, empty ones and several streams in one file unpack to the byte") {
  if (!have_gzip()) {
    MESSAGE("skipped: built without zlib");
    return;
  }
  Folder folder;
  Bytes large = noise(200000);
  CHECK(read_file_maybe_gzip(folder.write("large", gzip(large))) == large);
  CHECK(read_file_maybe_gzip(folder.write("none", gzip({}))).empty());
  CHECK(read_file_maybe_gzip(folder.write("two", gzip({1, 2}) + gzip({3}))) == Bytes{1, 2, 3});
  CHECK(read_file_maybe_gzip(folder.write("plain", large)) == large);
  CHECK(read_file_maybe_gzip(folder.write("byte", {0x1f})) == Bytes{0x1f});
}

TEST_CASE("gzip: without zlib a gzip file is refused with what to install") {
  if (have_gzip()) {
    return;  // those below run instead
  }
  Folder folder;
  std::string path = folder.write("x.gz", gzip({1}));
  check_line(refusal([&] { read_file_maybe_gzip(path); }),
             {path, "without zlib", "expected an unpacked file", "gunzip", "zlib1g-dev"});
}

TEST_CASE("idx: a gzip that ends early is refused with its name and byte") {
  if (!have_gzip()) {
    MESSAGE("skipped: built without zlib");
    return;
  }
  Three folder;
  Bytes packed = gzip(images_file(3));
  for (std::size_t size :
       {packed.size() - 1, packed.size() - 8, packed.size() / 2, std::size_t(11), std::size_t(2)}) {
    std::string path = folder.write(train_images, first(packed, size));
    check_line(folder.refused(),
               {path, "ends early, at byte " + std::to_string(size), "expected more"});
  }
}

TEST_CASE("idx: a gzip with a wrong checksum, wrong length or damaged block is refused") {
  if (!have_gzip()) {
    MESSAGE("skipped: built without zlib");
    return;
  }
  Three folder;
  Bytes packed = gzip(images_file(3));
  auto with_flipped = [&](std::size_t at) {
    Bytes b = packed;
    b[at] ^= 1;
    return folder.write(train_images, b);
  };
  std::string path = with_flipped(1000);  // a pixel
  check_line(folder.refused(), {path, "damaged at byte " + std::to_string(packed.size() - 4),
                                "incorrect data check", "expected a whole gzip stream"});
  with_flipped(packed.size() - 6);  // the checksum itself
  check_line(folder.refused(), {path, "incorrect data check"});
  with_flipped(packed.size() - 1);
  check_line(folder.refused(), {path, "incorrect length check"});
  with_flipped(12);  // a block's length
  check_line(folder.refused(), {path, "damaged at byte", "expected a whole gzip stream"});
  folder.write(train_images, packed + Bytes{0, 0, 5});
  check_line(folder.refused(),
             {path, "3 bytes follow the gzip stream, from byte " + std::to_string(packed.size()),
              "expected its end"});
}

TEST_CASE("idx: a gzip is unpacked no further than its header says, and than its size allows") {
  if (!have_gzip()) return;
  Three folder;
  const std::string path = folder / train_images;
  folder.write(train_images, gzip(images_file(3) + Bytes(1 << 20)));
  check_line(folder.refused(), {path, "too long, goes on at byte 2368", "take 2368 bytes"});
  std::uint64_t asked = 0, could = 0;
  const Bytes packed = gzip(Bytes(1 << 22, 7));
  folder.write("bomb", packed);
  const Bytes taken =
      read_file_maybe_gzip(folder / "bomb", [&](const Bytes& first, std::uint64_t c) {
        asked = first.size(), could = c;
        return std::uint64_t(100000);
      });
  CHECK(taken.size() == 100000);
  CHECK(asked == 65536);
  CHECK(could == packed.size() * 1032);
  // 4 294 967 295 images in a few bytes
  folder.write(train_images, gzip(big_endian(0x803) + big_endian(~0u) + big_endian(28) +
                                  big_endian(28) + Bytes(100)));
  check_line(folder.refused(), {path, "4294967295", "expected no more than", "gzip"});
}

TEST_CASE("idx: the names with a dot are found, and folders of the other names are passed over") {
  Three folder;
  for (const std::string& name : {train_images, train_labels}) {
    std::string dotted = name;
    dotted[12] = '.';
    std::filesystem::rename(folder / name, folder / dotted);
    std::filesystem::create_directory(folder / name);
  }
  CHECK(folder.load().count == 3);
  std::filesystem::rename(folder / "train-labels.idx1-ubyte",
                          folder / (train_labels + "/" + train_labels));
  CHECK(folder.load().count == 3);
}

TEST_CASE("idx: a wrong magic is refused, and interchanged files are guessed") {
  Three folder;
  std::string path = folder.write(train_images, labels_file({1, 2, 3}));
  check_line(folder.refused(),
             {path, "magic 0x00000801 at byte 0",
              "expected 0x00000803 (unsigned bytes, 3 dimensions)", "interchanged"});
  folder.write(train_images, images_file(3));
  path = folder.write(train_labels, images_file(3));
  check_line(folder.refused(), {path, "magic 0x00000803 at byte 0",
                                "expected 0x00000801 (unsigned bytes, 1 dimension)"});
}

TEST_CASE("idx: sizes that do not fit the file are refused with both numbers") {
  Three folder;
  Bytes whole = images_file(3);  // 16 + 2352 bytes
  std::string path = folder.write(train_images, first(whole, 2000));
  check_line(folder.refused(), {path, "truncated, ends at byte 2000",
                                "expected sizes (3,28,28) from byte 4 to take 2368 bytes"});
  folder.write(train_images, whole + Bytes{0});
  check_line(folder.refused(), {path, "too long, goes on at byte 2368", "take 2368 bytes"});
  folder.write(train_images, first(whole, 9));
  check_line(folder.refused(), {path, "ends at byte 9, inside its header", "expected 16 bytes"});
  folder.write(train_images, {0, 0});
  check_line(folder.refused(), {path, "ends at byte 2, inside its header"});
  folder.write(train_images, {});
  check_line(folder.refused(), {path, "empty", "expected an idx file with magic 0x00000803"});
  folder.write(train_images, images_file(0));
  check_line(folder.refused(), {path, "(0,28,28)", "expected at least one"});
  folder.write(train_images, big_endian(0x803) + big_endian(~0u) + big_endian(~0u) +
                                 big_endian(~0u));  // product beyond 64 bits
  check_line(folder.refused(), {path, "images of 4294967295x4294967295", "expected 28x28"});
  check_line(
      refusal([&] { read_idx(path, 3); }),
      {path, "truncated, ends at byte 16", "(4294967295,4294967295,4294967295)", "far more bytes"});
}

TEST_CASE("idx: images of another size are refused") {
  Three folder;
  std::string path = folder.write(train_images, images_file(3, 20));
  check_line(folder.refused(), {path, "images of 20x20 (sizes at byte 8)", "expected 28x28"});
}

TEST_CASE("idx: unequal numbers of labels and images are refused") {
  Three folder;
  std::string path = folder.write(train_labels, labels_file({1, 2}));
  check_line(folder.refused(),
             {path, "2 labels (size at byte 4)", "expected 3", folder / train_images});
}

TEST_CASE("idx: a label out of range is refused with its record and byte") {
  Three folder;
  std::string path = folder.write(train_labels, labels_file({9, 0, 10}));
  check_line(folder.refused(), {path, "label 10 in record 2 (byte 10)", "expected 0 to 9"});
}

TEST_CASE("idx: a missing file is refused by both its names") {
  Three folder;
  std::filesystem::remove(folder / train_labels);
  check_line(folder.refused(),
             {folder / train_labels, "no such file", train_labels + ".gz", "expected"});
  check_line(refusal([&] { load_dataset("fashion-mnist", folder.str(), Split::test); }),
             {folder / "t10k-images-idx3-ubyte"});
  std::filesystem::create_directory(folder / train_labels);
  check_line(folder.refused(), {folder / train_labels, "no such file"});
  std::filesystem::remove(folder / train_labels);
  std::filesystem::create_symlink("/dev/zero", folder / train_labels);
  check_line(folder.refused(), {folder / train_labels, "a device", "expected a regular file"});
  std::filesystem::remove(folder / train_labels);
  REQUIRE(::mkfifo((folder / train_labels).c_str(), 0600) == 0);  // that nobody writes into
  check_line(folder.refused(), {folder / train_labels, "pipe", "expected a regular file"});
}

TEST_CASE("idx: mnist's digits are never mirrored") {
  Three folder;
  Dataset d = load_dataset("mnist", folder.str(), Split::train);
  CHECK(!d.flip);
  CHECK(d.class_names.at(3) == "3");
}

TEST_CASE(
    "idx: the real Fashion-MNIST has its published counts and first labels, and the mean and std "
    "we state") {
  if (default_directory("fashion-mnist").empty() || !have_gzip()) {
    MESSAGE("skipped: no dataset-fashion-mnist here, or built without zlib");
    return;
  }
  Dataset train = load_dataset("fashion-mnist", "", Split::train),
          test = load_dataset("fashion-mnist", "", Split::test);
  CHECK(train.count == 60000);
  CHECK(test.count == 10000);
  CHECK(train.classes == 10);
  CHECK(first(Bytes(train.labels.begin(), train.labels.end()), 10) ==
        Bytes{9, 0, 0, 3, 0, 2, 7, 2, 5, 5});
  CHECK(first(Bytes(test.labels.begin(), test.labels.end()), 10) ==
        Bytes{9, 2, 1, 1, 6, 1, 4, 6, 5, 7});
  for (const Dataset* d : {&train, &test}) {
    std::vector<Index> in_class(10);
    for (std::int32_t label : d->labels) in_class[label]++;
    CHECK(in_class == std::vector<Index>(10, d->count / 10));
  }
  double sum = 0, squares = 0, n = double(train.images.size());
  for (std::uint8_t p : train.images) sum += p, squares += double(p) * p;
  double mean = sum / n / 255, std = std::sqrt(squares / n / 255 / 255 - mean * mean);
  CHECK(std::abs(mean - train.mean[0]) < 5e-5);  // stated to four places
  CHECK(std::abs(std - train.std[0]) < 5e-5);
}
