// A data set in memory: images as bytes (N,H,W,C), labels, and what training must know about
// them. load_dataset reads the files as published and refuses whatever does not fit to the byte
// (UserError: what, where, what was expected, a hint).
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/geometry.h"

namespace fission {
namespace data {

enum class Split { train, test };
const char* name_of(Split split);

struct Normalisation {
  std::vector<double> mean, std;  // (C): an image's colour becomes (byte/255 − mean)/std
};

struct Dataset {
  std::string name;  // "cifar10", as load_dataset knows it
  Index count = 0, height = 0, width = 0, channels = 0, classes = 0;
  std::vector<std::uint8_t> images;      // (count,H,W,C)
  std::vector<std::int32_t> labels;      // (count), 0 … classes−1
  std::vector<std::string> class_names;  // (classes), or empty where unknown
  std::vector<double> mean, std;         // (C), of bytes/255
  Index padding = 4;                     // augmentation: pad by this, then crop; see augment.h
  bool flip = true;                      // augmentation: mirror half of the images

  Index bytes_per_image() const { return height * width * channels; }
  const std::uint8_t* image(Index i) const { return images.data() + i * bytes_per_image(); }
};

// `directory` empty: default_directory(name). `first` > 0: only the first so many images, for
// quick looks.
Dataset load_dataset(const std::string& name, const std::string& directory, Split split,
                     Index first = 0);

Normalisation normalisation_of(const std::string& name);  // known without the files, of "imagenet"
                                                          // too; UserError: no such data set
// What is allowed and hardly meant: images all of one colour, labels all of one class. A line each
std::vector<std::string> oddities(const Dataset& d, Split split);
std::string fingerprint(
    const Dataset& d);  // name, shape and a hash of all images and labels: processes compare it

std::string default_directory(
    const std::string& name);  // where the system's package puts it; "" where there is none
std::string dataset_list();    // "cifar10, cifar100, cifar100-own, fashion-mnist, mnist"

}  // namespace data
}  // namespace fission
