// How a program ends before its time, and where its words go: signals that ask it to end, standard
// streams that are closed, full or read by nobody.
#pragma once
#include <stdexcept>
#include <string>

namespace fission {

// /dev/null for each of the descriptors 0 to 2 that is closed: the next file that is opened would
// take its number, and what is printed would go into that file.
void open_missing_streams();
bool stdout_missing();  // was it closed? what is printed is lost then
// Takes SIGTERM, SIGINT, SIGUSR1 and their like, as process 1 of a container too. The program ends
// at once with one line (none if it has no name) and status 128 + the signal's number, unless a
// DeferSignals lives.
void handle_signals(const std::string& program);

// While one lives, the first signal only asks for the end: end_requested(). The second ends at
// once.
class DeferSignals {
 public:
  DeferSignals();
  ~DeferSignals();
  DeferSignals(const DeferSignals&) = delete;
  DeferSignals& operator=(const DeferSignals&) = delete;
};
int end_requested();  // the signal's number, SIGPIPE where nobody reads stdout any more; 0: none
                      // came
std::string signal_name(int number);

// Thrown where a program that was asked to end does so, with what there is to say
struct Stopped : std::runtime_error {
  int signal;
  explicit Stopped(int signal, const std::string& what = "")
      : std::runtime_error(signal_name(signal) + what), signal(signal) {}
};

}  // namespace fission
