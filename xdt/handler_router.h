// HandlerRouter: gives each request of other nodes to whom its object belongs to: files' objects to
// the data server, functions' buffers to the broker. Thread-safe.
#ifndef F3_XDT_HANDLER_ROUTER_H_
#define F3_XDT_HANDLER_ROUTER_H_

#include <atomic>
#include <utility>

#include "xdt/owned_objects.h"
#include "xdt/transfer_engine.h"

namespace f3::xdt {

class HandlerRouter : public RequestHandler {
 public:
  // Both outlive the engine's Shutdown. `buffers` may come later; until then its requests get
  // Unavailable.
  explicit HandlerRouter(RequestHandler* files) : files_(files) {}
  void SetBuffers(RequestHandler* buffers) { buffers_ = buffers; }

  void HandleRead(const ReadRequest& request, std::span<std::byte> into, int64_t deadline_micros,
                  ReadDone done) override {
    RequestHandler* handler = For(request);
    if (handler == nullptr) return done(NotYet());
    handler->HandleRead(request, into, deadline_micros, std::move(done));
  }
  void HandleWrite(const WriteRequest& request, std::span<const std::byte> bytes,
                   WriteDone done) override {
    RequestHandler* handler = For(request);
    if (handler == nullptr) return done(NotYet());
    handler->HandleWrite(request, bytes, std::move(done));
  }
  void HandleControl(const ControlRequest& request, ControlDone done) override {
    RequestHandler* handler = For(request);
    if (handler == nullptr) return done(NotYet());
    handler->HandleControl(request, std::move(done));
  }

  bool AnswersAtOnce(const ObjectKey& object, uint32_t length) const override {
    const RequestHandler* handler = For(object);
    return handler != nullptr && handler->AnswersAtOnce(object, length);
  }

 private:
  RequestHandler* For(const ObjectRequest& request) const { return For(request.object); }
  RequestHandler* For(const ObjectKey& object) const {
    return (object.ino & kBufferBit) != 0 ? buffers_.load() : files_;
  }
  static Status NotYet() { return Status::Unavailable("the node is starting"); }

  RequestHandler* const files_;
  std::atomic<RequestHandler*> buffers_{nullptr};
};

}  // namespace f3::xdt

#endif  // F3_XDT_HANDLER_ROUTER_H_
