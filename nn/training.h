// One training step, and an evaluation: what every runner, the growth procedure and the benchmark
// call.
#pragma once
#include "nn/gamma.h"
#include "nn/optimizer.h"
#include "nn/schedule.h"
#include "tensor/batch.h"
#include "tensor/comm.h"

namespace fission {

// From raw images (N,H,W,C) u8 to the network's input: (p/255 − mean)/std for each colour.
class ImageInput {
 public:
  ImageInput(Backend& backend, DType dtype, const std::vector<double>& mean,
             const std::vector<double>& std)
      : mean_(make_real(backend, {Index(mean.size())}, mean, dtype)),
        std_(make_real(backend, {Index(std.size())}, std, dtype)) {}
  // null for a batch of no images, as a process may have
  Tensor operator()(const Batch& batch) const {
    return batch.labels.numel() == 0 ? Tensor() : ops::normalise_images(batch.images, mean_, std_);
  }

 private:
  Tensor mean_, std_;
};

struct Score {
  double loss = 0, top1 = 0, top5 = 0;  // mean loss; shares from 0 to 1
  Index count = 0;                      // images
};

// Sums over an epoch, kept on the device: reading them waits, adding to them does not. Each process
// adds its own images.
class Meter {
 public:
  Meter(Backend& backend, DType dtype)
      : loss_(ops::zeros(backend, {1}, dtype)), hits_(ops::zeros(backend, {2}, DType::i32)) {}
  void clear();
  void add(const Tensor& loss, const Tensor& logits, const Tensor& labels);
  void add_loss(const Tensor& loss, Index images);
  Score read(Comm& comm = alone()) const;  // of all processes' images; each of them calls
  Tensor& loss_sum() { return loss_; }     // for checkpoints
  Tensor& hits() { return hits_; }
  Index count = 0;

 private:
  Tensor loss_, hits_;
};

struct TrainingSettings {
  Schedule schedule;
  SgdSettings sgd;
  GammaPenalty gamma;
  double smoothing = 0;
  Index bn_batch = 0;  // images a batch-norm group, the divisor of every batch
                       // (LoaderOptions::group); 0: the whole batch
};

// Multiply-accumulates of a training step, for one image: forward and both gradients of every
// layer, but for the gradient of the image itself.
double training_macs(const Network& network);

// Forward, loss, backward, the penalty on γ, update. x: normalised (N,H,W,C). Of several processes
// each takes its share's whole batch-norm groups, and gradients and running statistics are averaged
// over them in one reduction: the step of one process with the whole batch, to rounding.
void train_step(Network& network, Sgd& sgd, const Tensor& x, const Tensor& labels,
                const TrainingSettings& settings, double lr, Meter& meter,
                const BatchShare& share = {});

// The running statistics anew: the means of the batches' own over one epoch of the source, all
// processes' shares of it; batches of one image are passed over. Leaves the network in training
// mode.
void measure_statistics(Network& network, BatchSource& source, const ImageInput& input,
                        Comm& comm = alone());

// Mean loss and hits over one epoch of the source, with the running statistics; over all processes'
// shares of it.
Score evaluate(Network& network, BatchSource& source, const ImageInput& input, double smoothing = 0,
               Comm& comm = alone());

}  // namespace fission
