// Optimisers over the flat buffers of a network: one kernel a step. State (the buffers) is what
// checkpoints keep.
// SGD:     g ← g + wd·p;  b ← μ b + g  (so b = g at first);  p ← p − lr·b,  Nesterov: p ← p − lr (g
// + μ b)
// RMSprop: s ← α s + (1−α) g²;  b ← μ b + g/(√s + eps);  p ← p − lr·b;  no bias correction (section
// 5 of METHOD.md)
#pragma once
#include "nn/network.h"

namespace fission {

// The learning rate lives on the device, so that a recorded step can be replayed with another one.
class LearningRate {
 public:
  LearningRate(Backend& backend, DType dtype) : tensor_(ops::zeros(backend, {1}, dtype)) {}
  void set(double lr) {
    if (lr == value_) return;
    ops::fill(tensor_, lr);
    value_ = lr;
  }
  double value() const { return value_; }
  const Tensor& tensor() const { return tensor_; }

 private:
  Tensor tensor_;
  double value_ = 0;
};

// What weight decay reaches: all (CIFAR); the weights, so not batch norms and biases (ImageNet,
// MobileNetV1); the weights and the γ of the depthwise convolutions' batch norms (the authors'
// MobileNetV2)
enum class Decay { all, weights, weights_and_depthwise };

struct SgdSettings {
  double momentum = 0.9, weight_decay = 1e-4;
  bool nesterov = false;
  Decay decay = Decay::all;
};

class Sgd {
 public:
  Sgd(Network& network, SgdSettings settings)
      : network_(network),
        settings_(settings),
        buffer_(network.like_parameters()),
        lr_(network.backend(), network.dtype()) {}
  void step(double lr) {
    lr_.set(lr);
    Tensor p = network_.parameters(), g = network_.gradients();
    const Index weights = network_.weight_count();
    Index decayed = settings_.decay == Decay::all ? p.numel()
                    : settings_.decay == Decay::weights
                        ? weights
                        : weights + network_.depthwise_gamma_count();
    ops::sgd(p, g, buffer_, lr_.tensor(), settings_.momentum, settings_.weight_decay, decayed,
             settings_.nesterov);
  }
  Tensor& buffer() { return buffer_; }  // (P) momentum

 private:
  Network& network_;
  SgdSettings settings_;
  Tensor buffer_;
  LearningRate lr_;
};

struct RmsPropSettings {
  double alpha = 0.9, momentum = 0.9, eps = 1e-8;
};

class RmsProp {
 public:
  RmsProp(const Tensor& like, RmsPropSettings settings)
      : settings_(settings),
        s_(ops::zeros_like(like)),
        b_(ops::zeros_like(like)),
        lr_(like.backend(), like.dtype()) {}
  void step(Tensor& p, const Tensor& g, double lr) {
    lr_.set(lr);
    ops::rmsprop(p, g, s_, b_, lr_.tensor(), settings_.alpha, settings_.momentum, settings_.eps);
  }
  Tensor& squares() { return s_; }
  Tensor& buffer() { return b_; }

 private:
  RmsPropSettings settings_;
  Tensor s_, b_;
  LearningRate lr_;
};

}  // namespace fission
