// A run's folder, read back and checked: what a report shows. A file that is missing, cut or wrong
// is a UserError with its name, the place and what is expected.
#pragma once
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "split/records.h"

namespace fission {

struct NeuronWorth {
  std::string axis;
  double lambda;
  bool split;
};

struct RunFolder {
  std::string directory;
  nlohmann::ordered_json config;                // config.json
  std::vector<nlohmann::ordered_json> log;      // log.jsonl, a line each
  std::vector<RoundRecord> rounds;              // results.csv; empty while the seed is trained
  std::vector<std::vector<NeuronWorth>> worth;  // round-R-neurons.csv of each round from 1 on
  std::map<Index, std::vector<nlohmann::ordered_json>> audits;  // round-R-audit.jsonl, if any
};

RunFolder read_run(const std::string& directory);

// Its parts; each UserError names the file and the line. A log's lines, checked and in order:
std::vector<nlohmann::ordered_json> log_lines(const std::string& all, const std::string& path);
// What the rounds came to is what their last epochs say. source: where the rounds stand
void check_agreement(const std::vector<nlohmann::ordered_json>& log,
                     const std::vector<RoundRecord>& rounds, const std::string& path,
                     const std::string& source);
std::vector<NeuronWorth> read_neurons(const std::string& path, const RoundRecord& round);

}  // namespace fission
