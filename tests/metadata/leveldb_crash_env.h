// CrashEnv: LevelDB's environment on real files that counts device syncs and knows what a power
// cut would leave of each file. Thread-safe.
#ifndef F3_TESTS_METADATA_LEVELDB_CRASH_ENV_H_
#define F3_TESTS_METADATA_LEVELDB_CRASH_ENV_H_

#include <leveldb/env.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "common/mutex.h"

namespace f3::meta {

class CrashEnv : public leveldb::EnvWrapper {
 public:
  CrashEnv() : leveldb::EnvWrapper(leveldb::Env::Default()) {}

  leveldb::Status NewWritableFile(const std::string& name, leveldb::WritableFile** file) override {
    leveldb::Status status = target()->NewWritableFile(name, file);
    if (!status.ok()) return status;
    SetSynced(name, 0);
    *file = new File(this, name, *file);
    return status;
  }
  // What moves keeps what was synced of it (LevelDB syncs before it renames).
  leveldb::Status RenameFile(const std::string& from, const std::string& to) override {
    leveldb::Status status = target()->RenameFile(from, to);
    MutexLock lock(mutex_);
    if (status.ok() && synced_.contains(from)) {
      synced_[to] = synced_[from];
      synced_.erase(from);
    }
    return status;
  }

  // Call with no database open: every file loses what was not synced.
  void Crash() {
    MutexLock lock(mutex_);
    for (const auto& [name, bytes] : synced_) {
      if (std::filesystem::exists(name)) std::filesystem::resize_file(name, bytes);
    }
  }
  uint64_t syncs() const { return syncs_; }
  void FailSyncs(bool fail) { fail_ = fail; }
  // The nth sync from now (1: the next) and all later ones fail. 0: none.
  void CutPowerAtSync(uint64_t nth) { cut_at_ = nth == 0 ? 0 : syncs_ + nth; }
  bool dead() const { return cut_at_ != 0 && syncs_ >= cut_at_; }

 private:
  class File : public leveldb::WritableFile {
   public:
    File(CrashEnv* env, std::string name, leveldb::WritableFile* base)
        : env_(env), name_(std::move(name)), base_(base) {}
    leveldb::Status Append(const leveldb::Slice& bytes) override {
      size_ += bytes.size();
      return base_->Append(bytes);
    }
    leveldb::Status Close() override { return base_->Close(); }
    leveldb::Status Flush() override { return base_->Flush(); }
    leveldb::Status Sync() override {
      if (env_->fail_) return leveldb::Status::IOError(name_, "the device is broken");
      ++env_->syncs_;
      if (env_->dead()) return leveldb::Status::IOError(name_, "the power is gone");
      leveldb::Status status = base_->Sync();
      if (status.ok()) env_->SetSynced(name_, size_);
      return status;
    }

   private:
    CrashEnv* const env_;
    const std::string name_;
    const std::unique_ptr<leveldb::WritableFile> base_;
    uint64_t size_ = 0;
  };

  void SetSynced(const std::string& name, uint64_t bytes) {
    MutexLock lock(mutex_);
    synced_[name] = bytes;
  }

  Mutex mutex_;
  std::map<std::string, uint64_t> synced_ F3_GUARDED_BY(mutex_);
  std::atomic<uint64_t> syncs_{0};
  std::atomic<bool> fail_{false};
  std::atomic<uint64_t> cut_at_{0};
};

}  // namespace f3::meta

#endif  // F3_TESTS_METADATA_LEVELDB_CRASH_ENV_H_
