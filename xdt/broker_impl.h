// The broker's parts and who calls whom. Private to xdt/broker*.cc.
#ifndef F3_XDT_BROKER_IMPL_H_
#define F3_XDT_BROKER_IMPL_H_

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "common/executor.h"
#include "common/mutex.h"
#include "common/timers.h"
#include "xdt/broker.h"
#include "xdt/broker_session.h"
#include "xdt/client_message.h"
#include "xdt/drained_store.h"
#include "xdt/owned_objects.h"
#include "xdt/puller.h"
#include "xdt/socket_server.h"

namespace f3::xdt {

// Functions' requests come on the socket server's thread and never wait there: what does is done on
// `work_`, or in a callback. No mutex of the broker is held while anything outside is called.
class BrokerImpl : public Broker, public SocketServer::Handler {
 public:
  explicit BrokerImpl(const Options& options);
  ~BrokerImpl() override { Shutdown(); }
  Status Start();

  Status OpenSocket(const std::string& path, const Scope& scope, mode_t mode,
                    uint64_t limit_bytes) override;
  Status CloseSocket(const std::string& path) override { return sockets_.Close(path); }
  std::unique_ptr<LocalReader> OpenReader(const Scope& scope, uint64_t limit_bytes) override;
  uint64_t memory_bytes() const override { return options_.memory_bytes; }
  uint64_t used_bytes() const override { return pool_.used_bytes(); }
  Counters counters() const override;
  void Shutdown() override;

  // Other nodes' requests: broker_remote.cc.
  void HandleRead(const ReadRequest& request, std::span<std::byte> into, int64_t deadline_micros,
                  ReadDone done) override;
  void HandleWrite(const WriteRequest& request, std::span<const std::byte> bytes,
                   WriteDone done) override;
  void HandleControl(const ControlRequest& request, ControlDone done) override;
  bool AnswersAtOnce(const ObjectKey& object, uint32_t length) const override;

  void OnConnect(const ConnectionRef& connection) override;
  bool OnPacket(const ConnectionRef& connection, std::span<const std::byte> packet) override;
  void OnClose(const ConnectionRef& connection) override;
  void OnTick() override;

 private:
  // One request of a function until its reply.
  struct Call {
    SessionRef session;
    xdt_request head{};
    std::string text;
    int64_t deadline_micros = 0;
    LocalReader::Done local;  // of a get within this process, instead of a reply
  };
  using CallRef = std::shared_ptr<Call>;
  class Reader;
  // A retrieval by a function of this node, until it is known whether it got the bytes.
  struct Retrieval {
    Retrieval(OwnedObjects* owned, const ObjectKey& object) : owned(owned), object(object) {}
    ~Retrieval() { owned->EndTake(object, got); }
    Retrieval(const Retrieval&) = delete;
    Retrieval& operator=(const Retrieval&) = delete;
    OwnedObjects* const owned;
    const ObjectKey object;
    bool got = false;
  };

  // Functions' requests: broker_calls.cc.
  void Hello(const CallRef& call);
  void Alloc(const CallRef& call);
  void Allocated(const CallRef& call, BufferPool::Share share);
  void MakeBuffer(const CallRef& call, BufferPool::Share share);
  void Put(const CallRef& call);
  void SealAndAdd(const CallRef& call, const std::shared_ptr<Filling>& filling);
  void PutInline(const CallRef& call, std::span<const std::byte> data);
  void AddObject(const CallRef& call, ContentRef content);
  void Get(const CallRef& call);
  void GetHere(const CallRef& call, const Reference& reference);
  void GetSpilled(const CallRef& call, const ContentRef& content,
                  const std::shared_ptr<Retrieval>& retrieval);
  void GetElsewhere(const CallRef& call, const Reference& reference, NodeId owner);
  static Puller::Want WantOf(const CallRef& call, const Reference& reference);
  void GetMoved(const CallRef& call, const Reference& reference, const Status& otherwise);
  bool ReplyContent(const CallRef& call, const ContentRef& content);
  void ReplyStream(const CallRef& call, const IncomingRef& incoming);
  // Likewise for a get within this process: local_reader.cc.
  bool GiveContent(const CallRef& call, const ContentRef& content);
  void GiveStream(const CallRef& call, const IncomingRef& incoming);
  void Wait(const CallRef& call);
  void Delete(const CallRef& call);
  void Stat(const CallRef& call);

  bool Reply(const CallRef& call, xdt_reply head, std::string_view text = {},
             const Connection::Data& data = nullptr, int fd = -1);
  void Fail(const CallRef& call, const Status& status);
  std::shared_ptr<Sandbox> MakeSandbox(const Scope& scope, uint64_t limit_bytes) const;
  // Half of the pool: who stops in the middle of its work leaves the rest to others.
  uint64_t ViewLimit() const { return options_.memory_bytes / 2; }
  // Runs `work` where it may take its time; fails the call when there is too much of it.
  void Later(const CallRef& call, std::function<void()> work);
  // Calls `next` with the share, or fails the call.
  void Reserve(const CallRef& call, uint64_t bytes, std::function<void(BufferPool::Share)> next);
  // Frees memory that nobody needs, and spills, when somebody waits for some.
  void Reclaim();
  // Takes up what was left here before the last restart, if the reference is to that. Reads files.
  void TakeUp(const Reference& reference);
  // Runs `next`, on another thread if TakeUp has something to do before.
  void WithOwned(const CallRef& call, const Reference& reference, std::function<void()> next);
  void LeaveToOthers();
  Result<ReferenceKeys::OpenedTicket> OpenTicket(const ObjectRequest& request) const;
  // What this node may serve of another owner's object, from a copy that it keeps.
  Result<ContentRef> FindRelayed(const ReferenceKeys::OpenedTicket& opened,
                                 const ReadRequest& request);

  const Options options_;
  const ReferenceKeys keys_;
  DrainedStore drained_;
  Timers timers_;
  Executor work_;
  BufferPool pool_;
  OwnedObjects owned_;
  Puller puller_;
  std::atomic<bool> reclaiming_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> puts_{0}, gets_{0}, pulls_{0}, refused_{0};
  std::atomic<uint64_t> put_bytes_{0}, got_bytes_{0}, pulled_bytes_{0}, served_bytes_{0},
      spilled_bytes_{0};

  mutable Mutex mutex_;
  std::map<uint64_t, SessionRef> sessions_ F3_GUARDED_BY(mutex_);
  // Last: its thread uses all of the above.
  SocketServer sockets_;
};

}  // namespace f3::xdt

#endif  // F3_XDT_BROKER_IMPL_H_
