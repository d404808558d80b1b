#include "hwalloc/fatal.h"

#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace f3::hwalloc {

Line& Line::Text(const char* text) {
  // One byte stays for the newline.
  while (*text != '\0' && size_ < sizeof(bytes_) - 1) bytes_[size_++] = *text++;
  return *this;
}

Line& Line::Number(unsigned long long value, unsigned base) {
  char digits[65];
  size_t at = sizeof(digits) - 1;
  digits[at] = '\0';
  do {
    digits[--at] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  return Text(digits + at);
}

void Line::Write(int fd) {
  bytes_[size_++] = '\n';
  for (size_t done = 0; done < size_;) {
    ssize_t n = ::write(fd, bytes_ + done, size_ - done);
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  size_ = 0;
}

void Fatal(const char* what, const void* address) {
  Line line;
  line.Text("hwalloc: ").Text(what).Text(": 0x");
  line.Number(reinterpret_cast<uintptr_t>(address), 16).Write(STDERR_FILENO);
  std::abort();
}

}  // namespace f3::hwalloc
