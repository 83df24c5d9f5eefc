#include "tensor/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "tensor/check.h"

namespace fission {

std::string reason(int error) { return std::generic_category().message(error); }

void Descriptor::open(const std::string& path, int flags) {
  close();
  do fd = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  while (fd < 0 && errno == EINTR);
}
int Descriptor::close() {
  const int was = std::exchange(fd, -1);
  return was < 0 ? 0 : ::close(was);
}

std::uint64_t size_of_regular(const std::string& path, int fd) {
  struct stat status;
  if (::fstat(fd, &status) != 0)
    user_error(path, ": file: its size can't be read (", reason(errno), ")");
  if (!S_ISREG(status.st_mode))
    user_error(path, ": file: this is ",
               S_ISDIR(status.st_mode) ? "a directory" : "a device or pipe",
               ", expected a regular file");
  return std::uint64_t(status.st_size);
}

// O_NONBLOCK: a pipe given by mistake must be refused, not waited for
FileReader::FileReader(const std::string& path) : path_(path), file_(path, O_RDONLY | O_NONBLOCK) {
  if (file_.fd < 0)
    user_error(path, ": file: can't be opened (", reason(errno), "), expected a readable file");
  size_ = size_of_regular(path, file_.fd);
}

void FileReader::read(void* to, std::size_t bytes) {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::read(file_.fd, static_cast<char*>(to) + done, bytes - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      user_error(path_, ": byte ", position_, ": can't be read (", reason(errno), "), expected ",
                 bytes - done, " more bytes");
    if (n == 0)
      user_error(path_, ": byte ", position_, ": the file ends here, expected ", bytes - done,
                 " more bytes");
    done += std::size_t(n);
    position_ += std::uint64_t(n);
  }
}

std::string read_file(const std::string& path) {
  FileReader file(path);
  if (file.size() > std::uint64_t(1) << 30)
    user_error(path, ": file: ", file.size(), " bytes, expected at most 1 GiB of such a file");
  std::string contents(file.size(), '\0');
  file.read(contents.data(), contents.size());
  return contents;
}

std::string read_text(const std::string& path) { return utf8_text(path, read_file(path)); }

std::size_t not_utf8(const std::string& s) {
  auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  for (std::size_t i = 0; i < s.size();) {
    const unsigned first = byte(i), next = byte(i + 1);
    const std::size_t length = first < 0x80   ? 1
                               : first < 0xC2 ? 0
                               : first < 0xE0 ? 2
                               : first < 0xF0 ? 3
                               : first < 0xF5 ? 4
                                              : 0;
    bool good = length > 0;
    for (std::size_t k = 1; k < length; k++) good = good && (byte(i + k) & 0xC0) == 0x80;
    // no longer than need be, no half of a pair of UTF-16, and not beyond U+10FFFF
    good = good && !(first == 0xE0 && next < 0xA0) && !(first == 0xED && next > 0x9F) &&
           !(first == 0xF0 && next < 0x90) && !(first == 0xF4 && next > 0x8F);
    if (!good) return i;
    i += length;
  }
  return std::string::npos;
}

std::string utf8_text(const std::string& path, std::string contents) {
  auto begins = [&](const char* with) { return contents.rfind(with, 0) == 0; };
  if (begins("\xFF\xFE") || begins("\xFE\xFF"))
    user_error(path, ": byte 0: the file is UTF-16, expected text in UTF-8: save it as that");
  if (begins("\xEF\xBB\xBF")) contents.erase(0, 3);
  if (contents.find('\0') != std::string::npos)
    user_error(path, ": byte ", contents.find('\0'), ": a zero byte, expected text in UTF-8");
  if (const std::size_t at = not_utf8(contents); at != std::string::npos)
    user_error(path, ": byte ", at, ": no UTF-8, expected text in UTF-8: save it as that");
  return contents;
}

}  // namespace fission
