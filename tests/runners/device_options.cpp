// Facts of the options that say where a program computes, and how it uses a GPU.
#include "runners/common/program.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {

struct Parsed {
  int status = 0;
  std::string refusal;
  DeviceOptions options;
};
Parsed parse(const Arguments& given) {
  Parsed p;
  CommandLine app{"", "program"};
  p.options.add_to(app);
  std::vector<const char*> words{"program"};
  for (const std::string& word : given) words.push_back(word.c_str());
  try {
    app.parse(int(words.size()), words.data());
  } catch (const UserError& e) {
    p.status = status_user_error, p.refusal = e.what();
  }
  return p;
}
DeviceSettings settings(const Arguments& given) {
  Parsed p = parse(given);
  CHECK(p.refusal == "");
  return p.options.settings;
}
std::size_t limit(const std::string& given) {
  return settings({"--memory-limit", given}).memory_limit;
}

}  // namespace

TEST_CASE(
    "device options: without one a GPU computes in whole float32, the same bits in each run, with "
    "all its memory") {
  DeviceSettings s = settings({});
  CHECK(s.convolution == "auto");
  CHECK(!s.autotune);
  CHECK(!s.tf32);
  CHECK(s.deterministic);
  CHECK(s.memory_limit == 0);
}

TEST_CASE("device options: each reaches the backend's settings, and no other of them") {
  CHECK(settings("--conv own").convolution == "own");
  CHECK(settings("--conv cudnn").convolution == "cudnn");
  for (int chosen = 0; chosen < 3; chosen++) {
    CAPTURE(chosen);
    DeviceSettings s =
        settings({Arguments{"--autotune", "--tf32", "--no-deterministic"}[std::size_t(chosen)]});
    CHECK(s.autotune == (chosen == 0));
    CHECK(s.tf32 == (chosen == 1));
    CHECK(s.deterministic == (chosen != 2));
  }
}

TEST_CASE("device options: --memory-limit takes bytes, and K, M, G and T of 1024") {
  CHECK(limit("4096") == 4096);
  CHECK(limit("3K") == 3072);
  CHECK(limit("500m") == 500u << 20);
  CHECK(limit("20G") == std::size_t(20) << 30);
  CHECK(limit("1T") == std::size_t(1) << 40);
}

TEST_CASE(
    "device options: what is no amount of memory, or no way of convolving, is refused with what is "
    "expected") {
  for (const char* wrong :
       {"-5", "1.5G", "lots", "G", "", "20GB", "5Q", "9999999T", "99999999999999999999"}) {
    CAPTURE(wrong);
    Parsed p = parse({"--memory-limit", wrong});
    CHECK(p.status == 2);
    CHECK(p.refusal == text("--memory-limit: '", wrong,
                            "': expected bytes up to 1e15, or 500M, 20G (of 1024) (program --help "
                            "shows the options)"));
  }
  CHECK(parse("--conv fft").refusal.find("--conv: fft not in {own,cudnn,auto}") == 0);
}
