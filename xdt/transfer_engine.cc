#include "xdt/transfer_engine.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "common/crc32c.h"
#include "common/executor.h"
#include "common/log.h"
#include "common/mutex.h"
#include "common/unique_fd.h"
#include "xdt/fabric.h"
#include "xdt/requester.h"
#include "xdt/responder.h"

namespace f3::xdt {
namespace {

constexpr int kCompletionThreads = 2;
constexpr size_t kMaxCompletions = 8192;
// Requests given to the engine and not yet seen by its progress thread.
constexpr size_t kMaxSubmitted = 65536;
// Connections are made and accepted by whoever polls; some providers wake nobody for that.
constexpr int64_t kMaxSleepMicros = 20'000;

bool Within(std::span<const std::byte> part, std::span<const std::byte> whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

// One progress thread owns the requester, the responder and every fabric object. Others reach it
// through the submission queue and an eventfd. Checksums are verified, and callbacks run, on
// completion threads, so that a slow one does not hold up the wire.
class Engine : public TransferEngine {
 public:
  explicit Engine(Options options)
      : options_(std::move(options)),
        epoch_(options_.epoch),
        handlers_("f3-serve", options_.handler_threads, kMaxCompletions),
        completions_("f3-complete", kCompletionThreads, kMaxCompletions) {}
  ~Engine() override { Shutdown(); }

  Status Start();

  std::string address() const override { return address_; }
  void SetEpoch(Epoch epoch) override { epoch_ = epoch; }
  void Read(const Peer& peer, const ReadRequest& request, std::span<std::byte> into,
            int64_t deadline_micros, RequestHandler::ReadDone done) override;
  void Write(const Peer& peer, const WriteRequest& request, std::span<const std::byte> bytes,
             int64_t deadline_micros, RequestHandler::WriteDone done) override;
  void Control(const Peer& peer, const ControlRequest& request, int64_t deadline_micros,
               RequestHandler::ControlDone done) override;
  Counters counters() const override;
  void Shutdown() override;

 private:
  // Fills in what all requests share. `answered` runs on a completion thread, or at once.
  Outgoing NewRequest(const Peer& peer, const ObjectRequest& request, int64_t deadline_micros,
                      std::function<void(Result<ReplyMessage>)> answered);
  void Submit(Outgoing request);
  void Post(std::function<void()> work);
  void Complete(std::function<void()> work);
  void Wake();
  void Progress();
  bool TakeSubmitted();
  void Sleep(int64_t micros);

  const Options options_;
  std::atomic<Epoch> epoch_;
  std::string address_;
  UniqueFd wake_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<Responder> responder_;
  std::unique_ptr<Requester> requester_;
  Executor handlers_;
  Executor completions_;
  std::thread progress_;

  Mutex mutex_;  // leaf
  std::vector<Outgoing> submitted_ F3_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> posted_ F3_GUARDED_BY(mutex_);
  bool refusing_ F3_GUARDED_BY(mutex_) = false;
  bool woken_ F3_GUARDED_BY(mutex_) = false;
  std::atomic<bool> stopping_{false};

  std::atomic<uint64_t> bytes_received_{0};
  std::atomic<uint64_t> requests_failed_{0};
  std::atomic<uint64_t> checksum_failures_{0};
};

Status Engine::Start() {
  wake_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.valid()) return Status::FromErrno(errno, "the transfer engine's eventfd");
  F3_ASSIGN_OR_RETURN(
      fabric_, Fabric::Open(options_.provider, options_.bind_address, options_.buffers->region()));
  Responder::Options serve;
  serve.buffers = options_.buffers;
  serve.handler = options_.handler;
  serve.handlers = &handlers_;
  serve.clock = options_.clock;
  serve.max_served = options_.max_served;
  serve.epoch = &epoch_;
  serve.post = [this](std::function<void()> work) { Post(std::move(work)); };
  responder_ = std::make_unique<Responder>(fabric_.get(), std::move(serve));
  F3_RETURN_IF_ERROR(responder_->Open());
  address_ = responder_->address();
  requester_ =
      std::make_unique<Requester>(fabric_.get(), options_.clock, options_.max_in_flight_per_peer);
  progress_ = std::thread([this] { Progress(); });
  return Status();
}

Outgoing Engine::NewRequest(const Peer& peer, const ObjectRequest& request, int64_t deadline_micros,
                            std::function<void(Result<ReplyMessage>)> answered) {
  Outgoing out;
  out.peer = peer.address;
  out.message.epoch = peer.epoch;
  out.message.object = request.object;
  out.message.version = request.version;
  out.message.token = request.token;
  out.deadline_micros = deadline_micros;
  if (options_.injected_delay_micros > 0) {
    out.not_before_micros = options_.clock->MonotonicMicros() + options_.injected_delay_micros;
  }
  out.done = [this, answered = std::move(answered),
              at_once = request.done_at_once](Result<ReplyMessage> reply) {
    if (!reply.ok()) ++requests_failed_;
    if (at_once) return answered(std::move(reply));
    Complete([answered, reply = std::move(reply)]() mutable { answered(std::move(reply)); });
  };
  return out;
}

void Engine::Read(const Peer& peer, const ReadRequest& request, std::span<std::byte> into,
                  int64_t deadline_micros, RequestHandler::ReadDone done) {
  const uint32_t length = std::min<uint32_t>(request.length, static_cast<uint32_t>(into.size()));
  into = into.first(length);
  Outgoing out = NewRequest(
      peer, request, deadline_micros,
      [this, into, done = std::move(done)](const Result<ReplyMessage>& reply) {
        if (!reply.ok()) return done(reply.status());
        if (Crc32c(into.first(reply->length)) != reply->crc) {
          ++checksum_failures_;
          return done(Status::Checksum("the bytes changed on their way"));
        }
        bytes_received_ += reply->length;
        done(ReadResult{reply->length, reply->object_bytes, reply->version, reply->writing});
      });
  out.message.operation = Operation::kRead;
  out.message.offset = request.offset;
  out.message.length = length;
  out.message.follow = request.follow;
  out.into = into;
  if (length > kMaxTransferBytes || !Within(into, options_.buffers->region())) {
    return out.done(Status::InvalidArgument("a read of more than 1 MiB or not into a buffer"));
  }
  Submit(std::move(out));
}

void Engine::Write(const Peer& peer, const WriteRequest& request, std::span<const std::byte> bytes,
                   int64_t deadline_micros, RequestHandler::WriteDone done) {
  Outgoing out = NewRequest(peer, request, deadline_micros,
                            [done = std::move(done)](const Result<ReplyMessage>& reply) {
                              if (!reply.ok()) return done(reply.status());
                              done(WriteResult{reply->value, reply->object_bytes});
                            });
  RequestMessage& message = out.message;
  message.operation = Operation::kWrite;
  message.offset = request.offset;
  message.append = request.append;
  if (bytes.size() > kMaxTransferBytes || !Within(bytes, options_.buffers->region())) {
    return out.done(Status::InvalidArgument("a write of more than 1 MiB or not from a buffer"));
  }
  message.length = static_cast<uint32_t>(bytes.size());
  message.crc = Crc32c(bytes);
  message.bytes_inline = bytes.size() <= kMaxInlineBytes;
  if (message.bytes_inline) {
    message.bytes.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  } else {
    out.bytes = bytes;
  }
  Submit(std::move(out));
}

void Engine::Control(const Peer& peer, const ControlRequest& request, int64_t deadline_micros,
                     RequestHandler::ControlDone done) {
  Outgoing out = NewRequest(peer, request, deadline_micros,
                            [done = std::move(done)](const Result<ReplyMessage>& reply) {
                              if (!reply.ok()) return done(reply.status());
                              done(ControlResult{reply->value, reply->object_bytes, reply->mtime_ns,
                                                 reply->allocated_bytes});
                            });
  out.message.operation = Operation::kControl;
  out.message.control = request.op;
  out.message.a = request.a;
  out.message.b = request.b;
  out.message.c = request.c;
  Submit(std::move(out));
}

void Engine::Submit(Outgoing request) {
  Status refused;
  {
    MutexLock lock(mutex_);
    if (refusing_) {
      refused = Status::Unavailable("the transfer engine is shut down");
    } else if (submitted_.size() >= kMaxSubmitted) {
      refused = Status::Again("too many transfers are under way");
    } else {
      std::swap(submitted_.emplace_back(), request);
    }
  }
  if (!refused.ok()) return request.done(refused);
  Wake();
}

void Engine::Post(std::function<void()> work) {
  {
    MutexLock lock(mutex_);
    posted_.push_back(std::move(work));
  }
  Wake();
}

void Engine::Complete(std::function<void()> work) {
  if (!completions_.TrySubmit(work)) work();
}

void Engine::Wake() {
  {
    MutexLock lock(mutex_);
    if (woken_) return;
    woken_ = true;
  }
  const uint64_t one = 1;
  if (::write(wake_.get(), &one, sizeof(one)) < 0) {
    spdlog::error("the transfer engine cannot be woken: {}", std::strerror(errno));
  }
}

// True when there was something.
bool Engine::TakeSubmitted() {
  std::vector<Outgoing> submitted;
  std::vector<std::function<void()>> posted;
  {
    MutexLock lock(mutex_);
    submitted.swap(submitted_);
    posted.swap(posted_);
    if (woken_) {
      uint64_t count = 0;
      if (::read(wake_.get(), &count, sizeof(count)) > 0) woken_ = false;
    }
  }
  for (auto& work : posted) work();
  for (Outgoing& request : submitted) requester_->Add(std::move(request));
  return !posted.empty() || !submitted.empty();
}

void Engine::Progress() {
  const Status over = Status::Unavailable("the transfer engine is shutting down");
  while (!stopping_) {
    TakeSubmitted();
    const int64_t requester_due = requester_->Run();
    const int64_t responder_due = responder_->Run();
    Sleep(std::min(requester_due, responder_due));
  }
  TakeSubmitted();
  requester_->Shutdown(over);
  // Handlers may still use buffers that belong to requests.
  while (responder_->with_handler() > 0) {
    pollfd fd = {wake_.get(), POLLIN, 0};
    ::poll(&fd, 1, -1);
    TakeSubmitted();
  }
  responder_->Shutdown();
}

// Waits for the fabric, for Wake, or until `micros` have passed.
void Engine::Sleep(int64_t micros) {
  if (micros <= 0) return;
  std::vector<int> fds;
  std::vector<fid*> queues;
  requester_->AddWaits(&fds, &queues);
  responder_->AddWaits(&fds, &queues);
  if (fi_trywait(fabric_->fabric(), queues.data(), static_cast<int>(queues.size())) != 0) return;
  std::vector<pollfd> polled;
  polled.push_back({wake_.get(), POLLIN, 0});
  for (int fd : fds) polled.push_back({fd, POLLIN, 0});
  micros = std::min(micros, kMaxSleepMicros);
  const timespec timeout = {micros / 1'000'000, micros % 1'000'000 * 1000};
  ::ppoll(polled.data(), polled.size(), &timeout, nullptr);
}

TransferEngine::Counters Engine::counters() const {
  Counters counters;
  counters.bytes_received = bytes_received_;
  counters.requests_failed = requests_failed_;
  counters.checksum_failures = checksum_failures_ + responder_->counters().checksum_failures;
  counters.bytes_served = responder_->counters().bytes_served;
  counters.reconnects = requester_->reconnects();
  return counters;
}

void Engine::Shutdown() {
  {
    MutexLock lock(mutex_);
    if (std::exchange(refusing_, true)) return;
  }
  stopping_ = true;
  if (progress_.joinable()) {
    Wake();
    progress_.join();
  }
  handlers_.Shutdown();
  completions_.Shutdown();
}

}  // namespace

Result<std::unique_ptr<TransferEngine>> TransferEngine::Create(Options options) {
  auto engine = std::make_unique<Engine>(std::move(options));
  F3_RETURN_IF_ERROR(engine->Start());
  return std::unique_ptr<TransferEngine>(std::move(engine));
}

}  // namespace f3::xdt
