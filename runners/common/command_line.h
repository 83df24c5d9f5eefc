// A program's options, by CLI11, whose names they keep. Its header takes 10 seconds to compile:
// command_line.cpp alone includes it.
#pragma once
#include <functional>
#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace CLI {
class Option;
}

namespace fission {

// A check of an option's value: adds itself to the option.
using Check = std::function<void(CLI::Option&)>;
// NaN, infinity and what is out of range are refused. (CLI::Range lets NaN pass.)
Check in_range(double least, double most = 1e15);
Check is_member(const std::vector<std::string>& known);
Check is_member(std::initializer_list<int> known);
Check memory_size();  // "20G" → "21474836480"; of an option of so many bytes

bool read_number(const std::string& text, double& number);  // false: the text is none

class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}
  Option* check(const Check& check);
  Option* group(const std::string& name);
  Option* description(const std::string& text);
  Option* required();
  Option* excludes(const std::string& other);
  Option* needs(const std::string& other);
  Option* delimiter(char between);  // of the items of a list
  Option* capture_default_str();    // --help shows the variable's value of now as the default
  Option* default_str(const std::string& shown);
  std::size_t count() const;  // how often it was given or set
  bool given() const;         // on the command line
  std::string get_description() const;
  void set(const std::string& value);  // as if it had been given

 private:
  friend class CommandLine;
  CLI::Option* option_;  // nullptr: it was removed
  bool set_ = false;
};

class CommandLine {
 public:
  explicit CommandLine(const std::string& description = "", const std::string& name = "");
  ~CommandLine();
  // T: command_line.cpp lists the types. A name without "--" is an argument without a name.
  template <class T>
  Option* add_option(const std::string& name, T& value, const std::string& description);
  Option* add_flag(const std::string& name, bool& value, const std::string& description);
  Option* add_flag_callback(const std::string& name, const std::function<void()>& call,
                            const std::string& description);
  void always_capture_default();  // of all options that are added from now on
  Option* get_option(const std::string& name) const;
  Option* get_option_no_throw(const std::string& name) const;  // nullptr: there is none
  std::size_t count(const std::string& option) const { return get_option(option)->count(); }
  void remove_options(const std::set<std::string>& groups, const std::set<std::string>& names);
  // A line on stderr: which of these options (or of these groups) were given, and why they change
  // nothing
  void warn_unused(const std::set<std::string>& which, const std::string& why) const;
  const std::string& get_name() const;
  // false: --help was asked for, and is printed; UserError
  bool parse(int argc, const char* const* argv);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace fission
