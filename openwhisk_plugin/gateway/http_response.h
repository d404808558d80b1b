// HttpResponse: reads one HTTP/1.1 response from bytes as they come: Content-Length, chunked, or up
// to the connection's end (RFC 9112, 6.3). Pure and not thread-safe. Owns the body.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_HTTP_RESPONSE_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_HTTP_RESPONSE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"

namespace f3::openwhisk {

class HttpResponse {
 public:
  // BadMessage for what is not HTTP, for a body above `max_body_bytes` and for bytes after the
  // response: the connection is of no use any more.
  explicit HttpResponse(uint64_t max_body_bytes) : max_body_bytes_(max_body_bytes) {}
  Status Add(std::string_view bytes);
  // The connection has ended. BadMessage when that cuts the response off.
  Status End();

  bool complete() const { return state_ == State::kComplete; }
  bool started() const { return started_; }
  int status() const { return status_; }
  bool keep_alive() const { return keep_alive_; }
  std::string& body() { return body_; }

 private:
  enum class State { kHead, kBody, kBodyToEnd, kChunkSize, kChunk, kChunkEnd, kTrailer, kComplete };

  Status ReadHead(std::string_view head);
  Status ReadHeader(std::string_view name, std::string_view value);
  // Takes what it can of `bytes`.
  Status Advance(std::string_view* bytes);
  Status AdvanceLine(std::string_view* bytes);
  Status ReadChunkSize(std::string_view line);
  Status Grow(uint64_t more) const;

  const uint64_t max_body_bytes_;
  State state_ = State::kHead;
  bool started_ = false;
  bool keep_alive_ = true;
  bool chunked_ = false;
  bool has_length_ = false;
  int status_ = 0;
  uint64_t left_ = 0;  // of the body or the chunk
  std::string line_;   // head or chunk line, so far
  std::string body_;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_HTTP_RESPONSE_H_
