// What an audit finds: one line a statement, with its equation, the figure, the bound that it must
// keep, and whether it does. Statements without a bound are notes, and change no status. A figure
// that is no number holds nowhere.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace fission {

struct Finding {
  std::string equation, what, relation;  // "at most", "at least", "expected"; of a note ""
  double figure, bound;
  bool holds;
  std::string prose() const;
};

class Findings {
 public:
  enum class Print { prose, json, nothing };
  explicit Findings(Print print, std::string file = "") : print_(print), file_(std::move(file)) {}
  void section(const std::string& title);  // prose only
  void at_most(const std::string& equation, const std::string& what, double figure, double bound);
  void at_least(const std::string& equation, const std::string& what, double figure, double bound);
  void equal(const std::string& equation, const std::string& what, double figure,
             double expected);  // whole numbers
  void note(const std::string& equation, const std::string& what, const std::string& figure);
  void note(const std::string& equation, const std::string& what, double figure);
  void finish();                                            // how many held; the file is written
  const std::vector<Finding>& all() const { return all_; }  // but notes in words
  int held() const { return held_; }
  int failed() const { return failed_; }

 private:
  void judge(Finding f);
  void write(const std::string& json, const std::string& prose);
  Print print_;
  std::string file_, lines_;
  std::vector<Finding> all_;
  int held_ = 0, failed_ = 0;
};

}  // namespace fission
