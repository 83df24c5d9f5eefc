// split/EQUATIONS.md keeps its word: what its table names exists, and no equation is cited that it
// doesn't have.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <vector>

namespace {
std::string read(const std::string& path) {  // "" if there is no such file; tests run from the root
                                             // of the repository
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A name and the file that is to hold it: `name` (file) or "test case" (file)
struct Mention {
  std::string equation, name, file;
};
std::vector<Mention> mentions(const std::string& pattern) {
  std::vector<Mention> all;
  std::istringstream table(read("split/EQUATIONS.md"));
  const std::regex row("^\\| (E[0-9]+c?) \\|.*"), mention(pattern);
  std::smatch equation;
  for (std::string line; std::getline(table, line);) {
    if (!std::regex_match(line, equation, row)) continue;
    for (std::sregex_iterator m(line.begin(), line.end(), mention), end; m != end; ++m)
      all.push_back({equation[1], (*m)[1], (*m)[2]});
  }
  return all;
}
std::vector<Mention> code() { return mentions("`([A-Za-z_]+)` \\(([a-z_/.0-9]+)\\)"); }
std::vector<Mention> tests() { return mentions("\"([^\"]+)\" \\(([a-z_/.0-9]+)\\)"); }
}  // namespace

TEST_CASE("equations: E1 to E12 and E6c each have code and a test in the table") {
  std::set<std::string> with_code, with_test, expected{"E6c"};
  for (int i = 1; i <= 12; i++) expected.insert("E" + std::to_string(i));
  for (const Mention& m : code()) with_code.insert(m.equation);
  for (const Mention& m : tests()) with_test.insert(m.equation);
  CHECK(with_code == expected);
  CHECK(with_test == expected);
}
TEST_CASE(
    "equations: every function named in the table is defined or called in the file beside it") {
  for (const Mention& m : code()) {
    INFO(m.equation, " ", m.name, " in ", m.file);
    const std::string code = std::regex_replace(read(m.file), std::regex("//[^\n]*"),
                                                "");  // not only spoken of, nor another's method
    CHECK(std::regex_search(
        code, std::regex("(^|[^.>A-Za-z_])" + m.name + "\\(|\\b(struct|class) " + m.name + "\\b")));
  }
}
TEST_CASE("equations: every test named in the table is a test case of the file beside it") {
  for (const Mention& m : tests()) {
    INFO(m.equation, " ", m.name, " in ", m.file);
    CHECK(read(m.file).find("TEST_CASE(\"" + m.name + "\")") != std::string::npos);
  }
}
TEST_CASE(
    "equations: each has at least two mutants, whose lines stand in the code once (make mutants "
    "applies them)") {
  std::map<std::string, int> mutants;
  std::istringstream list(read("tests/mutants.txt"));
  for (std::string line; std::getline(list, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::vector<std::string> fields;
    std::istringstream in(line);
    for (std::string field; std::getline(in, field, '\t');) fields.push_back(field);
    INFO(line);
    REQUIRE(fields.size() >= 3);
    const std::string text = read(fields[1]);
    const std::size_t at = text.find(fields[2]);
    CHECK(at != std::string::npos);
    CHECK(text.find(fields[2], at + 1) == std::string::npos);
    mutants[fields[0]]++;
  }
  for (const Mention& m : code()) CHECK_MESSAGE(mutants[m.equation] >= 2, m.equation);
}
TEST_CASE("equations: no equation is cited in the code without a row in the table") {
  std::set<std::string> rows;
  for (const Mention& m : tests()) rows.insert(m.equation);
  const std::regex citation("\\bE[0-9]+c?\\b");
  for (const char* folder : {"tensor", "autograd", "nn", "split", "runners"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (entry.path().extension() != ".h" && entry.path().extension() != ".cpp") continue;
      const std::string text = read(entry.path().string());
      for (std::sregex_iterator m(text.begin(), text.end(), citation), end; m != end; ++m) {
        INFO(m->str(), " in ", entry.path().string());
        CHECK(rows.count(m->str()) == 1);
      }
    }
}
