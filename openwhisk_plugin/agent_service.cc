#include "openwhisk_plugin/agent_service.h"

#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

#include "common/unique_fd.h"
#include "metadata/client.h"
#include "openwhisk_plugin/agent.grpc.pb.h"
#include "openwhisk_plugin/agent_client.h"
#include "openwhisk_plugin/data_locator.h"
#include "openwhisk_plugin/names.h"
#include "openwhisk_plugin/sandboxes.h"

namespace f3::openwhisk {
namespace {

constexpr int64_t kMetaMicros = 8'000'000;
constexpr std::chrono::seconds kStopPatience(2);

// Takes a Result apart.
template <typename Reply>
Status Give(Result<Reply> result, Reply* reply) {
  if (!result.ok()) return result.status();
  *reply = std::move(result).value();
  return Status();
}

class Service : public AgentService, private LocalAgent::Service {
 public:
  Service(const Options& options, const ClusterKey& key) : options_(options), key_(key) {}
  ~Service() override { Stop(); }

  Status Open();
  void Stop() override;

 private:
  using Context = grpc::ServerContext;

  grpc::Status Attach(Context*, const AttachRequest* request, AttachReply* reply) override {
    return Run([&] { return Give(sandboxes_->Attach(*request), reply); });
  }
  grpc::Status Update(Context*, const UpdateRequest* request, UpdateReply* reply) override {
    return Run([&] {
      const int64_t began = Clock::Real()->MonotonicMicros();
      Status status = sandboxes_->Update(*request);
      reply->set_micros(Clock::Real()->MonotonicMicros() - began);
      return status;
    });
  }
  grpc::Status Detach(Context*, const DetachRequest* request, DetachReply*) override {
    return Run([&] { return sandboxes_->Detach(request->container()); });
  }
  grpc::Status EndWorkflow(Context*, const EndWorkflowRequest* request,
                           EndWorkflowReply*) override {
    return Run([&] { return sandboxes_->EndWorkflow(*request); });
  }
  grpc::Status Locate(Context*, const LocateRequest* request, LocateReply* reply) override {
    return Run([&] { return Give(locator_->Locate(*request), reply); });
  }
  grpc::Status List(Context*, const ListRequest*, ListReply* reply) override {
    return Run([&] {
      *reply = sandboxes_->List();
      return Status();
    });
  }
  grpc::Status Check(Context*, const CheckRequest* request, CheckReply*) override {
    return Run([&] { return sandboxes_->Check(*request); });
  }

  template <typename Work>
  grpc::Status Run(Work work) {
    struct Counted {
      explicit Counted(std::atomic<int>* count) : count(count), now(++*count) {}
      ~Counted() { --*count; }
      std::atomic<int>* const count;
      const int now;
    } counted(&in_flight_);
    if (counted.now > kMaxInFlight) {
      return ToGrpc(Status::Again("the node agent has " + std::to_string(kMaxInFlight) +
                                  " requests under way; try again"));
    }
    // A last resort: libraries below may throw, our own code does not.
    try {
      return ToGrpc(work());
    } catch (const std::exception& error) {
      return ToGrpc(Status::Internal(error.what()));
    }
  }

  Status CheckSocket() const;
  Status Serve();

  const Options options_;
  const ClusterKey key_;
  std::unique_ptr<meta::MetaClient> meta_;
  std::unique_ptr<Sandboxes> sandboxes_;
  std::unique_ptr<DataLocator> locator_;
  std::atomic<int> in_flight_{0};
  std::unique_ptr<grpc::Server> server_;
};

// Nobody else's, and short enough for what is bound beside it for a moment.
Status Service::CheckSocket() const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (options_.socket.size() + 4 >= sizeof(address.sun_path)) {
    return Status::NameTooLong("agent_socket " + options_.socket +
                               " is too long for a socket; at most 103 bytes");
  }
  std::strncpy(address.sun_path, options_.socket.c_str(), sizeof(address.sun_path) - 1);
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return Status::Busy("another process listens at " + options_.socket);
  }
  struct stat info {};
  if (::lstat(options_.socket.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
    return Status::Exists(options_.socket + " exists and is no socket");
  }
  return Status();
}

// Bound in a directory that only its owner enters, and moved to its name when its mode is right: at
// no time can others open it.
Status Service::Serve() {
  const std::string dir = options_.socket + ".d";
  const std::string bound = dir + "/s";
  ::unlink(bound.c_str());
  if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return Status::FromErrno(errno, "make the directory " + dir);
  }
  grpc::ResourceQuota quota("f3-agent");
  // Some above the requests that are let in, so that the others are told.
  quota.SetMaxThreads(kMaxInFlight + 16);
  grpc::ServerBuilder builder;
  builder.SetResourceQuota(quota);
  builder.AddListeningPort("unix:" + bound, grpc::InsecureServerCredentials());
  builder.RegisterService(static_cast<LocalAgent::Service*>(this));
  server_ = builder.BuildAndStart();
  Status status;
  if (server_ == nullptr) {
    status = Status::Io("cannot listen at " + options_.socket);
  } else if (::chmod(bound.c_str(), 0600) != 0 ||
             ::rename(bound.c_str(), options_.socket.c_str()) != 0) {
    status = Status::FromErrno(errno, "make the socket " + options_.socket);
  }
  ::rmdir(dir.c_str());
  return status;
}

Status Service::Open() {
  F3_RETURN_IF_ERROR(CheckSocket());
  F3_ASSIGN_OR_RETURN(VolumePolicy policy, VolumePolicy::Parse(options_.allow));
  meta::MetaClient::Options meta;
  meta.server = options_.metadata_server;
  meta.tls_ca_file = options_.tls_ca_file;
  meta.call_timeout_micros = kMetaMicros;
  F3_ASSIGN_OR_RETURN(meta_, meta::MetaClient::Connect(meta, key_, nullptr));
  locator_ = std::make_unique<DataLocator>(meta_.get(), key_, policy);
  Sandboxes::Options sandboxes;
  sandboxes.dir = options_.dir;
  sandboxes.agent = options_.agent;
  sandboxes.meta = meta_.get();
  sandboxes.policy = std::move(policy);
  sandboxes.xdt_limit_bytes = options_.xdt_limit_bytes;
  F3_ASSIGN_OR_RETURN(sandboxes_, Sandboxes::Start(std::move(sandboxes)));
  return Serve();
}

void Service::Stop() {
  if (server_ != nullptr) {
    server_->Shutdown(std::chrono::system_clock::now() + kStopPatience);
    server_->Wait();
    server_.reset();
    ::unlink(options_.socket.c_str());
  }
  if (sandboxes_ != nullptr) sandboxes_->Stop();
  if (meta_ != nullptr) meta_->Shutdown();
}

}  // namespace

Result<std::unique_ptr<AgentService>> AgentService::Start(const Options& options,
                                                          const ClusterKey& key) {
  auto service = std::make_unique<Service>(options, key);
  F3_RETURN_IF_ERROR(service->Open());
  return std::unique_ptr<AgentService>(std::move(service));
}

}  // namespace f3::openwhisk
