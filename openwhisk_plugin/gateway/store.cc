#include "openwhisk_plugin/gateway/store.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "openwhisk_plugin/gateway/json_text.h"

namespace f3::openwhisk {
namespace {

using meta::Durability;
using meta::RunTxn;
using meta::Transaction;

constexpr char kSeparator = '\0';

std::string Key(char table, std::initializer_list<std::string_view> parts) {
  std::string key(1, table);
  for (auto part : parts) {
    key += kSeparator;
    key += part;
  }
  return key;
}

std::string ActionKey(char table, const ActionName& name) {
  return Key(table, {name.name_space, name.package, name.name});
}

// The first key after all those that begin with `prefix`, which ends with the separator.
std::string End(std::string prefix) {
  prefix.back() = kSeparator + 1;
  return prefix;
}

// Nothing instead of NotFound.
Result<std::optional<std::string>> Find(Transaction& txn, const std::string& key) {
  auto value = txn.Get(key);
  if (value.ok()) return std::optional<std::string>(std::move(*value));
  if (value.status().Is(Code::kNotFound)) return std::optional<std::string>();
  return value.status();
}

Status NoAction(const ActionName& name) {
  return Status::NotFound("the action " + name.ToString() + " does not exist");
}

Status NoPackage(const std::string& name_space, const std::string& name) {
  return Status::NotFound("the package /" + name_space + "/" + name + " does not exist");
}

// Whether an action may stand at `name`.
Status CheckPlace(Transaction& txn, const ActionName& name) {
  if (name.package.empty()) {
    F3_ASSIGN_OR_RETURN(auto package, Find(txn, Key('P', {name.name_space, name.name})));
    if (package) {
      return Status::Exists("a package has the name /" + name.name_space + "/" + name.name);
    }
    return Status();
  }
  F3_ASSIGN_OR_RETURN(auto row, Find(txn, Key('P', {name.name_space, name.package})));
  if (!row) return NoPackage(name.name_space, name.package);
  F3_ASSIGN_OR_RETURN(Package package, PackageFromRow(*row));
  if (package.is_binding()) {
    return Status::InvalidArgument("/" + name.path() +
                                   " is a binding: its actions belong to the package that it "
                                   "stands for");
  }
  return Status();
}

Status CheckRoom(const Result<std::vector<std::pair<std::string, std::string>>>& rows,
                 const std::string& what) {
  if (!rows.ok()) return rows.status();
  if (rows->size() < kMaxEntities) return Status();
  return Status::FileTooBig("the namespace has " + std::to_string(kMaxEntities) + " " + what +
                            "; delete some first");
}

// A record for one that was running when the process stopped.
Activation Interrupted(const nlohmann::json& begun, int64_t now_millis) {
  Activation activation;
  activation.id = begun.value("activationId", "");
  activation.name_space = begun.value("namespace", "");
  activation.name = begun.value("name", "");
  activation.version = begun.value("version", "");
  activation.subject = begun.value("subject", "");
  activation.cause = begun.value("cause", "");
  activation.start_millis = begun.value("start", int64_t{0});
  activation.end_millis = now_millis;
  for (const auto& item : begun.value("annotations", nlohmann::json::array())) {
    activation.annotations[item.value("key", "")] = item.value("value", nlohmann::json());
  }
  activation.response =
      Response::Error(Outcome::kWhiskError, "the gateway was restarted while the action ran");
  return activation;
}

}  // namespace

Store::Store(std::unique_ptr<meta::KvStore> kv, const StoreOptions& options)
    : kv_(std::move(kv)), options_(options) {}

Result<std::unique_ptr<Store>> Store::Open(std::unique_ptr<meta::KvStore> kv,
                                           const StoreOptions& options) {
  std::unique_ptr<Store> store(new Store(std::move(kv), options));
  F3_RETURN_IF_ERROR(store->LoadIndex());
  F3_RETURN_IF_ERROR(store->EndWhatWasRunning());
  return store;
}

Result<std::vector<std::pair<std::string, std::string>>> Store::ScanAll(const std::string& prefix) {
  return kv_->Begin()->Scan(prefix, End(prefix), kMaxEntities);
}

Result<Action> Store::GetAction(const ActionName& name) {
  F3_ASSIGN_OR_RETURN(auto row, Find(*kv_->Begin(), ActionKey('A', name)));
  if (!row) return NoAction(name);
  return ActionFromRow(*row);
}

Result<std::string> Store::GetCode(const ActionName& name) {
  F3_ASSIGN_OR_RETURN(auto code, Find(*kv_->Begin(), ActionKey('C', name)));
  if (!code) return NoAction(name);
  return *std::move(code);
}

Result<Action> Store::ChangeAction(const ActionName& name,
                                   const std::function<Result<Action>(const Action*)>& change) {
  F3_RETURN_IF_ERROR(CheckRoom(ScanAll(Key('A', {name.name_space, ""})), "actions"));
  Action action;
  auto body = [&](Transaction& txn) -> Status {
    F3_RETURN_IF_ERROR(CheckPlace(txn, name));
    F3_ASSIGN_OR_RETURN(auto row, Find(txn, ActionKey('A', name)));
    std::optional<Action> before;
    if (row) {
      F3_ASSIGN_OR_RETURN(before, ActionFromRow(*row));
    }
    F3_ASSIGN_OR_RETURN(action, change(before ? &*before : nullptr));
    txn.Put(ActionKey('A', name), ToRow(action));
    if (action.exec.is_sequence()) {
      txn.Delete(ActionKey('C', name));
    } else if (!action.exec.code.empty()) {
      txn.Put(ActionKey('C', name), action.exec.code);
    }
    return Status();
  };
  F3_RETURN_IF_ERROR(RunTxn(kv_.get(), Durability::kSynced, body).status());
  return action;
}

Result<Action> Store::DeleteAction(const ActionName& name) {
  Action action;
  auto body = [&](Transaction& txn) -> Status {
    F3_ASSIGN_OR_RETURN(auto row, Find(txn, ActionKey('A', name)));
    if (!row) return NoAction(name);
    F3_ASSIGN_OR_RETURN(action, ActionFromRow(*row));
    txn.Delete(ActionKey('A', name));
    txn.Delete(ActionKey('C', name));
    return Status();
  };
  F3_RETURN_IF_ERROR(RunTxn(kv_.get(), Durability::kSynced, body).status());
  return action;
}

Result<std::vector<Action>> Store::ListActions(const std::string& name_space,
                                               const std::string* package) {
  F3_ASSIGN_OR_RETURN(auto rows,
                      ScanAll(package == nullptr ? Key('A', {name_space, ""})
                                                 : Key('A', {name_space, *package, ""})));
  std::vector<Action> actions;
  for (const auto& [key, row] : rows) {
    F3_ASSIGN_OR_RETURN(Action action, ActionFromRow(row));
    actions.push_back(std::move(action));
  }
  std::stable_sort(actions.begin(), actions.end(), [](const Action& a, const Action& b) {
    return a.updated_millis > b.updated_millis;
  });
  return actions;
}

Result<Package> Store::GetPackage(const std::string& name_space, const std::string& name) {
  F3_ASSIGN_OR_RETURN(auto row, Find(*kv_->Begin(), Key('P', {name_space, name})));
  if (!row) return NoPackage(name_space, name);
  return PackageFromRow(*row);
}

Result<Package> Store::ChangePackage(const std::string& name_space, const std::string& name,
                                     const std::function<Result<Package>(const Package*)>& change) {
  F3_RETURN_IF_ERROR(CheckRoom(ScanAll(Key('P', {name_space, ""})), "packages"));
  Package package;
  auto body = [&](Transaction& txn) -> Status {
    F3_ASSIGN_OR_RETURN(auto action, Find(txn, Key('A', {name_space, "", name})));
    if (action) return Status::Exists("an action has the name /" + name_space + "/" + name);
    F3_ASSIGN_OR_RETURN(auto row, Find(txn, Key('P', {name_space, name})));
    std::optional<Package> before;
    if (row) {
      F3_ASSIGN_OR_RETURN(before, PackageFromRow(*row));
    }
    F3_ASSIGN_OR_RETURN(package, change(before ? &*before : nullptr));
    txn.Put(Key('P', {name_space, name}), ToRow(package));
    return Status();
  };
  F3_RETURN_IF_ERROR(RunTxn(kv_.get(), Durability::kSynced, body).status());
  return package;
}

Result<Package> Store::DeletePackage(const std::string& name_space, const std::string& name,
                                     bool force) {
  Package package;
  auto body = [&](Transaction& txn) -> Status {
    F3_ASSIGN_OR_RETURN(auto row, Find(txn, Key('P', {name_space, name})));
    if (!row) return NoPackage(name_space, name);
    F3_ASSIGN_OR_RETURN(package, PackageFromRow(*row));
    std::string prefix = Key('A', {name_space, name, ""});
    F3_ASSIGN_OR_RETURN(auto actions, txn.Scan(prefix, End(prefix), kMaxEntities));
    if (!actions.empty() && !force) {
      return Status::NotEmpty("the package is not empty: it has " + std::to_string(actions.size()) +
                              " action" + (actions.size() == 1 ? "" : "s"));
    }
    for (const auto& [key, action] : actions) {
      txn.Delete(key);
      txn.Delete("C" + key.substr(1));
    }
    txn.Delete(Key('P', {name_space, name}));
    return Status();
  };
  F3_RETURN_IF_ERROR(RunTxn(kv_.get(), Durability::kSynced, body).status());
  return package;
}

Result<std::vector<Package>> Store::ListPackages(const std::string& name_space) {
  F3_ASSIGN_OR_RETURN(auto rows, ScanAll(Key('P', {name_space, ""})));
  std::vector<Package> packages;
  for (const auto& [key, row] : rows) {
    F3_ASSIGN_OR_RETURN(Package package, PackageFromRow(row));
    packages.push_back(std::move(package));
  }
  std::stable_sort(packages.begin(), packages.end(), [](const Package& a, const Package& b) {
    return a.updated_millis > b.updated_millis;
  });
  return packages;
}

Status Store::LoadIndex() {
  constexpr size_t kBatch = 1000;
  std::string next = Key('S', {""});
  const std::string end = End(next);
  MutexLock lock(mutex_);
  while (true) {
    F3_ASSIGN_OR_RETURN(auto rows, kv_->Begin()->Scan(next, end, kBatch));
    for (const auto& [key, row] : rows) {
      F3_ASSIGN_OR_RETURN(nlohmann::json summary, ParseJson(row, "the summary of an activation"));
      index_[summary.value("namespace", "")].insert({summary.value("start", int64_t{0}),
                                                     summary.value("activationId", ""),
                                                     summary.value("name", "")});
    }
    if (rows.size() < kBatch) return Status();
    next = rows.back().first + kSeparator;
  }
}

Status Store::EndWhatWasRunning() {
  std::string prefix = Key('R', {""});
  int64_t now_millis = options_.clock->WallNanos() / 1'000'000;
  while (true) {
    F3_ASSIGN_OR_RETURN(auto rows, ScanAll(prefix));
    if (rows.empty()) return Status();
    spdlog::warn("{} activations were running when the gateway stopped", rows.size());
    for (const auto& [key, row] : rows) {
      F3_ASSIGN_OR_RETURN(nlohmann::json begun, ParseJson(row, "the note of an activation"));
      F3_RETURN_IF_ERROR(EndActivation(Interrupted(begun, now_millis)));
    }
  }
}

Status Store::BeginActivation(const Activation& activation) {
  nlohmann::json begun = activation.SummaryJson();
  begun["subject"] = activation.subject;
  return RunTxn(kv_.get(), Durability::kBuffered,
                [&](Transaction& txn) {
                  txn.Put(Key('R', {activation.name_space, activation.id}), DumpJson(begun));
                  return Status();
                })
      .status();
}

Status Store::ForgetActivation(const Activation& activation) {
  return RunTxn(kv_.get(), Durability::kBuffered,
                [&](Transaction& txn) {
                  txn.Delete(Key('R', {activation.name_space, activation.id}));
                  return Status();
                })
      .status();
}

Status Store::EndActivation(const Activation& activation) {
  const std::string& ns = activation.name_space;
  auto body = [&](Transaction& txn) {
    txn.Delete(Key('R', {ns, activation.id}));
    txn.Put(Key('V', {ns, activation.id}), DumpJson(activation.ToJson()));
    txn.Put(Key('S', {ns, activation.id}), DumpJson(activation.SummaryJson()));
    return Status();
  };
  F3_RETURN_IF_ERROR(RunTxn(kv_.get(), Durability::kBuffered, body).status());
  {
    MutexLock lock(mutex_);
    index_[ns].insert({activation.start_millis, activation.id, activation.name});
  }
  return Prune(ns);
}

Status Store::Prune(const std::string& name_space) {
  constexpr size_t kMost = 16;  // per call: more than come in
  int64_t oldest_millis = (options_.clock->WallNanos() / 1000 - options_.max_age_micros) / 1000;
  std::vector<std::string> dropped;
  {
    MutexLock lock(mutex_);
    auto& all = index_[name_space];
    while (!all.empty() && dropped.size() < kMost &&
           (all.size() > options_.max_activations || all.begin()->start_millis < oldest_millis)) {
      dropped.push_back(all.begin()->id);
      all.erase(all.begin());
    }
  }
  if (dropped.empty()) return Status();
  return RunTxn(kv_.get(), Durability::kBuffered,
                [&](Transaction& txn) {
                  for (const auto& id : dropped) {
                    txn.Delete(Key('V', {name_space, id}));
                    txn.Delete(Key('S', {name_space, id}));
                  }
                  return Status();
                })
      .status();
}

Result<nlohmann::json> Store::GetActivation(const std::string& name_space, const std::string& id) {
  F3_ASSIGN_OR_RETURN(auto row, Find(*kv_->Begin(), Key('V', {name_space, id})));
  if (!row) return Status::NotFound("the activation " + id + " does not exist, or is not over yet");
  return ParseJson(*row, "the record of an activation");
}

std::vector<Store::Indexed> Store::Select(const std::string& name_space, const Query& query) {
  std::vector<Indexed> selected;
  auto it = index_.find(name_space);
  if (it == index_.end()) return selected;
  for (auto entry = it->second.rbegin(); entry != it->second.rend(); ++entry) {
    if (entry->start_millis < query.since_millis) break;
    if (query.upto_millis >= 0 && entry->start_millis > query.upto_millis) continue;
    if (!query.name.empty() && entry->name != query.name) continue;
    selected.push_back(*entry);
  }
  return selected;
}

size_t Store::CountActivations(const std::string& name_space, const Query& query) {
  MutexLock lock(mutex_);
  return Select(name_space, query).size();
}

Result<std::vector<nlohmann::json>> Store::ListActivations(const std::string& name_space,
                                                           const Query& query) {
  std::vector<Indexed> selected;
  {
    MutexLock lock(mutex_);
    selected = Select(name_space, query);
  }
  std::vector<nlohmann::json> out;
  auto txn = kv_->Begin();
  for (size_t i = query.skip; i < selected.size() && out.size() < query.limit; ++i) {
    F3_ASSIGN_OR_RETURN(auto row,
                        Find(*txn, Key(query.full ? 'V' : 'S', {name_space, selected[i].id})));
    if (!row) continue;  // pruned meanwhile
    F3_ASSIGN_OR_RETURN(nlohmann::json item, ParseJson(*row, "the record of an activation"));
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace f3::openwhisk
