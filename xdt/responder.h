// Responder: what other nodes ask of this one. Used by the engine's progress thread alone, but for
// Answer, which handlers call from any thread.
//
// Requests come to the main endpoint. At most max_served are being served; more wait in order, a
// bounded number. The answer goes through a link, an endpoint per requester, which is closed when
// it takes no bytes until well after a request's deadline, so that buffers always come back.
//
// A link costs milliseconds and megabytes, and anybody may ask for answers anywhere: requests of
// strangers, who have none, wait while many links are being connected.
#ifndef F3_XDT_RESPONDER_H_
#define F3_XDT_RESPONDER_H_

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/executor.h"
#include "hwalloc/buffer_arena.h"
#include "xdt/fabric.h"
#include "xdt/wire.h"

namespace f3::xdt {

class Responder {
 public:
  struct Options {
    hwalloc::BufferArena* buffers = nullptr;
    RequestHandler* handler = nullptr;
    Executor* handlers = nullptr;
    Clock* clock = nullptr;
    uint32_t max_served = 64;
    const std::atomic<Epoch>* epoch = nullptr;
    // Runs something on the progress thread, soon. Any thread.
    std::function<void(std::function<void()>)> post;
  };
  struct Counters {
    std::atomic<uint64_t> bytes_served{0};
    std::atomic<uint64_t> checksum_failures{0};
  };

  Responder(Fabric* fabric, Options options) : fabric_(fabric), options_(std::move(options)) {}

  Status Open();
  const std::string& address() const { return main_->address(); }
  int64_t Run();
  void AddWaits(std::vector<int>* fds, std::vector<fid*>* queues) const;
  // Closes every endpoint. Handlers that still run find nobody to answer.
  void Shutdown();
  // Requests that are with the handler; 0 before the responder may go.
  size_t with_handler() const { return with_handler_; }
  const Counters& counters() const { return counters_; }

 private:
  struct Link {
    std::string peer;
    std::unique_ptr<Endpoint> endpoint;
    fi_addr_t address = FI_ADDR_UNSPEC;
    int64_t used_micros = 0;
    bool connected = false;        // something was sent
    int64_t connecting_since = 0;  // the first try to send; 0: none yet
    int64_t next_try_micros = 0;   // while it is not connected
    bool broken = false;
  };
  using LinkRef = std::shared_ptr<Link>;
  enum class Stage { kWaiting, kReceiving, kHandling, kSending };
  struct Served {
    RequestMessage request;
    LinkRef link;
    Stage stage = Stage::kWaiting;
    hwalloc::Buffer buffer;
    int64_t deadline_micros = 0;
    FabricOp* receive = nullptr;
    bool at_once = false;  // handled by the progress thread itself
    bool ready_sent = false;
    bool bytes_sent = false;  // of a read
    bool bytes_over = false;  // the fabric has given the buffer back
    bool reply_sent = false;
    ReplyMessage reply;
  };
  using ServedRef = std::shared_ptr<Served>;

  void OnRequest(std::span<const std::byte> bytes);
  // A request whose requester has a link.
  void Admit(const ServedRef& served, const LinkRef& link, int64_t now);
  // Opens a link for the first of the strangers, if there may be another; then INT64_MAX or when
  // to go on.
  int64_t AdmitStranger(int64_t now);
  Result<LinkRef> OpenLink(const std::string& peer);
  void CloseLink(Link* link);
  bool Begin(const ServedRef& served);
  bool NeedsBuffer(const Served& served) const;
  void Handle(const ServedRef& served);
  void HandleRead(const ServedRef& served);
  void HandleWrite(const ServedRef& served);
  void HandleControl(const ServedRef& served);
  void Refuse(const ServedRef& served, const Status& status);
  void Handled(const ServedRef& served, ReplyMessage reply);
  void Answer(const ServedRef& served, ReplyMessage reply);
  void Send(const ServedRef& served);
  // Notes what became of a try to send; whether it was sent.
  bool Sent(Link* link, const Status& status);
  static bool Connecting(const Link& link) { return !link.connected && link.connecting_since != 0; }
  void ExpireAndClose(int64_t now, int64_t* due);
  void CloseLinks(int64_t now, int64_t* due);

  Fabric* const fabric_;
  const Options options_;
  std::unique_ptr<Endpoint> main_;
  std::unordered_map<std::string, LinkRef> links_;
  std::deque<ServedRef> strangers_;
  // Of links that could not be connected, for the next strangers.
  std::vector<std::unique_ptr<Endpoint>> spare_;
  size_t connecting_ = 0;  // of links_: tried, and not connected yet
  std::deque<ServedRef> waiting_;
  std::vector<ServedRef> serving_;
  std::atomic<size_t> with_handler_{0};
  int64_t send_due_micros_ = INT64_MAX;
  bool closed_ = false;
  Counters counters_;
};

}  // namespace f3::xdt

#endif  // F3_XDT_RESPONDER_H_
