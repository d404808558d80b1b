// The gateway's store: what is kept, what is dropped, what a restart finds.
#include <gtest/gtest.h>

#include "metadata/kv_store.h"
#include "openwhisk_plugin/gateway/store.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::openwhisk {
namespace {

Activation Record(const std::string& id, int64_t start_millis, const std::string& name = "a") {
  Activation record;
  record.id = id;
  record.name_space = "ns";
  record.name = name;
  record.version = "0.0.1";
  record.start_millis = start_millis;
  record.end_millis = start_millis + 5;
  return record;
}

Result<Action> PutAction(Store* store, const ActionName& name, const std::string& code) {
  return store->ChangeAction(name, [&](const Action* before) -> Result<Action> {
    Action action;
    if (before != nullptr) action = *before;
    action.id = name;
    action.exec.kind = "python:3";
    action.exec.code = code;
    return action;
  });
}

Result<Package> PutPackage(Store* store, const std::string& name) {
  return store->ChangePackage("ns", name, [&](const Package*) -> Result<Package> {
    Package package;
    package.name_space = "ns";
    package.name = name;
    return package;
  });
}

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.clock = &clock_;
    Open();
  }
  void Open() {
    store_.reset();
    auto kv = meta::OpenLevelDbKvStore(dir_.path());
    ASSERT_OK(kv);
    auto store = Store::Open(*std::move(kv), options_);
    ASSERT_OK(store);
    store_ = *std::move(store);
  }
  std::vector<std::string> Ids(const Store::Query& query) {
    std::vector<std::string> ids;
    auto found = store_->ListActivations("ns", query);
    EXPECT_OK(found);
    for (const auto& item : *found) ids.push_back(item["activationId"]);
    return ids;
  }
  int64_t Now() { return clock_.WallNanos() / 1'000'000; }

  TempDir dir_;
  ManualClock clock_;
  StoreOptions options_;
  std::unique_ptr<Store> store_;
};

TEST_F(StoreTest, CodeStaysWhenAChangeHasNone) {
  ActionName name{"ns", "", "a"};
  ASSERT_OK(PutAction(store_.get(), name, "code"));
  ASSERT_OK(PutAction(store_.get(), name, ""));
  Open();
  EXPECT_EQ(*store_->GetCode(name), "code");
  ASSERT_OK(store_->DeleteAction(name));
  EXPECT_CODE(store_->GetCode(name), kNotFound);
  EXPECT_CODE(store_->GetAction(name), kNotFound);
}

TEST_F(StoreTest, PackagesHoldTheirActions) {
  ActionName inside{"ns", "p", "a"};
  EXPECT_CODE(PutAction(store_.get(), inside, "x"), kNotFound);
  ASSERT_OK(PutPackage(store_.get(), "p"));
  ASSERT_OK(PutAction(store_.get(), inside, "x"));
  ASSERT_OK(PutAction(store_.get(), {"ns", "", "b"}, "x"));
  EXPECT_CODE(PutPackage(store_.get(), "b"), kExists);
  EXPECT_CODE(PutAction(store_.get(), {"ns", "", "p"}, "x"), kExists);
  EXPECT_EQ(store_->ListActions("ns", nullptr)->size(), 2u);
  EXPECT_EQ(store_->ListActions("n", nullptr)->size(), 0u) << "a prefix is another namespace";
  std::string package = "p";
  EXPECT_EQ(store_->ListActions("ns", &package)->size(), 1u);
  EXPECT_CODE(store_->DeletePackage("ns", "p", false), kNotEmpty);
  EXPECT_OK(store_->DeletePackage("ns", "p", true));
  EXPECT_CODE(store_->GetCode(inside), kNotFound);
}

TEST_F(StoreTest, ActivationsAreListedNewestFirst) {
  for (int i = 1; i <= 5; ++i) {
    ASSERT_OK(store_->EndActivation(
        Record("id" + std::to_string(i), Now() + i * 10, i % 2 == 0 ? "even" : "odd")));
  }
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Ids({}), (std::vector<std::string>{"id5", "id4", "id3", "id2", "id1"}));
    EXPECT_EQ(Ids({.name = "even"}), (std::vector<std::string>{"id4", "id2"}));
    EXPECT_EQ(Ids({.name = {},
                   .since_millis = Now() + 20,
                   .upto_millis = Now() + 40,
                   .skip = 1,
                   .limit = 1}),
              std::vector<std::string>{"id3"});
    EXPECT_EQ(store_->CountActivations("ns", {.name = "odd"}), 3u);
    Open();
  }
}

TEST_F(StoreTest, OldAndManyActivationsAreDropped) {
  options_.max_activations = 3;
  options_.max_age_micros = 1'000'000;
  Open();
  for (int i = 1; i <= 5; ++i) {
    ASSERT_OK(store_->EndActivation(Record("id" + std::to_string(i), Now() + i)));
  }
  EXPECT_EQ(Ids({}), (std::vector<std::string>{"id5", "id4", "id3"}));
  EXPECT_CODE(store_->GetActivation("ns", "id1"), kNotFound);
  clock_.AdvanceMicros(2'000'000);
  ASSERT_OK(store_->EndActivation(Record("fresh", Now())));
  EXPECT_EQ(Ids({}), std::vector<std::string>{"fresh"});
  Open();
  EXPECT_EQ(Ids({}), std::vector<std::string>{"fresh"});
}

TEST_F(StoreTest, WhatWasRunningIsEndedByARestart) {
  ASSERT_OK(store_->BeginActivation(Record("running", Now(), "busy")));
  ASSERT_OK(store_->BeginActivation(Record("forgotten", Now())));
  ASSERT_OK(store_->ForgetActivation(Record("forgotten", Now())));
  EXPECT_CODE(store_->GetActivation("ns", "running"), kNotFound);
  clock_.AdvanceMicros(1'000'000);
  Open();
  auto record = store_->GetActivation("ns", "running");
  ASSERT_OK(record);
  EXPECT_EQ((*record)["response"]["statusCode"], 3);
  EXPECT_EQ((*record)["name"], "busy");
  EXPECT_EQ((*record)["duration"], 1000);
  EXPECT_EQ(Ids({}), std::vector<std::string>{"running"});
  Open();
  EXPECT_EQ(Ids({}).size(), 1u);
}

}  // namespace
}  // namespace f3::openwhisk
