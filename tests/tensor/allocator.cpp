#include "tensor/allocator.h"

#include <doctest/doctest.h>
#include <algorithm>

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "tensor/check.h"
#include "tensor/cpu/scratch.h"

using namespace fission;

namespace {

constexpr std::size_t mib = 1 << 20;

// under the address sanitizer nothing is kept, so that facts about reuse do not hold
bool caches() {
  HostArena arena;
  arena.free(arena.allocate(1));
  return arena.statistics().held > 0;
}

}  // namespace

TEST_CASE("allocator: every pointer is aligned to 256 bytes, empty requests too") {
  HostArena arena;
  std::vector<void*> all;
  for (std::size_t bytes : {0, 1, 255, 256, 257, 1000}) all.push_back(arena.allocate(bytes));
  for (void* p : all) CHECK(reinterpret_cast<std::uintptr_t>(p) % 256 == 0);
  for (void* p : all) arena.free(p);
}

TEST_CASE("allocator: blocks in use do not overlap") {
  HostArena arena;
  std::vector<unsigned char*> all;
  for (int i = 0; i < 50; i++) {
    all.push_back(static_cast<unsigned char*>(arena.allocate(100 + i)));
    std::fill(all.back(), all.back() + 100 + i, static_cast<unsigned char>(i));
  }
  for (int i = 0; i < 50; i++)
    for (int k = 0; k < 100 + i; k++) REQUIRE(all[i][k] == i);
  for (auto* p : all) arena.free(p);
}

TEST_CASE("allocator: a freed block is handed out again") {
  if (!caches()) return;
  HostArena arena;
  void* p = arena.allocate(1000);
  arena.free(p);
  CHECK(arena.allocate(1000) == p);
}

TEST_CASE("allocator: the smallest free block that fits is taken") {
  if (!caches()) return;
  HostArena arena;
  void* large = arena.allocate(2000);
  arena.allocate(256);  // keeps the two apart
  void* small = arena.allocate(500);
  arena.allocate(256);
  arena.free(large);
  arena.free(small);
  CHECK(arena.allocate(400) == small);
}

TEST_CASE("allocator: neighbours merge when both are free, in any order of freeing") {
  if (!caches()) return;
  for (int order = 0; order < 6; order++) {
    HostArena arena;
    void* block[3] = {arena.allocate(2 * mib), arena.allocate(2 * mib), arena.allocate(2 * mib)};
    const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int i : orders[order]) arena.free(block[i]);
    std::size_t calls = arena.statistics().system_calls;
    CHECK(arena.allocate(6 * mib) == block[0]);
    CHECK(arena.statistics().system_calls == calls);
  }
}

TEST_CASE("allocator: a steady state asks the system for nothing") {
  if (!caches()) return;
  HostArena arena;
  auto step = [&] {
    std::vector<void*> all;
    for (int i = 1; i <= 40; i++) all.push_back(arena.allocate(i * 77777));
    for (int i = 0; i < 40; i += 2) arena.free(all[i]);
    void* late = arena.allocate(3 * mib);
    for (int i = 1; i < 40; i += 2) arena.free(all[i]);
    arena.free(late);
  };
  step();
  std::size_t calls = arena.statistics().system_calls, held = arena.statistics().held;
  for (int i = 0; i < 10; i++) step();
  CHECK(arena.statistics().system_calls == calls);
  CHECK(arena.statistics().held == held);
  CHECK(arena.statistics().in_use == 0);
}

TEST_CASE(
    "allocator: pieces that lie free and are too small give way to one as large as they were "
    "together") {
  if (!caches()) return;
  std::vector<std::size_t> taken, given;
  Arena arena(
      [&](std::size_t bytes) { return taken.push_back(bytes), std::aligned_alloc(256, bytes); },
      [&](void* p, std::size_t bytes) { given.push_back(bytes), std::free(p); });
  void *a = arena.allocate(10 * mib), *b = arena.allocate(20 * mib),
       *used = arena.allocate(30 * mib), *c = arena.allocate(12 * mib);
  arena.free(a), arena.free(b), arena.free(c);
  void* large = arena.allocate(25 * mib);
  CHECK(given == std::vector<std::size_t>{10 * mib, 12 * mib, 20 * mib});  // not the one in use
  CHECK(taken.back() == 42 * mib);
  CHECK(arena.statistics().held == 72 * mib);
  void* rest = arena.allocate(17 * mib);
  CHECK(arena.statistics().held == 72 * mib);
  arena.free(large), arena.free(rest);
  CHECK(arena.allocate(50 * mib) != nullptr);
  CHECK(taken.back() == 50 * mib);
  CHECK(arena.statistics().held == 80 * mib);
  CHECK(arena.statistics().in_use == 80 * mib);
  arena.free(used);
}

TEST_CASE("allocator: a piece that is free but for a part stays") {
  if (!caches()) return;
  HostArena arena;
  void *a = arena.allocate(2 * mib), *b = arena.allocate(6 * mib);
  *static_cast<char*>(a) = 7;
  arena.free(b);
  arena.allocate(9 * mib);
  CHECK(*static_cast<char*>(a) == 7);
  CHECK(arena.statistics().held == 18 * mib);  // 8 and 9, in whole huge pages
}

TEST_CASE("allocator: more than any address is refused") {
  if (!caches()) return;
  HostArena arena;
  CHECK_THROWS_AS(arena.allocate(~std::size_t(0) - 100000), OutOfMemory);
  CHECK(arena.statistics().held == 0);
}

TEST_CASE("allocator: the peak is the most that was in use at once, and can be reset") {
  HostArena arena;
  void *a = arena.allocate(2560), *b = arena.allocate(5120);
  arena.free(b);
  CHECK(arena.statistics().in_use == 2560);
  CHECK(arena.statistics().peak == 7680);
  arena.reset_peak();
  CHECK(arena.statistics().peak == 2560);
  arena.free(a);
}

TEST_CASE("allocator: a double free and a foreign pointer are caught") {
  HostArena arena;
  void* p = arena.allocate(100);
  arena.free(p);
  CHECK_THROWS_AS(arena.free(p), InvariantError);
  int local = 0;
  CHECK_THROWS_AS(arena.free(&local), InvariantError);
}

TEST_CASE("allocator: freeing null is no mistake") {
  HostArena arena;
  CHECK_NOTHROW(arena.free(nullptr));
}

TEST_CASE("allocator: out of memory says what was asked for and what is held") {
  Arena none([](std::size_t) { return nullptr; }, [](void*, std::size_t) {});
  CHECK_THROWS_WITH_AS(none.allocate(100),
                       doctest::Contains("1 MiB asked for, 0 MiB in use, 0 MiB held"), OutOfMemory);
}

TEST_CASE("scratch: an operation's end asks for no memory, and the next one's is one block") {
  Index asked = 0;
  bool more = true;
  Arena arena([&](std::size_t bytes) { return asked++, more ? std::malloc(bytes) : nullptr; },
              [](void* p, std::size_t) { std::free(p); });
  cpu::Scratch scratch(arena);
  const Index large = 9 << 20;  // a piece of memory each
  {
    cpu::Scratch::Frame frame(scratch);
    scratch.take<char>(large), scratch.take<char>(large);
    more = false, asked = 0;  // at the frame's end there is none: a destructor could not say so
  }
  CHECK(asked == 0);
  CHECK_THROWS_AS(scratch.take<char>(3 * large), OutOfMemory);
  more = true;
  char *first = scratch.take<char>(large), *second = scratch.take<char>(large);
  CHECK(second == first + large);
}

TEST_CASE("allocator: a device that has no whole piece left is asked for what is needed") {
  std::size_t left = 4096;
  Arena arena(
      [&](std::size_t bytes) { return bytes > left ? nullptr : std::aligned_alloc(256, bytes); },
      [](void* p, std::size_t) { std::free(p); });
  void* p = arena.allocate(1024);
  CHECK(p != nullptr);
  CHECK(arena.statistics().held == 1024);
  arena.free(p);
}
