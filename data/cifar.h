// CIFAR-10 and CIFAR-100, binary version: records of 1 (CIFAR-100: coarse, then fine) label byte
// and 3072 image bytes, 1024 red, 1024 green, 1024 blue, row by row. They become (H,W,C) here;
// CIFAR-100's fine label is used.
// Refused: files that are not exactly the published number of records, labels out of range.
#pragma once
#include "data/dataset.h"

namespace fission {
namespace data {

struct CifarFormat {
  std::string name, archive, folder;  // folder: the archive's own, looked for under the given one
  std::vector<std::string> train, test;       // file names
  Index train_records = 0, test_records = 0;  // in each file
  std::vector<int> label_ranges;              // one a label byte; the last is the one used
  std::vector<std::string> class_names;
  std::string class_names_file;  // read when it is there and class_names is empty
  Normalisation normalisation{
      {0.4914, 0.4822, 0.4465},
      {0.2023, 0.1994, 0.2010}};  // the paper's, for both: the authors use CIFAR-10's
};
CifarFormat cifar10();
CifarFormat cifar100();
CifarFormat cifar100_own();  // "cifar100-own": the same files, normalised by their own constants

Dataset load_cifar(const CifarFormat& format, const std::string& directory, Split split,
                   Index first = 0);

}  // namespace data
}  // namespace fission
