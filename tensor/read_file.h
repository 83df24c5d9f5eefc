// Every file that is read is read by these. They refuse, each with one UserError line of file,
// place and the system's text: what can't be opened or read, what is no regular file (a pipe is not
// waited for), a file that ends before it should. Text is UTF-8.
#pragma once
#include <cstdint>
#include <string>

namespace fission {

// A regular file, read from front to back.
class FileReader {
 public:
  explicit FileReader(const std::string& path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;
  std::uint64_t size() const { return size_; }
  void read(void* to, std::size_t bytes);  // the next bytes, all of them or UserError

 private:
  std::string path_;
  int fd_;
  std::uint64_t size_ = 0, position_ = 0;
};
std::string read_file(const std::string& path);

// The text of a file that people wrote, as JSON and terminals want it. A byte order mark at its
// begin, as Windows' editors put there, is left out. Other encodings than UTF-8 are refused
// (UserError, with the file and the byte).
std::string read_text(const std::string& path);
std::string utf8_text(const std::string& path, std::string contents);
// The first byte that is no UTF-8; npos: all of it is
std::size_t not_utf8(const std::string& s);

// Of files that are written (nn/io/files.h), too
int open_file(const std::string& path, int flags);  // −1: errno says why
std::uint64_t size_of_regular(const std::string& path, int fd);

}  // namespace fission
