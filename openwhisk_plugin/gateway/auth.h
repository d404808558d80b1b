// AuthKeys: who may call the gateway. A text file of lines "UUID:KEY NAMESPACE", mode 0600; changed
// while the gateway runs, it is read again. Thread-safe.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_AUTH_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_AUTH_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "common/mutex.h"
#include "common/status.h"

namespace f3::openwhisk {

struct Identity {
  std::string name_space;  // also the subject
  std::string uuid;
  std::string key;
};

class AuthKeys {
 public:
  // BadConfig: the file is missing, others may read it, or a line is not of the form.
  static Result<std::unique_ptr<AuthKeys>> Open(const std::string& path);

  // Of a request's header "Authorization: Basic …". Unauthenticated when it is missing or wrong;
  // keys are compared in constant time.
  Result<Identity> Check(std::string_view authorization);

 private:
  struct Stamp {
    int64_t mtime_nanos = 0;
    int64_t size = 0;
    uint64_t ino = 0;
    bool operator==(const Stamp&) const = default;
  };
  explicit AuthKeys(std::string path) : path_(std::move(path)) {}
  Status Reload() F3_REQUIRES(mutex_);

  const std::string path_;
  Mutex mutex_;
  Stamp stamp_ F3_GUARDED_BY(mutex_);
  std::map<std::string, Identity> by_uuid_ F3_GUARDED_BY(mutex_);
};

// Adds a namespace with a new random key to the file (made when it is missing) and returns
// "UUID:KEY". Exists when the namespace has one.
Result<std::string> AddNamespace(const std::string& path, const std::string& name_space);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_AUTH_H_
