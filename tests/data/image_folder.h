// Small trees of images for the tests of image folders: three classes with a flat val/, and one
// class with broken files.
#pragma once
#include "data/image_folder.h"
#include "tests/data/images.h"

namespace fission::test {

using namespace data;

inline Bytes line(const std::string& s) { return Bytes(s.begin(), s.end()); }

// train/: three classes of 4, 5 and 6 images; val/ flat, 3 images
struct Tree : Folder {
  explicit Tree(bool val = true) {
    const char* classes[] = {"n03", "n01", "n02"};
    for (int c = 0; c < 3; c++)
      for (int i = 0; i < 4 + c; i++)
        write(text("train/", classes[c], "/", classes[c], "_", i, ".JPEG"),
              jpeg(i % 2 ? "420" : "grey"));
    if (val)
      for (int i = 0; i < 3; i++) write(text("val/", i, ".JPEG"), jpeg("422"));
  }
  ImageFolderOptions options(Split split = Split::train) const {
    ImageFolderOptions o;
    o.directory = str(), o.split = split, o.size = 8, o.warn = [](const std::string&) {};
    return o;
  }
  ImageFolder train() const { return ImageFolder(options()); }
  ImageFolder val(const std::string& labels = "", const std::string& mapping = "") const {
    ImageFolderOptions o = options(Split::test);
    o.val_labels = labels, o.devkit_mapping = mapping;
    return ImageFolder(o);
  }
};

// n images of one class, of which those of `broken` are cut off
struct Many : Folder {
  Many(Index n, std::initializer_list<Index> broken_ones) {
    for (Index i = 0; i < n; i++) write(name(i), jpeg("one-pixel"));
    for (Index i : broken_ones) write(name(i), first(jpeg("one-pixel"), 100));
  }
  static std::string name(Index i) {
    std::string digits = std::to_string(i);
    return "train/a/" + std::string(5 - digits.size(), '0') + digits;
  }
  ImageFolderOptions options() const {
    ImageFolderOptions o;
    o.directory = str(), o.size = 2, o.warn = [](const std::string&) {};
    return o;
  }
};

}  // namespace fission::test
