#include "tensor/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "tensor/check.h"

namespace fission {
namespace {
constexpr std::size_t alignment = 256, piece = std::size_t(8) << 20;
#if defined(__SANITIZE_ADDRESS__)
bool caching() { return false; }
#else
bool caching() {
  static const bool none_of_it = std::getenv("FISSION_NO_CACHING");
  return !none_of_it;
}
#endif
constexpr std::size_t huge_page = std::size_t(2) << 20;
std::size_t in_units(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}
std::size_t in_huge_pages(std::size_t bytes) {  // or as it is, where there is no such number
  return bytes > std::numeric_limits<std::size_t>::max() - huge_page ? bytes
                                                                     : in_units(bytes, huge_page);
}
void* pages(std::size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}
std::string mib(std::size_t bytes) { return text((bytes + (1 << 20) - 1) >> 20, " MiB"); }
}  // namespace

Arena::Arena(std::function<void*(std::size_t)> take, std::function<void(void*, std::size_t)> give,
             std::function<std::string()> place)
    : take_(std::move(take)), give_(std::move(give)), place_(std::move(place)) {}

Arena::~Arena() {
  for (auto& piece : pieces_) give_(piece.first, piece.second);
}

std::set<std::pair<std::size_t, char*>>::iterator Arena::grow(std::size_t size) {
  std::size_t together = 0;
  for (auto at = free_.begin(); at != free_.end();) {
    auto whole = pieces_.find(at->second);
    if (whole == pieces_.end() || whole->second != at->first) {
      ++at;
      continue;
    }
    together += whole->second;
    give_(whole->first, whole->second);
    blocks_.erase(whole->first);
    pieces_.erase(whole);
    at = free_.erase(at);
  }
  statistics_.held -= together;
  std::size_t want = caching() ? in_huge_pages(std::max({size, piece, together})) : size;
  auto* p = static_cast<char*>(take_(want));
  if (!p) want = size, p = static_cast<char*>(take_(want));
  if (!p)
    throw OutOfMemory(
        text("[memory] ", place_(), ": ", mib(size), " asked for, ", mib(statistics_.in_use),
             " in use, ", mib(statistics_.held),
             " held, and there is no more; expected a smaller batch (or network), or more memory"));
  pieces_[p] = want;
  blocks_[p] = {want, false, true};
  statistics_.held += want;
  statistics_.system_calls++;
  return free_.insert({want, p}).first;
}

void* Arena::allocate(std::size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  const std::size_t unit = caching() ? alignment : 4;  // what lies behind a block is no one's
  std::size_t size = std::max(in_units(bytes, unit), unit);
  auto best = free_.lower_bound({size, nullptr});
  if (best == free_.end()) best = grow(size);
  char* p = best->second;
  free_.erase(best);
  Block& block = blocks_[p];
  block.used = true;
  if (block.size - size >= alignment) {
    blocks_[p + size] = {block.size - size, false, false};
    free_.insert({block.size - size, p + size});
    block.size = size;
  }
  statistics_.in_use += block.size;
  statistics_.peak = std::max(statistics_.peak, statistics_.in_use);
  return p;
}

void Arena::free(void* pointer) {
  if (!pointer) return;
  std::lock_guard<std::mutex> lock(mutex_);
  auto at = blocks_.find(static_cast<char*>(pointer));
  FISSION_CHECK(at != blocks_.end() && at->second.used,
                "[allocator] free of a pointer that is not in use");
  statistics_.in_use -= at->second.size;
  at->second.used = false;
  if (!caching()) {
    statistics_.held -= at->second.size;
    give_(pointer, at->second.size);
    pieces_.erase(at->first);
    blocks_.erase(at);
    return;
  }
  auto next = std::next(at);
  if (next != blocks_.end() && !next->second.used && !next->second.first) {
    free_.erase({next->second.size, next->first});
    at->second.size += next->second.size;
    blocks_.erase(next);
  }
  if (at != blocks_.begin() && !at->second.first) {
    auto before = std::prev(at);
    if (!before->second.used) {
      free_.erase({before->second.size, before->first});
      before->second.size += at->second.size;
      blocks_.erase(at);
      at = before;
    }
  }
  free_.insert({at->second.size, at->first});
}

bool Arena::holds(const void* p) const {
  std::lock_guard<std::mutex> lock(mutex_);
  auto at = pieces_.upper_bound(static_cast<char*>(const_cast<void*>(p)));
  if (at == pieces_.begin()) return false;
  --at;
  return p < at->first + at->second;
}

HostArena::HostArena()
    : Arena(
          [](std::size_t bytes) -> void* {
            if (!caching()) return std::aligned_alloc(alignment, in_units(bytes, alignment));
            // from the start of a huge page, if it is of whole ones: then all of it can be in such
            // pages
            const bool whole = bytes % huge_page == 0;
            auto* p = static_cast<char*>(whole ? pages(bytes + huge_page) : nullptr);
            if (!p) return pages(bytes);
            const std::size_t before =
                (huge_page - reinterpret_cast<std::uintptr_t>(p) % huge_page) % huge_page;
            if (before > 0) munmap(p, before);
            if (before < huge_page) munmap(p + before + bytes, huge_page - before);
            madvise(
                p + before, bytes,
                MADV_HUGEPAGE);  // where the system waits to be asked; a refusal costs speed alone
            return p + before;
          },
          [](void* p, std::size_t bytes) {
            if (!caching()) std::free(p);
            else munmap(p, bytes);
          }) {}

}  // namespace fission
