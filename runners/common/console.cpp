#include "runners/common/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace fission {
namespace {
// width on screen: UTF-8 continuation bytes take none
std::size_t columns(const std::string& s) {
  return std::size_t(std::count_if(
      s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}
// Does stdout show a line that is drawn over and over?
bool draws() {
  const char* kind = std::getenv("TERM");
  return isatty(STDOUT_FILENO) == 1 && kind && *kind && std::string(kind) != "dumb";
}
std::size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}
}  // namespace

std::vector<std::string> split_at(const std::string& s, char at) {
  std::vector<std::string> parts;
  std::istringstream in(s);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  if (!s.empty() && s.back() == at) parts.push_back("");
  return parts;
}

std::string wrapped(const std::string& all) {
  if (isatty(STDOUT_FILENO) != 1) return all;
  const std::size_t columns = terminal_columns();
  std::string out;
  std::size_t at = 0, indent = 0;  // columns of the line so far; of what continues it
  for (std::size_t i = 0; i < all.size();) {
    const std::size_t end = std::min(all.find_first_of(" \n", i + 1), all.size());
    const std::string word = all.substr(i, end - i);  // with the space before it
    std::size_t width = 0;
    for (const char c : word) width += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    if (word[0] == '\n') at = 0, width--, indent = word.size() > 1 ? 1 : columns < 60 ? 4 : 30;
    else if (word[0] == ' ' && at > indent && at + width > columns)
      out += "\n" + std::string(indent - 1, ' '), at = indent - 1;
    out += word, at += width, i = end;
  }
  return out;
}
std::string cut_to(const std::string& line, std::size_t wanted) {
  std::size_t end = 0;
  for (std::size_t seen = 0; end < line.size(); end++)
    if ((static_cast<unsigned char>(line[end]) & 0xC0) != 0x80 && seen++ == wanted) break;
  return line.substr(0, end);
}

std::string formatted(const char* format, ...) {
  va_list measured, written;
  va_start(measured, format), va_copy(written, measured);
  std::string s(std::size_t(std::vsnprintf(nullptr, 0, format, measured)), ' ');
  std::vsnprintf(&s[0], s.size() + 1, format, written);
  va_end(measured), va_end(written);
  return s;
}
std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  long s = std::lround(std::max(0.0, seconds));
  return formatted("%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}
std::string in_millions(double value) {
  return number(value / 1e6, value < 1e6 ? 4 : value < 1e8 ? 3 : 1) + " M";
}
std::string compact(double value, int digits) {
  std::ostringstream out;
  out.precision(digits);
  out << value;
  return out.str();
}
std::string number(double value, int digits) { return formatted("%.*f", digits, value); }
std::string percent(double share) { return formatted("%.2f %%", 100 * share); }
std::string joined(const std::vector<Index>& widths) {
  std::string s;
  for (Index w : widths) s += (s.empty() ? "" : " ") + std::to_string(w);
  return s;
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> width;
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); c++) {
      if (c >= width.size()) width.push_back(0);
      width[c] = std::max(width[c], columns(row[c]));
    }
  std::ostringstream out;
  for (std::size_t r = 0; r < rows.size(); r++) {
    for (std::size_t c = 0; c < rows[r].size(); c++)
      out << (c ? "  " : "") << std::string(width[c] - columns(rows[r][c]), ' ') << rows[r][c];
    out << '\n';
    if (r > 0) continue;
    for (std::size_t c = 0; c < width.size(); c++) {
      out << (c ? "  " : "");
      for (std::size_t i = 0; i < width[c]; i++) out << "─";
    }
    out << '\n';
  }
  return out.str();
}

std::string growth_table(const std::vector<RoundRecord>& history) {
  std::vector<std::vector<std::string>> rows{
      {"round", "split", "MACs", "parameters", "training MACs", "test before", "after split",
       "after tuning", "loss change: predicted", "measured"}};
  std::ostringstream widths;
  double before = 0;
  for (const RoundRecord& r : history) {
    bool seed = r.round == 0, tuned = r.tuned.count > 0;
    rows.push_back({std::to_string(r.round), seed ? "seed" : std::to_string(r.neurons_split),
                    in_millions(r.macs), formatted("%.0f", r.parameters),
                    tuned ? formatted("%.3f T", r.training_macs / 1e12) : "–",
                    seed ? "–" : percent(before), seed ? "–" : percent(r.split.top1),
                    tuned ? percent(r.tuned.top1) : "–",
                    seed          ? "–"
                    : r.quadratic ? formatted("%.3e", r.predicted)
                                  : "beyond E4",
                    seed ? "–" : formatted("%.3e", r.measured)});
    before = r.tuned.top1;
    widths << "  round " << r.round << ": " << joined(r.widths) << '\n';
  }
  const std::string all =
      table(rows) + "widths of the channel axes\n" + widths.str() +
      "split: neurons split. MACs: products of all convolutions and of the classifier, one "
      "image. test: top-1 on the test images.\n"
      "training MACs: of all steps so far, forward and backward, RQ-SGD's too; T = 1e12.\n";
  if (history.size() < 2) return all;
  const bool beyond = std::any_of(history.begin(), history.end(),
                                  [](const RoundRecord& r) { return r.round > 0 && !r.quadratic; });
  return all +
         "loss change of the split itself: predicted by (ε²/2) Σ v̂ᵀS v̂ (E4), and measured on the "
         "same training images" +
         (beyond
              ? ";\nbeyond E4: the step is too large for that: half of it does not change the loss "
                "by a quarter as much.\n"
              : ".\n");
}

std::string growth_csv(const std::vector<RoundRecord>& history) {
  std::ostringstream out;
  out.precision(9);
  out << "round,neurons_split,macs,parameters,widths,test_top1_after_split,test_top1_tuned,test_"
         "top5_tuned,test_loss_tuned,predicted_loss_change,"
         "measured_loss_change,training_macs\n";
  for (const RoundRecord& r : history)
    out << r.round << ',' << r.neurons_split << ',' << r.macs << ',' << r.parameters << ','
        << joined(r.widths) << ',' << r.split.top1 << ',' << r.tuned.top1 << ',' << r.tuned.top5
        << ',' << r.tuned.loss << ',' << (r.quadratic ? compact(r.predicted) : "") << ','
        << r.measured << ',' << r.training_macs << '\n';
  return out.str();
}

Progress::Progress() : shown_(Clock::now()), terminal_(draws()) {}
void Progress::pause() { running_ = false; }
void Progress::add(double images) {
  auto now = Clock::now();
  if (running_) seconds_ += std::chrono::duration<double>(now - last_).count(), images_ += images;
  running_ = true;
  last_ = now;
}
void Progress::show(const std::string& line) {
  auto now = Clock::now();
  if (now - shown_ < std::chrono::milliseconds(terminal_ ? 200 : 30000)) return;
  shown_ = now;
  if (terminal_)  // a character less: some terminals go on to the next line behind the last one
    std::printf("\r\033[K%s", cut_to(line, terminal_columns() - 1).c_str()), live_ = true;
  else std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}
void Progress::clear() {
  if (live_) std::printf("\r\033[K");
  live_ = false;
}

}  // namespace fission
