#include "runners/common/command_line.h"

#include <CLI/CLI.hpp>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <deque>
#include <utility>

#include "runners/common/console.h"
#include "tensor/check.h"

namespace fission {

// Decimal: CLI11 takes 0x10 for sixteen.
bool read_number(const std::string& text, double& number) {
  return text.find_first_of("xX") == std::string::npos && CLI::detail::lexical_cast(text, number);
}

Check in_range(double least, double most) {
  const CLI::Validator validator(
      [least, most](std::string& s) {
        double v = 0;
        return read_number(s, v) && v >= least && v <= most
                   ? std::string()
                   : text("'", s, "': expected a number from ", least, " to ", most);
      },
      "", "");
  return [validator](CLI::Option& option) { option.check(validator); };
}

Check is_member(const std::vector<std::string>& known) {
  return [known](CLI::Option& option) { option.check(CLI::IsMember(known)); };
}

Check is_member(std::initializer_list<int> known) {
  return [known = std::vector<int>(known)](CLI::Option& option) {
    option.check(CLI::IsMember(known));
  };
}

Check memory_size() {
  const CLI::Validator validator(
      [](std::string& s) {
        const std::string digits = s.substr(0, s.find_first_not_of("0123456789")),
                          unit = s.substr(digits.size());
        const std::size_t power =
            unit.empty()
                ? 0
                : std::string("KMGT").find(char(std::toupper(unit[0]))) + 1;  // 0: no unit of these
        const bool known = !digits.empty() && digits.size() <= 15 && unit.size() <= 1 &&
                           (unit.empty() || power > 0);
        const double bytes = known ? std::stod(digits) * std::pow(1024.0, double(power)) : 0;
        if (!known || bytes > 1e15)
          return text("'", s, "': expected bytes up to 1e15, or 500M, 20G (of 1024)");
        s = std::to_string(std::size_t(bytes));
        return std::string();
      },
      "", "");
  return [validator](CLI::Option& option) { option.transform(validator); };
}

Option* Option::check(const Check& check) {
  check(*option_);
  return this;
}
Option* Option::group(const std::string& name) {
  option_->group(name);
  return this;
}
Option* Option::description(const std::string& text) {
  option_->description(text);
  return this;
}
Option* Option::required() {
  option_->required();
  return this;
}
Option* Option::excludes(const std::string& other) {
  option_->excludes(other);
  return this;
}
Option* Option::needs(const std::string& other) {
  option_->needs(other);
  return this;
}
Option* Option::delimiter(char between) {
  option_->delimiter(between);
  return this;
}
Option* Option::capture_default_str() {
  option_->capture_default_str();
  return this;
}
Option* Option::default_str(const std::string& shown) {
  option_->default_str(shown);
  return this;
}
std::size_t Option::count() const { return option_->count(); }
bool Option::given() const { return count() > 0 && !set_; }
std::string Option::get_description() const { return option_->get_description(); }
void Option::set(const std::string& value) {
  set_ = true;
  option_->add_result(value);
  option_->run_callback();
}

struct CommandLine::Parts {
  CLI::App app;
  std::deque<Option> options;  // stay where they are
  Option* own(CLI::Option* option) { return &options.emplace_back(option); }
};

CommandLine::CommandLine(const std::string& description, const std::string& name)
    : parts_(new Parts{CLI::App(description, name), {}}) {}
CommandLine::~CommandLine() = default;

template <class T>
Option* CommandLine::add_option(const std::string& name, T& value, const std::string& description) {
  CLI::Option* option = parts_->app.add_option(name, value, description);
  if (std::is_integral<T>())  // CLI11 takes 010 for eight, and 1e3 for nothing
    option->check([](const std::string& s) {
      const std::string digits = s.substr(!s.empty() && (s[0] == '-' || s[0] == '+'));
      const bool whole =
          !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
      return whole && (digits == "0" || digits[0] != '0')
                 ? std::string()
                 : text("'", s, "': expected a whole number",
                        whole ? " without a 0 before it" : ", in digits");
    });
  if (std::is_same<T, std::string>())  // of a shell's variable that is not set
    option->check([](const std::string& s) {
      return s.empty() ? "'': expected a text, not nothing" : std::string();
    });
  return parts_->own(option);
}
#define TYPE(...) \
  template Option* CommandLine::add_option(const std::string&, __VA_ARGS__&, const std::string&);
TYPE(int)
TYPE(std::int64_t)
TYPE(std::uint64_t)
TYPE(double)
TYPE(std::string)
TYPE(std::vector<double>)
TYPE(std::vector<std::string>)
#undef TYPE

Option* CommandLine::add_flag(const std::string& name, bool& value,
                              const std::string& description) {
  return parts_->own(parts_->app.add_flag(name, value, description));
}
Option* CommandLine::add_flag_callback(const std::string& name, const std::function<void()>& call,
                                       const std::string& description) {
  return parts_->own(parts_->app.add_flag_callback(name, call, description));
}
void CommandLine::always_capture_default() {
  parts_->app.option_defaults()->always_capture_default();
}

Option* CommandLine::get_option_no_throw(const std::string& name) const {
  const CLI::Option* wanted = parts_->app.get_option_no_throw(name);
  for (Option& option : parts_->options)
    if (wanted && option.option_ == wanted) return &option;
  return nullptr;
}
Option* CommandLine::get_option(const std::string& name) const {
  Option* option = get_option_no_throw(name);
  FISSION_CHECK(option, name, ": no such option");
  return option;
}
void CommandLine::remove_options(const std::set<std::string>& groups,
                                 const std::set<std::string>& names) {
  for (Option& o : parts_->options)
    if (groups.count(o.option_->get_group()) || names.count(o.option_->get_name()))
      parts_->app.remove_option(std::exchange(o.option_, nullptr));
}
void CommandLine::warn_unused(const std::set<std::string>& which, const std::string& why) const {
  std::string names;
  int count = 0;
  for (const Option& o : parts_->options) {
    if (!o.option_ || !o.given()) continue;
    const std::string name = o.option_->get_name();
    const bool reason = why.compare(0, name.size(), name) == 0;
    if (reason || (!which.count(name) && !which.count(o.option_->get_group()))) continue;
    names += (count++ ? ", " : "") + name;
  }
  if (count)
    std::fprintf(stderr, "warning: %s %s no effect: %s\n", names.c_str(),
                 count == 1 ? "has" : "have", one_line(why).c_str());
}
const std::string& CommandLine::get_name() const { return parts_->app.get_name(); }

// CLI11 passes over the empty parts of a list: 1,,3 would be two numbers.
static void check_lists(const CLI::App& app, int argc, const char* const* argv) {
  for (int i = 1; i < argc; i++) {
    const std::string given = argv[i], name = given.substr(0, given.find('='));
    const CLI::Option* option =
        name.compare(0, 2, "--") == 0 ? app.get_option_no_throw(name) : nullptr;
    if (!option || option->get_delimiter() == '\0') continue;
    const std::string list = name.size() < given.size() ? given.substr(name.size() + 1)
                             : i + 1 < argc             ? argv[i + 1]
                                                        : "";
    for (const std::string& part : split_at(list, option->get_delimiter()))
      if (part.empty())
        user_error(name, " ", list, ": a part is empty, expected a value between commas");
  }
}

bool CommandLine::parse(int argc, const char* const* argv) {
  check_lists(parts_->app, argc, argv);
  try {
    parts_->app.parse(argc, argv);
    return true;
  } catch (const CLI::CallForHelp&) {
    std::printf("%s", wrapped(parts_->app.help()).c_str());
    return false;
  } catch (const CLI::ParseError& e) {
    for (int i = 1; i < argc; i++) {  // before what its lack or its value brings about
      const std::string given = argv[i], name = given.substr(0, given.find('='));
      if (name.size() > 2 && name.compare(0, 2, "--") == 0 && !get_option_no_throw(name))
        user_error(name, ": no such option (", get_name(), " --help shows the options)");
    }
    const bool unread = dynamic_cast<const CLI::ConversionError*>(&e);
    user_error(e.what(), unread ? ": expected true or false (" : " (", get_name(),
               " --help shows the options)");
  }
}

}  // namespace fission
