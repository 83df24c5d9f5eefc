// Facts of nn/files: what is under a name after an error, a full disk (RLIMIT_FSIZE stands in for
// it) or a kill.
#include "nn/io/files.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tensor/check.h"
#include "tests/nn/scratch.h"

using namespace fission;

namespace {

bool exists(const std::string& path) { return std::filesystem::exists(path); }

// No file can grow beyond `bytes` while this lives.
struct SmallDisk {
  rlimit before;
  void (*handler)(int);
  explicit SmallDisk(rlim_t bytes) : handler(::signal(SIGXFSZ, SIG_IGN)) {
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const rlimit small{bytes, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  }
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before);
    ::signal(SIGXFSZ, handler);
  }
};

// The signal that ends a child process which runs `action` under FISSION_CRASH_AT=`at`; 0 if it
// runs through.
template <class Action>
int ending_signal(const char* at, Action action) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::setenv("FISSION_CRASH_AT", at, 1);
    action();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace

TEST_CASE("files: what is written atomically is read back, over an older and longer file too") {
  Scratch dir;
  const std::string contents("a\0b\nc", 5);
  put(dir / "f", "something longer than it");
  write_file_atomically(dir / "f", contents);
  CHECK(read_file(dir / "f") == contents);
}

TEST_CASE("files: an empty file is written and read back") {
  Scratch dir;
  write_file_atomically(dir / "f", "");
  CHECK(exists(dir / "f"));
  CHECK(read_file(dir / "f").empty());
}

TEST_CASE("files: of writers of one file at once all succeed, and it is always one's whole") {
  Scratch dir;
  std::vector<std::thread> all;
  for (char c : {'1', '2', '3'})
    all.emplace_back([&, c] {
      for (std::size_t n = 1; n < 50; n++) {
        CHECK(refusal([&] { write_file_atomically(dir / "f", std::string(999 * n, c)); }) == "");
        const std::string now = read_file(dir / "f");
        CHECK(now == std::string(now.size(), now[0]));
      }
    });
  for (auto& w : all) w.join();
}

TEST_CASE("files: chunks are written one after the other") {
  Scratch dir;
  write_file_atomically(dir / "f", 6, [](const WriteChunk& write) {
    write("abc", 3);
    write("", 0);
    write("def", 3);
  });
  CHECK(read_file(dir / "f") == "abcdef");
}

TEST_CASE("files: a name without a directory is written in the working directory") {
  Scratch dir;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path);
  write_file_atomically("plain", "x");
  std::filesystem::current_path(before);
  CHECK(read_file(dir / "plain") == "x");
}

TEST_CASE("files: no temporary file stays behind, and a stale one is overwritten") {
  Scratch dir;
  put(dir / "f.tmp", "left by a killed run, and longer");
  write_file_atomically(dir / "f", "new");
  CHECK_FALSE(exists(dir / "f.tmp"));
  CHECK(read_file(dir / "f") == "new");
}

TEST_CASE(
    "files: on a full disk the old file stays whole, the temporary one goes, and the error names "
    "all") {
  Scratch dir;
  write_file_atomically(dir / "f", "old");
  std::string message;
  {
    SmallDisk disk(4096);
    message = refusal([&] { write_file_atomically(dir / "f", std::string(10000, 'x')); });
  }
  CHECK(read_file(dir / "f") == "old");
  CHECK_FALSE(exists(dir / "f.tmp"));
  CHECK(
      has(message,
          (dir / "f") +
              ": byte 4096: could not be written (File too large), expected to write 10000 bytes"));
  CHECK(has(message, "unchanged"));
}

TEST_CASE(
    "files: an error thrown while the file is being written leaves the old file and no temporary "
    "one") {
  Scratch dir;
  write_file_atomically(dir / "f", "old");
  const auto throwing = [](const WriteChunk& write) {
    write("ne", 2);
    throw UserError("NaN in the weights");
  };
  CHECK(refusal([&] { write_file_atomically(dir / "f", 3, throwing); }) == "NaN in the weights");
  CHECK(read_file(dir / "f") == "old");
  CHECK_FALSE(exists(dir / "f.tmp"));
}

TEST_CASE("files: fewer bytes than were announced are a broken invariant, not a file") {
  Scratch dir;
  const auto short_body = [](const WriteChunk& write) { write("ab", 2); };
  CHECK_THROWS_AS(write_file_atomically(dir / "f", 3, short_body), InvariantError);
  CHECK_FALSE(exists(dir / "f"));
  CHECK_FALSE(exists(dir / "f.tmp"));
}

TEST_CASE(
    "files: a place that can't be written to is refused, with the system's reason and the bytes "
    "wanted") {
  Scratch dir;
  put(dir / "file", "");
  const std::string path = dir / "file/sub";  // refused to root too
  const std::string message = refusal([&] { write_file_atomically(path, "12345"); });
  CHECK(has(message,
            path + ": byte 0: could not be created (Not a directory), expected to write 5 bytes"));
}

TEST_CASE("files: a directory is not replaced by a file, and no temporary file is left beside it") {
  Scratch dir;
  make_directories(dir / "d");
  const std::string message = refusal([&] { write_file_atomically(dir / "d", "x"); });
  CHECK(has(message, "d: file: this is a directory, expected a file's name"));
  CHECK_FALSE(exists(dir / "d.tmp"));
}

TEST_CASE("files: reading a missing file is refused, with the system's reason") {
  Scratch dir;
  const std::string message = refusal([&] { read_file(dir / "none"); });
  CHECK(message ==
        (dir / "none") +
            ": file: can't be opened (No such file or directory), expected a readable file");
}

TEST_CASE("files: a directory or a pipe given for a file is refused") {
  Scratch dir;
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK(has(refusal([&] { read_file(dir.path); }), "this is a directory, expected a regular file"));
  CHECK(has(refusal([&] { read_file(dir / "pipe"); }),
            "this is a device or pipe, expected a regular file"));
}

TEST_CASE("files: reading beyond the end names the byte and what is missing") {
  Scratch dir;
  put(dir / "f", "abcdef");
  FileReader file(dir / "f");
  char to[8];
  file.read(to, 4);
  CHECK(file.size() == 6);
  CHECK(refusal([&] { file.read(to, 8); }) ==
        (dir / "f") + ": byte 6: the file ends here, expected 6 more bytes");
}

TEST_CASE("files: directories are made with all their parents, and making them again is no error") {
  Scratch dir;
  make_directories(dir / "a/b//c/");
  make_directories(dir / "a/b//c/");
  CHECK(std::filesystem::is_directory(dir / "a/b/c"));
}

TEST_CASE("files: a directory below a file is refused, naming the file in the way") {
  Scratch dir;
  put(dir / "file", "");
  const std::string message = refusal([&] { make_directories(dir / "file/sub"); });
  CHECK(message ==
        (dir / "file/sub") + ": directory: " + (dir / "file") + " is a file, expected a directory");
}

TEST_CASE("files: a directory that the system can't create is refused with its reason") {
  const std::string message = refusal([] { make_directories("/proc/no-such-directory"); });
  CHECK(has(message,
            "/proc/no-such-directory: directory: /proc/no-such-directory can't be created ("));
  Scratch dir;
  std::filesystem::create_symlink("nowhere", dir / "link");
  CHECK(has(refusal([&] { make_directories(dir / "link"); }), "(a link that leads nowhere)"));
}

TEST_CASE("files: a directory that may not be written to is refused, unless one is root") {
  if (::geteuid() == 0) {
    MESSAGE("skipped: permissions don't bind root");
    return;
  }
  Scratch dir;
  REQUIRE(::mkdir((dir / "d").c_str(), 0500) == 0);
  CHECK(has(refusal([&] { make_directories(dir / "d"); }),
            "can't be written to (Permission denied), expected a writable one"));
}

TEST_CASE("files: where the name is a link its target is written, and the link stays") {
  Scratch dir;
  std::filesystem::create_directory(dir / "far");
  put(dir / "far/target", "old");
  std::filesystem::create_symlink("far/target", dir / "link");
  std::filesystem::create_symlink("link", dir / "twice");
  std::filesystem::create_symlink("far/not-yet", dir / "dangling");
  write_file_atomically(dir / "twice", "new");
  write_file_atomically(dir / "dangling", "made");
  CHECK(read_file(dir / "far/target") == "new");
  CHECK(read_file(dir / "far/not-yet") == "made");
  for (const char* link : {"link", "twice", "dangling"})
    CHECK(std::filesystem::is_symlink(dir / link));
  CHECK_FALSE(exists(dir / "far/target.tmp"));
}

TEST_CASE("files: what is no file is written through, and stays what it is") {
  Scratch dir;
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  const int reader = ::open((dir / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  write_file_atomically(dir / "pipe", "through");
  char got[16] = {};
  CHECK(::read(reader, got, sizeof got) == 7);
  CHECK(std::string(got) == "through");
  ::close(reader);
  CHECK(has(refusal([&] { write_file_atomically(dir / "pipe", "x"); }), "opened: nobody reads it"));
  CHECK(std::filesystem::is_fifo(dir / "pipe"));
  write_file_atomically("/dev/null", "nothing");
  CHECK(std::filesystem::is_character_file("/dev/null"));
  std::filesystem::create_symlink("/dev/full", dir / "full");
  const std::string message = refusal([&] { write_file_atomically(dir / "full", "much"); });
  CHECK(has(message, (dir / "full") + ": byte 0: could not be written (No space left on device)"));
  CHECK(std::filesystem::is_symlink(dir / "full"));
  CHECK(has(refusal([&] { write_file_atomically(dir.path, "x"); }), "this is a directory"));
}

TEST_CASE("log: opened without a word of its length, it is locked and unchanged until keep") {
  Scratch dir;
  put(dir / "log", "one\ntwo\n");
  AppendLog log(dir / "log", AppendLog::Open::create);
  CHECK(has(refusal([&] { AppendLog second(dir / "log", AppendLog::Open::existing); }),
            "another process adds lines to it"));
  CHECK(read_file(dir / "log") == "one\ntwo\n");
  log.keep(4);
  log.append("TWO");
  CHECK(read_file(dir / "log") == "one\nTWO\n");
}

TEST_CASE("log: lines are added, and length counts their bytes") {
  Scratch dir;
  AppendLog log(dir / "log.jsonl", 0);
  log.append("{\"epoch\":1}");
  log.append("");
  CHECK(log.length() == 13);
  CHECK(read_file(dir / "log.jsonl") == "{\"epoch\":1}\n\n");
}

TEST_CASE("log: opening cuts what the checkpoint doesn't know of, and goes on from there") {
  Scratch dir;
  put(dir / "log", "one\ntwo\nthr");
  AppendLog log(dir / "log", 4);
  CHECK(read_file(dir / "log") == "one\n");
  log.append("TWO");
  CHECK(log.length() == 8);
  CHECK(read_file(dir / "log") == "one\nTWO\n");
}

TEST_CASE("log: opening at length 0 empties an old log") {
  Scratch dir;
  put(dir / "log", "old\n");
  AppendLog log(dir / "log", 0);
  CHECK(read_file(dir / "log").empty());
}

TEST_CASE("log: a second one beside it is refused, and what the first wrote stays") {
  Scratch dir;
  {
    AppendLog log(dir / "log", 0);
    log.append("one");
    for (int length : {0, 4}) {
      const std::string message = refusal([&] { AppendLog second(dir / "log", length); });
      CHECK(message ==
            (dir / "log") + ": file: another process adds lines to it, expected one at a time");
    }
    log.append("two");
  }
  CHECK(read_file(dir / "log") == "one\ntwo\n");
  AppendLog next(dir / "log", 4);  // the first is gone
  CHECK(read_file(dir / "log") == "one\n");
}

TEST_CASE("log: a log shorter than the checkpoint knows is refused, naming both lengths") {
  Scratch dir;
  put(dir / "log", "one\n");
  const std::string message = refusal([&] { AppendLog log(dir / "log", 9); });
  CHECK(message ==
        (dir / "log") +
            ": end of file: 4 bytes, expected at least the 9 bytes the checkpoint knows of");
  CHECK(read_file(dir / "log") == "one\n");
}

TEST_CASE("log: a missing log that the checkpoint knows of is refused, not created") {
  Scratch dir;
  const std::string message = refusal([&] { AppendLog log(dir / "log", 9); });
  CHECK(has(message, (dir / "log") + ": file: can't be opened (No such file or directory), "
                                     "expected a writable log"));
  CHECK_FALSE(exists(dir / "log"));
}

TEST_CASE("log: a cut amid a line is refused, for it is another run's log") {
  Scratch dir;
  put(dir / "log", "one\ntwo\n");
  const std::string message = refusal([&] { AppendLog log(dir / "log", 6); });
  CHECK(has(message,
            "byte 5: amid a line, expected the end of the last line the checkpoint knows of"));
  CHECK(read_file(dir / "log") == "one\ntwo\n");
}

TEST_CASE("log: on a full disk no part of a line stays, and the next line can still be added") {
  Scratch dir;
  AppendLog log(dir / "log", 0);
  log.append("first");
  std::string message;
  {
    SmallDisk disk(10);
    message = refusal([&] { log.append("a longer line"); });
  }
  CHECK(
      has(message,
          (dir / "log") +
              ": byte 10: a line could not be added (File too large), expected to write 14 bytes"));
  CHECK(has(message, "the log is as before"));
  CHECK(log.length() == 6);
  log.append("second");
  CHECK(read_file(dir / "log") == "first\nsecond\n");
}

TEST_CASE("log: a line break within a line is a broken invariant") {
  Scratch dir;
  AppendLog log(dir / "log", 0);
  CHECK_THROWS_AS(log.append("a\nb"), InvariantError);
  CHECK(log.length() == 0);
}

TEST_CASE(
    "crash: a kill before the rename leaves the old file whole, and the next write succeeds") {
  Scratch dir;
  write_file_atomically(dir / "f", "old");
  CHECK(ending_signal("before-rename", [&] { write_file_atomically(dir / "f", "new"); }) ==
        SIGKILL);
  CHECK(read_file(dir / "f") == "old");
  CHECK(read_file(dir / "f.tmp") == "new");
  write_file_atomically(dir / "f", "newer");
  CHECK(read_file(dir / "f") == "newer");
  CHECK_FALSE(exists(dir / "f.tmp"));
}

TEST_CASE(
    "crash: a kill before the first byte leaves the old file whole and an empty temporary one") {
  Scratch dir;
  write_file_atomically(dir / "f", "old");
  CHECK(ending_signal("before-write", [&] { write_file_atomically(dir / "f", "new"); }) == SIGKILL);
  CHECK(read_file(dir / "f") == "old");
  CHECK(read_file(dir / "f.tmp").empty());
}

TEST_CASE("crash: a kill after the rename leaves the new file whole") {
  Scratch dir;
  write_file_atomically(dir / "f", "old");
  CHECK(ending_signal("after-rename", [&] { write_file_atomically(dir / "f", "new"); }) == SIGKILL);
  CHECK(read_file(dir / "f") == "new");
  CHECK_FALSE(exists(dir / "f.tmp"));
}

TEST_CASE("crash: name:count kills on the count-th passing of that name only") {
  Scratch dir;
  const auto passings = [&] {
    for (const char* line : {"1", "2", "3", "4"}) {
      put(dir / "reached", line);
      crash_point("another-name");
      crash_point("checkpoint-written");
    }
  };
  CHECK(ending_signal("checkpoint-written:3", passings) == SIGKILL);
  CHECK(read_file(dir / "reached") == "3");
  CHECK(ending_signal("checkpoint-written:5", passings) == 0);
  CHECK(ending_signal("checkpoint", passings) == 0);
}

TEST_CASE("crash: a count that is no number is refused") {
  ::setenv("FISSION_CRASH_AT", "here:soon", 1);
  const std::string message = refusal([] { crash_point("here"); });
  ::unsetenv("FISSION_CRASH_AT");
  CHECK(message == "FISSION_CRASH_AT: count: \"soon\", expected a whole number from 1 on");
}
