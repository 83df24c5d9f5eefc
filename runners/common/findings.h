// What an audit finds: one line a statement, with its equation, the figure, the bound that it must
// keep, and whether it does. Statements without a bound are told, and hold nothing up. A figure
// that is no number holds nowhere.
#pragma once
#include <string>

namespace fission {

class Findings {
 public:
  explicit Findings(bool json) : json_(json) {}
  void section(const std::string& title);  // prose only
  void at_most(const std::string& equation, const std::string& what, double figure, double bound);
  void at_least(const std::string& equation, const std::string& what, double figure, double bound);
  void equal(const std::string& equation, const std::string& what, double figure,
             double expected);  // whole numbers
  void told(const std::string& equation, const std::string& what, const std::string& figure);
  void told(const std::string& equation, const std::string& what, double figure);
  void finish() const;  // how many held
  int held() const { return held_; }
  int failed() const { return failed_; }

 private:
  void line(const std::string& equation, const std::string& what, double figure,
            const char* relation, double bound, bool holds);
  bool json_;
  int held_ = 0, failed_ = 0;
};

}  // namespace fission
