// What a checkpoint's metadata say of the growth that it is from: the rounds so far, and where the
// run stood. All of it is looked at before it is believed: UserError `file: metadata 'key': what
// was found, expected …`
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "nn/io/checkpoint.h"
#include "split/records.h"

namespace fission {

nlohmann::ordered_json history_to_json(const std::vector<RoundRecord>& history);
std::vector<RoundRecord> history_from_json(const std::string& text, const std::string& path);

// A whole number from least to most, of metadata
Index whole(const TensorFile& file, const std::string& key, const std::string& text, Index least,
            Index most);
Index whole(const TensorFile& file, const std::string& key, Index least = 0,
            Index most = 999999999999999);

// Of a checkpoint that is only looked at: what stands there of seed, data set, round, stage, epoch
// and step, and the history, whose last round is this network.
std::vector<RoundRecord> check_metadata(const TensorFile& file, const Network& network);

}  // namespace fission
