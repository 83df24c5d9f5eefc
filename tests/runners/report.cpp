// Facts of the page that shows runs: every series has its points, every number its file; broken
// folders are refused and leave no page.
#include <sys/resource.h>

#include <cmath>
#include <cstdlib>
#include <regex>

#include "runners/common/console.h"
#include "runners/report/figures.h"
#include "tests/near.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {

struct Drawn {
  std::string title;
  std::vector<std::pair<double, double>> points;  // where they stand in the SVG
  Index boxes = 0;
};

std::string page_of(const Arguments& folders, const std::string& file) {
  require_done(launch("report", folders + Arguments{"--out", file}));
  return read_file(file);
}

// A figure's series, by the title of each: its points, or its bars
std::map<std::string, Drawn> series_of(const std::string& page, const std::string& figure) {
  std::map<std::string, Drawn> all;
  const std::size_t from = page.find("aria-label=\"" + figure + "\"");
  REQUIRE_MESSAGE(from != std::string::npos, figure);
  std::istringstream svg(page.substr(from, page.find("</svg>", from) - from));
  Drawn* now = nullptr;
  const std::regex title("<title>([^<]*)</title>"),
      point("<use .*translate\\(([-0-9.]+),([-0-9.]+)\\)");
  std::smatch m;
  for (std::string line; std::getline(svg, line);) {
    if (line.find("_plot_") != std::string::npos) now = nullptr;
    if (std::regex_search(line, m, title)) now = &all[m[1]], now->title = m[1];
    if (!now) continue;
    if (std::regex_search(line, m, point))
      now->points.emplace_back(std::stod(m[1]), std::stod(m[2]));
    if (line.find("<polygon") != std::string::npos) now->boxes++;
  }
  return all;
}

// Points that stand where their values say: one line maps the values to the places, to what the SVG
// rounds
void check_places(const std::vector<std::pair<double, double>>& points,
                  const std::vector<double>& values) {
  REQUIRE(points.size() == values.size());
  const auto most = std::minmax_element(values.begin(), values.end());
  const std::size_t low = std::size_t(most.first - values.begin()),
                    high = std::size_t(most.second - values.begin());
  REQUIRE(values[high] > values[low]);
  const double slope = (points[high].second - points[low].second) / (values[high] - values[low]);
  CHECK(slope < 0);  // an SVG's y goes down
  for (std::size_t i = 0; i < values.size(); i++)
    CHECK(std::abs(points[low].second + slope * (values[i] - values[low]) - points[i].second) <
          0.5);
}

std::vector<double> numbers(const std::vector<Json>& lines, const std::string& key) {
  std::vector<double> all;
  for (const Json& line : lines) all.push_back(line.at(key));
  return all;
}

// A copy of the learned run, to be spoilt
struct Copy {
  Folder folder;
  std::string run = folder / "run";
  Copy() { std::filesystem::copy(learned(), run); }
  void put(const std::string& name, const std::string& content) const {
    folder.write("run/" + name, Bytes(content.begin(), content.end()));
  }
  std::string get(const std::string& name) const { return read_file(run + "/" + name); }
};

bool skipped() {
  if (have_gnuplot()) return false;
  MESSAGE("skipped: no gnuplot here, so no figures");
  return true;
}

}  // namespace

TEST_CASE("report: without files to open no figure is drawn, and gnuplot is not said to lack") {
  if (skipped()) return;
  Folder folder;
  Launch few{"report", {learned(), "--out", folder / "page.html"}};
  few.before = [] {
    const rlimit five{5, 5};
    setrlimit(RLIMIT_NOFILE, &five);
  };
  const ProcessResult e = launch(few);
  CHECK(e.status == 2);
  CHECK(e.err.find("was not found") == std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "page.html"));
}

TEST_CASE("report: every series of a growth has its points, and they stand where the log says") {
  if (skipped()) return;
  Folder folder;
  const std::string page = page_of({learned()}, folder / "page.html");
  const std::vector<Json> log = log_of(learned());
  std::vector<Json> epochs = of_stage(log, "train"), tests = epochs;
  for (const Json& line : of_stage(log, "tune")) epochs.push_back(line);
  tests = of_stage(log, "train");
  tests.push_back(of_stage(log, "split")[0]);
  for (const Json& line : of_stage(log, "tune")) tests.push_back(line);
  REQUIRE(epochs.size() == 10);
  for (const bool accuracy : {false, true}) {
    auto drawn = series_of(page, accuracy ? "accuracy over epochs" : "loss over epochs");
    check_places(drawn["run 1: training images"].points,
                 numbers(epochs, accuracy ? "train_top1" : "loss"));
    check_places(drawn["run 1: test images"].points,
                 numbers(tests, accuracy ? "test_top1" : "test_loss"));
    CHECK(drawn["run 1: splits"].points.size() == 1);
    CHECK(drawn["run 1: splits"].points[0] == drawn["run 1: test images"].points[8]);
  }
  for (const char* over : {"MACs of an image (millions)", "parameters (thousands)"})
    CHECK(series_of(page, std::string("accuracy over ") + over)["run 1"].points.size() == 2);
  CHECK(series_of(page, "predicted and measured loss change")["run 1: splits"].points.size() == 1);
  auto widths = series_of(page, "widths of run 1");
  CHECK(widths["round 0"].boxes == 14);
  CHECK(widths["round 1"].boxes == 14);
  auto worth = series_of(page, "splitting indices of run 1, round 1");
  const Json split = of_stage(log, "split")[0];
  CHECK(Index(worth["split"].points.size()) == split.at("neurons"));
  Index neurons = -1;  // the header
  for (char c : read_file(learned() + "/round-1-neurons.csv")) neurons += c == '\n';
  CHECK(Index(worth["split"].points.size() + worth["not split"].points.size()) == neurons);
}

TEST_CASE("report: a page stands alone, and says each number, setting and meaning that it shows") {
  Folder folder;
  const std::string page = page_of({learned()}, folder / "page.html");
  for (const char* outside :
       {"<script", "<link", "<img", "src=", "url(http", "@import", "href=\"http"})
    CHECK_MESSAGE(page.find(outside) == std::string::npos, outside);
  const Json split = of_stage(log_of(learned()), "split")[0],
             last = of_stage(log_of(learned()), "tune").back();
  const Arguments parts{learned(),
                        percent(last.at("test_top1")),
                        percent(split.at("test_top1")),
                        in_millions(split.at("macs")),
                        compact(split.at("parameters")),
                        compact(split.at("predicted_loss_change"), 4),
                        compact(split.at("measured_loss_change"), 4),
                        "results.csv",
                        "log.jsonl",
                        "config.json",
                        "round-1-neurons.csv",
                        "prefers-color-scheme:dark"};
  for (const std::string& part : parts)
    CHECK_MESSAGE(page.find(html(part)) != std::string::npos, part);
  const Json config = json_in(read_file(learned() + "/config.json"));
  for (const auto& item : config.items()) {
    const std::regex row("<code>--" + item.key() + "</code><td class=v>[^<]+<td class=w>[^<]{3}");
    CHECK_MESSAGE(std::regex_search(page, row), item.key(), " has no value or no meaning");
  }
}

TEST_CASE("report: several runs stand side by side, and where their settings differ is marked") {
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "other", "--seed 8")));
  const std::string page = page_of({learned(), folder / "other"}, folder / "page.html");
  for (const std::string& part :
       {learned(), folder / "other", std::string("<tr class=differs><th class=l><code>--seed<"),
        std::string("<tr><th class=l><code>--dataset<")})
    CHECK_MESSAGE(page.find(part) != std::string::npos, part);
  if (skipped()) return;
  auto drawn = series_of(page, "loss over epochs");
  CHECK(drawn["run 1: test images"].points.size() == 11);
  CHECK(drawn["run 2: test images"].points.size() == 3);
  CHECK(series_of(page, "splitting indices of run 2, round 1").size() == 2);
}

TEST_CASE("report: the audit's verdicts stand in the page where they stand in the folder") {
  Copy copy;
  CHECK(page_of({copy.run}, copy.folder / "page").find("not audited") != std::string::npos);
  copy.put("round-0-audit.jsonl",
           "{\"equation\":\"E4\",\"what\":\"it <holds>\",\"figure\":0.125,\"relation\":\"at most\","
           "\"bound\":0.5,\"holds\":true}\n"
           "{\"equation\":\"E2\",\"what\":\"it does not\",\"figure\":null,\"relation\":\"at most\","
           "\"bound\":0.5,\"holds\":false}\n"
           "{\"equation\":\"E6\",\"what\":\"a ratio\",\"note\":2.5}\n{\"held\":1,\"failed\":1}\n");
  const std::string page = page_of({copy.run}, copy.folder / "page");
  for (const char* part : {"round 0: 1 statements hold, 1 does not", "<td class=yes>✓",
                           "<td class=no>✗", "it &lt;holds&gt;<td>0.125<td class=l>at most 0.5",
                           "it does not<td>no number", "a ratio<td>2.5"})
    CHECK_MESSAGE(page.find(part) != std::string::npos, part);
  CHECK(page.find("not audited") == std::string::npos);
}

TEST_CASE("report: a run that is not done shows what there is so far") {
  Copy copy;
  const std::string log = copy.get("log.jsonl");
  std::size_t third = 0;
  for (int i = 0; i < 3; i++) third = log.find('\n', third) + 1;
  copy.put("log.jsonl", log.substr(0, third));
  for (const char* name : {"results.csv", "round-1-neurons.csv"})
    std::filesystem::remove(copy.run + "/" + name);
  const std::string page = page_of({copy.run}, copy.folder / "page");
  CHECK(page.find("The seed network is still being trained.") != std::string::npos);
  if (have_gnuplot())
    CHECK(series_of(page, "loss over epochs")["run 1: test images"].points.size() == 3);
  copy.put("log.jsonl", "");  // in its first epoch
  page_of({copy.run}, copy.folder / "page");
}

TEST_CASE("report: without gnuplot the page has its tables, and a line says what is lost") {
  Folder folder;
  Launch l{"report", {learned(), "--out", folder / "page"}};
  l.environment = {"PATH=/nowhere"};
  const ProcessResult e = launch(l);
  require_done(e);
  CHECK(is_one_line(e.err));
  CHECK(e.err.find("gnuplot was not found") != std::string::npos);
  CHECK(e.err.find("no figures") != std::string::npos);
  const std::string page = read_file(folder / "page");
  CHECK(page.find("<svg") == std::string::npos);
  CHECK(page.find("gnuplot was not found") != std::string::npos);
  CHECK(page.find(percent(of_stage(log_of(learned()), "tune").back().at("test_top1"))) !=
        std::string::npos);
}

TEST_CASE("report: the last of many rounds alone has the darkest shade") {
  if (skipped()) return;
  Copy copy;
  std::string csv = copy.get("results.csv"), row = csv.substr(csv.rfind("\n1,") + 2),
              log = copy.get("log.jsonl");
  for (int r = 2; r < 12; r++) {
    csv += text(r, row);
    log += text("{\"round\":", r, ",\"stage\":\"split\",\"neurons\":0,\"why\":\"\"}\n");
    copy.put(text("round-", r, "-neurons.csv"), copy.get("round-1-neurons.csv"));
  }
  copy.put("results.csv", csv);
  copy.put("log.jsonl", log);
  const std::string page = page_of({copy.run}, copy.folder / "page"), key = "--s23)\">■";
  CHECK(page.find(key) == page.rfind(key));
  CHECK(page.find(key) != std::string::npos);
}

TEST_CASE("report: what is broken is refused by its file and place, and leaves no page") {
  struct Case {
    std::string file, content;  // what stands there in its place; "-": it is missing
    Arguments expected;
  };
  Copy good;
  const std::string log = good.get("log.jsonl"), csv = good.get("results.csv"),
                    neurons = good.get("round-1-neurons.csv");
  auto changed = [](std::string s, const std::string& from, const std::string& to) {
    const std::size_t at = s.find(from);
    REQUIRE(at != std::string::npos);
    return s.replace(at, from.size(), to);
  };
  const std::vector<Case> cases{
      {"config.json", "-", {"run: no config.json there, expected the folder of a run"}},
      {"config.json", "[]", {"config.json: no object, expected a JSON object"}},
      {"config.json", "{\"seed\":", {"config.json: ", "expected a JSON object"}},
      {"config.json",
       std::string(100000, '['),
       {"config.json: lists within each other, more than 32 deep"}},
      {"log.jsonl", "-", {"log.jsonl"}},
      {"log.jsonl", log + "nonsense\n", {"log.jsonl: line ", "expected a JSON object"}},
      {"log.jsonl", log + "\n", {"log.jsonl: line ", "expected a JSON object"}},
      {"log.jsonl",
       changed(log, "\"stage\":\"train\"", "\"stage\":1"),
       {"log.jsonl: line 1: 'stage': expected a text"}},
      {"log.jsonl",
       changed(log, "\"test_loss\":", "\"test_loss\":\"x\",\"y\":"),
       {"log.jsonl: line 1: 'test_loss': expected a number"}},
      {"log.jsonl",
       changed(log, "\"train_top1\":", "\"other\":"),
       {"log.jsonl: line 1: 'train_top1': expected a number"}},
      {"log.jsonl",
       changed(log, "\"test_top1\":", "\"test_top1\":1"),
       {"log.jsonl: line 1: 'test_top1': expected a number from 0 to 1"}},
      {"log.jsonl", log + log, {": 'round': 0, expected 1 or 2"}},
      {"log.jsonl", "", {"log.jsonl: ends in round 0, expected the 1 of results.csv"}},
      {"log.jsonl", changed(log, "\"epoch\":1", "\"epoch\":\"x\""), {"'epoch': expected a number"}},
      {"log.jsonl",
       changed(log, "\"training_macs\":", "\"training_macs\":9e99,\"x\":"),
       {"log.jsonl: line 2: 'training_macs': ", "expected more than the 9e+99"}},
      {"results.csv", changed(csv, "\n1,", "\n1,1"), {"neurons split, expected the 1"}},
      {"log.jsonl", changed(log, "\"macs\":", "\"macs\":9"), {"round 1 has 'macs': 9"}},
      {"log.jsonl", changed(log, "\"macs\":", "\"macs\":\"x"), {"log.jsonl: line "}},
      {"round-1-neurons.csv",
       changed(neurons, "\nL00,0,", "\nL00,1,"),
       {"neuron: '1', expected 0"}},
      {"results.csv",
       csv.substr(0, csv.rfind("\n1,") + 1),
       {"log.jsonl: goes to round 1, expected the 0 of results.csv"}},
      {"results.csv", "-", {"results.csv"}},
      {"results.csv", "", {"results.csv: line 1: expected 'round,neurons_split"}},
      {"results.csv", "round,macs\n0,1\n", {"results.csv: line 1: expected 'round,neurons_split"}},
      {"results.csv", csv.substr(0, csv.find('\n') + 1), {"results.csv: line 2: missing"}},
      {"results.csv", csv.substr(0, csv.size() - 3), {"results.csv: line 3: cut short"}},
      {"results.csv", changed(csv, "\n1,", "\n2,"), {"results.csv: line 3: round 2, expected 1"}},
      {"results.csv", changed(csv, "\n0,0,", "\n0,0,-"), {"macs: '-", "from 0 "}},
      {"results.csv", changed(csv, "\n0,0,", "\n0,0,nan"), {"results.csv: line 2: macs: 'nan"}},
      {"results.csv", changed(csv, "\n0,", "\n1e-320,"), {"line 2: round: '1e-320', expected"}},
      {"results.csv",
       changed(csv, "\n0,0,", "\n0,0,0,"),
       {"results.csv: line 2: ", " fields, expected "}},
      {"results.csv", changed(csv, " ", " -"), {"results.csv: line 2: widths: '-"}},
      {"results.csv", changed(csv, " ", ""), {"results.csv: line 3: 14 widths, expected 13"}},
      {"round-1-neurons.csv", "-", {"round-1-neurons.csv"}},
      {"round-1-neurons.csv",
       changed(neurons, "L00", "<b>"),
       {"round-1-neurons.csv: line 2: axis: '<b>'"}},
      {"round-1-neurons.csv", changed(neurons, "\nL13", "\nL99"), {": axis: 'L99', expected L13"}},
      {"round-1-neurons.csv",
       changed(neurons, "\nL00,0,", "\nL00,0,x"),
       {"round-1-neurons.csv: line 2: lambda: 'x"}},
      {"round-1-neurons.csv", neurons + "L13,9,-1,1,1,2\n", {": split: '2', expected 0 or 1"}},
      {"round-1-audit.jsonl",
       "{\"equation\":\"E1\"}\n",
       {"round-1-audit.jsonl: line 1: 'what': expected a text"}},
  };
  for (const Case& c : cases) {
    INFO(c.file, ": ", c.content.substr(0, 60));
    Copy copy;
    if (c.content == "-") std::filesystem::remove(copy.run + "/" + c.file);
    else copy.put(c.file, c.content);
    check_refused(launch("report", {copy.run, "--out", copy.folder / "page"}), c.expected);
    CHECK_FALSE(std::filesystem::exists(copy.folder / "page"));
  }
  Copy torn;  // by a kill
  torn.put("log.jsonl", log + log.substr(0, 20));
  CHECK(launch("report", {torn.run, "--out", torn.folder / "page"}).status == 0);
  check_refused(launch("report", {good.folder / "none", "--out", good.folder / "page"}),
                {"none: no config.json there, expected the folder of a run"});
  check_refused(launch("report", {good.run, "--out", good.folder / "no-folder/page"}),
                {"no-folder/page"});
}

TEST_CASE("report: no text of a run's files becomes part of the page's own") {
  Copy copy;
  Json config = json_in(copy.get("config.json"));
  config["dataset"] = "<script>alert(1)</script>\n`touch x`";
  copy.put("config.json", config.dump());
  const std::string odd = copy.folder / "a <b> 'c' `d` \"e\" & f";
  std::filesystem::rename(copy.run, odd);
  const std::string page = page_of({odd + "/"}, copy.folder / "page");
  CHECK(page.find("<script") == std::string::npos);
  CHECK(page.find("&lt;script&gt;alert(1)") != std::string::npos);
  CHECK(page.find("a &lt;b&gt; 'c' `d` &quot;e&quot; &amp; f") != std::string::npos);
}

TEST_CASE("options: every option of report has its effect") {
  Copy copy;
  const ProcessResult e = launch("report", {copy.run});
  require_done(e);
  CHECK(is_one_line(e.out));
  CHECK(e.out.find(copy.run + "/report.html: ") == 0);
  copy.put(".gnuplot", "set title 'mine'\nset xrange [0:1]\n");
  Launch here{"report", {copy.run, "--out", copy.folder / "page"}};
  here.environment = {"HOME=" + copy.run, "GNUTERM=x11"};
  require_done(launch(here));
  CHECK(copy.get("report.html") == read_file(copy.folder / "page"));
  check_refused(launch("report", {}), {"run"});
  check_all_covered("report", {"--out"});
  check_defaults_shown("report");
}
