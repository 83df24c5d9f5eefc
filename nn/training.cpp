#include "nn/training.h"

namespace fission {

void Meter::clear() {
  ops::fill(loss_, 0);
  ops::fill(hits_, 0);
  count = 0;
}
void Meter::add(const Tensor& loss, const Tensor& logits, const Tensor& labels) {
  add_loss(loss, logits.dim(0));
  ops::count_hits(logits, labels, hits_);
}
void Meter::add_loss(const Tensor& loss, Index images) {
  ops::add_scaled(loss_, loss, double(images));  // the loss is a mean over the batch
  count += images;
}
Score Meter::read(Comm& comm) const {
  std::vector<double> hits = hits_.to_host(), sums{loss_.item(), hits[0], hits[1], double(count)};
  comm.sum(sums.data(), Index(sums.size()));
  const double n = sums[3];
  return n > 0 ? Score{sums[0] / n, sums[1] / n, sums[2] / n, Index(n)} : Score{};
}

double training_macs(const Network& network) {
  return 3 * network.macs() - network.layer_shapes(network.widths())[0].macs();
}

void train_step(Network& network, Sgd& sgd, const Tensor& x, const Tensor& labels,
                const TrainingSettings& settings, double lr, Meter& meter,
                const BatchShare& share) {
  const Index n = labels.dim(0), group = settings.bn_batch > 0 ? settings.bn_batch : n;
  if (n > 0) {
    FISSION_CHECK(n % group == 0, "[train_step] ", n, " images, batch-norm groups of ", group);
    network.set_training(true, n / group);
    network.begin_step();
    Variable logits = network.forward(Variable(x));
    Loss loss = cross_entropy(logits, labels, settings.smoothing);
    backward(loss);
    network.finish_step();
    meter.add(loss.value(), logits.value(), labels);
  }
  // A running statistic is (1−m) old + m·(mean over groups): the shares' average of it is that of
  // the whole batch.
  Tensor exchanged = network.exchanged();
  share.average(exchanged, n);
  if (settings.gamma.l1 > 0) add_gamma_gradient(network, settings.gamma);
  sgd.step(lr);
}

void measure_statistics(Network& network, BatchSource& source, const ImageInput& input,
                        Comm& comm) {
  GradientMode no_gradients(Gradients::none);
  network.set_training(true);
  Tensor running = network.statistics(), before = running.clone(), sum = ops::zeros_like(running);
  double images = 0;
  for (Index step = 0; step < source.steps(); step++) {
    Batch batch = source.next(0, step);
    if (batch.labels.numel() < 2) continue;  // one image may be one value a channel: no variance
    ops::fill(running, 0);                   // a forward pass leaves m times the batch's own there
    network.forward(Variable(input(batch)));
    ops::add_scaled(sum, running, double(batch.labels.numel()) / BatchNormState().momentum);
    images += double(batch.labels.numel());
  }
  comm.sum(&images, 1);
  if (images > 0) network.backend().sum_over_processes(sum, 1 / images, comm);
  running.copy_from(images > 0 ? sum : before);
}

Score evaluate(Network& network, BatchSource& source, const ImageInput& input, double smoothing,
               Comm& comm) {
  GradientMode no_gradients(Gradients::none);
  network.set_training(false);
  Meter meter(network.backend(), network.dtype());
  Tensor losses = ops::zeros(network.backend(), {std::max<Index>(1, source.steps())},
                             network.dtype());  // read once, so that no batch waits for it
  std::vector<Index> images(source.steps());
  for (Index step = 0; step < source.steps(); step++) {
    Batch batch = source.next(0, step);
    if (batch.labels.numel() == 0) continue;
    Variable logits = network.forward(Variable(input(batch)));
    Tensor batch_loss = cross_entropy(logits, batch.labels, smoothing).value();
    images[step] = batch.labels.numel();
    losses.slice(step, {1}).copy_from(batch_loss);
    meter.add(batch_loss, logits.value(), batch.labels);
  }
  Score score = meter.read(comm);
  double loss =
      0;  // in double over batches: small changes of the loss are what a split is judged by
  const std::vector<double> each = losses.to_host();
  for (std::size_t step = 0; step < images.size(); step++)
    loss += each[step] * double(images[step]);
  comm.sum(&loss, 1);
  score.loss = loss / double(score.count);
  return score;
}

}  // namespace fission
