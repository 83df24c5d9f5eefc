#include "runners/growth/history.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "nn/io/json.h"

namespace fission {
namespace {

using Json = nlohmann::ordered_json;

Json score_to_json(const Score& s) {
  return {{"loss", s.loss}, {"top1", s.top1}, {"top5", s.top5}, {"count", s.count}};
}

constexpr double most_count = 1e15;  // of images, MACs, parameters

// One round's fields, by name
struct Fields {
  const Json& json;
  std::string where;  // "FILE: metadata 'history': round 2"

  const Json& at(const std::string& key) const {
    if (!json.is_object() || !json.contains(key))
      user_error(where, ": no '", key, "', expected the rounds of a growth");
    return json.at(key);
  }
  double number(const std::string& key, double least, double most) const {
    const Json& value = at(key);
    const double x = value.is_number() ? value.get<double>() : NAN;
    if (!(x >= least && x <= most))
      user_error(where, ": '", key, "': ", value.dump().substr(0, 40), ", expected a number from ",
                 least, " to ", most);
    return x;
  }
  Index count(const std::string& key, Index least, double most = most_count) const {
    const double x = number(key, double(least), most);
    if (x != std::floor(x)) user_error(where, ": '", key, "': ", x, ", expected a whole number");
    return Index(x);
  }
  Score score(const std::string& key) const {
    const Fields s{at(key), where + ": '" + key + "'"};
    return {s.number("loss", -1e300, 1e300), s.number("top1", 0, 1), s.number("top5", 0, 1),
            s.count("count", 0)};
  }
};

}  // namespace

Json history_to_json(const std::vector<RoundRecord>& history) {
  Json rounds = Json::array();
  for (const RoundRecord& r : history)
    rounds.push_back({{"round", r.round},
                      {"neurons_split", r.neurons_split},
                      {"widths", r.widths},
                      {"macs", r.macs},
                      {"parameters", r.parameters},
                      {"split", score_to_json(r.split)},
                      {"tuned", score_to_json(r.tuned)},
                      {"quadratic", r.quadratic},
                      {"training_macs", r.training_macs},
                      {"predicted", r.predicted},
                      {"measured", r.measured}});
  return rounds;
}

std::vector<RoundRecord> history_from_json(const std::string& text, const std::string& path) {
  const std::string where = path + ": metadata 'history'", expected = "the rounds of a growth";
  const Json rounds = parse_json(text, where, expected);
  if (!rounds.is_array()) user_error(where, ": no list, expected ", expected);
  std::vector<RoundRecord> history;
  for (const Json& json : rounds) {
    const Index number = Index(history.size());
    const Fields f{json, where + ": round " + std::to_string(number)};
    RoundRecord r;
    r.round = f.count("round", number, double(number));
    r.neurons_split = f.count("neurons_split", 0);
    const Json& widths = f.at("widths");
    if (!widths.is_array() || widths.size() > 1000)
      user_error(f.where, ": 'widths': expected a list of whole numbers");
    for (std::size_t i = 0; i < widths.size(); i++)
      r.widths.push_back(Fields{Json{{"width", widths[i]}}, f.where}.count("width", 1, 65536));
    r.macs = f.number("macs", 0, 1e18), r.parameters = f.number("parameters", 0, 1e18);
    if (!f.at("quadratic").is_boolean())
      user_error(f.where, ": 'quadratic': expected true or false");
    r.quadratic = f.at("quadratic"), r.training_macs = f.number("training_macs", 0, 1e300);
    r.predicted = f.number("predicted", -1e300, 1e300);
    r.measured = f.number("measured", -1e300, 1e300);
    r.split = f.score("split"), r.tuned = f.score("tuned");
    history.push_back(r);
  }
  return history;
}

Index whole(const TensorFile& file, const std::string& key, const std::string& t, Index least,
            Index most) {
  const bool digits =
      !t.empty() && t.size() <= 15 && t.find_first_not_of("0123456789") == std::string::npos;
  const Index value = digits ? std::stoll(t) : -1;
  if (!digits || value < least || value > most)
    user_error(file.path, ": metadata '", key, "': '", t.substr(0, 40),
               "', expected a whole number from ", least, " to ", most);
  return value;
}
Index whole(const TensorFile& file, const std::string& key, Index least, Index most) {
  return whole(file, key, file.metadata_at(key), least, most);
}

std::vector<RoundRecord> check_metadata(const TensorFile& file, const Network& network) {
  auto has = [&](const char* key) { return file.metadata.count(key) > 0; };
  for (const char* key : {"seed", "round", "epoch", "step", "solver_steps_in_mean", "log_lines"})
    if (has(key)) whole(file, key);
  if (has("stage") && file.metadata_at("stage") != "train" && file.metadata_at("stage") != "solve")
    user_error(file.path, ": metadata 'stage': '", file.metadata_at("stage"),
               "', expected train or solve");
  if (has("dataset")) {
    try {
      data::normalisation_of(file.metadata_at("dataset"));
    } catch (const UserError&) {
      user_error(file.path, ": metadata 'dataset': '", file.metadata_at("dataset"),
                 "', expected one of ", data::dataset_list(), ", imagenet");
    }
  }
  if (!has("history")) return {};
  std::vector<RoundRecord> history = history_from_json(file.metadata_at("history"), file.path);
  if (!history.empty() && history.back().widths != network.widths())
    user_error(file.path, ": metadata 'history': round ", history.size() - 1,
               ": 'widths' of another network, expected those of this one");
  return history;
}

}  // namespace fission
