// Ends the process when the program misused the heap: what is known is written to stderr, without
// allocating, then the process aborts.
#ifndef F3_HWALLOC_FATAL_H_
#define F3_HWALLOC_FATAL_H_

#include <cstddef>

namespace f3::hwalloc {

// "hwalloc: WHAT: ADDRESS".
[[noreturn]] void Fatal(const char* what, const void* address);

// A line of text in a fixed buffer, for messages where nothing may be allocated. What does not fit
// is cut off.
class Line {
 public:
  Line& Text(const char* text);
  Line& Number(unsigned long long value, unsigned base = 10);
  // Appends a newline and writes all of it to `fd`.
  void Write(int fd);

 private:
  char bytes_[256];
  size_t size_ = 0;
};

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_FATAL_H_
