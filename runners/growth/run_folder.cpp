#include "runners/growth/run_folder.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "nn/io/files.h"
#include "nn/io/json.h"
#include "runners/common/console.h"
#include "runners/common/renamed.h"

namespace fission {
namespace {

using Json = nlohmann::ordered_json;

Json parsed(const std::string& text_of_it, const std::string& place, const char* expected) {
  Json j = parse_json(text_of_it, place, expected);
  if (!j.is_object()) user_error(place, ": no object, expected ", expected);
  return j;
}

// Each line of a file of JSON objects, with where it stands. What a kill left of a last line is
// none: the run that goes on drops it, too.
template <class Use>
void each_object(std::string all, const std::string& path, Use use) {
  all.resize(all.rfind('\n') + 1);  // none: npos + 1 is 0
  std::istringstream in(all);
  Index n = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string place = text(path, ": line ", ++n);
    use(parsed(line, place, "a JSON object"), place);
  }
}

// No run writes numbers so near 0, and gnuplot takes none of them.
bool vanishes(double x) { return x != 0 && std::abs(x) < 1e-300; }

bool is_share(const std::string& name) { return name.find("_top") != std::string::npos; }

void check_number(const Json& line, const std::string& key, const std::string& place) {
  const auto at = line.find(key);
  const bool counted = key == "round" || key == "epoch" || key == "of";
  const double x = at == line.end() || !at->is_number() ? NAN : at->get<double>(),
               least = counted || key == "neurons" || is_share(key) ? 0 : -1e300,
               most = is_share(key) ? 1
                      : counted     ? 1e6
                                    : 1e300;
  if (!(x >= least && x <= most) || vanishes(x))
    user_error(place, ": '", key, "': expected a number from ", least, " to ", most);
}
std::string words(const Json& line, const char* key, const std::string& place) {
  const auto at = line.find(key);
  if (at == line.end() || !at->is_string()) user_error(place, ": '", key, "': expected a text");
  return at->get<std::string>();
}

// A line of the log: the numbers that its stage needs
void check_log_line(const Json& line, const std::string& place) {
  const std::string stage = words(line, "stage", place);
  const std::vector<const char*> epoch{"epoch",      "of",        "training_macs", "loss",
                                       "train_top1", "test_loss", "test_top1"};
  const std::map<std::string, std::vector<const char*>> needed{
      {"train", epoch},
      {"tune", epoch},
      {"solve", {"epoch", "of", "training_macs", "least_lambda"}},
      {"split", {"neurons"}}};
  check_number(line, "round", place);
  if (line.contains("training_macs")) check_number(line, "training_macs", place);
  if (const auto keys = needed.find(stage); keys != needed.end())
    for (const char* key : keys->second) check_number(line, key, place);
  if (stage == "split" && !line.contains("why"))
    for (const char* key : {"macs", "test_loss", "test_top1"}) check_number(line, key, place);
}

// Behind the lines before it: in their round or the next, and with more that training has cost
void check_order(const Json& line, const Json& before, const std::string& place) {
  const double round = line["round"], last = before.value("round", 0.0);
  if (round < last || round > last + 1)
    user_error(place, ": 'round': ", round, ", expected ", last, " or ", last + 1);
  const double cost = line.value("training_macs", 1e300),
               least = before.value("training_macs", 0.0);
  if (line.contains("epoch") ? cost <= least : cost < least)
    user_error(place, ": 'training_macs': ", cost, ", expected more than the ", least,
               " of the line before");
}

// A table whose first columns are these, in this order
class Csv {
 public:
  Csv(const std::string& path, const std::string& header) : path_(path), in_(read_file(path)) {
    std::string line;
    std::getline(in_, line);
    if (line != header && line.rfind(header + ",", 0) != 0)
      user_error(path, ": line 1: expected '", header, "'");
    columns_ = split_at(line, ',');
  }
  bool next() {
    std::string line;
    if (!std::getline(in_, line)) return false;
    n_++;
    if (in_.eof()) user_error(place(), ": cut short, expected a whole line");
    fields_ = split_at(line, ',');
    if (fields_.size() != columns_.size())
      user_error(place(), ": ", fields_.size(), " fields, expected ", columns_.size());
    return true;
  }
  const std::string& text_at(std::size_t column) const { return fields_[column]; }
  double number_at(std::size_t column, double least = -1e300, double most = 1e300) const {
    const double x = number_of(fields_[column], column);
    if (!(x >= least && x <= most))
      user_error(place(), ": ", columns_[column], ": '", fields_[column],
                 "', expected a number from ", least, " to ", most);
    return x;
  }
  std::vector<Index> numbers_at(std::size_t column) const {
    std::vector<Index> all;
    for (const std::string& s : split_at(fields_[column], ' ')) {
      const double x = number_of(s, column);
      if (x < 1 || x > 1e9 || x != std::floor(x))
        user_error(place(), ": ", columns_[column], ": '", s, "', expected a whole number");
      all.push_back(Index(x));
    }
    return all;
  }
  std::string place() const { return text(path_, ": line ", n_); }

 private:
  double number_of(const std::string& s, std::size_t column) const {
    char* end = nullptr;
    const double x = std::strtod(s.c_str(), &end);
    if (s.empty() || *end || !std::isfinite(x) || vanishes(x))
      user_error(place(), ": ", columns_[column], ": '", s, "', expected a number");
    return x;
  }
  std::string path_;
  std::istringstream in_;
  std::vector<std::string> columns_, fields_;
  Index n_ = 1;
};

std::vector<RoundRecord> read_results(const std::string& path) {
  Csv csv(path,
          "round,neurons_split,macs,parameters,widths,test_top1_after_split,test_top1_tuned,"
          "test_top5_tuned,test_loss_tuned,predicted_loss_change,measured_loss_change");
  std::vector<RoundRecord> rounds;
  while (csv.next()) {
    RoundRecord r;
    if (csv.number_at(0) != double(rounds.size()))
      user_error(csv.place(), ": round ", csv.text_at(0), ", expected ", rounds.size());
    r.round = Index(rounds.size()), r.neurons_split = Index(csv.number_at(1, 0, 1e15));
    r.macs = csv.number_at(2, 0), r.parameters = csv.number_at(3, 0), r.widths = csv.numbers_at(4);
    r.split.top1 = csv.number_at(5, 0, 1), r.tuned.top1 = csv.number_at(6, 0, 1);
    r.tuned.top5 = csv.number_at(7, 0, 1), r.tuned.loss = csv.number_at(8);
    r.tuned.count = r.tuned.loss > 0;       // zeros until it is tuned
    r.quadratic = !csv.text_at(9).empty();  // where E4 says nothing of a split, there is no number
    r.predicted = r.quadratic ? csv.number_at(9) : 0, r.measured = csv.number_at(10);
    if (!rounds.empty() && r.widths.size() != rounds[0].widths.size())
      user_error(csv.place(), ": ", r.widths.size(), " widths, expected ", rounds[0].widths.size());
    rounds.push_back(r);
  }
  if (rounds.empty()) user_error(path, ": line 2: missing, expected the seed network's");
  return rounds;
}

void check_finding(const Json& line, const std::string& place) {
  if (line.contains("held")) {
    check_number(line, "held", place), check_number(line, "failed", place);
    return;
  }
  words(line, "equation", place), words(line, "what", place);
  if (line.contains("note")) return;
  words(line, "relation", place), check_number(line, "bound", place);
  if (!line.contains("holds") || !line["holds"].is_boolean())
    user_error(place, ": 'holds': expected true or false");
}

}  // namespace

std::vector<NeuronWorth> read_neurons(const std::string& path, const RoundRecord& round) {
  Csv csv(path, "axis,neuron,lambda,residual,products,split");
  std::vector<NeuronWorth> all;
  std::size_t seen = 0;
  Index chosen = 0, neuron = 0;
  while (csv.next()) {
    const std::string &axis = csv.text_at(0), &split = csv.text_at(5);
    if (split != "0" && split != "1")
      user_error(csv.place(), ": split: '", split, "', expected 0 or 1");
    const bool another = all.empty() || all.back().axis != axis;
    if (const std::string name = text(seen < 10 ? "L0" : "L", seen); another && axis != name)
      user_error(csv.place(), ": axis: '", axis, "', expected ", name);
    seen += another, chosen += split == "1", neuron = another ? 0 : neuron + 1;
    if (csv.number_at(1) != double(neuron))
      user_error(csv.place(), ": neuron: '", csv.text_at(1), "', expected ", neuron);
    all.push_back({axis, csv.number_at(2), split == "1"});
  }
  if (seen != round.widths.size())
    user_error(path, ": neurons of ", seen, " axes, expected of the ", round.widths.size(),
               " in results.csv");
  if (chosen != round.neurons_split)
    user_error(path, ": ", chosen, " neurons split, expected the ", round.neurons_split,
               " of results.csv");
  return all;
}

std::vector<Json> log_lines(const std::string& all, const std::string& path) {
  std::vector<Json> log;
  each_object(all, path, [&](const Json& line, const std::string& place) {
    check_log_line(line, place);
    check_order(line, log.empty() ? Json::object() : log.back(), place);
    log.push_back(line);
  });
  return log;
}

void check_agreement(const std::vector<Json>& log, const std::vector<RoundRecord>& rounds,
                     const std::string& path, const std::string& source) {
  const Index last = log.empty() ? 0 : log.back()["round"].get<Index>(),
              size = Index(rounds.size());
  if (size > last + 1)
    user_error(path, ": ends in round ", last, ", expected the ", size - 1, " of ", source);
  std::vector<double> top1(std::size_t(last + 1), NAN);
  for (const Json& line : log)
    if (line["stage"] == "train" || line["stage"] == "tune") {
      const Index round = line["round"].get<Index>();
      if (round > 0 && round >= size)
        user_error(path, ": goes to round ", round, ", expected the ", size - 1, " of ", source);
      top1[std::size_t(round)] = line["test_top1"];
    } else if (const Index round = line["round"].get<Index>();
               line["stage"] == "split" && !line.contains("why") && round < size) {
      const double macs = rounds[std::size_t(round)].macs, logged = line["macs"];
      if (std::abs(macs - logged) > 1e-6 * logged)
        user_error(path, ": round ", round, " has 'macs': ", logged, ", expected the ", macs,
                   " of ", source);
    }
  for (const RoundRecord& r : rounds) {
    const double logged = r.round >= 0 && r.round <= last ? top1[std::size_t(r.round)] : NAN;
    if (r.tuned.top1 > 0 && std::abs(r.tuned.top1 - logged) > 1e-6)
      user_error(path, ": round ", r.round, " ends with 'test_top1': ", logged, ", expected the ",
                 r.tuned.top1, " of ", source);
  }
}

RunFolder read_run(const std::string& directory) {
  RunFolder run;
  run.directory = directory;
  while (run.directory.size() > 1 && run.directory.back() == '/') run.directory.pop_back();
  auto path = [&](const std::string& name) { return run.directory + "/" + name; };
  auto there = [&](const std::string& name) {
    std::error_code ignored;
    return std::filesystem::exists(path(name), ignored);
  };
  if (!there("config.json"))
    user_error(run.directory, ": no config.json there, expected the folder of a run (--out)");
  run.config = parsed(read_file(path("config.json")), path("config.json"),
                      "a JSON object, the configuration of a run");
  refuse_renamed_settings(run.config, run.directory);
  run.log = log_lines(read_file(path("log.jsonl")), path("log.jsonl"));
  if (there("results.csv") || (!run.log.empty() && run.log.back()["round"] > 0))
    run.rounds = read_results(path("results.csv"));
  check_agreement(run.log, run.rounds, path("log.jsonl"), "results.csv");
  for (std::size_t r = 1; r < run.rounds.size(); r++)
    run.worth.push_back(read_neurons(path(text("round-", r, "-neurons.csv")), run.rounds[r]));
  for (std::size_t r = 0; r < run.rounds.size(); r++) {
    const std::string name = text("round-", r, "-audit.jsonl");
    if (there(name))
      each_object(read_file(path(name)), path(name),
                  [&](const Json& line, const std::string& place) {
                    check_finding(line, place);
                    run.audits[Index(r)].push_back(line);
                  });
  }
  return run;
}

}  // namespace fission
