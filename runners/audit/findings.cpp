#include "runners/audit/findings.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "nn/io/files.h"
#include "nn/io/json.h"
#include "runners/common/console.h"
#include "tensor/check.h"

namespace fission {
namespace {
using Json = nlohmann::ordered_json;
std::string number(double x) {
  return x == std::floor(x) && std::abs(x) < 1e6 ? formatted("%.0f", x) : compact(x, 4);
}
Json finite(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }
std::string padded(std::string equation) {
  equation.resize(std::max<std::size_t>(4, equation.size()), ' ');
  return equation;
}
}  // namespace

void Findings::section(const std::string& title) {
  if (print_ == Print::prose) std::printf("\n%s\n", title.c_str());
}

void Findings::write(const std::string& json, const std::string& prose) {
  lines_ += json + "\n";
  if (print_ == Print::nothing) return;
  std::printf("%s\n", (print_ == Print::json ? json : prose).c_str());
  std::fflush(stdout);
}

std::string Finding::prose() const {
  return text(relation.empty() ? "  "
              : holds          ? "✓ "
                               : "✗ ",
              padded(equation), " ", what, ": ", number(figure),
              relation.empty() ? "" : text(", ", relation, " ", number(bound)));
}

void Findings::judge(Finding f) {
  (f.holds ? held_ : failed_)++;
  write(json_text(Json{{"equation", f.equation},
                       {"what", f.what},
                       {"figure", finite(f.figure)},
                       {"relation", f.relation},
                       {"bound", f.bound},
                       {"holds", f.holds}}),
        f.prose());
  all_.push_back(std::move(f));
}

void Findings::at_most(const std::string& equation, const std::string& what, double figure,
                       double bound) {
  judge({equation, what, "at most", figure, bound, figure <= bound});
}
void Findings::at_least(const std::string& equation, const std::string& what, double figure,
                        double bound) {
  judge({equation, what, "at least", figure, bound, figure >= bound});
}
void Findings::equal(const std::string& equation, const std::string& what, double figure,
                     double expected) {
  judge({equation, what, "expected", figure, expected, figure == expected});
}

void Findings::note(const std::string& equation, const std::string& what,
                    const std::string& figure) {
  write(json_text(Json{{"equation", equation}, {"what", what}, {"note", figure}}),
        text("  ", padded(equation), " ", what, ": ", figure));
}
void Findings::note(const std::string& equation, const std::string& what, double figure) {
  all_.push_back({equation, what, "", figure, 0, true});
  write(json_text(Json{{"equation", equation}, {"what", what}, {"note", finite(figure)}}),
        all_.back().prose());
}

void Findings::finish() {
  write(json_text(Json{{"held", held_}, {"failed", failed_}}),
        text("\n", held_, " statements hold, ", failed_, failed_ == 1 ? " does" : " do", " not."));
  if (!file_.empty()) write_file_atomically(file_, lines_);
}

}  // namespace fission
