// Scratch: memory for the length of one operation. It grows to what the largest operation asks for
// and then stays, so that a steady-state step allocates nothing. Pieces are aligned to 64 bytes; a
// Frame gives all back at its end.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "tensor/allocator.h"
#include "tensor/geometry.h"

namespace fission::cpu {

class Scratch {
 public:
  explicit Scratch(Arena& arena) : arena_(arena) {}
  ~Scratch() { release(); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T>
  T* take(Index count) {
    std::size_t bytes = (std::size_t(count) * sizeof(T) + 63) / 64 * 64;
    if (blocks_.empty() || used_ + bytes > blocks_.back().second) {
      std::size_t size = std::max({bytes, together_, std::size_t(1) << 20});
      blocks_.push_back({static_cast<char*>(arena_.allocate(size)), size});
      used_ = 0;
    }
    char* p = blocks_.back().first + used_;
    used_ += bytes;
    return reinterpret_cast<T*>(p);
  }
  template <class T>
  T* zeros(Index count) {
    T* p = take<T>(count);
    std::fill(p, p + count, T(0));
    return p;
  }

  struct Frame {
    explicit Frame(Scratch& s) : scratch(s) {}
    ~Frame() { scratch.reset(); }
    Scratch& scratch;
  };

 private:
  // Several blocks are given back; the next one is large enough for them all. No memory is asked
  // for here: a destructor could not say that there is none.
  void reset() {
    used_ = together_ = 0;
    if (blocks_.size() < 2) return;
    for (auto& b : blocks_) together_ += b.second;
    release();
  }
  void release() {
    for (auto& b : blocks_) arena_.free(b.first);
    blocks_.clear();
  }
  Arena& arena_;
  std::vector<std::pair<char*, std::size_t>> blocks_;
  std::size_t used_ = 0, together_ = 0;
};

}  // namespace fission::cpu
