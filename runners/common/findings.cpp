#include "runners/common/findings.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace fission {
namespace {
using Json = nlohmann::ordered_json;
std::string number(double x) {
  char s[40];
  std::snprintf(s, sizeof s, x == std::floor(x) && std::abs(x) < 1e6 ? "%.0f" : "%.4g", x);
  return s;
}
}  // namespace

void Findings::section(const std::string& title) {
  if (!json_) std::printf("\n%s\n", title.c_str());
}

void Findings::line(const std::string& equation, const std::string& what, double figure,
                    const char* relation, double bound, bool holds) {
  (holds ? held_ : failed_)++;
  if (json_) {
    Json finite = std::isfinite(figure) ? Json(figure) : Json(nullptr);
    std::printf("%s\n", Json{{"equation", equation},
                             {"what", what},
                             {"figure", finite},
                             {"relation", relation},
                             {"bound", bound},
                             {"holds", holds}}
                            .dump()
                            .c_str());
  } else {
    std::printf("%s %-4s %s: %s, %s %s\n", holds ? "✓" : "✗", equation.c_str(), what.c_str(),
                number(figure).c_str(), relation, number(bound).c_str());
  }
  std::fflush(stdout);
}

void Findings::at_most(const std::string& equation, const std::string& what, double figure,
                       double bound) {
  line(equation, what, figure, "at most", bound, figure <= bound);
}
void Findings::at_least(const std::string& equation, const std::string& what, double figure,
                        double bound) {
  line(equation, what, figure, "at least", bound, figure >= bound);
}
void Findings::equal(const std::string& equation, const std::string& what, double figure,
                     double expected) {
  line(equation, what, figure, "expected", expected, figure == expected);
}

void Findings::told(const std::string& equation, const std::string& what,
                    const std::string& figure) {
  if (json_)
    std::printf("%s\n",
                Json{{"equation", equation}, {"what", what}, {"told", figure}}.dump().c_str());
  else std::printf("  %-4s %s: %s\n", equation.c_str(), what.c_str(), figure.c_str());
  std::fflush(stdout);
}
void Findings::told(const std::string& equation, const std::string& what, double figure) {
  if (json_)
    std::printf("%s\n",
                Json{{"equation", equation}, {"what", what}, {"told", figure}}.dump().c_str());
  else told(equation, what, number(figure));
}

void Findings::finish() const {
  if (json_) std::printf("%s\n", Json{{"held", held_}, {"failed", failed_}}.dump().c_str());
  else
    std::printf("\n%d statements hold, %d %s not.\n", held_, failed_, failed_ == 1 ? "does" : "do");
}

}  // namespace fission
