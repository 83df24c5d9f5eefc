#include "runners/growth/batches.h"

namespace fission {

Batches::Batches(const BatchOptions& options, const GrowSettings& settings,
                 const data::ImageSets& images, Backend& backend, Comm& comm)
    : options_(options), settings_(settings), images_(images), backend_(backend), comm_(comm) {}

data::LoaderOptions Batches::share_of_batches(Index batch) const {
  data::LoaderOptions o;
  o.batch = batch, o.seed = settings_.seed, o.rank = comm_.rank(), o.ranks = comm_.size(),
  o.threads = options_.loader_threads;
  return o;
}

StagePlan Batches::plan(Index round, Stage stage) const {
  const Index all = images_.train->shape()[0];
  if (stage == Stage::train)
    return {round > 0 ? "fine-tuning" : "training", settings_.training_of(round).schedule.epochs,
            all, options_.batch, std::max<Index>(1, settings_.train.bn_batch)};
  const bool lanczos = settings_.solver.kind == Solver::lanczos;
  return {lanczos ? "Lanczos" : "RQ-SGD",
          settings_.solver.epochs,
          options_.rq_images > 0 ? std::min(options_.rq_images, all) : all,
          options_.rq_batch,
          1,
          lanczos};  // products of one matrix: the same images in each pass
}

BatchSource& Batches::training(Index round, Stage stage) {
  const StagePlan plan = this->plan(round, stage);
  data::LoaderOptions o = share_of_batches(plan.batch);
  o.stage = stage == Stage::train ? data::training_stage(round) : data::solving_stage(round);
  o.augment = options_.augment, o.group = plan.group, o.fixed_key = plan.fixed;
  if (o.fixed_key && loader_stage_ != o.stage)
    std::printf("Lanczos: %ld passes over the same images, augmentation key: seed %lu, stage %ld\n",
                long(plan.epochs), (unsigned long)o.seed, long(o.stage));
  return loader(some_of_training(plan.images), o);
}

// `count` training images: the first ones, or where they lie class by class every so manyth
data::SourcePtr Batches::some_of_training(Index count) const {
  const Index all = images_.train->shape()[0];
  if (count == all) return images_.train;
  return data::part_of(images_.train, count,
                       images_.by_class ? std::max<Index>(1, all / count) : 1);
}

// Some images of the training set: what a split's loss change is predicted and measured on
BatchSource& Batches::check() {
  data::LoaderOptions o = share_of_batches(options_.batch);
  o.stage = data::check_stage, o.shuffle = false, o.augment = options_.augment, o.fixed_key = true;
  return loader(some_of_training(options_.check_images), o);
}

BatchSource& Batches::test() {
  data::LoaderOptions o = share_of_batches(options_.batch);
  o.stage = data::test_stage, o.shuffle = false, o.augment = false;
  return loader(images_.test, o);
}

// One at a time: a ring at 224x224 and batch 256 is 4 * 256 * 150528 B = 154 MB; three would be 462
// MB.
BatchSource& Batches::loader(data::SourcePtr images, const data::LoaderOptions& o) {
  if (loader_stage_ == o.stage) return *loader_;
  loader_stage_ = -1, loader_.reset();
  loader_ = std::make_unique<data::Loader>(std::move(images), backend_, o);
  loader_stage_ = o.stage;
  return *loader_;
}

}  // namespace fission
