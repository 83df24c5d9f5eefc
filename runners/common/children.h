// Other programs of this build, run as children: their status, what they say, and a copy of it all
// in a file.
#pragma once
#include <cstdio>
#include <string>
#include <vector>

namespace fission {

std::string shell_quoted(const std::string& argument);  // for the shell
std::string sibling_program(
    const std::string& program);  // the program of that name that lies where this one does, quoted
int run(const std::string& command);  // its exit status; −1: it was killed

struct CommandOutput {
  int status;
  std::vector<std::string> lines;  // of both outputs
};
CommandOutput capture_output(const std::string& command);

// What this process and its children write goes to where it went, and into a file (UserError)
class Tee {
 public:
  explicit Tee(const std::string& path);
  ~Tee();
  Tee(const Tee&) = delete;
  Tee& operator=(const Tee&) = delete;

 private:
  int saved_[2];
  FILE* pipe_;
};

}  // namespace fission
