// What a run writes of each record: a line of log.jsonl, a sentence for people, a table of neurons.
#pragma once
#include "nn/prune.h"
#include "split/records.h"

namespace fission {

struct Line {
  std::string json, prose;
};
struct Pace {
  double rate;    // images per second; 0: not known
  Index skipped;  // broken files since the start
};

Line line_of(const EpochRecord& record, const Pace& pace);
Line line_of(const SolverRecord& record, const Pace& pace);
Line line_of(const SplitRecord& record);
Line line_of(const NoSplitRecord& record);
Line line_of(const PruningRecord& record);

std::string neurons_csv(const Network& network, const SplittingIndex& index,
                        const Selection& chosen);

}  // namespace fission
