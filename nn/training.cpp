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
void Meter::add_loss(const Tensor& loss, Index pictures) {
  ops::add_scaled(loss_, loss, double(pictures));  // the loss is a mean over the batch
  count += pictures;
}
Score Meter::read() const {
  Score s;
  s.count = count;
  if (!count) return s;
  std::vector<double> hits = hits_.to_host();
  s.loss = loss_.item() / double(count), s.top1 = hits[0] / double(count), s.top5 = hits[1] / double(count);
  return s;
}

void train_step(Network& network, Sgd& sgd, const Tensor& x, const Tensor& labels, const TrainingSettings& settings, double lr, Meter& meter) {
  Index n = x.dim(0), groups = settings.bn_batch > 0 && n % settings.bn_batch == 0 ? n / settings.bn_batch : 1;
  network.set_training(true, groups);
  network.begin_step();
  Variable logits = network.forward(Variable(x));
  Variable loss = cross_entropy(logits, labels, settings.smoothing);
  backward(loss);
  network.finish_step();
  sgd.step(lr);
  meter.add(loss.value(), logits.value(), labels);
}

Score evaluate(Network& network, BatchSource& source, const PictureInput& input, double smoothing) {
  GradientMode no_gradients(Gradients::none);
  network.set_training(false);
  Meter meter(network.backend(), network.dtype());
  double loss = 0;  // in double over batches: small changes of the loss are what a split is judged by
  for (Index step = 0; step < source.steps(); step++) {
    Batch batch = source.next(0, step);
    Variable logits = network.forward(Variable(input(batch)));
    Tensor batch_loss = cross_entropy(logits, batch.labels, smoothing).value();
    loss += batch_loss.item() * double(batch.labels.numel());
    meter.add(batch_loss, logits.value(), batch.labels);
  }
  Score score = meter.read();
  score.loss = loss / double(score.count);
  return score;
}

}  // namespace fission
