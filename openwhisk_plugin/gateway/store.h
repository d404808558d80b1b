// Store: actions, packages and activations of the gateway, in a KvStore (LevelDB below --data).
// Thread-safe. Owns the KvStore.
//
// Keys (parts are separated by a zero byte, which no name has):
//   A ns package name   an action without its code     C ns package name   the code
//   P ns name           a package or a binding         V ns id             an activation, as the
//   API R ns id             one that has begun, to be      S ns id             shows it; its
//   summary
//                       found if this process dies
// Changes of actions and packages are on the device when a call returns; activations survive the
// process at once, and the host from the next such change or Flush on.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_STORE_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_STORE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/status.h"
#include "metadata/kv_store.h"
#include "openwhisk_plugin/gateway/entities.h"

namespace f3::openwhisk {

inline constexpr size_t kMaxEntities = 10'000;  // actions, and packages, of one namespace

struct StoreOptions {
  size_t max_activations = 10'000;  // of one namespace; the oldest go first
  int64_t max_age_micros = 7 * 24 * 3600ll * 1'000'000;
  Clock* clock = Clock::Real();
};

class Store {
 public:
  // Ends what was running when an earlier process stopped: each such activation becomes a record
  // with an internal error.
  static Result<std::unique_ptr<Store>> Open(std::unique_ptr<meta::KvStore> kv,
                                             const StoreOptions& options);

  // NotFound names the action. The code is apart: see GetCode.
  Result<Action> GetAction(const ActionName& name);
  Result<std::string> GetCode(const ActionName& name);
  // Atomically stores what `change` makes of the present one (null: there is none), and returns
  // it. An action whose exec has no code keeps the code that is there. NotFound when its package
  // is missing, NotSupported when that is a binding, Exists when a package has the name.
  Result<Action> ChangeAction(const ActionName& name,
                              const std::function<Result<Action>(const Action*)>& change);
  Result<Action> DeleteAction(const ActionName& name);
  // Latest change first; of the whole namespace, or of one package when `package` is not null.
  Result<std::vector<Action>> ListActions(const std::string& name_space,
                                          const std::string* package);

  Result<Package> GetPackage(const std::string& name_space, const std::string& name);
  Result<Package> ChangePackage(const std::string& name_space, const std::string& name,
                                const std::function<Result<Package>(const Package*)>& change);
  // NotEmpty when it has actions, unless `force`, which deletes them too.
  Result<Package> DeletePackage(const std::string& name_space, const std::string& name, bool force);
  Result<std::vector<Package>> ListPackages(const std::string& name_space);

  // Notes that it runs: its id, names, version, cause, annotations and start.
  Status BeginActivation(const Activation& activation);
  // It did not begin after all.
  Status ForgetActivation(const Activation& activation);
  // Stores the record, and drops the oldest of the namespace beyond the bounds.
  Status EndActivation(const Activation& activation);
  // As the API shows it.
  Result<nlohmann::json> GetActivation(const std::string& name_space, const std::string& id);
  struct Query {
    std::string name;             // empty: any
    int64_t since_millis = 0;     // started at or after
    int64_t upto_millis = -1;     // started at or before; -1: any
    size_t skip = 0, limit = 30;  // newest first
    bool full = false;            // records instead of summaries
  };
  Result<std::vector<nlohmann::json>> ListActivations(const std::string& name_space,
                                                      const Query& query);
  // Makes everything so far survive the host.
  Status Flush() { return kv_->Sync().status(); }
  size_t CountActivations(const std::string& name_space, const Query& query);

 private:
  struct Indexed {
    int64_t start_millis;
    std::string id;
    std::string name;
    bool operator<(const Indexed& other) const {
      return std::tie(start_millis, id) < std::tie(other.start_millis, other.id);
    }
  };
  Store(std::unique_ptr<meta::KvStore> kv, const StoreOptions& options);
  Status LoadIndex();
  Status EndWhatWasRunning();
  // Those of a namespace that match, newest first.
  std::vector<Indexed> Select(const std::string& name_space, const Query& query)
      F3_REQUIRES(mutex_);
  Status Prune(const std::string& name_space);
  Result<std::vector<std::pair<std::string, std::string>>> ScanAll(const std::string& prefix);

  const std::unique_ptr<meta::KvStore> kv_;
  const StoreOptions options_;
  Mutex mutex_;
  // The oldest first. Activations only; the rest is small enough to be scanned.
  std::map<std::string, std::set<Indexed>> index_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_STORE_H_
