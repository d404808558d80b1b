// Calls every entry point that libhwalloc.so replaces; programs_test.py runs it with the library
// preloaded. Ends with 0 when all behaved as their manuals say. Uses nothing of F3.
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                        \
    }                                                                      \
  } while (false)

namespace {

// Hides a value from the optimiser, which knows what malloc does.
template <typename T>
T Hide(T value) {
  asm volatile("" : "+r"(value) : : "memory");
  return value;
}

bool IsAligned(const void* p, size_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

// Before main, and used after it: static objects allocate in their constructors and destructors.
struct Early {
  std::string text = std::string(1000, 'e');
  ~Early() {
    if (text != std::string(1000, 'e')) std::_Exit(3);
  }
} g_early;

void CheckC() {
  void* p = Hide(std::malloc(0));
  CHECK(p != nullptr);
  std::free(p);
  p = Hide(std::malloc(100));
  CHECK(IsAligned(p, 16) && malloc_usable_size(p) >= 100);
  std::memset(p, 5, 100);
  p = Hide(std::realloc(p, 100'000));
  CHECK(static_cast<char*>(p)[99] == 5);
  // Volatile: the compiler would take it for freed, which it is not when the call fails.
  void* volatile kept = p;
  errno = 0;
  CHECK(Hide(reallocarray(p, Hide(SIZE_MAX / 2), 3)) == nullptr && errno == ENOMEM);
  p = Hide(reallocarray(kept, 10, 30));
  CHECK(static_cast<char*>(p)[99] == 5);
  std::free(p);
  errno = 0;
  CHECK(Hide(std::malloc(Hide(SIZE_MAX - 10))) == nullptr && errno == ENOMEM);
  CHECK(Hide(std::calloc(Hide(SIZE_MAX / 2), 3)) == nullptr);
  auto* zero = static_cast<char*>(Hide(std::calloc(1000, 3)));
  for (int i = 0; i < 3000; ++i) CHECK(zero[i] == 0);
  std::free(zero);
  CHECK(malloc_usable_size(nullptr) == 0);
}

void CheckAligned() {
  void* p = nullptr;
  CHECK(posix_memalign(&p, 3, 8) == EINVAL && posix_memalign(&p, 4, 8) == EINVAL);
  CHECK(posix_memalign(&p, 64, 100) == 0 && IsAligned(p, 64));
  std::free(p);
  CHECK(posix_memalign(&p, 4096, Hide(SIZE_MAX - 10'000)) == ENOMEM);
  for (size_t alignment = 8; alignment <= 1 << 20; alignment *= 2) {
    p = Hide(aligned_alloc(alignment, alignment * 3));
    CHECK(p != nullptr && IsAligned(p, alignment));
    std::free(p);
    p = Hide(memalign(alignment, 5));
    CHECK(p != nullptr && IsAligned(p, alignment));
    std::free(p);
  }
  p = Hide(valloc(10));
  CHECK(IsAligned(p, 4096));
  std::free(p);
  p = Hide(pvalloc(4097));
  CHECK(IsAligned(p, 4096) && malloc_usable_size(p) >= 8192);
  std::free(p);
}

void CheckInformation() {
  std::vector<std::unique_ptr<char[]>> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back(std::make_unique<char[]>(10'000));
  struct mallinfo2 info = mallinfo2();
  CHECK(info.uordblks >= 10'000'000);
  blocks.clear();
  malloc_trim(0);
  CHECK(mallinfo2().arena < info.arena);
  CHECK(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
  char* text = nullptr;
  size_t size = 0;
  FILE* out = open_memstream(&text, &size);
  CHECK(malloc_info(0, out) == 0);
  std::fclose(out);
  CHECK(std::strstr(text, "<malloc version") != nullptr);
  std::free(text);
}

struct alignas(256) Wide {
  char bytes[300];
};

void CheckOperators() {
  auto* one = Hide(new int(7));
  delete one;
  auto* many = Hide(new std::string[100]);
  delete[] many;
  auto* wide = Hide(new Wide);
  CHECK(IsAligned(wide, 256));
  delete wide;
  auto* wides = Hide(new Wide[5]);
  CHECK(IsAligned(wides, 256));
  delete[] wides;
  void* raw = Hide(::operator new(40));
  ::operator delete(raw, 40);
  raw = Hide(::operator new (40, std::align_val_t{64}, std::nothrow));
  CHECK(IsAligned(raw, 64));
  ::operator delete (raw, 40, std::align_val_t{64});
  CHECK(Hide(::operator new(Hide(SIZE_MAX / 2), std::nothrow)) == nullptr);
  bool thrown = false;
  try {
    Hide(::operator new(Hide(SIZE_MAX / 2)));
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  CHECK(thrown);
  static int handled;
  handled = 0;
  std::set_new_handler([] {
    if (++handled == 3) std::set_new_handler(nullptr);
  });
  thrown = false;
  try {
    Hide(::operator new[](Hide(SIZE_MAX / 2), std::align_val_t{128}));
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  CHECK(thrown && handled == 3);
}

// The scope functions are there, and so are the names past the ordinary ones.
void CheckExports() {
  using Begin = void* (*)();
  using Alloc = void* (*)(void*, size_t);
  using End = void (*)(void*);
  auto begin = reinterpret_cast<Begin>(dlsym(RTLD_DEFAULT, "hwalloc_scope_begin"));
  auto alloc = reinterpret_cast<Alloc>(dlsym(RTLD_DEFAULT, "hwalloc_scope_alloc"));
  auto end = reinterpret_cast<End>(dlsym(RTLD_DEFAULT, "hwalloc_scope_end"));
  CHECK(begin != nullptr && alloc != nullptr && end != nullptr);
  void* scope = begin();
  for (size_t i = 0; i < 10'000; ++i) std::memset(alloc(scope, i % 700), 1, i % 700);
  end(scope);
  auto libc_malloc = reinterpret_cast<void* (*)(size_t)>(dlsym(RTLD_DEFAULT, "__libc_malloc"));
  CHECK(libc_malloc != nullptr);
  std::free(libc_malloc(50));
}

// Threads that end in every way, with thread-local objects that free late.
void CheckThreads() {
  struct Late {
    std::vector<std::string> texts;
  };
  static thread_local Late late;
  for (int round = 0; round < 50; ++round) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 100; ++i) late.texts.emplace_back(static_cast<size_t>(i) * 20, 'x');
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  pthread_t cancelled{};
  CHECK(pthread_create(
            &cancelled, nullptr,
            [](void*) -> void* {
              auto text = std::make_unique<std::string>(500, 'c');
              while (true) ::pause();
            },
            nullptr) == 0);
  CHECK(pthread_cancel(cancelled) == 0 && pthread_join(cancelled, nullptr) == 0);
}

}  // namespace

int main() {
  CheckC();
  CheckAligned();
  CheckInformation();
  CheckOperators();
  CheckExports();
  CheckThreads();
  std::puts("all entry points behave");
  return 0;
}
