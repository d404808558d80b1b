// A peer that says whatever a test makes it say: the transfer engine's messages by hand, over real
// libfabric on loopback, with a window of memory that shows what was sent to it. One thread.
#ifndef F3_TESTS_XDT_RAW_PEER_H_
#define F3_TESTS_XDT_RAW_PEER_H_

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>

#include "common/clock.h"
#include "hwalloc/buffer_arena.h"
#include "tests/common/status_matchers.h"
#include "xdt/fabric.h"
#include "xdt/wire.h"

namespace f3::xdt {

class RawPeer {
 public:
  static constexpr std::byte kUntouched{0xa5};

  RawPeer() {
    auto arena = hwalloc::BufferArena::Create(8u << 20);
    EXPECT_OK(arena);
    arena_ = std::move(arena).value();
    auto fabric = Fabric::Open("tcp;ofi_rxm", "127.0.0.1", arena_->region());
    EXPECT_OK(fabric);
    fabric_ = std::move(fabric).value();
    auto endpoint = Endpoint::Open(fabric_.get(), 64, [this](std::span<const std::byte> bytes) {
      received_.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    });
    EXPECT_OK(endpoint);
    endpoint_ = std::move(endpoint).value();
    auto window = arena_->Allocate(kMaxTransferBytes, 0);
    EXPECT_OK(window);
    window_ = std::move(window).value();
  }

  const std::string& address() const { return endpoint_->address(); }
  std::span<std::byte> window() const { return window_.span(); }

  // True when it was sent. What it leads to comes later.
  bool Send(const std::string& to, const std::string& message) {
    auto number = endpoint_->Resolve(to);
    if (!number.ok()) return false;
    bool over = false, ok = false;
    auto ended = [&](const Status& status, size_t) {
      over = true;
      ok = status.ok();
    };
    if (!Begin([&] { return endpoint_->SendMessage(*number, message, ended); })) return false;
    return Until([&] { return over; }) && ok;
  }

  // As Send, of `bytes` of the window under a tag.
  bool SendBytes(const std::string& to, uint64_t tag, size_t bytes) {
    auto number = endpoint_->Resolve(to);
    if (!number.ok()) return false;
    bool over = false, ok = false;
    auto ended = [&](const Status& status, size_t) {
      over = true;
      ok = status.ok();
    };
    const auto part = window().first(bytes);
    if (!Begin([&] { return endpoint_->SendBytes(*number, tag, part, ended); })) return false;
    return Until([&] { return over; }) && ok;
  }

  // The next message that came, decoded; nothing within ten seconds.
  std::optional<Message> Receive() {
    if (!Until([this] { return !received_.empty(); })) return std::nullopt;
    const std::string text = std::move(received_.front());
    received_.pop_front();
    auto message = Decode(std::as_bytes(std::span(text.data(), text.size())));
    EXPECT_OK(message);
    if (!message.ok()) return std::nullopt;
    return std::move(message).value();
  }

  // Asks for bytes into the window, or for something small. The answer; nothing when none comes.
  // window_bytes(): how many bytes came beside the answer.
  std::optional<ReplyMessage> Ask(const std::string& to, RequestMessage request) {
    std::fill(window().begin(), window().end(), kUntouched);
    window_bytes_ = 0;
    request.id = next_++;
    request.tag = next_++;
    request.patience_micros = 5'000'000;
    if (request.reply_to.empty()) request.reply_to = address();
    bool over = false;
    auto arrived = [&](const Status& status, size_t bytes) {
      over = true;
      if (status.ok()) window_bytes_ = bytes;
    };
    auto receive = endpoint_->ReceiveBytes(request.tag, window(), arrived);
    EXPECT_OK(receive);
    if (!receive.ok() || !Send(to, Encode(request))) return std::nullopt;
    auto reply = ReplyTo(request.id);
    const bool bytes_follow = reply && reply->code == Code::kOk && reply->length > 0 &&
                              !reply->bytes_inline && request.operation == Operation::kRead;
    if (!bytes_follow && !over) endpoint_->Cancel(*receive);
    EXPECT_TRUE(Until([&] { return over; }));
    return reply;
  }
  size_t window_bytes() const { return window_bytes_; }

 private:
  static constexpr int64_t kWaitMicros = 10'000'000;

  bool Until(const std::function<bool()>& condition) {
    const int64_t deadline = Clock::Real()->MonotonicMicros() + kWaitMicros;
    while (!condition()) {
      if (Clock::Real()->MonotonicMicros() > deadline) return false;
      if (endpoint_->Poll() > 0) continue;
      // The fabric makes progress when it is polled alone.
      pollfd ready = {endpoint_->wait_fd(), POLLIN, 0};
      ::poll(&ready, 1, 1);
    }
    return true;
  }

  // Calls `start` until the fabric takes what it sends.
  bool Begin(const std::function<Status()>& start) {
    Status status;
    Until([&] {
      status = start();
      return !status.Is(Code::kAgain);
    });
    return status.ok();
  }

  std::optional<ReplyMessage> ReplyTo(uint64_t id) {
    for (;;) {
      auto message = Receive();
      if (!message) return std::nullopt;
      auto* reply = std::get_if<ReplyMessage>(&*message);
      if (reply != nullptr && reply->id == id) return std::move(*reply);
    }
  }

  std::unique_ptr<hwalloc::BufferArena> arena_;
  std::unique_ptr<Fabric> fabric_;
  hwalloc::Buffer window_;
  std::deque<std::string> received_;
  size_t window_bytes_ = 0;
  uint64_t next_ = 1;
  std::unique_ptr<Endpoint> endpoint_;  // last: it writes to all of the above
};

}  // namespace f3::xdt

#endif  // F3_TESTS_XDT_RAW_PEER_H_
