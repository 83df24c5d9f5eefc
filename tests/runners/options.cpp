#include "tests/runners/options.h"

#include "tensor/threads.h"

namespace fission {
namespace test {

int two_threads() {
  const int before = compute_threads();
  set_compute_threads(2);
  const int threads = compute_threads();
  set_compute_threads(before);
  return threads;
}

std::vector<Listed> listed_options(const std::string& program) {
  ProcessResult help = launch(program, {"--help"});
  CHECK(help.status == 0);
  CHECK(help.err == "");
  std::vector<Listed> all;
  std::istringstream lines(help.out);
  std::string group;
  bool within = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("  --", 0) == 0)
      all.push_back({line.substr(2, line.find(' ', 2) - 2), group, line.substr(2)}), within = true;
    else if (line.rfind("    ", 0) == 0 && within)
      all.back().text += " " + line.substr(line.find_first_not_of(' '));
    else within = false;
    if (!line.empty() && line[0] != ' ') group = line;
  }
  CHECK_FALSE(all.empty());
  return all;
}

void check_all_covered(const std::string& program, std::set<std::string> covered) {
  if (covered.count("--device")) covered.insert(gpu_options.begin(), gpu_options.end());
  std::set<std::string> listed;
  for (const Listed& option : listed_options(program)) listed.insert(option.name);
  for (const std::string& option : listed)
    CHECK_MESSAGE(covered.count(option) == 1, program, " ", option, " has no case");
  for (const std::string& option : covered)
    CHECK_MESSAGE(listed.count(option) == 1, program, " ", option, " is not in --help");
}

void check_defaults_shown(const std::string& program) {
  for (const Listed& option : listed_options(program)) {
    if (!option.takes_value()) continue;
    CAPTURE(option.text);
    bool shown = false;
    for (const char* sign : {"=", " [", "default: "})
      shown = shown || option.text.find(sign) != std::string::npos;
    CHECK(shown);
  }
}

}  // namespace test
}  // namespace fission
