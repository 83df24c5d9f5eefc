// Arena: a caching allocator. Memory comes from the system in large pieces and is handed out best-fit, split and
// merged again; nothing goes back before the end, so a steady-state step asks the system for nothing.
// Under the address sanitizer every block is the system's own, so that the sanitizer sees each misuse.
#pragma once
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace fission {

class Arena {
 public:
  struct Statistics {
    std::size_t in_use = 0, peak = 0, held = 0;  // bytes: handed out now, at most, taken from the system
    std::size_t system_calls = 0;                // how often the system was asked
  };
  // `take` returns null when there is no more
  Arena(std::function<void*(std::size_t)> take, std::function<void(void*)> give);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  void* allocate(std::size_t bytes);  // aligned to 64 bytes; throws with sizes when there is no more
  void free(void* p);
  const Statistics& statistics() const { return statistics_; }
  void reset_peak() { statistics_.peak = statistics_.in_use; }

 private:
  struct Block {
    std::size_t size;
    bool used;
    bool first;  // starts a piece taken from the system: never merged with what lies before
  };
  std::function<void*(std::size_t)> take_;
  std::function<void(void*)> give_;
  std::map<char*, Block> blocks_;                       // by address
  std::set<std::pair<std::size_t, char*>> free_;        // by size, then address
  std::vector<void*> pieces_;
  Statistics statistics_;
  std::mutex mutex_;
};

}  // namespace fission
