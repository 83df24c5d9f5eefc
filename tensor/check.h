// The two kinds of error.
//   UserError      a mistake of the user's: one line, exit status 2 (runners print what() and
//                  exit).
//   FISSION_CHECK  a broken invariant or a library's failure: expression, file:line, shapes, the
//                  library's text.
// Neither is ever swallowed, and there are no silent defaults.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace fission {

struct UserError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct InvariantError : std::logic_error {
  using std::logic_error::logic_error;
};

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// Control characters, which a file's name may hold, as \n or \x1b
inline std::string one_line(const std::string& s) {
  std::string line;
  for (const char c : s) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (u >= 0x20 && u != 0x7f) line += c;
    else if (c == '\n') line += "\\n";
    else line += {'\\', 'x', "0123456789abcdef"[u / 16], "0123456789abcdef"[u % 16]};
  }
  return line;
}

[[noreturn]] inline void fail_invariant(const char* expression, const char* file, int line,
                                        const std::string& what) {
  throw InvariantError(text(what, "  (", expression, " is false at ", file, ":", line, ")"));
}
template <class... Parts>
[[noreturn]] void user_error(const Parts&... parts) {
  throw UserError(one_line(text(parts...)));
}

}  // namespace fission

#define FISSION_CHECK(condition, ...)                                                          \
  do {                                                                                         \
    if (!(condition))                                                                          \
      ::fission::fail_invariant(#condition, __FILE__, __LINE__, ::fission::text(__VA_ARGS__)); \
  } while (0)
