// Container: one sandbox of an action, through runc (or f3-runc), and the action protocol spoken to
// it: POST /init once, then POST /run, on port 8080 inside. Thread-compatible: one call at a time,
// but for Destroy, which may come from any thread and ends what is under way. Owns everything that
// it made: the runc container, its overlay, its cgroup, its bundle directory, its network
// namespace.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_CONTAINER_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_CONTAINER_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "common/status.h"

namespace f3::openwhisk {

struct ContainerOptions {
  std::string id;           // "wsk-n1-17"; unique on this machine
  std::string runtime;      // program: runc or f3-runc
  std::string rootfs;       // read-only root of the image (scripts/make_rootfs.sh)
  std::string kind;         // "python:3", "nodejs:18": which proxy is started
  std::string state_dir;    // bundles and overlays go below it
  std::string sandbox_dir;  // F3_SANDBOXES for f3-runc; empty: none
  uint64_t memory_bytes = 256ull << 20;
  uint64_t log_bytes = 10ull << 20;  // of one activation; more is cut, with a line that says so
  std::map<std::string, std::string> environment;
};

struct RunOutcome {
  int http_status = 0;      // 200, 502 (action failed), 0: the container died or nothing came
  nlohmann::json response;  // what the proxy answered; null when it was no JSON object
  std::string logs;         // "TIMESTAMP stdout: text" lines, of this activation
  bool timed_out = false;
  bool out_of_memory = false;
};

class Container {
 public:
  // Returns when the proxy inside accepts connections. Errors name the program, and carry the end
  // of what it printed.
  static Result<std::unique_ptr<Container>> Create(const ContainerOptions& options);
  virtual ~Container() = default;  // destroys

  // {"value": {"name", "main", "code", "binary", "env"}}.
  virtual Result<RunOutcome> Init(const nlohmann::json& body, int64_t timeout_micros) = 0;
  virtual Result<RunOutcome> Run(const nlohmann::json& body, int64_t timeout_micros) = 0;
  virtual Status Pause() = 0;
  virtual Status Resume() = 0;
  virtual pid_t pid() const = 0;  // of its init
  virtual bool alive() = 0;
  virtual void Destroy() = 0;
};

// Removes what an earlier process left below `state_dir` (containers, mounts, namespaces,
// directories).
Status DestroyLeftContainers(const std::string& runtime, const std::string& state_dir);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_CONTAINER_H_
