// What a person sees: durations, numbers, tables; and the progress of long work (a live line on a
// terminal, plain lines in a log).
#pragma once
#include <chrono>
#include <string>
#include <vector>

#include "split/records.h"

namespace fission {

[[gnu::format(printf, 1, 2)]] std::string formatted(const char* format, ...);
std::string duration(double seconds);                  // "0:02:05"
std::string in_millions(double value);                 // "0.553 M"
std::string joined(const std::vector<Index>& widths);  // "8 8 16"
std::string compact(double value, int digits = 9);     // "45056", "0.0125"
std::string number(double value, int digits);          // "12.50": so many behind the point
std::string percent(double share);                     // "57.70 %"
// columns as wide as they need to be, numbers to the right
std::string table(const std::vector<std::vector<std::string>>& rows);
// round, widths, MACs, parameters, test accuracy before and after the split and after tuning,
// predicted and measured loss change
std::string growth_table(const std::vector<RoundRecord>& history);
std::string growth_csv(const std::vector<RoundRecord>& history);

// "a,b" → a and b; an empty text has no part
std::vector<std::string> split_at(const std::string& s, char at);
// Long lines broken at spaces where stdout is a terminal, and set in as --help's descriptions
std::string wrapped(const std::string& all);
std::string cut_to(const std::string& line, std::size_t columns);  // UTF-8 characters, not bytes

// Rate and time left of work whose size is known in images.
class Progress {
 public:
  Progress();
  void
  pause();  // what comes next (evaluation, a checkpoint) is not training: keep it out of the rate
  void add(double images);  // a step is done
  double rate() const {
    return seconds_ > 0 ? images_ / seconds_ : 0;
  }  // images per second, since reset
  void reset() { seconds_ = images_ = 0, pause(); }
  // At most some times a second on a terminal, cut to its width; twice a minute elsewhere.
  void show(const std::string& line);
  void clear();  // the live line makes way for a lasting one

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_, shown_;
  bool running_ = false, terminal_, live_ = false;
  double seconds_ = 0, images_ = 0;
};

}  // namespace fission
