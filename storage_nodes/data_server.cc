#include "storage_nodes/data_server.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/crc32c.h"
#include "common/mutex.h"
#include "storage_nodes/object_bytes.h"

namespace f3::storage {
namespace {

using xdt::RequestHandler;

class DataServerImpl : public DataServer {
 public:
  explicit DataServerImpl(const Options& options) : options_(options) {}

  void SetListener(HomeListener* listener) override;
  void SetNode(NodeId node) override {
    MutexLock lock(mutex_);
    node_ = node;
  }
  void Fence(SessionId session) override;

  void HandleRead(const xdt::ReadRequest& request, std::span<std::byte> into,
                  int64_t deadline_micros, ReadDone done) override;
  void HandleWrite(const xdt::WriteRequest& request, std::span<const std::byte> bytes,
                   WriteDone done) override;
  void HandleControl(const xdt::ControlRequest& request, ControlDone done) override;

 private:
  // A request that was let in, until the last copy of its reference is gone.
  struct Visit {
    Visit(DataServerImpl* server, SessionId session, bool write, HomeListener* listener)
        : server(server), session(session), write(write), listener(listener) {}
    ~Visit() { server->Leave(*this); }
    Visit(const Visit&) = delete;
    DataServerImpl* const server;
    const SessionId session;
    const bool write;
    HomeListener* const listener;  // null when there is none
    std::shared_ptr<Object> object;
  };
  using VisitRef = std::shared_ptr<Visit>;

  // Checks the capability and finds the object.
  Result<VisitRef> Enter(const xdt::ObjectRequest& request, bool write);
  void Leave(const Visit& visit);

  const Options options_;
  Mutex mutex_;  // leaf
  CondVar left_;
  HomeListener* listener_ F3_GUARDED_BY(mutex_) = nullptr;
  NodeId node_ F3_GUARDED_BY(mutex_) = 0;
  std::set<SessionId> fenced_ F3_GUARDED_BY(mutex_);
  std::multiset<SessionId> writing_ F3_GUARDED_BY(mutex_);
  size_t visits_ F3_GUARDED_BY(mutex_) = 0;  // that may use a listener
};

void DataServerImpl::SetListener(HomeListener* listener) {
  MutexLock lock(mutex_);
  listener_ = listener;
  while (listener == nullptr && visits_ > 0) left_.Wait(mutex_);
}

void DataServerImpl::Fence(SessionId session) {
  MutexLock lock(mutex_);
  fenced_.insert(session);
  while (writing_.contains(session)) left_.Wait(mutex_);
}

Result<DataServerImpl::VisitRef> DataServerImpl::Enter(const xdt::ObjectRequest& request,
                                                       bool write) {
  F3_ASSIGN_OR_RETURN(Capability capability,
                      options_.key->Open(request.token, options_.clock->WallNanos()));
  if (capability.object != request.object || (write && !capability.write)) {
    return Status::TokenInvalid("the capability is for another object or right");
  }
  VisitRef visit;
  {
    MutexLock lock(mutex_);
    if (capability.node != node_) {
      return Status::TokenInvalid("the capability is for another node");
    }
    if (fenced_.contains(capability.session)) {
      return Status::TokenExpired("the session that the capability was made for is over");
    }
    visit = std::make_shared<Visit>(this, capability.session, write, listener_);
    if (listener_ != nullptr) ++visits_;
    if (write) writing_.insert(capability.session);
  }
  if (write && visit->listener == nullptr) {
    return Status::Unavailable("the node is starting or stopping");
  }
  F3_ASSIGN_OR_RETURN(visit->object, options_.objects->Find(request.object));
  return visit;
}

void DataServerImpl::Leave(const Visit& visit) {
  MutexLock lock(mutex_);
  if (visit.listener != nullptr) --visits_;
  if (visit.write) writing_.erase(writing_.find(visit.session));
  left_.SignalAll();
}

// Corruption when whole checksummed pieces are not what they were when the object was sealed.
// Pulls ask for whole pieces.
Status CheckRange(const Object& object, uint64_t offset, std::span<const std::byte> bytes,
                  uint64_t object_bytes) {
  if (offset % kChecksumBytes != 0) return Status();
  const std::vector<uint32_t> expected = object.Checksums();
  while (!bytes.empty()) {
    const size_t n = std::min<uint64_t>(bytes.size(), kChecksumBytes);
    const bool whole = n == kChecksumBytes || offset + n == object_bytes;
    const size_t piece = offset / kChecksumBytes;
    if (whole && piece < expected.size() && Crc32c(bytes.first(n)) != expected[piece]) {
      return Status::Corruption("object " + ToString(object.key()) +
                                " has changed on its disk at " + std::to_string(offset));
    }
    bytes = bytes.subspan(n);
    offset += n;
  }
  return Status();
}

// `readable`: bytes from there on are not for readers yet.
Result<xdt::ReadResult> ReadRange(const Object& object, const xdt::ReadRequest& request,
                                  std::span<std::byte> into, uint64_t readable) {
  const ObjectInfo info = object.info();
  const bool home = info.role == Role::kHome || info.role == Role::kStaging;
  if (info.role == Role::kFilling) return Status::ObjectMissing("the copy is not complete");
  if (!home && request.version != 0 && info.version != request.version) {
    return Status::WrongVersion("the copy is of another version");
  }
  readable = std::max(readable, request.offset);
  into = into.first(std::min<uint64_t>(into.size(), readable - request.offset));
  F3_ASSIGN_OR_RETURN(size_t n, ReadObject(object, request.offset, into));
  if (!info.writing)
    F3_RETURN_IF_ERROR(CheckRange(object, request.offset, into.first(n), info.size));
  xdt::ReadResult result;
  result.length = static_cast<uint32_t>(n);
  // What was read may be of a version that began since; then it is not of this one.
  const ObjectInfo after = object.info();
  result.object_bytes = after.size;
  result.version = after.version == info.version ? info.version : 0;
  result.writing = info.writing || after.writing;
  return result;
}

void DataServerImpl::HandleRead(const xdt::ReadRequest& request, std::span<std::byte> into,
                                int64_t deadline_micros, ReadDone done) {
  auto entered = Enter(request, /*write=*/false);
  if (!entered.ok()) return done(entered.status());
  VisitRef visit = *std::move(entered);
  if (!request.follow || visit->listener == nullptr) {
    return done(ReadRange(*visit->object, request, into, UINT64_MAX));
  }
  HomeListener* const listener = visit->listener;
  listener->AwaitBytes(request.object, request.offset, deadline_micros,
                       [visit, request, into,
                        done = std::move(done)](const Result<HomeListener::Progress>& progress) {
                         if (!progress.ok()) return done(progress.status());
                         auto read =
                             ReadRange(*visit->object, request, into, progress->readable_bytes);
                         if (read.ok()) {
                           read->writing = progress->writing;
                           read->object_bytes = progress->readable_bytes;
                         }
                         done(std::move(read));
                       });
}

void DataServerImpl::HandleWrite(const xdt::WriteRequest& request, std::span<const std::byte> bytes,
                                 WriteDone done) {
  auto entered = Enter(request, /*write=*/true);
  if (!entered.ok()) return done(entered.status());
  VisitRef visit = *std::move(entered);
  HomeListener* const listener = visit->listener;
  auto object = visit->object;
  listener->RemoteWrite(std::move(object), request, bytes,
                        [visit = std::move(visit), done = std::move(done)](
                            Result<xdt::WriteResult> written) { done(std::move(written)); });
}

void DataServerImpl::HandleControl(const xdt::ControlRequest& request, ControlDone done) {
  const bool write =
      request.op == xdt::ControlOp::kTruncate || request.op == xdt::ControlOp::kAllocate;
  auto entered = Enter(request, write);
  if (!entered.ok()) return done(entered.status());
  VisitRef visit = *std::move(entered);
  HomeListener* const listener = visit->listener;
  if (listener == nullptr) return done(Status::Unavailable("the node is starting or stopping"));
  auto object = visit->object;
  listener->RemoteControl(std::move(object), request,
                          [visit = std::move(visit), done = std::move(done)](
                              Result<xdt::ControlResult> result) { done(std::move(result)); });
}

}  // namespace

std::unique_ptr<DataServer> DataServer::Create(const Options& options) {
  return std::make_unique<DataServerImpl>(options);
}

}  // namespace f3::storage
