// Doubles for tests of the gateway: the agent's local API as a gRPC service that remembers what it
// was asked, and containers that do what an action's "code" says. Thread-safe.
#ifndef F3_TESTS_OPENWHISK_PLUGIN_GATEWAY_DOUBLES_H_
#define F3_TESTS_OPENWHISK_PLUGIN_GATEWAY_DOUBLES_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "openwhisk_plugin/agent.grpc.pb.h"
#include "openwhisk_plugin/gateway/sandbox.h"

namespace f3::openwhisk {

// Serves at `socket` until it is destroyed.
class FakeAgent : public LocalAgent::Service {
 public:
  explicit FakeAgent(const std::string& socket);
  ~FakeAgent() override;

  grpc::Status Attach(grpc::ServerContext*, const AttachRequest*, AttachReply*) override;
  grpc::Status Update(grpc::ServerContext*, const UpdateRequest*, UpdateReply*) override;
  grpc::Status Detach(grpc::ServerContext*, const DetachRequest*, DetachReply*) override;
  grpc::Status EndWorkflow(grpc::ServerContext*, const EndWorkflowRequest*,
                           EndWorkflowReply*) override;
  grpc::Status Locate(grpc::ServerContext*, const LocateRequest*, LocateReply*) override;
  grpc::Status List(grpc::ServerContext*, const ListRequest*, ListReply*) override;
  grpc::Status Check(grpc::ServerContext*, const CheckRequest*, CheckReply*) override;

  // What it answers from now on.
  void FailAttach(grpc::Status status);
  void FailCheck(grpc::Status status);
  void FailLocate(grpc::Status status);
  void Answer(const LocateReply& reply);
  void AddLeftover(const std::string& container);

  std::vector<AttachRequest> attaches();
  std::vector<UpdateRequest> updates();
  std::vector<LocateRequest> locates();
  std::vector<CheckRequest> checks();
  std::vector<std::string> ended_workflows();  // "namespace/workflow"
  std::set<std::string> attached();            // containers
  // False when it was not so within 20 s.
  bool WaitFor(const std::function<bool()>& holds);

 private:
  Mutex mutex_;
  CondVar changed_;
  grpc::Status attach_status_ F3_GUARDED_BY(mutex_);
  grpc::Status check_status_ F3_GUARDED_BY(mutex_);
  grpc::Status locate_status_ F3_GUARDED_BY(mutex_);
  LocateReply located_ F3_GUARDED_BY(mutex_);
  std::vector<AttachRequest> attaches_ F3_GUARDED_BY(mutex_);
  std::vector<UpdateRequest> updates_ F3_GUARDED_BY(mutex_);
  std::vector<LocateRequest> locates_ F3_GUARDED_BY(mutex_);
  std::vector<CheckRequest> checks_ F3_GUARDED_BY(mutex_);
  std::vector<std::string> ended_ F3_GUARDED_BY(mutex_);
  std::set<std::string> attached_ F3_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

// What all containers of a test did. An action's code is one word:
//   echo   its arguments                        error   {"error": "boom"}
//   env    its environment                      none    no JSON
//   crash  dies in /run                         badinit refuses /init
//   slow   times out                            deadinit dies in /init
//   oom    runs out of memory                   huge    more than 1 MB
//   block  waits for Release or its end         count   {"count": runs of this container}
//   log    prints two lines                     nest    {"name": its arguments' "n" + 1}
class ContainerWorld {
 public:
  ContainerFactory Factory();

  // Lets all that block go on, now and later.
  void Release();
  // The next container cannot be made.
  void FailNextCreate(const std::string& message);
  // The container with this id has died on its own.
  void Kill(const std::string& id);
  // Waits until so many have begun to block.
  bool WaitBlocked(int count);

  struct Event {
    std::string what;  // create, init, run, pause, resume, destroy
    std::string id;
    nlohmann::json body;
  };
  std::vector<Event> events();
  int Count(const std::string& what);
  bool WaitCount(const std::string& what, int at_least);
  std::vector<ContainerOptions> created();

 private:
  friend class FakeContainer;
  void Note(const std::string& what, const std::string& id, const nlohmann::json& body);
  bool WaitFor(const std::function<bool()>& holds) F3_REQUIRES(mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::vector<Event> events_ F3_GUARDED_BY(mutex_);
  std::vector<ContainerOptions> created_ F3_GUARDED_BY(mutex_);
  std::set<std::string> dead_ F3_GUARDED_BY(mutex_);
  std::string fail_create_ F3_GUARDED_BY(mutex_);
  int blocked_ F3_GUARDED_BY(mutex_) = 0;
  bool released_ F3_GUARDED_BY(mutex_) = false;
};

// A plain HTTP client.
struct HttpAnswer {
  int status = 0;
  nlohmann::json body;
  std::map<std::string, std::string> headers;
};
// `authorization`: "uuid:key"; empty: no header. `body`: sent as it is.
HttpAnswer CallHttp(int port, const std::string& method, const std::string& path,
                    const std::string& authorization, const std::string& body = "");

}  // namespace f3::openwhisk

#endif  // F3_TESTS_OPENWHISK_PLUGIN_GATEWAY_DOUBLES_H_
