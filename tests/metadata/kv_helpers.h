// Short forms of what tests of a KvStore do most.
#ifndef F3_TESTS_METADATA_KV_HELPERS_H_
#define F3_TESTS_METADATA_KV_HELPERS_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "metadata/kv_store.h"
#include "metadata/occ_store.h"
#include "tests/common/status_matchers.h"

namespace f3::meta {

inline void Put(KvStore* store, const std::string& key, const std::string& value) {
  auto txn = store->Begin();
  txn->Put(key, value);
  ASSERT_OK(txn->Commit(Durability::kBuffered));
}

// What Get gives, or the name of the code that it fails with.
inline std::string Read(Transaction& txn, std::string_view key) {
  auto value = txn.Get(key);
  return value.ok() ? *value : std::string(CodeName(value.status().code()));
}

inline std::string Read(KvStore* store, std::string_view key) { return Read(*store->Begin(), key); }

inline Pairs ScanAll(Transaction& txn, std::string_view begin, std::string_view end,
                     size_t limit = SIZE_MAX) {
  auto pairs = txn.Scan(begin, end, limit);
  EXPECT_OK(pairs);
  return pairs.ok() ? *pairs : Pairs();
}

}  // namespace f3::meta

#endif  // F3_TESTS_METADATA_KV_HELPERS_H_
