// The batches of a growth's stages, and those of the images that are only looked at. One source at
// a time, good until another one is asked for.
#pragma once
#include "data/loader.h"
#include "split/state.h"

namespace fission {

struct BatchOptions {
  Index batch = 128, rq_batch = 64, rq_images = 0, check_images = 2048;
  bool augment = true;
  int loader_threads = 1;
};

class Batches {
 public:
  Batches(const BatchOptions& options, const GrowSettings& settings, const data::ImageSets& images,
          Backend& backend, Comm& comm);
  StagePlan plan(Index round, Stage stage) const;
  BatchSource& training(Index round, Stage stage);
  BatchSource& check();
  BatchSource& test();

 private:
  data::LoaderOptions share_of_batches(Index batch) const;
  data::SourcePtr some_of_training(Index count) const;
  BatchSource& loader(data::SourcePtr images, const data::LoaderOptions& options);

  BatchOptions options_;
  GrowSettings settings_;
  data::ImageSets images_;
  Backend& backend_;
  Comm& comm_;
  std::unique_ptr<data::Loader> loader_;
  Index loader_stage_ = -1;
};

}  // namespace fission
