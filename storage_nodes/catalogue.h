// Catalogue: what a node remembers of its objects across restarts, in LevelDB.
//
// Rows: "o" + key -> ObjectRecord; "c" + key -> checksums; "m" + name -> text. A write survives the
// death of the process at once and the death of the host some time later (or at once when it says
// so). Thread-safe; the caller orders writes to one object.
#ifndef F3_STORAGE_NODES_CATALOGUE_H_
#define F3_STORAGE_NODES_CATALOGUE_H_

#include <leveldb/db.h>
#include <leveldb/write_batch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "storage_nodes/object_store.h"

namespace f3::storage {

struct ObjectRecord {
  Role role = Role::kFilling;
  TierKind tier = TierKind::kDisk;
  bool sealed = false;
  bool suspect = false;  // the host restarted since it was sealed: verify before use
  Version version = 0;
  uint64_t size = 0;  // when sealed
  bool operator==(const ObjectRecord&) const = default;
};

class Catalogue {
 public:
  // Several changes that happen together.
  class Batch {
   public:
    void Put(const ObjectKey& key, const ObjectRecord& record);
    void PutChecksums(const ObjectKey& key, const std::vector<uint32_t>& checksums);
    void DropChecksums(const ObjectKey& key);
    void Remove(const ObjectKey& key);  // with its checksums
    void PutText(const std::string& name, const std::string& text);

   private:
    friend class Catalogue;
    leveldb::WriteBatch rows_;
  };

  static Result<std::unique_ptr<Catalogue>> Open(const std::string& dir);

  Status Write(Batch batch, bool sync);
  // Empty when there are none.
  Result<std::vector<uint32_t>> Checksums(const ObjectKey& key);
  // Empty when there is none.
  Result<std::string> Text(const std::string& name);
  Status ForEach(const std::function<void(const ObjectKey&, const ObjectRecord&)>& visit);
  // Keys that have checksums.
  Status ForEachChecksum(const std::function<void(const ObjectKey&)>& visit);

 private:
  explicit Catalogue(std::string dir) : dir_(std::move(dir)) {}
  Status Convert(const leveldb::Status& status) const;

  const std::string dir_;
  std::unique_ptr<leveldb::DB> db_;
};

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_CATALOGUE_H_
