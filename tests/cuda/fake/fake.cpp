#include "tests/cuda/fake/fake.h"

#include <cstdlib>

#include "tests/cuda/fake/device.h"

using namespace fission::cuda_fake;

namespace {

void set(Situation& s, const std::string& item) {
  std::size_t equals = item.find('=');
  std::string key = item.substr(0, equals),
              value = equals == std::string::npos ? "" : item.substr(equals + 1);
  if (value.empty()) {
    for (const char* known :
         {"no_driver", "stub", "no_device", "no_image", "no_cublas", "no_cudnn", "old_driver"})
      if (key == known) return void(s.problem = key);
    if (key == "none") return s.problem.clear();
  }
  if (key == "fibers" && (value == "up" || value == "down"))
    return void(s.descending = value == "down");
  if (key == "streams" && (value == "late" || value == "early"))
    return void(s.early = value == "early");
  char* end = nullptr;
  long number = std::strtol(value.c_str(), &end, 10);
  if (!value.empty() && *end == 0) {
    if (key == "lost_after") return void(s.lost_after = number);
    if (key == "lost_error") return void(s.lost_error = int(number));
    if (key == "memory") return void(s.memory = std::size_t(number));
    if (key == "devices") return void(s.devices = int(number));
    if (key == "capability") return void(s.capability = int(number));
  }
  misuse("FISSION_FAKE: unknown setting " + item);
}

const char* kept(const std::string& text) {  // until the next call
  static std::string& last = *new std::string;
  last = text;
  return last.c_str();
}

[[gnu::constructor]] void from_environment() {
  if (const char* settings = std::getenv("FISSION_FAKE")) fission_fake_set(settings);
}

}  // namespace

extern "C" {

void fission_fake_set(const char* settings) {
  std::istringstream in(settings);
  for (std::string item; std::getline(in, item, ',');) set(Device::get().situation, item);
}
void fission_fake_reset() { Device::get().reset(); }
const char* fission_fake_failure() { return Device::get().failure.c_str(); }
const char* fission_fake_leaks() { return kept(Device::get().leaks()); }
long fission_fake_count(const char* what) {
  auto found = Device::get().counts.find(what);
  return found == Device::get().counts.end() ? 0 : found->second;
}
const char* fission_fake_counts() {
  std::ostringstream out;
  for (auto& [name, count] : Device::get().counts)
    out << (name.empty() ? "all" : name) << ' ' << count << '\n';
  return kept(out.str());
}
void fission_fake_clear_counts() { Device::get().counts.clear(); }
void fission_fake_record(int on) {
  on ? Device::get().start_recording() : void(Device::get().stop_recording());
}
void fission_fake_replay() { Device::get().replay(); }

}  // extern "C"
