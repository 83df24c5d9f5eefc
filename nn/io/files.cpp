#include "nn/io/files.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "tensor/check.h"

namespace fission {
namespace {

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// The number of bytes written; fewer than wanted after an error, which is in errno.
std::size_t write_all(int fd, const void* data, std::size_t bytes) {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::write(fd, static_cast<const char*>(data) + done, bytes - done);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = ENOSPC;
    if (n <= 0) break;
    done += std::size_t(n);
  }
  return done;
}

// A name is on the disk only when its directory is; file systems that can't flush a directory
// answer EINVAL. One that may be entered and written, but not read, can't be flushed by us: the
// system does it in its time.
void flush_directory(const std::string& path) {
  const Descriptor directory(path, O_RDONLY | O_DIRECTORY);
  if (directory.fd < 0 && errno == EACCES) return;
  if (directory.fd < 0 || (::fsync(directory.fd) != 0 && errno != EINVAL))
    user_error(path, ": directory: could not be flushed to the disk (", reason(errno),
               "), expected a directory that can be");
}

// cuts an open log
void cut(const std::string& path, int fd, std::uint64_t length) {
  const std::uint64_t size = size_of_regular(path, fd);
  if (size < length)
    user_error(path, ": end of file: ", size, " bytes, expected at least the ", length,
               " bytes the checkpoint knows of");
  if (size > length && (::ftruncate(fd, off_t(length)) != 0 || ::fsync(fd) != 0))
    user_error(path, ": byte ", length, ": could not be cut here (", reason(errno),
               "), expected a writable file");
}

// Where a name leads to, by symbolic links of which the last may lead to nothing yet
std::string followed(std::string path) {
  char target[4096];
  for (int links = 0; links < 40; links++) {  // as many as Linux follows
    const ssize_t n = ::readlink(path.c_str(), target, sizeof target);
    if (n < 0 || n == ssize_t(sizeof target)) break;
    const std::string to(target, std::size_t(n));
    path = to[0] == '/' ? to : directory_of(path) + "/" + to;
  }
  return path;
}

// Into a device or a pipe: nothing of it can be replaced or taken back.
void write_through(const std::string& path, const std::function<void(const WriteChunk&)>& body) {
  std::uint64_t done = 0;
  Descriptor file;
  for (int tries = 0; tries < 100; tries++) {  // a pipe's reader may be a moment late
    file.open(path, O_WRONLY | O_NONBLOCK);
    if (file.fd >= 0 || errno != ENXIO) break;
    ::usleep(10000);
  }
  const auto fail = [&](const char* what) {
    user_error(path, ": byte ", done, ": could not be ", what, " (", reason(errno),
               "), expected a device or pipe that takes what is written");
  };
  if (file.fd < 0) fail(errno == ENXIO ? "opened: nobody reads it" : "opened");
  ::fcntl(file.fd, F_SETFL, O_WRONLY);
  body([&](const void* data, std::size_t size) {
    const std::size_t written = write_all(file.fd, data, size);
    done += written;
    if (written < size) fail("written");
  });
  if (file.close() != 0) fail("closed");
}

}  // namespace

void write_file_atomically(const std::string& name, std::uint64_t bytes,
                           const std::function<void(const WriteChunk&)>& body) {
  struct stat status;
  const bool there = ::stat(name.c_str(), &status) == 0;
  if (!there && errno == ELOOP)
    user_error(name, ": file: ", reason(ELOOP), ", expected a name that leads to a file");
  if (there && S_ISDIR(status.st_mode))
    user_error(name, ": file: this is a directory, expected a file's name");
  if (there && !S_ISREG(status.st_mode)) return write_through(name, body);
  const std::string path = followed(name), temporary = path + ".tmp";
  std::uint64_t done = 0;
  const auto fail = [&](const char* what, int error) {
    user_error(path, ": byte ", done, ": could not be ", what, " (", reason(error),
               "), expected to write ", bytes, " bytes; what stood under this name is unchanged");
  };
  // Of processes that write the same file at once, each waits for those before it. What it waited
  // for has another name then, or none.
  Descriptor file;
  for (int tries = 0; tries < 1000; tries++) {
    file.open(temporary, O_WRONLY | O_CREAT | O_NONBLOCK);  // it may be anything
    if (file.fd < 0) fail("created", errno);
    ::flock(file.fd, LOCK_EX);
    struct stat named;
    if (::fstat(file.fd, &status) == 0 && ::stat(temporary.c_str(), &named) == 0 &&
        named.st_ino == status.st_ino)
      break;
  }
  try {
    if (::ftruncate(file.fd, 0) != 0) fail("emptied", errno);
    crash_point("before-write");
    body([&](const void* data, std::size_t size) {
      const std::size_t written = write_all(file.fd, data, size);
      done += written;
      if (written < size) fail("written", errno);
    });
    FISSION_CHECK(done == bytes, "[files] ", path, ": ", done, " bytes written, ", bytes,
                  " announced");
    if (::fsync(file.fd) != 0) fail("flushed to the disk", errno);
    crash_point("before-rename");
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail("renamed to its name", errno);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  crash_point("after-rename");
  flush_directory(directory_of(path));
}

void write_file_atomically(const std::string& path, const std::string& contents) {
  write_file_atomically(path, contents.size(),
                        [&](const WriteChunk& write) { write(contents.data(), contents.size()); });
}

void check_output(const std::string& option, const std::string& path, const std::string& begins,
                  const std::string& kind) {
  std::error_code none;
  if (path == "-") user_error(option, " -: expected a file's name");
  if (!std::filesystem::is_regular_file(path, none)) return;
  FileReader there(path);
  std::string first(std::min<std::uint64_t>(there.size(), begins.size()), '\0');
  there.read(first.data(), first.size());
  if (!first.empty() && first != begins)
    user_error(option, " ", path, ": another kind of file stands there, expected a new name, or ",
               kind, " to replace");
}

void make_directories(const std::string& path) {
  if (path.empty()) user_error("(no name): directory: an empty name, expected a directory's");
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    struct stat status;
    if (::mkdir(part.c_str(), 0777) == 0) {
      flush_directory(directory_of(part));
    } else {
      const int error = errno;
      const bool is_there = ::stat(part.c_str(), &status) == 0;
      if (is_there && !S_ISDIR(status.st_mode))
        user_error(path, ": directory: ", part, " is a file, expected a directory");
      if (!is_there)
        user_error(path, ": directory: ", part, " can't be created (",
                   error == EEXIST ? "a link that leads nowhere" : reason(error),
                   "), expected a writable place");
    }
    if (end == std::string::npos) break;
  }
  if (::access(path.c_str(), W_OK | X_OK) != 0)
    user_error(path, ": directory: can't be written to (", reason(errno),
               "), expected a writable one");
}

AppendLog::AppendLog(const std::string& path, Open mode)
    : path_(path), file_(path, O_RDWR | O_APPEND | (mode == Open::create ? O_CREAT : 0)) {
  if (file_.fd < 0)
    user_error(path, ": file: can't be opened (", reason(errno), "), expected ",
               mode == Open::create ? "a place where a log can be written" : "a writable log");
  if (::flock(file_.fd, LOCK_EX | LOCK_NB) != 0 &&
      errno == EWOULDBLOCK)  // other errors: a file system without locks
    user_error(path, ": file: another process adds lines to it, expected one at a time");
}

AppendLog::AppendLog(const std::string& path, std::uint64_t length)
    : AppendLog(path, length == 0 ? Open::create : Open::existing) {
  keep(length);
}

void AppendLog::keep(std::uint64_t length) {
  char last = '\n';
  if (length > 0 && size_of_regular(path_, file_.fd) >= length &&
      ::pread(file_.fd, &last, 1, off_t(length - 1)) != 1)
    user_error(path_, ": byte ", length - 1, ": can't be read (", reason(errno),
               "), expected the end of a line");
  if (last != '\n')
    user_error(path_, ": byte ", length - 1,
               ": amid a line, expected the end of the last line the checkpoint knows of");
  cut(path_, file_.fd, length);
  if (length == 0) flush_directory(directory_of(path_));
  length_ = length;
}

void AppendLog::append(const std::string& line) {
  FISSION_CHECK(line.find('\n') == std::string::npos, "[files] ", path_,
                ": a log line holds a line break: ", line);
  const std::string whole = line + "\n";
  const std::size_t written = write_all(file_.fd, whole.data(), whole.size());
  if (written < whole.size() || ::fsync(file_.fd) != 0) {
    const int error = errno;
    const bool undone = ::ftruncate(file_.fd, off_t(length_)) == 0;
    user_error(path_, ": byte ", length_ + written, ": a line could not be added (", reason(error),
               "), expected to write ", whole.size(), " bytes; ",
               undone ? "the log is as before" : "part of the line may stand in the log");
  }
  length_ += whole.size();
}

void crash_point(const std::string& name) {
  static std::atomic<long> passed{0};
  const char* setting = std::getenv("FISSION_CRASH_AT");
  if (!setting) return;
  const std::string wanted = setting;
  const auto colon = wanted.find(':');
  if (wanted.substr(0, colon) != name) return;
  long count = 1, signal = SIGKILL;
  if (colon != std::string::npos) {
    char* end = nullptr;
    count = std::strtol(setting + colon + 1, &end, 10);
    if (*end == ':') signal = std::strtol(end + 1, &end, 10);
    if (*end || count < 1)
      user_error("FISSION_CRASH_AT: count: \"", wanted.substr(colon + 1),
                 "\", expected a whole number from 1 on");
  }
  if (++passed == count) ::raise(int(signal));
}

}  // namespace fission
