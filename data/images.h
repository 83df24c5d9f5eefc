// What a loader reads: images of one size, from memory or decoded from files; and what a growth
// must know of a data set.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "tensor/comm.h"
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace fission {
namespace data {

// write() is called by several threads at once.
struct ImageSource {
  virtual ~ImageSource() = default;
  virtual Shape shape() const = 0;  // (N,H,W,C)
  // image i as (H,W,C) to `out`, augmented from `random` unless that is null; returns the label
  virtual std::int32_t write(Index image, const Random* random, std::uint8_t* out) const = 0;
  // what processes that work on the same images compare
  virtual std::string fingerprint() const { return shape().str(); }
  // files left out so far, since this start, by all processes together; all of them call it, and
  // each knows of all files afterwards
  virtual Index skipped(Comm&) const { return 0; }
};
using SourcePtr = std::shared_ptr<const ImageSource>;

SourcePtr images_of(const Dataset& dataset);  // which must outlive it
// `count` of the images (all, if there are fewer), every so-manieth: the first ones where
// `stride` is 1
SourcePtr part_of(SourcePtr all, Index count, Index stride = 1);

struct ImageSets {
  std::string name;  // "cifar10"
  Index classes = 0;
  std::vector<double> mean, std;  // (C), of bytes/255
  SourcePtr train, test;
  bool by_class = false;  // train lists class after class: a part of it must be spread over all
};
ImageSets image_sets(const Dataset& train, const Dataset& test);  // both must outlive it

}  // namespace data
}  // namespace fission
