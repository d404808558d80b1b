#include "hwalloc/buffer_arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "hwalloc/map_shared.h"
#include "tests/common/status_matchers.h"

namespace f3::hwalloc {
namespace {

std::unique_ptr<BufferArena> NewArena(size_t bytes) {
  Result<std::unique_ptr<BufferArena>> arena = BufferArena::Create(bytes);
  EXPECT_OK(arena);
  return std::move(arena).value();
}

TEST(BufferArenaTest, RoundsItsCapacityUpToWholeChunks) {
  auto arena = NewArena(1);
  EXPECT_EQ(arena->region().size(), BufferArena::kMaxBytes);
  EXPECT_EQ(arena->usage().capacity_bytes, BufferArena::kMaxBytes);
  EXPECT_CODE(BufferArena::Create(0), kInvalidArgument);
}

// The line of /proc/self/smaps with the flags of the mapping at `address`.
std::string FlagsOf(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  std::ostringstream begin;
  begin << std::hex << reinterpret_cast<uintptr_t>(address) << "-";
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.rfind(begin.str(), 0) == 0) found = true;
    if (found && line.rfind("VmFlags:", 0) == 0) return line + " ";
  }
  return "";
}

TEST(BufferArenaTest, AsksForHugePagesWhereTheyFit) {
  auto arena = NewArena(3 * BufferArena::kMaxBytes);
  const std::byte* base = arena->region().data();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(base) % kHugePageBytes, 0u);
  if (!std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled").good()) {
    GTEST_SKIP() << "this kernel has no huge pages";
  }
  EXPECT_NE(FlagsOf(base).find(" hg "), std::string::npos) << FlagsOf(base);
}

TEST(BufferArenaTest, RefusesSizesThatNoClassHolds) {
  auto arena = NewArena(BufferArena::kMaxBytes);
  EXPECT_CODE(arena->Allocate(0, 0), kInvalidArgument);
  EXPECT_CODE(arena->Allocate(BufferArena::kMaxBytes + 1, 0), kInvalidArgument);
}

TEST(BufferArenaTest, BuffersLieInTheRegionAndDoNotOverlap) {
  auto arena = NewArena(8 * BufferArena::kMaxBytes);
  std::vector<Buffer> buffers;
  for (size_t bytes : {1, 4096, 4097, 100'000, 1 << 20, (1 << 20) + 1, 4 << 20, 5000}) {
    Result<Buffer> buffer = arena->Allocate(bytes, 0);
    ASSERT_OK(buffer);
    EXPECT_EQ(buffer->size(), bytes);
    EXPECT_GE(buffer->data(), arena->region().data());
    EXPECT_LE(buffer->data() + bytes, arena->region().data() + arena->region().size());
    std::memset(buffer->data(), static_cast<int>(buffers.size()), bytes);
    buffers.push_back(std::move(buffer).value());
  }
  for (size_t i = 0; i < buffers.size(); ++i) {
    EXPECT_TRUE(
        std::ranges::all_of(buffers[i].span(), [i](std::byte b) { return b == std::byte(i); }));
  }
}

TEST(BufferArenaTest, FullMeansAgainAndFreedPiecesMerge) {
  auto arena = NewArena(BufferArena::kMaxBytes);
  std::vector<Buffer> small;
  for (size_t i = 0; i < BufferArena::kMaxBytes / BufferArena::kMinBytes; ++i) {
    Result<Buffer> buffer = arena->Allocate(1, 0);
    ASSERT_OK(buffer);
    small.push_back(std::move(buffer).value());
  }
  EXPECT_EQ(arena->usage().used_bytes, BufferArena::kMaxBytes);
  EXPECT_CODE(arena->Allocate(1, 0), kAgain);
  EXPECT_CODE(arena->Allocate(1, 2000), kAgain);
  EXPECT_EQ(arena->usage().waits, 1u);
  std::rotate(small.begin(), small.begin() + 333, small.end());  // freed in another order
  small.clear();
  EXPECT_EQ(arena->usage().used_bytes, 0u);
  EXPECT_OK(arena->Allocate(BufferArena::kMaxBytes, 0));
}

TEST(BufferArenaTest, AWaiterGetsTheBufferThatAnotherThreadFrees) {
  auto arena = NewArena(BufferArena::kMaxBytes);
  Result<Buffer> all = arena->Allocate(BufferArena::kMaxBytes, 0);
  ASSERT_OK(all);
  std::thread waiter([&] { EXPECT_OK(arena->Allocate(4096, 20'000'000)); });
  while (arena->usage().waits == 0) std::this_thread::yield();
  *all = Buffer();
  waiter.join();
  EXPECT_EQ(arena->usage().used_bytes, 0u);
}

TEST(BufferArenaTest, ThreadsShareOneArena) {
  auto arena = NewArena(4 * BufferArena::kMaxBytes);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 500; ++i) {
        Result<Buffer> buffer = arena->Allocate((i * 7919 + 1) % (2u << 20) + 1, 20'000'000);
        ASSERT_OK(buffer);
        std::byte mark{static_cast<unsigned char>(t * 50 + static_cast<int>(i % 50))};
        buffer->data()[0] = mark;
        buffer->data()[buffer->size() - 1] = mark;
        EXPECT_EQ(buffer->data()[0], mark);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(arena->usage().used_bytes, 0u);
}

}  // namespace
}  // namespace f3::hwalloc
