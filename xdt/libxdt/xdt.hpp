// libxdt for C++: RAII around xdt.h, header only. Thread-safety and meaning are those of xdt.h.
// Failures are thrown as f3xdt::Error; nothing else throws (but std::bad_alloc).
#ifndef F3_XDT_LIBXDT_XDT_HPP_
#define F3_XDT_LIBXDT_XDT_HPP_

#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "xdt.h"

namespace f3xdt {

class Error : public std::runtime_error {
 public:
  explicit Error(int code)
      : std::runtime_error(std::string(xdt_code_text(code)) + ": " + xdt_last_message()),
        code_(code) {}
  int code() const { return code_; }

 private:
  int code_;
};

inline void Check(int code) {
  if (code != 0) throw Error(code);
}

struct Options {
  uint64_t lifetime_ms = 0;  // 0: the node's default
  uint32_t retrievals = 1;   // XDT_UNLIMITED: any number
  std::string action;        // empty: any of the namespace
  int timeout_ms = 10'000;
};

// A value that is read. Movable.
class View {
 public:
  explicit View(xdt_view* view) : view_(view, xdt_release) {}
  size_t size() const { return xdt_view_bytes(view_.get()); }
  size_t available() const { return xdt_view_available(view_.get()); }
  // What is here; all of it unless it is a stream.
  std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(xdt_view_data(view_.get())), available()};
  }
  std::string text() const {
    return {reinterpret_cast<const char*>(bytes().data()), bytes().size()};
  }
  void Wait(size_t bytes, int timeout_ms) { Check(xdt_wait(view_.get(), bytes, timeout_ms)); }

 private:
  std::unique_ptr<xdt_view, decltype(&xdt_release)> view_;
};

// Memory that a value is written into. Movable; Client::Put takes it.
class Buffer {
 public:
  explicit Buffer(xdt_buffer* buffer) : buffer_(buffer, xdt_discard) {}
  std::span<std::byte> bytes() const {
    return {static_cast<std::byte*>(xdt_buffer_data(buffer_.get())),
            xdt_buffer_bytes(buffer_.get())};
  }
  xdt_buffer* Release() { return buffer_.release(); }

 private:
  std::unique_ptr<xdt_buffer, decltype(&xdt_discard)> buffer_;
};

class Client {
 public:
  // Empty: as xdt_open(NULL).
  explicit Client(const std::string& socket = "") : xdt_(nullptr, xdt_close) {
    xdt* raw = nullptr;
    Check(xdt_open(socket.empty() ? nullptr : socket.c_str(), &raw));
    xdt_.reset(raw);
  }

  Buffer Alloc(size_t bytes, int timeout_ms = 10'000) {
    xdt_buffer* buffer = nullptr;
    Check(xdt_alloc(xdt_.get(), bytes, timeout_ms, &buffer));
    return Buffer(buffer);
  }
  // The first `bytes` of the buffer.
  std::string Put(Buffer buffer, size_t bytes, const Options& options = {}) {
    char reference[XDT_REF_CHARS];
    const xdt_put_options raw = Raw(options);
    Check(xdt_put(buffer.Release(), bytes, &raw, options.timeout_ms, reference));
    return reference;
  }
  std::string Put(const void* data, size_t bytes, const Options& options = {}) {
    char reference[XDT_REF_CHARS];
    const xdt_put_options raw = Raw(options);
    Check(xdt_put_bytes(xdt_.get(), data, bytes, &raw, options.timeout_ms, reference));
    return reference;
  }
  std::string Put(const std::string& text, const Options& options = {}) {
    return Put(text.data(), text.size(), options);
  }
  std::string PutFd(int fd, size_t max_bytes, const Options& options = {}) {
    char reference[XDT_REF_CHARS];
    const xdt_put_options raw = Raw(options);
    Check(xdt_put_fd(xdt_.get(), fd, max_bytes, &raw, options.timeout_ms, reference));
    return reference;
  }

  View Get(const std::string& reference, int timeout_ms = 10'000) {
    xdt_view* view = nullptr;
    Check(xdt_get(xdt_.get(), reference.c_str(), timeout_ms, &view));
    return View(view);
  }
  View GetStream(const std::string& reference, int timeout_ms = 10'000) {
    xdt_view* view = nullptr;
    Check(xdt_get_stream(xdt_.get(), reference.c_str(), timeout_ms, &view));
    return View(view);
  }
  // All or, as an Error, the first failure.
  std::vector<View> GetMany(const std::vector<std::string>& references, int timeout_ms = 10'000) {
    std::vector<const char*> texts;
    for (const std::string& reference : references) texts.push_back(reference.c_str());
    std::vector<xdt_view*> views(references.size());
    std::vector<int> codes(references.size());
    const int code = xdt_get_many(xdt_.get(), texts.data(), texts.size(), timeout_ms, views.data(),
                                  codes.data());
    std::vector<View> out;
    for (xdt_view* view : views) out.emplace_back(view);
    Check(code);
    return out;
  }
  void Delete(const std::string& reference, int timeout_ms = 10'000) {
    Check(xdt_delete(xdt_.get(), reference.c_str(), timeout_ms));
  }
  xdt_info Stat(const std::string& reference, int timeout_ms = 10'000) {
    xdt_info info;
    Check(xdt_stat(xdt_.get(), reference.c_str(), timeout_ms, &info));
    return info;
  }
  xdt* raw() const { return xdt_.get(); }

 private:
  static xdt_put_options Raw(const Options& options) {
    return {options.lifetime_ms, options.retrievals,
            options.action.empty() ? nullptr : options.action.c_str()};
  }
  std::unique_ptr<xdt, decltype(&xdt_close)> xdt_;
};

}  // namespace f3xdt

#endif  // F3_XDT_LIBXDT_XDT_HPP_
