// The two kinds of error (DESIGN: "Errors").
//   UserError      a mistake of the user's: one line, exit status 2 (runners print what() and exit).
//   FISSION_CHECK  a broken invariant or a library's failure: expression, file:line, shapes, the library's text.
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

[[noreturn]] inline void fail_invariant(const char* expression, const char* file, int line, const std::string& what) {
  throw InvariantError(text(what, "  (", expression, " is false at ", file, ":", line, ")"));
}
template <class... Parts>
[[noreturn]] void user_error(const Parts&... parts) {
  throw UserError(text(parts...));
}

}  // namespace fission

#define FISSION_CHECK(condition, ...) \
  do {                                \
    if (!(condition)) ::fission::fail_invariant(#condition, __FILE__, __LINE__, ::fission::text(__VA_ARGS__)); \
  } while (0)
