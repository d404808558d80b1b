// Random histories of the object store, with restarts, against a map.
#include <rapidcheck.h>

#include <map>
#include <optional>

#include "tests/storage_nodes/store_fixture.h"

namespace f3::storage {

// One step of a history; `a` and `b` choose keys, `n` anything else.
struct Step {
  int op = 0;
  uint32_t a = 0, b = 0, n = 0;
};

void showValue(const Step& step, std::ostream& out) {
  out << "{" << step.op << ", " << step.a << ", " << step.b << ", " << step.n << "}";
}

namespace {

constexpr uint32_t kKeys = 5;
constexpr int kOps = 13;

rc::Gen<Step> AnyStep() {
  return rc::gen::build<Step>(rc::gen::set(&Step::op, rc::gen::inRange(0, kOps)),
                              rc::gen::set(&Step::a, rc::gen::inRange(0u, kKeys)),
                              rc::gen::set(&Step::b, rc::gen::inRange(0u, kKeys)),
                              rc::gen::set(&Step::n, rc::gen::inRange(0u, 1000u)));
}

class ObjectModelTest : public StoreTest {
 protected:
  struct Expected {
    std::string content;
    Role role = Role::kHome;
    Version version = 0;
    bool sealed = false;
    std::shared_ptr<Object> handle;  // held by the test
  };

  static ObjectKey Key(uint32_t n) { return {1 + n / 2, 1 + n % 2}; }

  void Apply(const Step& step) {
    const ObjectKey key = Key(step.a);
    auto it = model_.find(key);
    const bool there = it != model_.end();
    switch (step.op) {
      case 0:
      case 1:
        return Create(key, step);
      case 2: {  // write through a handle
        if (!there || it->second.sealed) return;
        auto object = Get(key);
        const std::string bytes(step.n * 17 + 1, static_cast<char>('a' + step.n % 26));
        const size_t offset = step.b * 5000;
        Write(*object, bytes, offset);
        std::string& content = it->second.content;
        if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
        content.replace(offset, bytes.size(), bytes);
        return;
      }
      case 3: {
        if (!there) return;
        const Role role = step.n % 2 == 0 ? it->second.role : Role::kCopy;
        const Role sealed_as = role == Role::kFilling ? Role::kCopy : role;
        RC_ASSERT(Get(key)->Seal(step.n, sealed_as).ok());
        it->second.sealed = true;
        it->second.version = step.n;
        it->second.role = sealed_as;
        return;
      }
      case 4: {
        if (!there) return;
        const Role role = step.n % 2 == 0 ? Role::kHome : Role::kStaging;
        RC_ASSERT(Get(key)->BeginWriting(role).ok());
        it->second.sealed = false;
        it->second.role = role;
        return;
      }
      case 5:
        if (!there) return;
        RC_ASSERT(Get(key)->SetPublished(step.n).ok());
        it->second.version = step.n;
        return;
      case 6:
        RC_ASSERT(store_->Remove(key).ok());
        if (there) {
          if (it->second.handle != nullptr)
            RC_ASSERT(Read(*it->second.handle) == it->second.content);
          model_.erase(it);
        }
        return;
      case 7:
        return Rekey(key, Key(step.b));
      case 8:  // hold
        if (there) it->second.handle = Get(key);
        return;
      case 9:  // let go
        if (there) it->second.handle.reset();
        return;
      case 10:
        return Restart();
      case 11:
        RC_ASSERT(store_->Spill(step.n * 1000).ok());
        return;
      default: {
        RC_ASSERT(store_->SettleChecksums(10'000'000).ok());
        auto report = store_->Verify(true);
        RC_ASSERT(report.ok() && report->empty());
        return;
      }
    }
  }

  void Create(const ObjectKey& key, const Step& step) {
    static constexpr Role kRoles[] = {Role::kHome, Role::kStaging, Role::kFilling};
    const Role role = kRoles[step.n % 3];
    const TierKind tier = step.n % 2 == 0 && mounted_ ? TierKind::kMemory : TierKind::kDisk;
    auto object = store_->Create(key, role, tier, step.n % 5 == 0 ? step.n * 100 : 0);
    if (model_.contains(key)) {
      RC_ASSERT(object.status().Is(Code::kExists));
      return;
    }
    RC_ASSERT(object.ok());
    model_[key].role = role;
    if (step.b % 2 == 0) model_[key].handle = *object;
  }

  void Rekey(const ObjectKey& key, const ObjectKey& new_key) {
    Status status = store_->Rekey(key, new_key);
    auto it = model_.find(key);
    if (it == model_.end()) {
      RC_ASSERT(status.Is(Code::kObjectMissing));
    } else if (it->second.handle != nullptr) {
      RC_ASSERT(status.Is(Code::kBusy));
    } else if (key == new_key) {
      RC_ASSERT(status.ok());
    } else if (model_.contains(new_key)) {
      RC_ASSERT(status.Is(Code::kExists));
    } else {
      RC_ASSERT(status.ok());
      auto node = model_.extract(it);
      node.key() = new_key;
      model_.insert(std::move(node));
    }
  }

  void Restart() {
    const std::string uuid = store_->tier_uuid();
    for (auto& [key, expected] : model_) expected.handle.reset();
    store_.reset();
    auto opened = ObjectStore::Open(options_);
    RC_ASSERT(opened.ok());
    store_ = *std::move(opened);
    RC_ASSERT(store_->tier_uuid() == uuid);
    std::erase_if(model_, [](const auto& item) {
      return item.second.role == Role::kFilling ||
             (item.second.role == Role::kCopy && !item.second.sealed);
    });
  }

  std::shared_ptr<Object> Get(const ObjectKey& key) {
    auto object = store_->Find(key);
    RC_ASSERT(object.ok());
    Expected& expected = model_.at(key);
    if (expected.handle != nullptr) RC_ASSERT(*object == expected.handle);
    return *object;
  }

  void Check() {
    auto infos = store_->List();
    RC_ASSERT(infos.size() == model_.size());
    RC_ASSERT(store_->usage().objects == model_.size());
    for (const ObjectInfo& info : infos) {
      auto it = model_.find(info.key);
      RC_ASSERT(it != model_.end());
      const Expected& expected = it->second;
      RC_ASSERT(info.role == expected.role);
      RC_ASSERT(info.version == expected.version);
      RC_ASSERT(info.writing == !expected.sealed);
      RC_ASSERT(info.size == expected.content.size());
      RC_ASSERT(Read(*Get(info.key)) == expected.content);
    }
    for (uint32_t n = 0; n < kKeys; ++n) {
      if (!model_.contains(Key(n))) {
        RC_ASSERT(store_->Find(Key(n)).status().Is(Code::kObjectMissing));
      }
    }
  }

  void RunHistory(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      Apply(step);
      Check();
    }
    for (auto& [key, expected] : model_) RC_ASSERT(store_->Remove(key).ok());
    model_.clear();
    RC_ASSERT(store_->List().empty());
  }

  std::map<ObjectKey, Expected> model_;
};

TEST_F(ObjectModelTest, AgreesWithAMapThroughRestarts) {
  mounted_ = MountTmpfs(dir_ / "memory", 64 << 20);
  if (mounted_) options_.memory_dir = dir_ / "memory";
  Open();
  ASSERT_TRUE(rc::check("object store agrees with a map", [this] {
    for (auto& [key, expected] : model_) {
      expected.handle.reset();
      store_->Remove(key).PermitUnchecked();  // of a history that failed
    }
    model_.clear();
    RunHistory(*rc::gen::container<std::vector<Step>>(AnyStep()));
  }));
  model_.clear();
}

}  // namespace
}  // namespace f3::storage
