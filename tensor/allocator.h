// Arena: a caching allocator. Memory comes from the system in large pieces and is handed out
// best-fit, split and merged again. Where no free block is large enough, the pieces that lie free
// go back and one as large as all of them comes
// in their place: either the pieces get fewer or the memory more, so a steady-state step asks the
// system for nothing. Under the address sanitizer, and where FISSION_NO_CACHING is set, every block
// is the system's own, so that the sanitizer, or NVIDIA's, sees each misuse.
#pragma once
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "tensor/check.h"

namespace fission {

// What was asked for does not fit: the user's batch, network or limit is too large for the device.
struct OutOfMemory : UserError {
  using UserError::UserError;
};

class Arena {
 public:
  struct Statistics {
    std::size_t in_use = 0, peak = 0,
                held = 0;          // bytes: handed out now, at most, taken from the system
    std::size_t system_calls = 0;  // how often the system was asked
  };
  // `take` returns null when there is no more; `give` gets what `take` gave, and its bytes, when
  // nobody uses it any more.
  // place: whose memory it is, for the message when there is no more
  Arena(
      std::function<void*(std::size_t)> take, std::function<void(void*, std::size_t)> give,
      std::function<std::string()> place = [] { return "host memory"; });
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  void* allocate(std::size_t bytes);  // aligned to 256 bytes (cuBLAS asks that of its workspace);
                                      // OutOfMemory when there is no more
  void free(void* p);
  bool holds(const void* p) const;  // is this an address in what was taken from the system?
  const Statistics& statistics() const { return statistics_; }
  void reset_peak() { statistics_.peak = statistics_.in_use; }

 private:
  struct Block {
    std::size_t size;
    bool used;
    bool first;  // starts a piece taken from the system: never merged with what lies before
  };
  std::set<std::pair<std::size_t, char*>>::iterator grow(
      std::size_t size);  // a free block of at least that size
  std::function<void*(std::size_t)> take_;
  std::function<void(void*, std::size_t)> give_;
  std::function<std::string()> place_;
  std::map<char*, Block> blocks_;                 // by address
  std::set<std::pair<std::size_t, char*>> free_;  // by size, then address
  std::map<char*, std::size_t> pieces_;           // as taken
  Statistics statistics_;
  mutable std::mutex mutex_;
};

// Of host memory, in whole huge pages (2 MiB) as a rule, and not malloc's: what that is given back
// it may keep, and then the process does not shrink.
struct HostArena : Arena {
  HostArena();
};

}  // namespace fission
