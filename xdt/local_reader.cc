#include "xdt/local_reader.h"

#include <utility>

#include "xdt/broker_impl.h"

namespace f3::xdt {

// Its session is that of a connection which never ends before its last view is gone.
class BrokerImpl::Reader : public LocalReader {
 public:
  Reader(BrokerImpl* broker, std::shared_ptr<Sandbox> sandbox)
      : broker_(broker),
        session_(std::make_shared<Session>(std::move(sandbox), broker->ViewLimit())) {}

  Result<uint64_t> Check(const std::string& text) const override {
    F3_ASSIGN_OR_RETURN(Reference reference, broker_->keys_.Open(text));
    const Asker& asker = session_->sandbox().asker;
    F3_RETURN_IF_ERROR(CheckScope(reference, asker.name_space, asker.action));
    F3_RETURN_IF_ERROR(CheckValidity(reference, broker_->options_.clock->WallNanos() / 1000));
    return reference.length;
  }

  void Get(const std::string& text, int64_t timeout_micros, Done done) override {
    auto call = std::make_shared<Call>();
    call->session = session_;
    call->head.op = XDT_OP_GET;
    call->head.flags = XDT_FLAG_STREAM;
    call->text = text;
    call->deadline_micros = broker_->options_.clock->MonotonicMicros() + timeout_micros;
    call->local = std::move(done);
    broker_->Get(call);
  }

 private:
  BrokerImpl* const broker_;
  const SessionRef session_;
};

std::unique_ptr<LocalReader> BrokerImpl::OpenReader(const Scope& scope, uint64_t limit_bytes) {
  return std::make_unique<Reader>(this, MakeSandbox(scope, limit_bytes));
}

bool BrokerImpl::GiveContent(const CallRef& call, const ContentRef& content) {
  const SessionRef& session = call->session;
  auto handle = session->Add(std::make_shared<View>(content, nullptr));
  if (!handle.ok()) {
    Fail(call, handle.status());
    return false;
  }
  ++gets_;
  got_bytes_ += content->bytes();
  // The session's view is given back with the caller's last reference.
  call->local(ContentRef(content.get(), [session, handle = *handle, content](const Content*) {
    session->Release(handle);
  }));
  return true;
}

void BrokerImpl::GiveStream(const CallRef& call, const IncomingRef& incoming) {
  auto reading = std::make_shared<View>(nullptr, incoming);
  incoming->Await(incoming->bytes(), Incoming::kNever,
                  [this, call, reading](const Result<uint64_t>& all) {
                    if (!all.ok()) return Fail(call, all.status());
                    GiveContent(call, reading->incoming()->content());
                  });
}

}  // namespace f3::xdt
