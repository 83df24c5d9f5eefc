// Files that survive a kill and a full disk: a file is written beside its final name, flushed, then
// renamed; a log grows by whole lines. It refuses, each with one UserError line of file, place and
// the system's text: what can't be opened, read, created or written, a file shorter than it should
// be, a log cut amid a line.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "tensor/read_file.h"

namespace fission {

using WriteChunk = std::function<void(const void* data, std::size_t bytes)>;

// Writes path.tmp in the same directory (a stale one is overwritten), fsync, rename, fsync of the
// directory. After an error the temporary file is gone and what stood under `path` is untouched.
// Where `path` is a symbolic link, this is done to its target; what is neither a file nor a
// directory (a device, a pipe) is written as it stands.
// `bytes` is what `body`
// will write in all. Crash points: before-write (empty path.tmp), before-rename, after-rename.
void write_file_atomically(const std::string& path, std::uint64_t bytes,
                           const std::function<void(const WriteChunk&)>& body);
void write_file_atomically(const std::string& path, const std::string& contents);

// Of a file that a command is told to write: nothing stands there, or one that begins as `kind`
// does (or is empty), or no regular file; any other would be lost by a slip of the hand
// (UserError).
void check_output(const std::string& option, const std::string& path, const std::string& begins,
                  const std::string& kind);

void make_directories(const std::string& path);  // all of its components; it must be writable

// log.jsonl: lines are only ever added, each flushed to the disk before append returns, by one
// process at a time: a second one is refused.
class AppendLog {
 public:
  enum class Open { create, existing };
  AppendLog(const std::string& path, Open mode);  // changes nothing in a log that is there
  // opens it (creates it if length is 0), and keep(length)
  AppendLog(const std::string& path, std::uint64_t length);
  // keeps the first `length` bytes (what the checkpoint knows of) and drops the rest
  void keep(std::uint64_t length);
  void append(const std::string& line);  // without its '\n'; after an error the log is as before
  std::uint64_t length() const { return length_; }

 private:
  std::string path_;
  Descriptor file_;
  std::uint64_t length_ = 0;
};

// For the tests of resuming: with FISSION_CRASH_AT=name[:count[:signal]] in the environment the
// process sends itself that signal (SIGKILL if none is given: no destructor, no flush) when it
// passes the point of that name for the count-th time (1 if not given). Without the variable it
// does nothing.
void crash_point(const std::string& name);

}  // namespace fission
