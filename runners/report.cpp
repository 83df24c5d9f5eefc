// One page that shows runs: how each was trained, where it grew and why, what a split promised and
// did. Inline SVG, no script, no network; every number stands in a file of the run's folder, which
// the captions name.
#include <algorithm>
#include <cmath>

#include "nn/io/files.h"
#include "runners/growth/imagenet.h"
#include "runners/growth/run_folder.h"
#include "runners/report/figures.h"

namespace {
using namespace fission;
using Json = nlohmann::ordered_json;
using Runs = std::vector<RunFolder>;

// Colours, as variables of the page: runs 1 to 6 (after Okabe and Ito, told apart by the
// colour-blind, and each with a point of its own shape), rounds 16 to 23 from light to dark, then
// lines and labels.
const char* const style = R"(
:root{color-scheme:light dark;--bg:#fff;--ink:#1b1f24;--quiet:#59636e;--rule:#d9dee3;--card:#f6f8fa;
--s1:#0072b2;--s2:#d55e00;--s3:#008a66;--s4:#a64d8f;--s5:#8a6d00;--s6:#3a9bd9;
--s16:#c4dcee;--s17:#8fbfe0;--s18:#5a9fd0;--s19:#2f7fb8;--s20:#145f96;--s21:#0a4674;--s22:#062f50;--s23:#031c31;
--s32:#59636e;--s33:#e3e7eb;--s34:#9aa4ae}
@media (prefers-color-scheme:dark){:root{--bg:#111418;--ink:#e6e9ec;--quiet:#9aa5b1;--rule:#2d333b;--card:#191d23;
--s1:#56b4e9;--s2:#ff8a3d;--s3:#2fc59b;--s4:#e08cc8;--s5:#e6c229;--s6:#9db4ff;
--s16:#1e3d57;--s17:#275a82;--s18:#3478aa;--s19:#4d99cc;--s20:#74b6e0;--s21:#a0d0ef;--s22:#c8e5f8;--s23:#e8f5fe;
--s32:#9aa5b1;--s33:#262c33;--s34:#66707b}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem clamp(.8rem,3vw,2.5rem) 3rem;max-width:1440px;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
h1{font-size:1.55rem;line-height:1.25;margin:.6rem 0 .2rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.2rem 0 .3rem;padding-top:.6rem;border-top:1px solid var(--rule)}
h3{font-size:1rem;margin:1rem 0 .3rem;overflow-wrap:anywhere}
p,ul{margin:.3rem 0 .6rem}p,figcaption,summary{max-width:80ch}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,390px),1fr))}
figure{margin:0;padding:.7rem .8rem .6rem;background:var(--card);border:1px solid var(--rule);border-radius:8px;min-width:0}
figure b{display:block;font-weight:600;line-height:1.3}
figcaption{color:var(--quiet);font-size:.82rem;line-height:1.4}
svg{display:block;width:100%;height:auto;font-family:inherit}
svg text{font-family:inherit;white-space:pre}
.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;font-size:.9rem}
.legend li{overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.4rem 0}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.22rem .6rem;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top;white-space:nowrap}
th{font-weight:600}thead th{color:var(--quiet);vertical-align:bottom;white-space:normal}
.l{text-align:left}.w{text-align:left;white-space:normal;min-width:16rem;max-width:70ch}
.v{text-align:left;white-space:normal;overflow-wrap:anywhere;max-width:22rem}
.differs td.v,.differs th{color:var(--s2)}
.yes{color:var(--s3)}.no{color:var(--s2);font-weight:700}
code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.92em;overflow-wrap:anywhere}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--quiet);font-size:.9rem}
.k{font-size:1.1em}
)";
constexpr int first_round = 16, last_round = 23, label = 32, rule = 33, pale = 34;
constexpr int shapes[] = {7, 5, 9, 13, 11, 15};
const char* const signs[] = {"●", "■", "▲", "◆", "▼", "⬟"};

std::size_t in_cycle(std::size_t run) { return run % 6; }
int run_colour(std::size_t run) { return int(in_cycle(run)) + 1; }
int round_colour(std::size_t round, std::size_t last) {
  const int shades = last_round - first_round;
  return first_round + int(round) * shades / std::max(int(last), shades);
}
std::string points(std::size_t run, double size) {
  return text("pt ", shapes[in_cycle(run)], " ps ", size, " lc rgb ", colour(run_colour(run)));
}

std::string key(int colour, const char* sign) {
  return text("<span class=k style=\"color:var(--s", colour, ")\">", sign, "</span> ");
}
std::string code(const std::string& s) { return "<code>" + html(s) + "</code>"; }

// Cells are HTML; a first character '<' of "<td" says that it is a whole cell
std::string table_of(const std::vector<std::string>& head, const std::vector<std::string>& rows) {
  std::string s = "<div class=scroll><table><thead><tr>";
  for (const std::string& h : head)
    s += "<th" + (h[0] == '<' ? " class=l>" + h.substr(1) : ">" + h);
  s += "</tr></thead><tbody>\n";
  for (const std::string& row : rows) s += row + "</tr>\n";
  return s + "</tbody></table></div>\n";
}
std::string cells(const std::vector<std::string>& all) {
  std::string s = "<tr>";
  for (const std::string& c : all) s += "<td>" + c;
  return s;
}
std::string folded(const std::string& what, const std::string& content) {
  return "<details><summary>" + what + "</summary>" + content + "</details>\n";
}

class Page {
 public:
  explicit Page(const Runs& runs) : runs_(runs), draw_(have_gnuplot()) {
    head();
    training();
    growth();
    widths();
    worth();
    settings();
    audits();
    body_ += "</body></html>\n";
  }
  const std::string& text_of_it() const { return body_; }
  int figures() const { return figures_; }

 private:
  void head() {
    std::string names;
    for (const RunFolder& r : runs_) names += (names.empty() ? "" : ", ") + html(r.directory);
    body_ =
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n<meta name=viewport "
        "content=\"width=device-width,initial-scale=1\">\n<title>" +
        names + "</title>\n<style>" + style + "</style></head><body>\n<h1>" +
        (runs_.size() > 1   ? "Runs: "
         : pruned(runs_[0]) ? "The pruning of "
                            : "The growth of ") +
        names + "</h1>\n";
    for (const RunFolder& r : runs_) {
      body_ += "<p>" + (runs_.size() > 1 ? code(r.directory) + ": " : "") +
               html(setting_of(r.config, "model") + " on " + setting_of(r.config, "dataset") +
                    ", seed " + setting_of(r.config, "seed") + ". ");
      if (r.rounds.empty()) {
        body_ += pruned(r) ? "The pruned network is" : "The seed network is";
        body_ += " still being trained.</p>\n";
        continue;
      }
      const RoundRecord &first = r.rounds.front(), &last = r.rounds.back();
      auto size = [](const RoundRecord& a) { return in_millions(a.macs) + " MACs per image"; };
      body_ += text(pruned(r) ? "Pruned: " : "The seed: ", size(first), ", top-1 ",
                    percent(first.tuned.top1), ". ");
      if (r.rounds.size() > 1)
        body_ += text(
            "After ", r.rounds.size() - 1, r.rounds.size() == 2 ? " round" : " rounds",
            " of splitting: ", size(last),
            last.tuned.count ? ", top-1 " + percent(last.tuned.top1) : ", still being fine-tuned",
            ".");
      body_ += "</p>\n";
    }
    if (!draw_)
      body_ +=
          "<p><b>gnuplot was not found when this page was made, so it has no figures; the "
          "numbers are in its tables.</b></p>\n";
  }

  static std::string setting_of(const Json& config, const char* name) {
    const auto at = config.find(name);
    return at == config.end() ? "?" : at->is_string() ? at->get<std::string>() : at->dump();
  }
  static bool pruned(const RunFolder& r) { return r.config.contains("method"); }
  static std::string which(std::size_t run) { return text("run ", run + 1); }

  void section(const std::string& title, const std::string& what) {
    body_ += "<h2>" + title + "</h2>\n<p>" + what + "</p>\n";
  }
  void legend() {
    if (runs_.size() == 1) return;
    body_ += "<ul class=legend>";
    for (std::size_t i = 0; i < runs_.size(); i++)
      body_ += "<li>" + key(run_colour(i), signs[in_cycle(i)]) + html(runs_[i].directory);
    body_ += "</ul>\n";
  }
  void figure(const std::string& title, const std::string& caption, Figure f) {
    if (!draw_) return;
    const bool some = std::any_of(f.series.begin(), f.series.end(),
                                  [](const Series& s) { return !s.rows.empty(); });
    if (!some) return;
    f.series.erase(std::remove_if(f.series.begin(), f.series.end(),
                                  [](const Series& s) { return s.rows.empty(); }),
                   f.series.end());
    f.settings = text("set border 3 lc rgb ", colour(pale),
                      " lw 0.7\nset tics nomirror out scale 0.5 "
                      "textcolor rgb ",
                      colour(label), "\nset grid y lc rgb ", colour(rule),
                      " lw 0.7 dt 1\nset style fill solid noborder\nunset key\n") +
                 f.settings;
    body_ += "<figure><b>" + title + "</b>\n" + drawn(f, ++figures_) + "\n<figcaption>" + caption +
             "</figcaption></figure>\n";
  }
  static std::string labels(const char* x, const char* y) {
    return text("set xlabel '", x, "' textcolor rgb ", colour(label), "\nset ylabel '", y,
                "' textcolor rgb ", colour(label), "\n");
  }

  // Loss and accuracy, epoch by epoch; a split stands between two epochs, with the scores right
  // after it.
  void training() {
    section("Training",
            "Epochs of training the seed network, then of fine-tuning after each split.");
    legend();
    body_ += "<div class=grid>\n";
    for (const bool accuracy : {false, true}) {
      Figure f{accuracy ? "accuracy over epochs" : "loss over epochs",
               440,
               300,
               labels("epoch", accuracy ? "top-1 (%)" : "loss"),
               {}};
      for (std::size_t i = 0; i < runs_.size(); i++) {
        Series train{which(i) + ": training images", "", {}},
            test{which(i) + ": test images", "", {}}, splits{which(i) + ": splits", "", {}};
        double epoch = 0;
        const double scale = accuracy ? 100 : 1;
        for (const Json& line : runs_[i].log) {
          const std::string stage = line.at("stage");
          auto of = [&](const char* name) { return scale * line.at(name).get<double>(); };
          if (stage == "split" && !line.contains("why")) {
            const double y = of(accuracy ? "test_top1" : "test_loss");
            test.rows.push_back({epoch, y}), splits.rows.push_back({epoch, y});
            train.rows.push_back({});
            if (runs_.size() == 1)
              f.settings +=
                  text("set arrow from ", epoch, ", graph 0 to ", epoch,
                       ", graph 1 nohead back lw 0.8 dt (4,3) lc rgb ", colour(pale), "\n");
          } else if (stage == "train" || stage == "tune") {
            epoch++;
            train.rows.push_back({epoch, of(accuracy ? "train_top1" : "loss")});
            test.rows.push_back({epoch, of(accuracy ? "test_top1" : "test_loss")});
          }
        }
        const double size = test.rows.size() > 60 ? 0.2 : 0.4;
        train.style = text("using 1:2 with linespoints lw 0.9 dt (5,3) ", points(i, size * 0.8));
        test.style = "using 1:2 with linespoints lw 1.5 " + points(i, size);
        splits.style = "using 1:2 with points " + points(i, 0.9);
        for (const Series& s : {train, test, splits}) f.series.push_back(s);
      }
      figure(accuracy ? "Accuracy" : "Loss",
             text("Solid: test images; dashed: training images, augmented, while they are learned; "
                  "large points",
                  runs_.size() == 1 ? " and vertical lines" : "",
                  ": right after a split. File: log.jsonl (",
                  accuracy ? "train_top1, test_top1" : "loss, test_loss", ")."),
             f);
    }
    body_ += "</div>\n";
    for (const RunFolder& r : runs_) {
      std::vector<std::string> rows;
      double epoch = 0;
      for (const Json& line : r.log) {
        const std::string stage = line.at("stage");
        auto of = [&](const char* name) { return line.at(name).get<double>(); };
        const std::string round = compact(of("round"));
        if (stage == "split" && !line.contains("why"))
          rows.push_back(cells({"", round, text("split of ", compact(of("neurons"))), "",
                                number(of("test_loss"), 4), "", percent(of("test_top1"))}));
        else if (stage == "split") rows.push_back(cells({"", round, "nothing to split"}));
        else if (stage == "train" || stage == "tune")
          rows.push_back(
              cells({compact(++epoch), round, stage == "train" ? "training" : "fine-tuning",
                     number(of("loss"), 4), number(of("test_loss"), 4), percent(of("train_top1")),
                     percent(of("test_top1"))}));
      }
      body_ += folded("Every epoch of " + code(r.directory),
                      table_of({"epoch", "round", "what", "loss", "test loss", "top-1, training",
                                "top-1, test"},
                               rows));
    }
  }

  void growth() {
    section("What the growth bought",
            "A point a round, numbered; round 0 is the seed network. MACs are products of all "
            "convolutions and of the classifier, of one image.");
    legend();
    body_ += "<div class=grid>\n";
    for (const bool macs : {true, false}) {
      const char* over = macs ? "MACs of an image (millions)" : "parameters (thousands)";
      Figure f{text("accuracy over ", over),
               440,
               300,
               labels(over, "top-1 on test images (%)") +
                   "set offsets graph 0.05, graph 0.08, graph 0.1, graph 0.04\n",
               {}};
      for (std::size_t i = 0; i < runs_.size(); i++) {
        Series s{which(i), "using 1:2 with linespoints lw 1.5 " + points(i, 0.7), {}};
        for (const RoundRecord& r : runs_[i].rounds)
          if (r.tuned.count)
            s.rows.push_back(
                {macs ? r.macs / 1e6 : r.parameters / 1e3, 100 * r.tuned.top1, double(r.round)});
        Series names = s;
        names.title = which(i) + ": rounds";
        names.style =
            text("using 1:2:3 with labels offset 0,-0.9 textcolor rgb ", colour(run_colour(i)));
        f.series.push_back(s), f.series.push_back(names);
      }
      figure(macs ? "Accuracy over MACs" : "Accuracy over parameters",
             text("File: results.csv (", macs ? "macs" : "parameters", ", test_top1_tuned)."), f);
    }
    predicted_and_measured();
    body_ += "</div>\n";
    for (const RunFolder& r : runs_) {
      if (r.rounds.empty()) continue;
      std::vector<std::string> rows;
      for (const RoundRecord& a : r.rounds) {
        const bool seed = a.round == 0, tuned = a.tuned.count;
        rows.push_back(
            cells({std::to_string(a.round), seed ? "seed" : std::to_string(a.neurons_split),
                   in_millions(a.macs), compact(a.parameters), seed ? "–" : percent(a.split.top1),
                   tuned ? percent(a.tuned.top1) : "–", tuned ? percent(a.tuned.top5) : "–",
                   tuned ? number(a.tuned.loss, 4) : "–",
                   seed || !a.quadratic ? "–" : compact(a.predicted, 4),
                   seed ? "–" : compact(a.measured, 4)}));
      }
      if (runs_.size() > 1) body_ += "<h3>" + html(r.directory) + "</h3>\n";
      body_ += table_of(
          {"round", "neurons split", "MACs", "parameters", "top-1 after the split", "top-1 tuned",
           "top-5 tuned", "test loss tuned", "loss change, predicted", "measured"},
          rows);
    }
    body_ += "<p>File: results.csv.</p>\n";
  }

  void predicted_and_measured() {
    double largest = 0;
    for (const RunFolder& r : runs_)
      for (const RoundRecord& a : r.rounds)
        largest = std::max({largest, std::abs(a.predicted), std::abs(a.measured)});
    const int power = largest > 0 ? int(std::floor(std::log10(largest))) : 0;
    Figure f{"predicted and measured loss change",
             440,
             300,
             labels(("predicted loss change" + times_ten_to(power)).c_str(),
                    ("measured" + times_ten_to(power)).c_str()) +
                 "set offsets graph 0.1, graph 0.1, graph 0.1, graph 0.1\n",
             {}};
    Series equal{"predicted = measured",
                 text("using 1:2 with lines lw 0.8 dt (4,3) lc rgb ", colour(pale)),
                 {}};
    double low = INFINITY, high = -INFINITY;
    for (std::size_t i = 0; i < runs_.size(); i++) {
      Series s{which(i) + ": splits", "using 1:2 with points " + points(i, 0.8), {}};
      for (const RoundRecord& r : runs_[i].rounds) {
        if (r.round == 0 || !r.quadratic) continue;
        const double scale = std::pow(10, -power), x = scale * r.predicted, y = scale * r.measured;
        s.rows.push_back({x, y, double(r.round)});
        low = std::min({low, x, y}), high = std::max({high, x, y});
      }
      Series names = s;
      names.title += ", rounds";
      names.style =
          text("using 1:2:3 with labels offset 1.2,-0.4 textcolor rgb ", colour(run_colour(i)));
      f.series.push_back(s), f.series.push_back(names);
    }
    if (low < high) {
      equal.rows = {{low, low}, {high, high}};
      f.series.insert(f.series.begin(), equal);
    }
    figure("What a split promised, and did",
           "Loss change of each split on the same training images: by E4, (ε²/2) Σ v̂ᵀS v̂, and "
           "measured. On the dashed line both are equal. File: results.csv "
           "(predicted_loss_change, measured_loss_change).",
           f);
  }

  static std::string times_ten_to(int power) {
    if (power == 0) return "";
    static const char* const digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    std::string s = power < 0 ? "⁻" : "";
    for (char c : std::to_string(std::abs(power))) s += digits[c - '0'];
    return " (× 10" + s + ")";
  }

  // gnuplot's labels of the axes under a plot: L00 … ; of many, every other one
  std::string tics(const std::vector<std::string>& axes) {
    std::string s;
    const std::size_t step = axes.size() > 24 ? 2 : 1;
    for (std::size_t a = 0; a < axes.size(); a += step)
      s += text(s.empty() ? "" : ", ", "'", axes[a], "' ", a);
    return "set xtics rotate by 90 right (" + s +
           ")\nset xrange [-0.6:" + text(double(axes.size()) - 0.4) + "]\n";
  }
  static std::vector<std::string> axes_of(const RunFolder& r) {
    std::vector<std::string> axes;
    if (!r.worth.empty()) {
      for (const NeuronWorth& n : r.worth[0])
        if (axes.empty() || axes.back() != n.axis) axes.push_back(n.axis);
    } else if (!r.rounds.empty()) {
      for (std::size_t a = 0; a < r.rounds[0].widths.size(); a++) axes.push_back(std::to_string(a));
    }
    return axes;
  }

  // Towers: each round's bar is narrower than the one before and stands in front of it, so that a
  // width shows whether it grew or shrank.
  void widths() {
    section("Where it grew", "The width (channels) of every axis, round by round.");
    body_ += "<div class=grid>\n";
    std::string tables;
    for (std::size_t i = 0; i < runs_.size(); i++) {
      const RunFolder& r = runs_[i];
      if (r.rounds.empty()) continue;
      const std::vector<std::string> axes = axes_of(r);
      Figure f{text("widths of ", which(i)),
               440,
               300,
               labels("axis, from the images to the classifier", "width (channels)") + tics(axes) +
                   "set yrange [0:*]\n",
               {}};
      std::string keys;
      for (const RoundRecord& a : r.rounds) {
        const double n = double(r.rounds.size());
        const int shade = round_colour(std::size_t(a.round), r.rounds.size() - 1);
        Series s{text("round ", a.round),
                 text("using 1:2:(", 0.86 - 0.6 * double(a.round) / std::max(1.0, n - 1),
                      ") with boxes fc rgb ", colour(shade)),
                 {}};
        for (std::size_t x = 0; x < a.widths.size(); x++)
          s.rows.push_back({double(x), double(a.widths[x])});
        f.series.push_back(s);
        keys += key(shade, "■") + text(a.round ? text("round ", a.round) : "seed", " ");
      }
      figure(html(r.directory),
             keys +
                 "<br>The later, the darker and narrower (on a dark page: the lighter). File: "
                 "results.csv (widths).",
             f);
      std::vector<std::string> rows;
      for (const RoundRecord& a : r.rounds) {
        std::vector<std::string> row{std::to_string(a.round)};
        for (Index w : a.widths) row.push_back(std::to_string(w));
        rows.push_back(cells(row));
      }
      std::vector<std::string> head{"round"};
      head.insert(head.end(), axes.begin(), axes.end());
      tables += folded("The widths of " + code(r.directory), table_of(head, rows));
    }
    body_ += "</div>\n" + tables;
  }

  void worth() {
    const bool any = std::any_of(runs_.begin(), runs_.end(),
                                 [](const RunFolder& r) { return !r.worth.empty(); });
    if (!any) return;
    section("Why there: the splitting index of every neuron",
            "λ̂ is the loss that splitting a neuron gains, to second order: the more negative, the "
            "more. In each layer the neurons stand in the order of λ̂; near zero the scale is "
            "stretched (a square root). What was chosen also depends "
            "on the energy that a neuron adds.");
    body_ += "<div class=grid>\n";
    std::string tables;
    for (std::size_t i = 0; i < runs_.size(); i++)
      for (std::size_t round = 1; round <= runs_[i].worth.size(); round++) {
        const RunFolder& r = runs_[i];
        std::vector<std::vector<NeuronWorth>> layers;
        double largest = 0;
        for (const NeuronWorth& n : r.worth[round - 1]) {
          if (layers.empty() || layers.back()[0].axis != n.axis) layers.emplace_back();
          layers.back().push_back(n), largest = std::max(largest, std::abs(n.lambda));
        }
        const int power = largest > 0 ? int(std::floor(std::log10(largest))) : 0;
        const double scale = std::pow(10, -power);
        Figure f{text("splitting indices of ", which(i), ", round ", round),
                 440,
                 300,
                 labels("axis", ("splitting index λ̂" + times_ten_to(power)).c_str()) +
                     "set nonlinear y via sgn(y)*sqrt(abs(y)) inverse sgn(y)*y*y\n" +
                     tics(axes_of(r)),
                 {}};
        Series left{"not split",
                    text("using 1:2 with points pt 6 ps 0.35 lw 0.7 lc rgb ", colour(pale)),
                    {}},
            chosen{"split", text("using 1:2 with points pt 7 ps 0.42 lc rgb ", colour(2)), {}};
        std::vector<std::string> rows;
        for (std::size_t l = 0; l < layers.size(); l++) {
          auto& layer = layers[l];
          std::stable_sort(
              layer.begin(), layer.end(),
              [](const NeuronWorth& a, const NeuronWorth& b) { return a.lambda < b.lambda; });
          Index split = 0;
          for (std::size_t o = 0; o < layer.size(); o++) {
            const double x = double(l) + 0.8 * ((double(o) + 0.5) / double(layer.size()) - 0.5);
            (layer[o].split ? chosen : left).rows.push_back({x, scale * layer[o].lambda});
            split += layer[o].split;
          }
          rows.push_back(
              cells({html(layer[0].axis), std::to_string(layer.size()), std::to_string(split),
                     compact(layer.front().lambda, 4), compact(layer[layer.size() / 2].lambda, 4),
                     compact(layer.back().lambda, 4)}));
        }
        f.series = {left, chosen};
        const std::string name = text("round-", round, "-neurons.csv");
        figure(
            (runs_.size() > 1 ? html(r.directory) + ", round " : "Round ") + std::to_string(round),
            key(2, "●") + "split " + key(pale, "○") + "not split. File: " + name +
                " (lambda, split).",
            f);
        tables += folded(
            "λ̂ by axis: " + code(r.directory + "/" + name),
            table_of({"axis", "neurons", "split", "least λ̂", "middle λ̂", "largest λ̂"}, rows));
      }
    body_ += "</div>\n" + tables;
  }

  void settings() {
    section("Settings",
            std::string("File: config.json; the meanings are those of --help.") +
                (runs_.size() > 1 ? " Where the runs differ, the row is coloured." : ""));
    CommandLine small, large;
    GrowthOptions of_small;
    ImagenetOptions of_large;
    of_small.add_to(small), of_large.add_to(large);
    std::vector<std::string> names;
    for (const RunFolder& r : runs_)
      for (const auto& item : r.config.items())
        if (std::find(names.begin(), names.end(), item.key()) == names.end())
          names.push_back(item.key());
    std::vector<std::string> rows;
    for (const std::string& name : names) {
      std::string meaning;
      for (CommandLine* app : {&small, &large})
        if (const Option* o = app->get_option_no_throw("--" + name); o && meaning.empty())
          meaning = o->get_description();
      if (name == "data") meaning = "what tells the image files from others (a fingerprint)";
      if (name == "energy-table")
        meaning = "what tells the file of --energy from others (a fingerprint)";
      bool same = true;
      std::string values;
      for (const RunFolder& r : runs_) {
        auto value = [&](const RunFolder& of) {
          return of.config.contains(name) ? of.config.at(name) : Json();
        };
        same = same && value(r) == value(runs_[0]);
        values += "<td class=v>" + (value(r).is_null() ? std::string("–") : in_words(value(r)));
      }
      rows.push_back(text("<tr", same ? "" : " class=differs", "><th class=l>", code("--" + name),
                          values, "<td class=w>", html(meaning)));
    }
    std::vector<std::string> head{"<option"};
    for (std::size_t i = 0; i < runs_.size(); i++)
      head.push_back(runs_.size() == 1 ? "<value" : "<" + html(runs_[i].directory));
    head.push_back("<meaning");
    body_ += table_of(head, rows);
  }
  static std::string in_words(const Json& j) {
    if (j.is_string()) return j == "" ? "(none)" : html(j.get<std::string>());
    if (!j.is_array()) return html(j.dump());
    std::string s;
    for (const Json& item : j) s += (s.empty() ? "" : " ") + html(item.dump());
    return s.empty() ? "(none)" : s;
  }

  void audits() {
    section("The audit", "Does what was computed keep to the method's equations?");
    for (const RunFolder& r : runs_) {
      if (r.audits.empty())
        body_ += "<p>" + code(r.directory) + ": not audited. " +
                 code("build/audit " + r.directory + "/round-0.safetensors --findings " +
                      r.directory + "/round-0-audit.jsonl") +
                 " does that, and this page will show it.</p>\n";
      for (const auto& [round, lines] : r.audits) {
        std::vector<std::string> rows;
        Index held = 0, failed = 0;
        for (const Json& line : lines) {
          if (line.contains("held")) continue;
          auto value = [&](const char* name) {
            const Json& j = line.contains(name) ? line.at(name) : Json();
            return j.is_number()   ? compact(j.get<double>(), 4)
                   : j.is_string() ? html(j.get<std::string>())
                                   : "no number";
          };
          const bool judged = line.contains("holds"),
                     holds = judged && line.at("holds").get<bool>();
          held += judged && holds, failed += judged && !holds;
          rows.push_back(
              text("<tr><td class=", judged ? holds ? "yes>✓" : "no>✗" : "l>", "<td class=l>",
                   value("equation"), "<td class=w>", value("what"), "<td>",
                   judged ? value("figure") : value("note"), "<td class=l>",
                   judged ? value("relation") + " " + value("bound") : "noted, not judged"));
        }
        const std::string name = text("round-", round, "-audit.jsonl");
        body_ +=
            text("<h3>", html(r.directory), ", round ", round, ": ", held, " statements hold, ",
                 failed, failed == 1 ? " does not" : " do not", "</h3>\n") +
            table_of({"<", "<equation", "<statement", "figure", "<bound"}, rows) +
            "<p>File: " + name + ".</p>\n";
      }
    }
  }

  const Runs& runs_;
  bool draw_;
  std::string body_;
  int figures_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  CommandLine app{
      "Makes one HTML page of the folders of runs: how they were trained, where they grew and why.",
      "report"};
  std::vector<std::string> folders;
  std::string out;
  app.add_option("run", folders,
                 "folders of runs, as --out of cifar and imagenet; up to 6 differ in colour")
      ->required();
  app.add_option("--out", out, "the page; default: report.html in the first run's folder");
  return run_program(app, argc, argv, [&] {
    Runs runs;
    for (const std::string& folder : folders) runs.push_back(read_run(folder));
    if (out.empty()) out = runs[0].directory + "/report.html";
    check_output("--out", out, "<!doctype html>", "a page");
    const Page page(runs);
    write_file_atomically(out, page.text_of_it());
    if (!have_gnuplot())
      std::fprintf(stderr,
                   "report: gnuplot was not found (Debian: gnuplot-nox): the page has tables, and "
                   "no figures\n");
    std::printf("%s: %d figures of %zu %s: open it in a browser\n", one_line(out).c_str(),
                page.figures(), runs.size(), runs.size() == 1 ? "run" : "runs");
  });
}
