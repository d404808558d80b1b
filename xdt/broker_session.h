// What one connection of a function holds: buffers that it fills, and what it reads. All of it goes
// with the connection, however that ends. Used by the broker under its sessions' mutex or on the
// socket server's thread; see each.
#ifndef F3_XDT_BROKER_SESSION_H_
#define F3_XDT_BROKER_SESSION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "common/mutex.h"
#include "common/status.h"
#include "xdt/incoming.h"
#include "xdt/owned_objects.h"
#include "xdt/socket_server.h"

namespace f3::xdt {

// A sandbox's socket.
class Sandbox : public SocketOwner {
 public:
  Sandbox(Scope scope, const ReferenceKeys& keys, uint64_t limit_bytes)
      : scope(std::move(scope)),
        asker{keys.NamespaceTag(this->scope), keys.ActionTag(this->scope)},
        account(std::make_shared<BufferPool::Account>(limit_bytes)) {}
  const Scope scope;
  const Asker asker;
  const BufferPool::AccountRef account;
};

// A buffer that a function fills.
struct Filling {
  BufferPool::Share share;  // first: given back when the memory is free
  std::unique_ptr<SharedBuffer> buffer;
};

// What a function reads. A reader of its Incoming while it lives.
class View {
 public:
  View(ContentRef content, IncomingRef incoming)
      : content_(std::move(content)), incoming_(std::move(incoming)) {}
  ~View() {
    if (incoming_ != nullptr) incoming_->RemoveReader();
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  uint64_t bytes() const { return content_ != nullptr ? content_->bytes() : incoming_->bytes(); }
  uint64_t available() const {
    return content_ != nullptr ? content_->bytes() : incoming_->available();
  }
  int fd() const { return content_ != nullptr ? content_->fd() : incoming_->fd(); }
  const IncomingRef& incoming() const { return incoming_; }

 private:
  const ContentRef content_;
  const IncomingRef incoming_;
};
using ViewRef = std::shared_ptr<View>;

// Thread-safe.
class Session {
 public:
  static constexpr size_t kMaxHandles = 4096;

  // `most_viewed_bytes`: what one connection may have mapped; whoever reads and never gives back
  // cannot hold more.
  Session(ConnectionRef connection, uint64_t most_viewed_bytes)
      : connection_(std::move(connection)), most_viewed_bytes_(most_viewed_bytes) {}
  // Of a reader within this process, who has no connection.
  Session(std::shared_ptr<Sandbox> sandbox, uint64_t most_viewed_bytes)
      : local_(std::move(sandbox)), most_viewed_bytes_(most_viewed_bytes) {}

  const ConnectionRef& connection() const { return connection_; }
  const Sandbox& sandbox() const {
    return local_ != nullptr ? *local_ : *static_cast<Sandbox*>(connection_->owner());
  }

  // Again at the limits; Unavailable once the connection is over.
  Result<uint64_t> Add(Filling filling);
  Result<uint64_t> Add(ViewRef view);
  // Again when a view of so many bytes would be too much.
  Status CheckRoomForView(uint64_t bytes);
  // NotFound. Takes it out.
  Result<Filling> TakeFilling(uint64_t handle);
  // Null when there is none.
  ViewRef FindView(uint64_t handle);
  void Release(uint64_t handle);
  // Drops everything, and what comes later.
  void End();

 private:
  const ConnectionRef connection_;
  const std::shared_ptr<Sandbox> local_;
  const uint64_t most_viewed_bytes_;
  Mutex mutex_;  // leaf
  bool over_ F3_GUARDED_BY(mutex_) = false;
  uint64_t next_ F3_GUARDED_BY(mutex_) = 1;
  uint64_t viewed_bytes_ F3_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, Filling> fillings_ F3_GUARDED_BY(mutex_);
  std::map<uint64_t, ViewRef> views_ F3_GUARDED_BY(mutex_);
};
using SessionRef = std::shared_ptr<Session>;

}  // namespace f3::xdt

#endif  // F3_XDT_BROKER_SESSION_H_
