#include "data/images.h"

#include <algorithm>

#include "data/augment.h"
#include "tensor/check.h"

namespace fission {
namespace data {
namespace {

class DatasetImages : public ImageSource {
 public:
  explicit DatasetImages(const Dataset& d) : d_(d) {
    FISSION_CHECK(Index(d.labels.size()) == d.count &&
                      Index(d.images.size()) == d.count * d.bytes_per_image(),
                  "[loader] ", d.name, ": ", d.labels.size(), " labels, ", d.images.size(),
                  " bytes for ", shape());
  }
  Shape shape() const override { return {d_.count, d_.height, d_.width, d_.channels}; }
  std::int32_t write(Index i, const Random* random, std::uint8_t* out) const override {
    Crop crop = random ? draw_crop(*random, i, d_.padding, d_.flip) : Crop{};
    write_crop(d_.image(i), d_.height, d_.width, d_.channels, crop, out);
    return d_.labels[i];
  }
  std::string fingerprint() const override { return data::fingerprint(d_); }

 private:
  const Dataset& d_;
};

class Part : public ImageSource {
 public:
  Part(SourcePtr all, Index count, Index stride)
      : all_(std::move(all)), count_(count), stride_(stride) {}
  Shape shape() const override {
    Shape s = all_->shape();
    return {count_, s[1], s[2], s[3]};
  }
  std::int32_t write(Index i, const Random* random, std::uint8_t* out) const override {
    return all_->write(i * stride_, random, out);
  }
  std::string fingerprint() const override {
    return text("of ", all_->fingerprint(), ": ", count_, ", each ", stride_);
  }

 private:
  SourcePtr all_;
  Index count_, stride_;
};

}  // namespace

SourcePtr images_of(const Dataset& dataset) { return std::make_shared<DatasetImages>(dataset); }

SourcePtr part_of(SourcePtr all, Index count, Index stride) {
  Index n = all->shape()[0];
  FISSION_CHECK(count > 0 && stride > 0, "[images] ", count, " of ", n, ", each ", stride);
  return std::make_shared<Part>(std::move(all), std::min(count, (n + stride - 1) / stride), stride);
}

ImageSets image_sets(const Dataset& train, const Dataset& test) {
  return {train.name, train.classes, train.mean, train.std, images_of(train), images_of(test)};
}

}  // namespace data
}  // namespace fission
