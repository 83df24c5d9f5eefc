// Learning-rate schedules: a function of the step alone, so that nothing of them is ever stored.
// step:   lr × 0.1 for each milestone passed (fractions of all epochs, rounded down to an epoch;
// CIFAR: 50 % and 75 %). None is in the first epoch, and two are never one epoch: of a single
// epoch there is none, of two there is one.
// cosine: lr ½(1 + cos(π t/T)) per step, to 0 (ImageNet). Either after a linear warm-up from 0.
#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "tensor/check.h"
#include "tensor/geometry.h"

namespace fission {

struct Schedule {
  enum Kind { step_decay, cosine, constant } kind = step_decay;
  double lr = 0.1, factor = 0.1;
  std::vector<double> milestones{0.5, 0.75};
  double warmup_epochs = 0;
  Index epochs = 160;

  // epoch and step count from 0; steps: of one epoch
  double at(Index epoch, Index step, Index steps) const {
    double t = double(epoch) + double(step) / double(steps);  // in epochs
    if (t < warmup_epochs) return lr * t / warmup_epochs;
    if (kind == constant) return lr;
    if (kind == cosine)
      return 0.5 * lr * (1 + std::cos(3.14159265358979323846 * t / double(epochs)));
    double now = lr;
    Index last = 0;  // the milestone before
    for (double m : milestones) {
      const Index begin = Index(m * double(epochs));
      if (begin > last && epoch >= begin) now *= factor;
      last = begin;
    }
    return now;
  }
};

inline Schedule::Kind parse_schedule(const std::string& name) {
  if (name == "step") return Schedule::step_decay;
  if (name == "cosine") return Schedule::cosine;
  if (name == "constant") return Schedule::constant;
  user_error("unknown schedule '", name, "'; there are: step, cosine, constant");
}

}  // namespace fission
