// What an audit finds: one line a statement, with its equation, the figure, the bound that it must
// keep, and whether it does. Statements without a bound are notes, and change no status. A figure
// that is no number holds nowhere.
#pragma once
#include <string>
#include <utility>

namespace fission {

class Findings {
 public:
  explicit Findings(bool json, std::string file = "") : json_(json), file_(std::move(file)) {}
  void section(const std::string& title);  // prose only
  void at_most(const std::string& equation, const std::string& what, double figure, double bound);
  void at_least(const std::string& equation, const std::string& what, double figure, double bound);
  void equal(const std::string& equation, const std::string& what, double figure,
             double expected);  // whole numbers
  void note(const std::string& equation, const std::string& what, const std::string& figure);
  void note(const std::string& equation, const std::string& what, double figure);
  void finish();  // how many held; the file is written
  int held() const { return held_; }
  int failed() const { return failed_; }

 private:
  void line(const std::string& equation, const std::string& what, double figure,
            const char* relation, double bound, bool holds);
  void write(const std::string& json, const std::string& prose);
  bool json_;
  std::string file_, lines_;
  int held_ = 0, failed_ = 0;
};

}  // namespace fission
