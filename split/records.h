// What a growth tells as it goes on: values only. The runners make lines of a log and prose of
// them.
#pragma once
#include "nn/training.h"
#include "split/select.h"
#include "split/solver.h"

namespace fission {

// A round so far, as results.csv and the checkpoints keep it
struct RoundRecord {
  Index round = 0, neurons_split = 0;
  std::vector<Index> widths;
  double macs = 0, parameters = 0;
  Score split, tuned;     // on the test images: right after the split, after tuning
  bool quadratic = true;  // ε is small enough for E4: the loss change at ε/2 is a quarter of it
  double training_macs = 0;  // spent since the seed's first step, when this round's tuning ended
  double predicted = 0,
         measured = 0;  // loss change of the split on the check images: E4's, and the real one
};

// An epoch of training the seed (round 0) or of fine-tuning
struct EpochRecord {
  Index round, epoch, epochs;  // epoch: from 1
  double training_macs, lr;
  Score seen, test;  // on the training images as the epoch saw them; on the test images
};

// An epoch of RQ-SGD, or a pass of Lanczos
struct SolverRecord {
  Solver solver;
  Index round, epoch, epochs;
  double training_macs, lr, loss;             // lr: RQ-SGD's
  double least_lambda = 0, negative_sum = 0;  // λ̂ of all neurons; the sum of those below 0
  double largest_residual = 0, median_residual = 0;  // Lanczos's
};

struct SplitRecord {
  RoundRecord round;
  Selection chosen;
  std::string energy_unit, energy_source;
  double training_macs, loss, by_lambda;  // loss before it; its change, were λ̂ exact (E3)
};

struct NoSplitRecord {
  Index round;
  std::string why;
};

}  // namespace fission
