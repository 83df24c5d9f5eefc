// A growth small enough to be run again and again (seconds for hundreds), and what a run leaves
// behind, to compare.
#pragma once
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "nn/io/files.h"
#include "nn/io/safetensors.h"
#include "tests/runners/images.h"
#include "tests/runners/program.h"

namespace fission {
namespace test {

using Json = nlohmann::ordered_json;
using Contents = std::map<std::string, std::string>;  // file name → what is in it

inline const std::string four_wide = "4,4,4,4,4,4,4,4,4,4,4,4,4,4";

// What `more` says of an option that stands in both, holds.
Arguments merged(const std::vector<Arguments>& all, const Arguments& more);

// Three steps an epoch, one round
Arguments tiny_growth(const std::string& out, const Arguments& more = {});

Json json_in(const std::string& text);  // the reader takes long to compile: it is compiled once
std::vector<Json> log_of(const std::string& folder);
std::vector<Json> of_stage(const std::vector<Json>& log, const std::string& stage);

// Every file of a run's folder; of log.jsonl all but times, and what was skipped since the start
Contents contents(const std::string& folder);
std::string names(const Contents& c);
// The names of the files that differ, or stand on one side only
std::string differing(const Contents& a, const Contents& b);

// The final table, to the end of what was printed
std::string table_of(const std::string& out);

inline bool is_one_line(const std::string& s) { return !s.empty() && s.find('\n') == s.size() - 1; }

// What the issue asks of every mistake: status 2 and one line, which holds each of `parts`
void check_refused(const ProcessResult& e, const std::vector<std::string>& parts);
void require_done(const ProcessResult& e);

// A finished growth of the tests that only look at one: more images and epochs, so that it has
// learned something
const std::string& learned();

}  // namespace test
}  // namespace fission
