// The allocator workloads of `f3 bench hwalloc`: a program that does little but malloc and free,
// run under one allocator after the other.
//
//   hwalloc_workloads NAME SCALE     prints a checksum that does not depend on the allocator
//
// Sizes follow what is published of serverless functions: nine of ten allocations are below 512
// bytes, seven of ten die within sixteen allocations, a quarter lives to the end.
#include <array>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

// xorshift64*: the same numbers in every run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
  uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1d;
  }
  uint32_t Below(uint32_t bound) { return static_cast<uint32_t>(((Next() >> 32) * bound) >> 32); }

 private:
  uint64_t state_;
};

size_t FunctionSize(Random* random) {
  uint32_t kind = random->Below(100);
  if (kind < 60) return 16 + random->Below(112);
  if (kind < 93) return 128 + random->Below(384);
  if (kind < 99) return 512 + random->Below(3584);
  return 4096 + random->Below(28672);
}

struct Object {
  unsigned char* bytes = nullptr;
  size_t size = 0;
};

// Allocates and uses it: the first and the last byte, as a constructor would.
Object Make(size_t size, unsigned char mark) {
  Object object{static_cast<unsigned char*>(std::malloc(size)), size};
  if (object.bytes == nullptr) std::abort();
  object.bytes[0] = mark;
  object.bytes[size - 1] = mark;
  return object;
}

uint64_t Drop(Object* object) {
  if (object->bytes == nullptr) return 0;
  uint64_t sum = object->bytes[0] + object->size;
  std::free(object->bytes);
  *object = Object{};
  return sum;
}

// A function's invocation: most objects die young, some live to the end.
uint64_t Function(uint64_t scale) {
  Random random(1);
  std::array<Object, 16> young{};
  std::vector<Object> old;
  uint64_t sum = 0;
  for (uint64_t i = 0; i < scale * 2'000'000; ++i) {
    size_t size = FunctionSize(&random);
    Object object = Make(size, static_cast<unsigned char>(i));
    if (size < 512 && random.Below(100) < 2) {
      old.push_back(object);
      continue;
    }
    Object& place = young[random.Below(16)];
    sum += Drop(&place);
    place = object;
  }
  for (Object& object : young) sum += Drop(&object);
  for (Object& object : old) sum += Drop(&object);
  return sum;
}

// Many live small objects, one of them replaced at random again and again.
uint64_t Small(uint64_t scale) {
  Random random(2);
  std::vector<Object> live(100'000);
  uint64_t sum = 0;
  for (uint64_t i = 0; i < scale * 2'000'000; ++i) {
    Object& place = live[random.Below(static_cast<uint32_t>(live.size()))];
    sum += Drop(&place);
    place = Make(8 + random.Below(248), static_cast<unsigned char>(i));
  }
  for (Object& object : live) sum += Drop(&object);
  return sum;
}

// Linked nodes of one size are built and torn down, in the order of building.
uint64_t Nodes(uint64_t scale) {
  struct Node {
    Node* next;
    uint64_t value;
  };
  uint64_t sum = 0;
  for (uint64_t round = 0; round < scale * 10; ++round) {
    Node* head = nullptr;
    for (uint64_t i = 0; i < 200'000; ++i) {
      auto* node = static_cast<Node*>(std::malloc(sizeof(Node) + round % 3 * 16));
      *node = Node{head, i};
      head = node;
    }
    while (head != nullptr) {
      Node* next = head->next;
      sum += head->value;
      std::free(head);
      head = next;
    }
  }
  return sum;
}

// Strings and vectors that grow by appending.
uint64_t Realloc(uint64_t scale) {
  Random random(3);
  std::array<Object, 64> growing{};
  uint64_t sum = 0;
  for (uint64_t i = 0; i < scale * 400'000; ++i) {
    Object& place = growing[random.Below(64)];
    size_t more = place.size + 16 + place.size / 8 + random.Below(64);
    // Few grow long: each size is reached by a part of those that reached the one before.
    if (random.Below(32) == 0 || more > 2'000'000) {
      sum += Drop(&place);
      continue;
    }
    place.bytes = static_cast<unsigned char*>(std::realloc(place.bytes, more));
    if (place.bytes == nullptr) std::abort();
    place.bytes[0] = static_cast<unsigned char>(more);
    std::memset(place.bytes + place.size, 1, more - place.size);
    place.size = more;
  }
  for (Object& object : growing) sum += Drop(&object);
  return sum;
}

// Larson's: threads replace objects among those of a thread before them, which has ended.
uint64_t Larson(uint64_t scale) {
  constexpr int kThreads = 4;
  constexpr uint32_t kObjects = 5'000;
  std::vector<std::vector<Object>> live(kThreads, std::vector<Object>(kObjects));
  std::array<uint64_t, kThreads> sums{};
  for (uint64_t generation = 0; generation < scale * 10; ++generation) {
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Random random(generation * kThreads + static_cast<uint64_t>(t));
        std::vector<Object>& mine = live[(static_cast<uint64_t>(t) + generation) % kThreads];
        for (int i = 0; i < 50'000; ++i) {
          Object& place = mine[random.Below(kObjects)];
          sums[static_cast<size_t>(t)] += Drop(&place);
          place = Make(16 + random.Below(484), static_cast<unsigned char>(i));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  uint64_t sum = 0;
  for (auto& objects : live) {
    for (Object& object : objects) sum += Drop(&object);
  }
  for (uint64_t part : sums) sum += part;
  return sum;
}

// One thread allocates batches, another frees them.
uint64_t Pipe(uint64_t scale) {
  constexpr size_t kBatch = 256;
  constexpr size_t kQueued = 64;
  using Batch = std::vector<Object>;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Batch> queue;
  uint64_t batches = scale * 6'000;
  uint64_t sum = 0;
  std::thread consumer([&] {
    for (uint64_t i = 0; i < batches; ++i) {
      Batch batch;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return !queue.empty(); });
        batch = std::move(queue.front());
        queue.pop_front();
      }
      changed.notify_one();
      for (Object& object : batch) sum += Drop(&object);
    }
  });
  Random random(4);
  for (uint64_t i = 0; i < batches; ++i) {
    Batch batch;
    for (size_t j = 0; j < kBatch; ++j) {
      batch.push_back(Make(16 + random.Below(240), static_cast<unsigned char>(j)));
    }
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return queue.size() < kQueued; });
      queue.push_back(std::move(batch));
    }
    changed.notify_one();
  }
  consumer.join();
  return sum;
}

// Buffers of 32 KiB to 4 MiB, written in full.
uint64_t Large(uint64_t scale) {
  Random random(5);
  std::array<Object, 16> live{};
  uint64_t sum = 0;
  for (uint64_t i = 0; i < scale * 1'500; ++i) {
    Object& place = live[random.Below(16)];
    sum += Drop(&place);
    place = Make((size_t{32} << 10) << random.Below(8), static_cast<unsigned char>(i));
    std::memset(place.bytes, static_cast<int>(i & 255), place.size);
  }
  for (Object& object : live) sum += Drop(&object);
  return sum;
}

struct Workload {
  std::string_view name;
  uint64_t (*run)(uint64_t scale);
};

constexpr Workload kWorkloads[] = {{"function", Function}, {"small", Small},   {"nodes", Nodes},
                                   {"realloc", Realloc},   {"larson", Larson}, {"pipe", Pipe},
                                   {"large", Large}};

}  // namespace

int main(int argc, char** argv) {
  uint64_t scale = argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 0;
  for (const Workload& workload : kWorkloads) {
    if (scale == 0 || workload.name != argv[1]) continue;
    std::printf("%s %llu\n", argv[1], static_cast<unsigned long long>(workload.run(scale)));
    return 0;
  }
  std::fprintf(stderr, "usage: hwalloc_workloads NAME SCALE\n");
  return 2;
}
