#include "hwalloc/allocator.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>
#include <vector>

#include "hwalloc/hwalloc.h"
#include "hwalloc/large.h"

namespace f3::hwalloc {
namespace {

bool IsAligned(const void* p, size_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

TEST(Allocator, EverySizeIsAlignedAndUsable) {
  for (size_t bytes = 0; bytes < 80'000; bytes += bytes < 2000 ? 1 : 997) {
    auto* p = static_cast<unsigned char*>(Allocate(bytes));
    ASSERT_NE(p, nullptr);
    EXPECT_TRUE(IsAligned(p, bytes <= 8 ? 8 : 16)) << bytes;
    EXPECT_GE(UsableSize(p), bytes);
    std::memset(p, 0xff, UsableSize(p));
    Free(p);
  }
}

TEST(Allocator, EveryAlignmentHolds) {
  for (size_t alignment = 1; alignment <= size_t{64} << 20; alignment *= 2) {
    for (size_t bytes : {size_t{0}, size_t{1}, size_t{24}, size_t{100}, size_t{513}, size_t{4096},
                         size_t{20'000}, size_t{70'000}, size_t{3'000'000}}) {
      auto* p = static_cast<unsigned char*>(AllocateAligned(alignment, bytes));
      ASSERT_NE(p, nullptr) << alignment << " " << bytes;
      EXPECT_TRUE(IsAligned(p, alignment)) << alignment << " " << bytes;
      EXPECT_GE(UsableSize(p), bytes);
      std::memset(p, 0xff, bytes);
      auto* q = static_cast<unsigned char*>(Reallocate(p, bytes + 1000));
      EXPECT_EQ(bytes == 0 ? 0xff : q[bytes - 1], 0xff);
      Free(q);
    }
  }
}

TEST(Allocator, ZeroedMemoryIsZeroEvenWhenItWasUsed) {
  for (size_t bytes : {size_t{8}, size_t{100}, size_t{5000}, size_t{200'000}, size_t{20} << 20}) {
    for (int round = 0; round < 3; ++round) {
      auto* p = static_cast<unsigned char*>(AllocateZeroed(1, bytes));
      ASSERT_NE(p, nullptr);
      EXPECT_EQ(p[0], 0);
      EXPECT_EQ(std::memcmp(p, p + 1, bytes - 1), 0) << bytes;
      std::memset(p, 1, bytes);
      Free(p);
    }
  }
}

TEST(Allocator, TooMuchIsRefusedWithENOMEM) {
  errno = 0;
  EXPECT_EQ(Allocate(SIZE_MAX), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  errno = 0;
  EXPECT_EQ(AllocateZeroed(SIZE_MAX / 2, 3), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_EQ(AllocateAligned(16, SIZE_MAX - 100), nullptr);
  EXPECT_EQ(AllocateAligned(size_t{1} << 63, 16), nullptr);
  void* p = Allocate(100);
  EXPECT_EQ(Reallocate(p, SIZE_MAX - 5), nullptr);
  std::memset(p, 1, 100);
  Free(p);
}

TEST(Allocator, FreeKeepsErrno) {
  std::vector<void*> blocks;
  for (int i = 0; i < 10; ++i) blocks.push_back(Allocate(size_t{17} << 20));
  errno = 4711;
  for (void* p : blocks) Free(p);
  Free(nullptr);
  EXPECT_EQ(errno, 4711);
}

TEST(Allocator, ReallocKeepsTheContentThroughAllSizes) {
  auto* p = static_cast<unsigned char*>(Reallocate(nullptr, 1));
  size_t have = 1;
  p[0] = 0;
  for (size_t bytes = 2; bytes < size_t{80} << 20; bytes += bytes / 3 + 1) {
    p = static_cast<unsigned char*>(Reallocate(p, bytes));
    ASSERT_NE(p, nullptr);
    for (size_t i = 0; i < have; i += have / 97 + 1) ASSERT_EQ(p[i], i % 251) << bytes;
    for (size_t i = have; i < bytes; ++i) p[i] = static_cast<unsigned char>(i % 251);
    have = bytes;
  }
  for (size_t bytes = have; bytes > 0; bytes = bytes * 2 / 3) {
    p = static_cast<unsigned char*>(Reallocate(p, bytes));
    ASSERT_NE(p, nullptr);
    for (size_t i = 0; i < bytes; i += bytes / 97 + 1) ASSERT_EQ(p[i], i % 251) << bytes;
  }
  EXPECT_EQ(Reallocate(p, 0), nullptr);
}

TEST(Allocator, AShrunkBlockGivesMemoryBack) {
  void* p = Allocate(10'000'000);
  uint64_t before = Pool().usage().used_units;
  p = Reallocate(p, 100'000);
  EXPECT_LT(Pool().usage().used_units + 100, before);
  Free(p);
}

// ---- against a reference ----

constexpr size_t kMaxModelBytes = 150'000;

// Bytes that do not repeat. Each block holds a piece of them, from an offset of its own.
const std::vector<unsigned char>& Pattern() {
  static const std::vector<unsigned char> pattern = [] {
    std::vector<unsigned char> bytes(2 * kMaxModelBytes);
    uint32_t state = 1;
    for (unsigned char& byte : bytes) {
      state = state * 1664525 + 1013904223;
      byte = static_cast<unsigned char>(state >> 24);
    }
    return bytes;
  }();
  return pattern;
}

struct Live {
  size_t bytes;
  size_t offset;  // in the pattern
};

size_t AnySize() {
  switch (*rc::gen::inRange(0, 8)) {
    case 0:
    case 1:
      return *rc::gen::inRange<size_t>(0, 64);
    case 2:
    case 3:
    case 4:
      return *rc::gen::inRange<size_t>(64, 600);
    case 5:
    case 6:
      return *rc::gen::inRange<size_t>(600, 40'000);
    default:
      return *rc::gen::inRange<size_t>(40'000, kMaxModelBytes);
  }
}

class Model {
 public:
  ~Model() {
    for (auto& [p, live] : live_) Free(p);
  }

  void Step() {
    int kind = *rc::gen::inRange(0, 10);
    if (live_.empty() || kind < 4) return Add(Make(kind), seed_ += 7919);
    auto at = live_.begin();
    std::advance(at, *rc::gen::inRange<size_t>(0, live_.size()));
    Check(at->first, at->second.bytes, at->second.offset);
    if (kind < 7) {
      Free(at->first);
      live_.erase(at);
    } else {
      Resize(at);
    }
  }

 private:
  using Place = std::map<unsigned char*, Live>::iterator;

  struct Made {
    unsigned char* p;
    size_t bytes;
  };

  Made Make(int kind) {
    size_t bytes = AnySize();
    void* p = nullptr;
    if (kind == 0) {
      size_t alignment = size_t{1} << *rc::gen::inRange(0, 18);
      p = AllocateAligned(alignment, bytes);
      RC_ASSERT(IsAligned(p, alignment));
    } else if (kind == 1) {
      p = AllocateZeroed(1, bytes);
      static const std::vector<unsigned char> zeros(kMaxModelBytes);
      RC_ASSERT(std::memcmp(p, zeros.data(), bytes) == 0);
    } else {
      p = Allocate(bytes);
    }
    RC_ASSERT((p != nullptr));
    return {static_cast<unsigned char*>(p), bytes};
  }

  void Add(Made made, size_t offset) {
    offset %= kMaxModelBytes;
    RC_ASSERT(IsAligned(made.p, made.bytes <= 8 ? 8 : 16));
    RC_ASSERT(UsableSize(made.p) >= made.bytes);
    auto [at, fresh] = live_.emplace(made.p, Live{made.bytes, offset});
    RC_ASSERT(fresh);
    // No overlap with the neighbours.
    if (at != live_.begin()) {
      auto before = std::prev(at);
      RC_ASSERT(before->first + before->second.bytes <= made.p);
    }
    if (auto after = std::next(at); after != live_.end()) {
      RC_ASSERT(made.p + made.bytes <= after->first);
    }
    std::memcpy(made.p, Pattern().data() + offset, made.bytes);
  }

  static void Check(const unsigned char* p, size_t bytes, size_t offset) {
    RC_ASSERT(std::memcmp(p, Pattern().data() + offset, bytes) == 0);
  }

  void Resize(Place at) {
    size_t bytes = AnySize() + 1;
    Live live = at->second;
    auto* p = static_cast<unsigned char*>(Reallocate(at->first, bytes));
    RC_ASSERT((p != nullptr));
    live_.erase(at);
    Check(p, std::min(bytes, live.bytes), live.offset);
    Add({p, bytes}, live.offset);
  }

  std::map<unsigned char*, Live> live_;
  size_t seed_ = 1;
};

RC_GTEST_PROP(AllocatorModel, ContentsStayAndNothingOverlaps, ()) {
  Model model;
  int steps = *rc::gen::inRange(1, std::getenv("F3_FULL") != nullptr ? 5000 : 500);
  for (int i = 0; i < steps; ++i) model.Step();
}

// ---- misuse ----

TEST(AllocatorDeathTest, WrongAddresses) {
  static char not_ours[2 * kUnitBytes];
  EXPECT_DEATH(Free(not_ours + kUnitBytes + 64), "not allocated");
  char* p = nullptr;
  std::thread([&p] { p = static_cast<char*>(Allocate(100)); }).join();
  EXPECT_DEATH(Free(p + 16), "inside an object");
  auto* large = static_cast<char*>(Allocate(100'000));
  EXPECT_DEATH(Free(large + 16), "inside an object");
  Free(large);
  EXPECT_DEATH(Free(large), "not allocated");
  Free(p);
}

// ---- scopes ----

TEST(Scope, DropsWhatWasAllocatedInItAndNothingElse) {
  auto* outside = static_cast<unsigned char*>(Allocate(100));
  std::memset(outside, 9, 100);
  uint64_t before = Pool().usage().used_units;
  hwalloc_scope* scope = hwalloc_scope_begin();
  ASSERT_NE(scope, nullptr);
  for (size_t i = 0; i < 20'000; ++i) {
    auto* p = static_cast<unsigned char*>(hwalloc_scope_alloc(scope, i % 600));
    ASSERT_NE(p, nullptr);
    EXPECT_TRUE(IsAligned(p, 8));
    std::memset(p, 1, i % 600);
    if (i % 1000 == 0) std::memset(hwalloc_scope_alloc(scope, 100'000), 1, 100'000);
    if (i % 3 == 0) hwalloc_scope_free(scope, p);
  }
  EXPECT_GT(Pool().usage().used_units, before + 50);
  hwalloc_scope_reset(scope);
  EXPECT_LE(Pool().usage().used_units, before + 1);
  void* again = hwalloc_scope_aligned_alloc(scope, 256, 24);
  EXPECT_TRUE(IsAligned(again, 256));
  hwalloc_scope_end(scope);
  EXPECT_LE(Pool().usage().used_units, before + 1);
  EXPECT_EQ(outside[99], 9);
  Free(outside);
}

TEST(Scope, UsesAllClassesOfTheHardware) {
  hwalloc_scope* scope = hwalloc_scope_begin();
  for (size_t bytes = 1; bytes <= kMaxHardwareBytes; ++bytes) {
    EXPECT_EQ(UsableSize(hwalloc_scope_alloc(scope, bytes)), (bytes + 7) / 8 * 8);
  }
  hwalloc_scope_end(scope);
}

TEST(Scope, RefusesABadAlignment) {
  hwalloc_scope* scope = hwalloc_scope_begin();
  errno = 0;
  EXPECT_EQ(hwalloc_scope_aligned_alloc(scope, 24, 8), nullptr);
  EXPECT_EQ(errno, EINVAL);
  hwalloc_scope_free(scope, nullptr);
  hwalloc_scope_end(scope);
  hwalloc_scope_end(nullptr);
}

TEST(ScopeDeathTest, ItsMemoryIsNoBusinessOfFree) {
  hwalloc_scope* scope = hwalloc_scope_begin();
  void* p = hwalloc_scope_alloc(scope, 40);
  EXPECT_DEATH(Free(p), "free of a scope's memory");
  void* other = Allocate(40);
  EXPECT_DEATH(hwalloc_scope_free(scope, other), "not of this scope");
  Free(other);
  hwalloc_scope_end(scope);
}

}  // namespace
}  // namespace f3::hwalloc
