// ImageNet as it is unpacked: train/SYNSET/image files; val/ likewise, or flat beside a text file
// of labels. A class's index is its place among train/'s folder names in sorted order; the devkit's
// own numbering is taken only with its mapping file. Where a flat val/ has no train/ beside it, its
// labels name the classes: all that they speak of. What a file holds is told by its content
// (data/decode.h). Refused, one UserError line each with the file: a class folder without images,
// a file outside all classes, a folder within a class, an empty file, labels that do not fit.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "data/decode.h"
#include "data/loader.h"
#include "tensor/hash.h"

namespace fission {
namespace data {

struct ImageFolderOptions {
  std::string directory;         // holds train/ and val/
  Split split = Split::train;    // test: val/
  Index size = 224, resize = 0;  // side of the image handed on; evaluation: shorter side resized
                                 // to (0: size·256/224), centre cut out
  std::string val_labels;  // of a flat val/: a synset or class index a line, images in the order
                           // of their names; "": see val_label_names
  std::string devkit_mapping;  // lines "synset number" or "number synset": the labels are the
                               // devkit's numbers
  double most_broken = 0.001;  // training: the share of files that may be skipped
  bool exact =
      false;  // training crops from full decoding, as Pillow has them; evaluation always is exact
  bool broken_files = false;  // links that lead nowhere are listed like others, for check_data
  Decoder decoder = Decoder::best;
  std::function<void(const std::string&)> warn;  // a line about a skipped file; by several threads,
                                                 // one at a time; default: standard error
};
extern const std::vector<std::string>
    val_label_names;  // looked for in the directory when val_labels is ""

// What systems leave behind, and hidden ones, are not looked at.
bool left_behind(std::string name);

// The listing: 32 bytes or so per image
class ImageFolder {
 public:
  explicit ImageFolder(const ImageFolderOptions& options);
  Index count() const { return Index(labels_.size()); }
  std::string path(Index i) const;
  std::int32_t label(Index i) const { return labels_[i]; }
  const std::vector<std::string>& class_names() const { return classes_; }  // synsets, sorted
  std::size_t bytes() const;        // of memory that the listing takes
  std::string fingerprint() const;  // count, classes and a hash of all names and labels: the same
                                    // when a broken file is fetched again
  std::string contents() const;     // a hash of all files' sizes, too

 private:
  void list_classes(const std::string& classes_from, bool broken_files);
  void read_labels(const ImageFolderOptions& options);

  std::string root_;  // …/train or …/val
  bool flat_ = false;
  std::vector<std::string> classes_;
  std::string names_;                  // of all images, each with a 0 behind it
  std::vector<std::uint32_t> begins_;  // (N) in names_
  std::vector<std::int32_t> labels_;   // (N)
  std::uint64_t sizes_ = hash_start;   // of the files, in order
};

// torchvision's RandomResizedCrop: 0.08 to 1 of the area, sides 3:4 to 4:3, ten tries, else the
// centre of the allowed shape; and the mirror of RandomHorizontalFlip. A function of the stream and
// the image's number alone.
struct RandomCrop {
  Area area;
  bool mirror = false;
};
RandomCrop draw_resized_crop(const Random& random, Index image, Index height, Index width);

// (size,size,3) images from a folder. Training skips a file that can't be decoded: the next in
// the listing that can be takes its place, with the crop's draws of the one skipped; each is told
// and counted once, and more than most_broken, or all, are refused
// (UserError). Evaluation, and a file that can't be read at all, refuse at once. Training leaves
// out what a crop does not need: it meets no broken file that check_data does not list, but may
// miss damage outside its crops. Whether a file is skipped is a matter of file and crop alone, so
// that a run that goes on, or other processes, see the same images.
class FolderImages : public ImageSource {
 public:
  explicit FolderImages(const ImageFolderOptions& options);
  Shape shape() const override { return {folder_.count(), options_.size, options_.size, 3}; }
  std::int32_t write(Index image, const Random* random, std::uint8_t* out) const override;
  std::string fingerprint() const override { return folder_.contents(); }
  const ImageFolder& folder() const { return folder_; }
  Index skipped(Comm& comm) const override;

 private:
  void check_share(Index broken, const std::string& last)
      const;  // UserError; last: the file that made them so many, and why
  void skip(Index i, const std::string& why) const;

  ImageFolderOptions options_;
  ImageFolder folder_;
  mutable std::mutex mutex_;
  mutable std::set<Index> broken_;
};

// What a run must know of the data set, without its images: name "imagenet", count, sizes,
// classes, names, ImageNet's mean and std
Dataset description(const FolderImages& images);
// `count` of the images (all, if there are fewer), spread over the classes, each as evaluation
// cuts it out
Dataset in_memory(const FolderImages& images, Index count);

// Every file that can't be decoded, as "path: why", in the order of the listing. All compute
// threads; progress(done so far) by one at a time.
std::vector<std::string> check_data(const ImageFolder& folder,
                                    const std::function<void(Index)>& progress = nullptr);

}  // namespace data
}  // namespace fission
