// split/METHOD.md keeps its word: every equation has code and tests, which exist, and the code
// cites it; and no code, script or README cites an equation or a section that METHOD.md has not.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <vector>

namespace {
using Faults = std::vector<std::string>;
using Files = std::function<std::string(const std::string& path)>;

std::string read(const std::string& path) {  // "" if there is no such file; tests run from the root
                                             // of the repository
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A text without its line breaks: what a comment, a string or a paragraph says, however it is
// wrapped.
std::string joined(const std::string& text) {
  std::string all;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::size_t at = line.find_first_not_of(" ");
    if (at == std::string::npos) continue;
    if (line.compare(at, 2, "//") == 0) at += 2;
    if (line[at] == '#') at++;
    at = std::min(line.find_first_not_of(" ", at), line.size());
    if (!all.empty() && all.back() == '"' && line[at] == '"') all.pop_back(), at++;
    else if (!all.empty() && all.back() != '(') all += ' ';
    all += line.substr(at);
  }
  return all;
}

template <class Each>
void for_each_match(const std::string& text, const std::string& pattern, Each each) {
  const std::regex r(pattern);
  for (std::sregex_iterator m(text.begin(), text.end(), r), end; m != end; ++m) each(*m);
}

// A name and the file that is to hold it: `name` (file) or "test case" (file)
struct Mention {
  std::string equation, name, file;
};

struct Method {
  std::set<std::string> sections, equations;
  std::vector<Mention> code, tests;
  explicit Method(const std::string& text) {
    std::istringstream lines(text);
    std::smatch m;
    std::string paragraph;
    auto end_of_paragraph = [&] {
      std::smatch item;
      const std::string all = joined(paragraph);
      const bool is_item =
          std::regex_search(all, item, std::regex("^- \\*\\*(E[0-9]+[a-z]?)\\*\\*"));
      const std::string equation = is_item ? item[1] : std::string();
      for_each_match(all, "`([A-Za-z_]+)` \\(([a-z_/]+\\.[a-z]+)\\)", [&](auto& c) {
        code.push_back({equation, c[1], c[2]});
      });
      for_each_match(all, "\"([^\"]+)\"(?: \\(|, )([a-z_/0-9]+\\.cpp)\\)", [&](auto& t) {
        tests.push_back({equation, t[1], t[2]});
      });
      paragraph.clear();
    };
    for (std::string line; std::getline(lines, line);) {
      if (std::regex_search(line, m, std::regex("^## ([0-9]+)\\. "))) sections.insert(m[1]);
      if (std::regex_search(line, m, std::regex("^    \\((E[0-9]+[a-z]?)\\) ")))
        equations.insert(m[1]);
      if (line.empty()) end_of_paragraph();
      else paragraph += line + "\n";
    }
    end_of_paragraph();
  }
};

// Equations that a text cites; E1–E3 are three.
std::set<std::string> cited(const std::string& text) {
  std::set<std::string> all;
  for_each_match(text, "\\bE[0-9]+[a-z]?\\b", [&](auto& m) { all.insert(m.str()); });
  for_each_match(text, "\\bE([0-9]+)(?:–|-| to )E([0-9]+)\\b", [&](auto& m) {
    for (int i = std::stoi(m[1]); i <= std::stoi(m[2]); i++) all.insert("E" + std::to_string(i));
  });
  return all;
}

// What is wrong with a text's citations. A section is cited as "section 3 of METHOD.md", for the
// papers have sections too; within METHOD.md as "section 3".
Faults wrong_citations(const Method& method, const std::string& text, bool within = false) {
  Faults faults;
  const std::string all = joined(text);
  for (const std::string& e : cited(all)) {
    if (!method.equations.count(e)) faults.push_back(e + " is no equation of METHOD.md");
  }
  for_each_match(
      all, "\\b[Ss]ections? ([0-9]+[a-z]?(?:(?:, | and | to |–|-)[0-9]+[a-z]?)*)( of METHOD\\.md)?",
      [&](auto& m) {
        if (!within && !m[2].matched)
          faults.push_back(m.str() + ": expected '" + m.str() + " of METHOD.md'");
        for_each_match(m[1].str(), "[0-9]+[a-z]?", [&](auto& n) {
          if (!method.sections.count(n.str()))
            faults.push_back(m.str() + ": METHOD.md has no section " + n.str());
        });
      });
  for_each_match(all, "\\b(DESIGN|EQUATIONS|ALGORITHM)(\\.md)?\\b", [&](auto& m) {
    faults.push_back(m.str() + " is no document of this repository");
  });
  return faults;
}

// What METHOD.md says that the files do not hold
Faults broken_promises(const Method& method, const Files& file) {
  Faults faults;
  std::set<std::string> with_code, with_test;
  for (const Mention& m : method.code) {
    with_code.insert(m.equation);
    const std::string text = file(m.file),
                      code = std::regex_replace(text, std::regex("//[^\n]*"), "");
    if (!std::regex_search(code, std::regex("(^|[^.>A-Za-z_])" + m.name + "\\(|\\b(struct|class) " +
                                            m.name + "\\b|\\benum class " + m.name + "\\b")))
      faults.push_back(m.name + " is neither defined nor called in " + m.file);
    if (!m.equation.empty() && !cited(joined(text)).count(m.equation))
      faults.push_back(m.file + " does not cite " + m.equation);
  }
  for (const Mention& m : method.tests) {
    with_test.insert(m.equation);
    if (joined(file(m.file)).find("TEST_CASE(\"" + m.name + "\")") == std::string::npos)
      faults.push_back("no test case '" + m.name + "' in " + m.file);
  }
  for (const std::string& e : method.equations) {
    if (!with_code.count(e)) faults.push_back(e + " has no code");
    if (!with_test.count(e)) faults.push_back(e + " has no test");
  }
  return faults;
}

const Method& method() {
  static const Method m(read("split/METHOD.md"));
  return m;
}
}  // namespace

TEST_CASE("equations: METHOD.md has nine sections, and E1 to E12 among its equations") {
  CHECK(method().sections.size() == 9);
  for (int i = 1; i <= 12; i++) CHECK(method().equations.count("E" + std::to_string(i)) == 1);
  CHECK(method().equations.count("E6c") == 1);
}
TEST_CASE(
    "equations: each has code that cites it, and tests; all of them are where METHOD.md says") {
  for (const std::string& fault : broken_promises(method(), read)) FAIL_CHECK(fault);
}
TEST_CASE("equations: code, scripts and READMEs cite what METHOD.md has") {
  int files = 0;
  auto check = [&](const std::filesystem::path& path) {
    for (const std::string& fault : wrong_citations(method(), read(path.string())))
      FAIL_CHECK(path.string(), ": ", fault);
    files++;
  };
  check("README.md");
  for (const char* folder : {"tensor", "autograd", "nn", "split", "data", "runners", "tests"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      const std::string type = entry.path().extension().string();
      const bool read_here = type == ".h" || type == ".cpp" || type == ".cu" || type == ".cuh" ||
                             type == ".sh" || entry.path().filename() == "README.md";
      if (read_here && entry.path() != "tests/split/equations.cpp") check(entry.path());
    }
  CHECK(files > 200);
  for (const std::string& fault : wrong_citations(method(), read("split/METHOD.md"), true))
    FAIL_CHECK("split/METHOD.md: ", fault);
}
TEST_CASE("equations: the loop that README shows is the one that runs") {
  const std::string readme = read("README.md"), fence = "```cpp\n";
  const std::size_t begin = readme.find(fence) + fence.size(), end = readme.find("```", begin);
  REQUIRE(end != std::string::npos);
  CHECK(end - begin > 500);
  CHECK(read("split/grow.cpp").find(readme.substr(begin, end - begin)) != std::string::npos);
}
TEST_CASE("equations: the options that METHOD.md names are the growth's") {
  const std::string options = read("runners/growth/options.cpp");
  for_each_match(read("split/METHOD.md"), "`(--[a-z-]+)", [&](auto& m) {
    CHECK_MESSAGE(options.find("\"" + m[1].str() + "\"") != std::string::npos, m[1].str());
  });
}
TEST_CASE("equations: a wrong citation is found, of every kind") {
  const Method m("## 2. A section\n\n    (E1)  a = b\n    (E2c)  c = d\n");
  auto faults = [&](const std::string& text) { return wrong_citations(m, text).size(); };
  CHECK(faults("// E1, (E2c): section 2 of METHOD.md\n") == 0);
  CHECK(faults("// wrapped: sec E1 and section 2\n  // of METHOD.md\n") == 0);
  CHECK(faults("text(\"section 2 \"\n     \"of METHOD.md\")") == 0);
  CHECK(faults("// E4\n") == 1);
  CHECK(faults("// E1c\n") == 1);
  CHECK(faults("// E1–E2\n") == 1);  // there is no E2
  CHECK(faults("// section 3 of METHOD.md\n") == 1);
  CHECK(faults("// sections 2 and 5 of METHOD.md\n") == 1);
  CHECK(faults("// section 2 of arXiv 1910.03103\n") == 1);
  CHECK(faults("// as Section 2\n// says\n") == 1);
  CHECK(faults("// DESIGN: errors\n") == 1);
  CHECK(faults("see split/EQUATIONS.md") == 1);
}
TEST_CASE("equations: a promise that METHOD.md does not keep is found, of every kind") {
  const std::string head = "    (E1)  a = b\n\n", code = "- **E1** is ours. Code: `f` (s/a.cpp).\n",
                    test = "  Tests: \"a long\n  name\" (s/t.cpp).\n";
  auto faults = [](const std::string& text, const std::string& a, const std::string& t) {
    return broken_promises(Method(text),
                           [&](const std::string& p) {
                             return p == "s/a.cpp" ? a : p == "s/t.cpp" ? t : std::string();
                           })
        .size();
  };
  const std::string a = "void f() {}  // E1\n",
                    t = "TEST_CASE(\n    \"a long \"\n    \"name\") {}\n";
  CHECK(faults(head + code + test, a, t) == 0);
  CHECK(faults(head + code, a, t) == 1);                          // no test
  CHECK(faults(head + "- **E1** is ours.\n" + test, a, t) == 1);  // no code
  CHECK(faults(head, a, t) == 2);
  CHECK(faults(head + code + test, "void g() {}  // f(), E1\n", t) == 1);  // only spoken of
  CHECK(faults(head + code + test, "void f() {}\n", t) == 1);              // does not cite E1
  CHECK(faults(head + code + test, a, "TEST_CASE(\"another name\") {}\n") == 1);
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
    CHECK(method().equations.count(fields[0]) == 1);
    mutants[fields[0]]++;
  }
  for (const std::string& e : method().equations) CHECK_MESSAGE(mutants[e] >= 2, e);
}
