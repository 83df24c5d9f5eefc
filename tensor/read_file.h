// Every file that is read is read by these. They refuse, each with one UserError line of file,
// place and the system's text: what can't be opened or read, what is no regular file (a pipe is not
// waited for), a file that ends before it should. Text is UTF-8.
#pragma once
#include <cstdint>
#include <string>

namespace fission {

// Of files that are written (nn/io/files.h), too
struct Descriptor {  // an open file, closed on every way out
  int fd = -1;
  Descriptor() = default;
  Descriptor(const std::string& path, int flags) { open(path, flags); }
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void open(const std::string& path, int flags);  // fd −1: errno says why
  int close();                                    // 0, or −1 with errno
};
std::uint64_t size_of_regular(const std::string& path, int fd);
std::string reason(int error);  // errno's, in the system's words

// A regular file, read from front to back.
class FileReader {
 public:
  explicit FileReader(const std::string& path);
  std::uint64_t size() const { return size_; }
  void read(void* to, std::size_t bytes);  // the next bytes, all of them or UserError

 private:
  std::string path_;
  Descriptor file_;
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

}  // namespace fission
