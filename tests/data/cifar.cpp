#include "data/cifar.h"

#include "tests/data/files.h"

using namespace fission;
using namespace fission::data;
using namespace fission::test;

namespace {

// The same layout with few records, so that a test writes kilobytes
CifarFormat small(CifarFormat format) {
  format.train_records = 2;
  format.test_records = 3;
  return format;
}
std::string refused(const CifarFormat& format, const Folder& folder, Split split) {
  return refusal([&] { load_cifar(small(format), folder.str(), split); });
}
Bytes record(const Bytes& labels, std::uint32_t seed) { return labels + noise(3072, seed); }
Bytes cifar10_test() { return record({3}, 1) + record({9}, 2) + record({0}, 3); }

void write_cifar10_train(const Folder& folder) {
  for (std::uint8_t f = 0; f < 5; f++)
    folder.write("data_batch_" + std::to_string(f + 1) + ".bin",
                 record({f}, 10 + f) + record({std::uint8_t(f + 5)}, 20 + f));
}

}  // namespace

TEST_CASE("cifar: planes become interleaved colours, labels follow") {
  Folder folder;
  folder.write("test_batch.bin", cifar10_test());
  Dataset d = load_cifar(small(cifar10()), folder.str(), Split::test);
  CHECK(d.count == 3);
  CHECK((d.height == 32 && d.width == 32 && d.channels == 3 && d.classes == 10));
  CHECK(d.labels == std::vector<std::int32_t>{3, 9, 0});
  Index wrong = 0;
  for (int i = 0; i < 3; i++) {
    Bytes planes = noise(3072, i + 1);
    for (int p = 0; p < 1024; p++)
      for (int c = 0; c < 3; c++) wrong += d.image(i)[3 * p + c] != planes[1024 * c + p];
  }
  CHECK(wrong == 0);
}

TEST_CASE("cifar: the five training files follow one another") {
  Folder folder;
  write_cifar10_train(folder);
  Dataset d = load_cifar(small(cifar10()), folder.str(), Split::train);
  CHECK(d.count == 10);
  CHECK(d.labels == std::vector<std::int32_t>{0, 5, 1, 6, 2, 7, 3, 8, 4, 9});
  CHECK(d.image(8)[0] == noise(1, 14)[0]);
}

TEST_CASE("cifar: the first few images need only the files they lie in") {
  Folder folder;
  write_cifar10_train(folder);
  for (int f = 3; f <= 5; f++)
    std::filesystem::remove(folder / ("data_batch_" + std::to_string(f) + ".bin"));
  Dataset d = load_cifar(small(cifar10()), folder.str(), Split::train, 3);
  CHECK(d.labels == std::vector<std::int32_t>{0, 5, 1});
  check_line(refusal([&] { load_cifar(small(cifar10()), folder.str(), Split::train, 11); }),
             {"cifar10", "first 11", "at most 10"});
}

TEST_CASE("cifar: CIFAR-100 takes the fine label, and its names where they are") {
  Folder folder;
  folder.write("train.bin", record({19, 99}, 1) + record({0, 7}, 2));
  CHECK(load_cifar(small(cifar100()), folder.str(), Split::train).class_names.empty());
  Bytes names;
  for (int i = 0; i < 100; i++)
    names = names + Bytes{'n', std::uint8_t('0' + i / 10), std::uint8_t('0' + i % 10), '\n'};
  folder.write("fine_label_names.txt",
               names + Bytes{'\n'});  // the published file ends with an empty line
  Dataset d = load_cifar(small(cifar100()), folder.str(), Split::train);
  CHECK(d.classes == 100);
  CHECK(d.labels == std::vector<std::int32_t>{99, 7});
  CHECK(d.class_names.at(42) == "n42");
  CHECK(d.image(1)[0] == noise(1, 2)[0]);
  CHECK(d.mean == std::vector<double>{.4914, .4822, .4465});
  CHECK(d.std == std::vector<double>{.2023, .1994, .2010});
  folder.write("fine_label_names.txt", first(names, 40));
  check_line(refused(cifar100(), folder, Split::train),
             {folder / "fine_label_names.txt", "10 class names", "expected 100"});
}

TEST_CASE(
    "cifar: the published sizes are 10000 records, and the archive's folder may be left to "
    "load_dataset") {
  Folder folder;
  Bytes whole = noise(30730000);
  for (std::size_t r = 0; r < 10000; r++) whole[r * 3073] = std::uint8_t(r % 10);
  folder.write("cifar-10-batches-bin/test_batch.bin", whole);
  Dataset d = load_dataset("cifar10", folder.str(), Split::test);
  CHECK(d.count == 10000);
  CHECK(d.name == "cifar10");
  CHECK(d.labels[9999] == 9);
  CHECK(d.image(9999)[5] == whole[9999 * 3073 + 1 + 2 * 1024 + 1]);  // blue of the second pixel
  CHECK(d.class_names.at(9) == "truck");
  CHECK(load_dataset("cifar10", folder / "cifar-10-batches-bin", Split::test, 5).count == 5);
  whole.pop_back();
  folder.write("cifar-10-batches-bin/test_batch.bin", whole);
  check_line(refusal([&] { load_dataset("cifar10", folder.str(), Split::test, 5); }),
             {"cifar-10-batches-bin/test_batch.bin", "byte 30729999", "inside record 9999",
              "expected 10000 records of 3073 bytes"});
}

TEST_CASE("cifar: a truncated file is refused with the byte and the record") {
  Folder folder;
  std::string path = folder.write("test_batch.bin", first(cifar10_test(), 3073 + 100));
  check_line(refused(cifar10(), folder, Split::test),
             {path, "ends at byte 3173", "inside record 1",
              "expected 3 records of 3073 bytes (9219)", "download"});
  folder.write("test_batch.bin", first(cifar10_test(), 2 * 3073));  // cut between records
  check_line(refused(cifar10(), folder, Split::test),
             {path, "ends at byte 6146", "before record 2", "expected 3 records"});
}

TEST_CASE("cifar: a file with more than its records is refused") {
  Folder folder;
  std::string path = folder.write("test_batch.bin", cifar10_test() + Bytes{7});
  check_line(
      refused(cifar10(), folder, Split::test),
      {path, "1 bytes follow record 2", "from byte 9219", "expected 3 records of 3073 bytes"});
}

TEST_CASE("cifar: an empty file is refused") {
  Folder folder;
  std::string path = folder.write("test_batch.bin", {});
  check_line(refused(cifar10(), folder, Split::test),
             {path, "empty", "expected 3 records of 3073 bytes"});
}

TEST_CASE("cifar: a label out of range is refused with its record and byte") {
  Folder folder;
  std::string path =
      folder.write("test_batch.bin", record({3}, 1) + record({10}, 2) + record({0}, 3));
  check_line(refused(cifar10(), folder, Split::test),
             {path, "label 10 in record 1 (byte 3073)", "expected 0 to 9"});
  path = folder.write("train.bin", record({19, 99}, 1) + record({20, 7}, 2));
  check_line(refused(cifar100(), folder, Split::train),
             {path, "label 20 in record 1 (byte 3074)", "expected 0 to 19"});
  folder.write("train.bin", record({19, 100}, 1) + record({2, 7}, 2));
  check_line(refused(cifar100(), folder, Split::train),
             {path, "label 100 in record 0 (byte 1)", "expected 0 to 99"});
}

TEST_CASE("cifar: a missing file is refused with what to unpack") {
  Folder folder;
  check_line(refused(cifar10(), folder, Split::train),
             {folder / "data_batch_1.bin", "no such file", "expected cifar10's binary version",
              "cifar-10-binary.tar.gz"});
  write_cifar10_train(folder);
  std::filesystem::remove(folder / "data_batch_3.bin");
  check_line(refused(cifar10(), folder, Split::train),
             {folder / "data_batch_3.bin", "No such file", "expected a readable file"});
  std::filesystem::create_directory(folder / "data_batch_3.bin");
  check_line(refused(cifar10(), folder, Split::train),
             {folder / "data_batch_3.bin", "expected a regular file"});
}

TEST_CASE("dataset: a missing folder, a file for a folder, no folder, an unknown name") {
  Folder folder;
  check_line(refusal([&] { load_dataset("cifar10", folder / "nowhere", Split::train); }),
             {folder / "nowhere", "no such folder", "expected the files of cifar10",
              "cifar-10-binary.tar.gz"});
  std::string file = folder.write("file", {1});
  check_line(refusal([&] { load_dataset("cifar100", file, Split::train); }),
             {file, "not a folder", "cifar100"});
  check_line(refusal([&] { load_dataset("cifar10", "", Split::train); }),
             {"cifar10", "no folder given", "expected"});
  check_line(refusal([&] { load_dataset("cifar", folder.str(), Split::train); }),
             {"no data set \"cifar\"",
              "expected one of cifar10, cifar100, cifar100-own, fashion-mnist, mnist"});
  check_line(refusal([&] { load_dataset("cifar10", folder.str(), Split::train, -1); }),
             {"first -1", "expected 1 or more"});
}
