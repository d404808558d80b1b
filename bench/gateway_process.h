// GatewayProcess: `f3 gateway` for one workload, as a child with a directory and a namespace of its
// own, and the calls that workloads make of its REST API.
//
// Start forks: from a process with one thread. Invoke and LocalityOf are thread-safe, the rest is
// for one thread. Owns the child, its directory and the namespace's files: the destructor stops the
// one and removes the others.
#ifndef F3_BENCH_GATEWAY_PROCESS_H_
#define F3_BENCH_GATEWAY_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "cli/cluster.h"
#include "common/status.h"

namespace f3::bench {

// What a workload with sandboxes needs besides a cluster: root, runc and the root file system of
// actions. The message names the command that brings what is missing.
Status CheckSandboxes(const Options& options, size_t nodes);

class GatewayProcess {
 public:
  // `name` sets it apart from others of this process; `flags` are further ones of `f3 gateway`.
  static Result<std::unique_ptr<GatewayProcess>> Start(const Options& options,
                                                       const std::string& name,
                                                       const std::vector<std::string>& flags);
  ~GatewayProcess();
  GatewayProcess(const GatewayProcess&) = delete;
  GatewayProcess& operator=(const GatewayProcess&) = delete;

  struct ActionSpec {
    std::string name;
    std::string code;  // Python
    nlohmann::json hints = nlohmann::json::object();
    int memory_mb = 256;
  };
  // With the namespace's files at /mnt/f3.
  Status PutAction(const ActionSpec& action);
  Status PutSequence(const std::string& name, const std::vector<std::string>& steps);

  struct Answer {
    double micros = 0;          // from the request to the whole answer
    nlohmann::json activation;  // the record
    std::string node;           // that it ran on; empty for a sequence
    const nlohmann::json& result() const { return activation["response"]["result"]; }
  };
  // Blocking. An activation that does not succeed is an error with what it said.
  Result<Answer> Invoke(const std::string& action, const nlohmann::json& arguments) const;
  // "f3-locality" of an activation, for example of one of a sequence's steps ("logs").
  Result<nlohmann::json> LocalityOf(const std::string& activation) const;

  // Where a path of an action is for this process: "/mnt/f3/a" in the first node's mount.
  std::string OnHost(const std::string& path) const;

 private:
  explicit GatewayProcess(const cli::ClusterLayout& layout) : layout_(layout) {}
  Status Launch(const Options& options, const std::vector<std::string>& flags);
  Status AwaitReady() const;
  Result<nlohmann::json> Call(const char* method, const std::string& path,
                              const nlohmann::json& body) const;

  const cli::ClusterLayout layout_;
  std::string dir_;
  std::string name_space_;
  std::string user_, password_;  // the namespace's key
  int port_ = 0;
  pid_t pid_ = -1;
};

// Where actions find their namespace's files.
inline constexpr char kMountPath[] = "/mnt/f3";

}  // namespace f3::bench

#endif  // F3_BENCH_GATEWAY_PROCESS_H_
