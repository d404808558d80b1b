// Many threads, threads that come and go, frees across threads, and fork: nothing is lost, nothing
// overlaps and memory stays bounded.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "hwalloc/allocator.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define F3_NO_FORK_TESTS 1
#define F3_LAST_ROUND 2  // its runtime is gone in the last round of destructors
#endif
#endif

#ifndef F3_LAST_ROUND
#define F3_LAST_ROUND PTHREAD_DESTRUCTOR_ITERATIONS
#endif

namespace f3::hwalloc {
namespace {

bool IsFull() { return std::getenv("F3_FULL") != nullptr; }

// Memory of this process in pages of RAM, in bytes.
size_t ResidentBytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  unsigned long pages = 0;
  if (file == nullptr || std::fscanf(file, "%*u %lu", &pages) != 1) std::abort();
  std::fclose(file);
  return pages * 4096;
}

uint32_t Next(uint32_t* state) {
  *state = *state * 1664525 + 1013904223;
  return *state >> 8;
}

// An object that knows what it must contain.
struct Tagged {
  uint32_t bytes;
  uint32_t tag;
};

Tagged* MakeTagged(uint32_t bytes, uint32_t tag) {
  if (bytes < sizeof(Tagged)) bytes = sizeof(Tagged);
  auto* object = static_cast<Tagged*>(Allocate(bytes));
  *object = Tagged{bytes, tag};
  std::memset(object + 1, static_cast<int>(tag & 255), bytes - sizeof(Tagged));
  return object;
}

bool CheckAndFree(Tagged* object) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(object + 1);
  size_t size = object->bytes - sizeof(Tagged);
  auto want = static_cast<unsigned char>(object->tag & 255);
  bool good = size == 0 || (bytes[0] == want && bytes[size - 1] == want && bytes[size / 2] == want);
  Free(object);
  return good;
}

// A ring of objects between threads that make them and threads that free them.
class Exchange {
 public:
  // Puts an object in a place and returns what was there.
  Tagged* Swap(uint32_t place, Tagged* object) {
    return places_[place % places_.size()].exchange(object, std::memory_order_acq_rel);
  }
  bool Clear() {
    bool good = true;
    for (auto& place : places_) {
      if (Tagged* object = place.exchange(nullptr)) good &= CheckAndFree(object);
    }
    return good;
  }

 private:
  std::array<std::atomic<Tagged*>, 1024> places_{};
};

TEST(Stress, ObjectsAreFreedByOtherThreads) {
  constexpr int kThreads = 4;
  const uint64_t frees = IsFull() ? 100'000'000 : 2'000'000;
  Exchange exchange;
  std::atomic<uint64_t> bad = 0;
  size_t before = ResidentBytes();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      auto state = static_cast<uint32_t>(t + 1);
      for (uint64_t i = 0; i < frees / kThreads; ++i) {
        uint32_t bytes = Next(&state) % 100 < 98 ? Next(&state) % 512 : Next(&state) % 40'000;
        Tagged* mine = MakeTagged(bytes, state);
        Tagged* other = exchange.Swap(Next(&state), mine);
        if (other != nullptr && !CheckAndFree(other)) ++bad;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(exchange.Clear());
  EXPECT_EQ(bad, 0u);
  // About 1 MiB lives at any time; the rest is what four heaps keep.
  EXPECT_LT(ResidentBytes(), before + (size_t{64} << 20));
}

TEST(Stress, AProducerThatNeverFreesStaysBounded) {
  const uint64_t batches = IsFull() ? 100'000 : 3'000;
  constexpr uint32_t kBatch = 256;
  std::atomic<Tagged**> offered = nullptr;
  std::atomic<bool> bad = false;
  size_t before = ResidentBytes();
  std::thread consumer([&] {
    for (uint64_t i = 0; i < batches; ++i) {
      Tagged** batch = nullptr;
      while ((batch = offered.exchange(nullptr)) == nullptr) std::this_thread::yield();
      for (uint32_t j = 0; j < kBatch; ++j) {
        if (!CheckAndFree(batch[j])) bad = true;
      }
      Free(batch);
    }
  });
  uint32_t state = 7;
  for (uint64_t i = 0; i < batches; ++i) {
    auto** batch = static_cast<Tagged**>(Allocate(kBatch * sizeof(Tagged*)));
    for (uint32_t j = 0; j < kBatch; ++j) batch[j] = MakeTagged(Next(&state) % 512, state);
    Tagged** none = nullptr;
    while (!offered.compare_exchange_weak(none, batch)) {
      none = nullptr;
      std::this_thread::yield();
    }
  }
  consumer.join();
  EXPECT_FALSE(bad);
  EXPECT_LT(ResidentBytes(), before + (size_t{48} << 20));
}

TEST(Stress, ThreadsComeAndGo) {
  const int generations = IsFull() ? 20'000 : 1'000;
  Exchange exchange;
  std::atomic<uint64_t> bad = 0;
  uint64_t heaps = g_counters.heaps;
  size_t before = ResidentBytes();
  for (int generation = 0; generation < generations; ++generation) {
    std::array<std::thread, 3> threads;
    for (size_t t = 0; t < threads.size(); ++t) {
      threads[t] = std::thread([&, t] {
        auto state = static_cast<uint32_t>(generation) * 31 + static_cast<uint32_t>(t);
        for (int i = 0; i < 300; ++i) {
          Tagged* other = exchange.Swap(Next(&state), MakeTagged(Next(&state) % 2000, state));
          if (other != nullptr && !CheckAndFree(other)) ++bad;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_TRUE(exchange.Clear());
  EXPECT_EQ(bad, 0u);
  // Threads take over the heaps of those that ended.
  EXPECT_LE(g_counters.heaps, heaps + 8);
  EXPECT_LT(ResidentBytes(), before + (size_t{64} << 20));
}

TEST(Stress, WhatEndedThreadsLeftIsUsedByOthers) {
  size_t before = ResidentBytes();
  for (int round = 0; round < 20; ++round) {
    std::vector<void*> objects;
    std::thread([&] {
      for (int i = 0; i < 50'000; ++i) objects.push_back(std::memset(Allocate(200), 1, 200));
    }).join();
    for (void* p : objects) Free(p);
    // One thread alone now needs as much.
    objects.clear();
    for (int i = 0; i < 50'000; ++i) objects.push_back(std::memset(Allocate(300), 1, 300));
    for (void* p : objects) Free(p);
  }
  EXPECT_LT(ResidentBytes(), before + (size_t{64} << 20));
}

// Destructors of other keys run after the heap's own: they still allocate and free.
TEST(Stress, AThreadAllocatesInItsLastDestructors) {
  static std::atomic<int> rounds;
  static pthread_key_t key;
  rounds = 0;
  ASSERT_EQ(::pthread_key_create(&key,
                                 [](void* p) {
                                   Free(p);
                                   if (++rounds < F3_LAST_ROUND) {
                                     ::pthread_setspecific(key, Allocate(100));
                                     Free(Allocate(50'000));
                                   }
                                 }),
            0);
  uint64_t heaps = g_counters.heaps;
  for (int i = 0; i < 100; ++i) {
    rounds = 0;
    std::thread([] { ::pthread_setspecific(key, Allocate(100)); }).join();
    EXPECT_EQ(rounds, F3_LAST_ROUND);
  }
  EXPECT_LE(g_counters.heaps, heaps + 1);
  ::pthread_key_delete(key);
}

#ifndef F3_NO_FORK_TESTS
// Forks while other threads allocate; the children use the heap, free what the others made, fork
// again, and end.
TEST(Stress, ForkStorm) {
  const int forks = IsFull() ? 500 : 30;
  std::atomic<bool> stop = false;
  Exchange exchange;
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      uint32_t state = t;
      while (!stop) {
        Tagged* other = exchange.Swap(Next(&state), MakeTagged(Next(&state) % 40'000, state));
        if (other != nullptr) CheckAndFree(other);
      }
    });
  }
  for (int i = 0; i < forks; ++i) {
    pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      // A deadlock ends the child, and the test fails.
      ::alarm(60);
      bool good = exchange.Clear();
      for (uint32_t j = 0; j < 2000; ++j) good &= CheckAndFree(MakeTagged(j * 13 % 5000, j));
      pid_t grandchild = ::fork();
      if (grandchild == 0) {
        for (uint32_t j = 0; j < 200; ++j) good &= CheckAndFree(MakeTagged(j * 300, j));
        ::_exit(good ? 0 : 1);
      }
      int status = 1;
      good &= ::waitpid(grandchild, &status, 0) == grandchild && status == 0;
      ::_exit(good ? 0 : 1);
    }
    int status = 1;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_EQ(status, 0);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(exchange.Clear());
}
#endif

}  // namespace
}  // namespace f3::hwalloc
