#include "runners/common/children.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "tensor/check.h"

namespace fission {
namespace {
int status_of(int waited) { return WIFEXITED(waited) ? WEXITSTATUS(waited) : -1; }
}  // namespace

std::string shell_quoted(const std::string& argument) {
  std::string s = "'";
  for (char c : argument) s += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return s + "'";
}
std::string sibling_program(const std::string& program) {
  return shell_quoted(
      std::filesystem::read_symlink("/proc/self/exe").replace_filename(program).string());
}
int run(const std::string& command) { return status_of(std::system(command.c_str())); }

CommandOutput capture_output(const std::string& command) {
  CommandOutput output;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  FISSION_CHECK(pipe, "[children] no shell for ", command);
  std::string line;
  for (int c; (c = std::fgetc(pipe)) != EOF;)
    if (c == '\n') output.lines.push_back(line), line.clear();
    else line += char(c);
  if (!line.empty()) output.lines.push_back(line);
  output.status = status_of(pclose(pipe));
  return output;
}

Tee::Tee(const std::string& path) : saved_{dup(1), dup(2)} {
  if (path == "-") user_error("--report -: expected a file's name (what it says is on stdout too)");
  if (FILE* f = std::fopen(path.c_str(), "w")) std::fclose(f);
  else user_error(path, ": cannot be written: ", std::strerror(errno), " (--report FILE)");
  pipe_ = popen(("tee -- " + shell_quoted(path)).c_str(), "w");
  FISSION_CHECK(pipe_, "[children] tee cannot be started");
  std::fflush(stdout);
  for (int end : {1, 2}) dup2(fileno(pipe_), end);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
}
Tee::~Tee() {
  std::fflush(stdout);
  for (int end : {1, 2}) dup2(saved_[end - 1], end), close(saved_[end - 1]);
  pclose(pipe_);
}

}  // namespace fission
