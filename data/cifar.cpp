#include "data/cifar.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "tensor/check.h"
#include "tensor/read_file.h"

namespace fission {
namespace data {
namespace {

namespace fs = std::filesystem;
constexpr Index side = 32, plane = side * side, colours = 3, image_bytes = plane * colours;

// The given folder, or the archive's own folder in it
std::string folder_of(const CifarFormat& format, const std::string& directory,
                      const std::string& file) {
  std::error_code ignored;
  for (const fs::path& place : {fs::path(directory), fs::path(directory) / format.folder})
    if (fs::exists(place / file, ignored)) return place.string();
  user_error("[cifar] ", (fs::path(directory) / file).string(), ": no such file, nor in ",
             format.folder, "/ there; expected ", format.name, "'s binary version: unpack ",
             format.archive, " there");
}

// The file has no header, so its size is the only thing that tells a whole one.
void check_size(const std::string& path, Index size, Index records, Index record_bytes) {
  Index want = records * record_bytes;
  if (size == 0)
    user_error("[cifar] ", path, ": empty; expected ", records, " records of ", record_bytes,
               " bytes: fetch it again");
  if (size < want)
    user_error("[cifar] ", path, ": ends at byte ", size, ", ",
               size % record_bytes ? "inside" : "before", " record ", size / record_bytes,
               "; expected ", records, " records of ", record_bytes, " bytes (", want,
               "): is the download complete?");
  if (size > want)
    user_error("[cifar] ", path, ": ", size - want, " bytes follow record ", records - 1,
               ", from byte ", want, "; expected ", records, " records of ", record_bytes,
               " bytes (", want, "): is it another data set's file?");
}

void append(Dataset& d, const CifarFormat& format, const std::string& path, Index file_records,
            Index wanted) {
  Index labels = Index(format.label_ranges.size()), record_bytes = labels + image_bytes;
  FileReader file(path);
  check_size(path, Index(file.size()), file_records, record_bytes);
  constexpr Index at_once = 1000;  // records: a file need not be in memory twice
  std::vector<std::uint8_t> buffer(std::min(at_once, wanted) * record_bytes);
  for (Index begin = 0; begin < wanted; begin += at_once) {
    Index n = std::min(at_once, wanted - begin);
    file.read(buffer.data(), std::size_t(n * record_bytes));
    for (Index i = 0; i < n; i++) {
      const std::uint8_t* record = buffer.data() + i * record_bytes;
      for (Index l = 0; l < labels; l++)
        if (record[l] >= format.label_ranges[l])
          user_error("[cifar] ", path, ": label ", int(record[l]), " in record ", begin + i,
                     " (byte ", (begin + i) * record_bytes + l, "); expected 0 to ",
                     format.label_ranges[l] - 1,
                     ": is it another data set's file, or a damaged one?");
      d.labels.push_back(record[labels - 1]);
      std::uint8_t* out = d.images.data() + (Index(d.labels.size()) - 1) * image_bytes;
      for (Index p = 0; p < plane; p++)
        for (Index c = 0; c < colours; c++) out[p * colours + c] = record[labels + c * plane + p];
    }
  }
}

std::vector<std::string> read_names(const std::string& path, Index expected) {
  std::error_code ignored;
  std::istringstream file(fs::exists(path, ignored) ? read_text(path) : "");
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && std::strchr(" \t\r", line.back())) line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  if (!names.empty() && Index(names.size()) != expected)
    user_error("[cifar] ", path, ": ", names.size(), " class names; expected ", expected,
               ", one a line (or no such file)");
  return names;
}

}  // namespace

CifarFormat cifar10() {
  return {
      "cifar10",
      "cifar-10-binary.tar.gz",
      "cifar-10-batches-bin",
      {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
       "data_batch_5.bin"},
      {"test_batch.bin"},
      10000,
      10000,
      {10},
      {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
      ""};
}
CifarFormat cifar100() {
  return {"cifar100",
          "cifar-100-binary.tar.gz",
          "cifar-100-binary",
          {"train.bin"},
          {"test.bin"},
          50000,
          10000,
          {20, 100},
          {},
          "fine_label_names.txt"};
}

CifarFormat cifar100_own() {
  CifarFormat format = cifar100();
  format.name = "cifar100-own";
  format.normalisation = {{0.5071, 0.4865, 0.4409}, {0.2673, 0.2564, 0.2762}};
  return format;
}

Dataset load_cifar(const CifarFormat& format, const std::string& directory, Split split,
                   Index first) {
  const std::vector<std::string>& files = split == Split::train ? format.train : format.test;
  Index in_each = split == Split::train ? format.train_records : format.test_records;
  Index published = in_each * Index(files.size()), count = first ? first : published;
  if (count > published)
    user_error("[cifar] ", format.name, ": the first ", first,
               " images were asked for; expected at most ", published, ", all of ", name_of(split));

  Dataset d;
  d.name = format.name;
  d.count = count;
  d.height = d.width = side;
  d.channels = colours;
  d.classes = format.label_ranges.back();
  d.mean = format.normalisation.mean, d.std = format.normalisation.std;
  d.images.resize(count * image_bytes);
  d.labels.reserve(count);
  std::string folder = folder_of(format, directory, files[0]);
  for (Index f = 0; f * in_each < count; f++)
    append(d, format, (fs::path(folder) / files[f]).string(), in_each,
           std::min(in_each, count - f * in_each));
  d.class_names = format.class_names;
  if (d.class_names.empty() && !format.class_names_file.empty())
    d.class_names = read_names((fs::path(folder) / format.class_names_file).string(), d.classes);
  return d;
}

}  // namespace data
}  // namespace fission
