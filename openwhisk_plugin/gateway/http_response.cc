#include "openwhisk_plugin/gateway/http_response.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

namespace f3::openwhisk {
namespace {

constexpr size_t kMaxHeadBytes = 64 << 10;
constexpr size_t kMaxLineBytes = 4 << 10;

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The whole text is the number.
bool ParseNumber(std::string_view text, int base, uint64_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

}  // namespace

Status HttpResponse::Grow(uint64_t more) const {
  if (more > max_body_bytes_ || body_.size() > max_body_bytes_ - more) {
    return Status::BadMessage("the response is larger than " + std::to_string(max_body_bytes_) +
                              " bytes");
  }
  return Status();
}

Status HttpResponse::ReadHeader(std::string_view name, std::string_view value) {
  const std::string lower = Lower(name);
  if (lower == "content-length") {
    if (!ParseNumber(value, 10, &left_)) {
      return Status::BadMessage("the response's Content-Length is no number");
    }
    has_length_ = true;
    return Grow(left_);
  }
  if (lower == "transfer-encoding") {
    if (Lower(value) != "chunked") {
      return Status::BadMessage("the response has Transfer-Encoding " + std::string(value));
    }
    chunked_ = true;
  }
  if (lower == "connection" && Lower(value) == "close") keep_alive_ = false;
  return Status();
}

Status HttpResponse::ReadHead(std::string_view head) {
  const auto line = head.substr(0, head.find("\r\n"));
  uint64_t status = 0;
  if (!line.starts_with("HTTP/1.") || line.size() < 12 ||
      !ParseNumber(line.substr(9, 3), 10, &status)) {
    return Status::BadMessage("the answer is not HTTP");
  }
  status_ = static_cast<int>(status);
  keep_alive_ = line.starts_with("HTTP/1.1");
  std::string_view rest = head.substr(std::min(head.size(), line.size() + 2));
  while (!rest.empty()) {
    const auto header = rest.substr(0, rest.find("\r\n"));
    rest.remove_prefix(std::min(rest.size(), header.size() + 2));
    const size_t colon = header.find(':');
    if (colon == std::string_view::npos) return Status::BadMessage("a response header has no ':'");
    F3_RETURN_IF_ERROR(ReadHeader(header.substr(0, colon), Trim(header.substr(colon + 1))));
  }
  if (status_ / 100 == 1) {  // 100 Continue: the response follows
    status_ = 0;
    state_ = State::kHead;
  } else if (status_ == 204 || status_ == 304) {
    state_ = State::kComplete;
  } else if (chunked_) {
    state_ = State::kChunkSize;
  } else if (has_length_) {
    state_ = left_ == 0 ? State::kComplete : State::kBody;
    body_.reserve(left_);
  } else {
    keep_alive_ = false;
    state_ = State::kBodyToEnd;
  }
  return Status();
}

Status HttpResponse::ReadChunkSize(std::string_view line) {
  line = Trim(line.substr(0, line.find(';')));  // extensions mean nothing to us
  if (!ParseNumber(line, 16, &left_)) return Status::BadMessage("a chunk's size is no number");
  state_ = left_ == 0 ? State::kTrailer : State::kChunk;
  return Grow(left_);
}

Status HttpResponse::AdvanceLine(std::string_view* bytes) {
  const size_t newline = bytes->find('\n');
  const size_t taken = newline == std::string_view::npos ? bytes->size() : newline + 1;
  line_.append(bytes->substr(0, taken));
  bytes->remove_prefix(taken);
  const bool is_head = state_ == State::kHead;
  if (line_.size() > (is_head ? kMaxHeadBytes : kMaxLineBytes)) {
    return Status::BadMessage("the response's head is too long");
  }
  if (!line_.ends_with(is_head ? "\r\n\r\n" : "\r\n")) {
    // A lone newline ends no line of ours; a head that begins with one would never end.
    return is_head && line_ == "\r\n" ? Status::BadMessage("the answer is not HTTP") : Status();
  }
  std::string line = std::exchange(line_, {});
  line.resize(line.size() - (is_head ? 4 : 2));
  if (is_head) return ReadHead(line);
  if (state_ == State::kChunkSize) return ReadChunkSize(line);
  if (state_ == State::kChunkEnd) {
    if (!line.empty()) return Status::BadMessage("a chunk is longer than it said");
    state_ = State::kChunkSize;
  } else if (line.empty()) {
    state_ = State::kComplete;  // after the trailer
  }
  return Status();
}

Status HttpResponse::Advance(std::string_view* bytes) {
  switch (state_) {
    case State::kBody:
    case State::kChunk: {
      const auto taken = bytes->substr(0, left_);
      body_.append(taken);
      bytes->remove_prefix(taken.size());
      left_ -= taken.size();
      if (left_ == 0) state_ = state_ == State::kBody ? State::kComplete : State::kChunkEnd;
      return Status();
    }
    case State::kBodyToEnd:
      F3_RETURN_IF_ERROR(Grow(bytes->size()));
      body_.append(*bytes);
      *bytes = {};
      return Status();
    case State::kComplete:
      return Status::BadMessage("more came than the response");
    default:
      return AdvanceLine(bytes);
  }
}

Status HttpResponse::Add(std::string_view bytes) {
  if (!bytes.empty()) started_ = true;
  while (!bytes.empty()) F3_RETURN_IF_ERROR(Advance(&bytes));
  return Status();
}

Status HttpResponse::End() {
  if (state_ == State::kBodyToEnd) state_ = State::kComplete;
  if (state_ != State::kComplete) return Status::BadMessage("the response is cut off");
  return Status();
}

}  // namespace f3::openwhisk
