#include "tests/fuzz/fuzz_server.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <set>
#include <utility>

#include "common/mutex.h"
#include "metadata/request_kind.h"

namespace f3::meta::fuzz {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kMaxKnown = 62;  // numbers 1 … 63 stand for them

bool OneOf(const std::string& name, const std::set<std::string>& names) {
  return names.count(name) != 0;
}

}  // namespace

void Check(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what.c_str());
  std::abort();
}

// What other threads and the server's callbacks touch.
struct FuzzServer::Shared {
  struct Answer {
    bool finished = false;
    Reply reply;
  };
  Mutex mutex;
  CondVar changed;
  std::deque<std::pair<SessionId, uint64_t>> to_acknowledge F3_GUARDED_BY(mutex);
};

namespace {

class Sink : public EventSink {
 public:
  explicit Sink(std::function<void(uint64_t)> heard) : heard_(std::move(heard)) {}
  void Send(const ServerEvent& event) override {
    ServerEvent copy;
    Check(copy.ParseFromString(event.SerializeAsString()), "an event can be read");
    if (event.has_invalidate()) heard_(event.invalidate().id());
    if (event.has_drop()) heard_(event.drop().id());
    if (event.has_fence()) heard_(event.fence().id());
  }
  void Close() override {}

 private:
  const std::function<void(uint64_t)> heard_;
};

}  // namespace

FuzzServer::FuzzServer() : shared_(std::make_shared<Shared>()) {
  spdlog::set_level(spdlog::level::off);
  MetadataCore::Options options;
  options.clock = &clock_;
  options.background = false;
  auto core = MetadataCore::Create(
      options, ClusterKey::FromSecret("0123456789abcdef0123456789abcdef").value(),
      NewMemoryKvStore());
  Check(core.ok(), "the server starts");
  core_ = std::move(core).value();
  Request root;
  root.mutable_resolve()->set_volume("default");
  Read(root);
  for (const char* name : {"a", "b"}) Register(name);
  for (const std::string& text : {SampleRequests()[0], SampleRequests()[1], SampleRequests()[2]}) {
    Request request;
    Check(request.ParseFromString(text), "the samples are requests");
    Check(Run(std::move(request)).code() == 0, "the samples succeed");
  }
}

FuzzServer::~FuzzServer() { core_->Stop(); }

void FuzzServer::Resolve(Message* message) const {
  const auto pick = [](const std::vector<uint64_t>& known, uint64_t number) {
    if (number == 0 || number > kMaxKnown + 1 || known.empty()) return number;
    return known[(number - 1) % known.size()];
  };
  const auto* reflection = message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflection->FieldSize(*message, field) : 1;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      for (int i = 0; i < count; ++i) {
        Resolve(field->is_repeated() ? reflection->MutableRepeatedMessage(message, field, i)
                                     : reflection->MutableMessage(message, field));
      }
      continue;
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_UINT64) continue;
    const std::vector<uint64_t>* known = nullptr;
    const std::string& name = field->name();
    if (OneOf(name, {"ino", "inos", "parent", "new_parent", "root", "replay_ino"})) {
      known = &inodes_;
    } else if (name == "session") {
      known = &sessions_;
    } else if (OneOf(name, {"incarnation", "have_incarnation", "generation"})) {
      known = &uniques_;
    }
    if (known == nullptr) continue;
    for (int i = 0; i < count; ++i) {
      if (field->is_repeated()) {
        const uint64_t number = reflection->GetRepeatedUInt64(*message, field, i);
        reflection->SetRepeatedUInt64(message, field, i, pick(*known, number));
      } else {
        reflection->SetUInt64(message, field, pick(*known, reflection->GetUInt64(*message, field)));
      }
    }
  }
}

void FuzzServer::Learn(const Reply& reply) {
  const auto add = [](uint64_t number, std::vector<uint64_t>* known) {
    if (number == 0 || known->size() >= kMaxKnown) return;
    if (std::find(known->begin(), known->end(), number) == known->end()) known->push_back(number);
  };
  add(reply.entry().attr().ino(), &inodes_);
  add(reply.attr().ino(), &inodes_);
  add(reply.open().incarnation(), &uniques_);
  add(reply.number(), &uniques_);
  if (!reply.has_registered()) return;
  add(reply.registered().session(), &sessions_);
  Attach(reply.registered().session());
}

void FuzzServer::Attach(SessionId session) {
  Hello hello;
  hello.set_session(session);
  core_->Hello(hello, std::make_shared<Sink>([shared = shared_, session](uint64_t event) {
                 MutexLock lock(shared->mutex);
                 shared->to_acknowledge.emplace_back(session, event);
                 shared->changed.SignalAll();
               }));
  ClientEvent ready;
  ready.mutable_heartbeat();
  core_->OnEvent(session, ready);
}

SessionId FuzzServer::Register(const std::string& name) {
  Request request;
  request.mutable_register_node()->set_name(name);
  request.mutable_register_node()->set_tier_uuid("tier of " + name);
  return Run(std::move(request)).registered().session();
}

void FuzzServer::Acknowledge(const bool* finished) {
  for (;;) {
    std::pair<SessionId, uint64_t> next;
    {
      MutexLock lock(shared_->mutex);
      // Answers that wait for the disk come from another thread.
      while (shared_->to_acknowledge.empty()) {
        if (finished == nullptr || *finished) return;
        shared_->changed.Wait(shared_->mutex);
      }
      next = shared_->to_acknowledge.front();
      shared_->to_acknowledge.pop_front();
    }
    ClientEvent event;
    event.set_ack(next.second);
    core_->OnEvent(next.first, event);
  }
}

Reply FuzzServer::Ask(Request request) {
  auto answer = std::make_shared<Shared::Answer>();
  core_->Handle(std::move(request), [shared = shared_, answer](Reply reply) {
    MutexLock lock(shared->mutex);
    Check(!answer->finished, "a request is answered once");
    answer->finished = true;
    answer->reply = std::move(reply);
    shared->changed.SignalAll();
  });
  Acknowledge(&answer->finished);
  Reply copy;
  Check(copy.ParseFromString(answer->reply.SerializeAsString()), "a reply can be read");
  return copy;
}

Reply FuzzServer::Run(Request request) {
  Resolve(&request);
  if (request.session() != 0 && request.token() == 0 && IsMutation(request)) {
    request.set_token(++next_token_);
  }
  const Request asked = request;
  Reply reply = Ask(std::move(request));
  const Code code = static_cast<Code>(reply.code());
  Check(code != Code::kInternal && code != Code::kCorruption && code != Code::kConflict,
        reply.message() + " after " + asked.ShortDebugString());
  Learn(reply);
  return reply;
}

Reply FuzzServer::Read(const Request& request) {
  Reply reply = Ask(request);
  Check(reply.code() == 0, reply.message() + " after " + request.ShortDebugString());
  Learn(reply);
  return reply;
}

void FuzzServer::PassTime() {
  clock_.AdvanceMicros(20'000'000);
  ClientEvent alive;
  alive.mutable_heartbeat();
  core_->OnEvent(sessions_[0], alive);
  core_->Tick();
  Acknowledge(nullptr);
}

void FuzzServer::CountNames(Ino directory, std::map<Ino, uint32_t>* names) {
  Request request;
  request.mutable_readdir()->set_ino(directory);
  request.mutable_readdir()->set_max_entries(1000);
  request.mutable_readdir()->set_with_attrs(true);
  for (;;) {
    const Reply page = Read(request);
    for (const DirEntry& entry : page.entries()) ++(*names)[entry.ino()];
    if (page.last()) return;
    request.mutable_readdir()->set_after(page.entries(page.entries_size() - 1).name());
  }
}

void FuzzServer::CheckNamespace() {
  Request scan;
  scan.mutable_scan()->set_max_items(1000);
  scan.mutable_scan()->set_kind(SCAN_CHECK);
  std::vector<Attr> inodes;
  for (ScanKind kind : {SCAN_CHECK, SCAN_INODES}) {
    scan.mutable_scan()->set_kind(kind);
    scan.mutable_scan()->clear_after();
    do {
      const Reply page = Read(scan);
      for (const std::string& problem : page.scan().problems()) Check(false, problem);
      inodes.insert(inodes.end(), page.scan().inodes().begin(), page.scan().inodes().end());
      scan.mutable_scan()->set_after(page.scan().next());
    } while (!scan.scan().after().empty());
  }
  std::map<Ino, uint32_t> names;
  for (const Attr& attr : inodes) {
    if (S_ISDIR(attr.mode())) CountNames(attr.ino(), &names);
  }
  Request volumes;
  volumes.mutable_list_volumes();
  const Reply listed = Read(volumes);
  for (const std::string& volume : listed.names()) {
    Request root;
    root.mutable_resolve()->set_volume(volume);
    ++names[Read(root).entry().attr().ino()];
  }
  for (const Attr& attr : inodes) {
    const std::string name = "inode " + std::to_string(attr.ino());
    const uint32_t links = S_ISDIR(attr.mode()) ? 1 : attr.nlink();
    Check(names[attr.ino()] == links, name + " has as many names as links");
    // Clients use the bits above for their own.
    Check(attr.ino() != 0 && attr.ino() <= kMaxIno, name + " has a number that clients can use");
    if (!S_ISREG(attr.mode())) continue;
    Check(attr.file_class() == CLASS_EPHEMERAL || attr.file_class() == CLASS_DURABLE,
          name + " has a class");
  }
}

}  // namespace f3::meta::fuzz
