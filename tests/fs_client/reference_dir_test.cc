#include "fs_client/reference_dir.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "tests/common/status_matchers.h"
#include "xdt/buffer_pool.h"
#include "xdt/shared_buffer.h"

namespace f3::fs {
namespace {

xdt::ContentRef Inline(std::string text) {
  return std::make_shared<xdt::Content>(std::move(text), xdt::BufferPool::Share());
}

// In a sealed buffer of `capacity` bytes.
xdt::ContentRef Sealed(const std::string& text, size_t capacity) {
  auto buffer = xdt::SharedBuffer::Create(capacity);
  EXPECT_OK(buffer);
  auto into = (*buffer)->StartFilling();
  EXPECT_OK(into);
  std::memcpy(into->data(), text.data(), text.size());
  EXPECT_OK((*buffer)->FinishFilling());
  return std::make_shared<xdt::Content>(std::move(*buffer), text.size(), xdt::BufferPool::Share());
}

// Values by their names; gets are answered at once, or by Answer.
class FakeReader : public xdt::LocalReader {
 public:
  Result<uint64_t> Check(const std::string& reference) const override {
    if (refusals.contains(reference)) return refusals.at(reference);
    auto found = values.find(reference);
    if (found == values.end()) return Status::RefMalformed("not a reference");
    return found->second->bytes();
  }
  void Get(const std::string& reference, int64_t, Done done) override {
    ++gets;
    auto answer = [this, reference, done = std::move(done)] {
      if (failure) return done(*failure);
      const xdt::ContentRef value = values.at(reference);
      ++held;
      done(xdt::ContentRef(value.get(), [this, value](const xdt::Content*) { --held; }));
    };
    if (!hold) return answer();
    waiting.push_back(std::move(answer));
  }
  void Answer() {
    for (auto& answer : std::exchange(waiting, {})) answer();
  }

  std::map<std::string, xdt::ContentRef> values;
  std::map<std::string, Status> refusals;
  std::optional<Status> failure;
  bool hold = false;
  std::vector<std::function<void()>> waiting;
  int gets = 0;
  int held = 0;
};

class FakeKernel : public KernelCache {
 public:
  uint32_t number() const override { return 1; }
  void InvalidateInode(Ino, bool, uint64_t, uint64_t, std::function<void()>) override {
    ADD_FAILURE() << "nothing of a reference changes";
  }
  bool passthrough() const override { return able; }
  Result<int32_t> OpenBacking(int) override {
    if (refuses) return Status::NotSupported("not this file");
    backings.insert(++last);
    return last;
  }
  void CloseBacking(int32_t id) override { EXPECT_EQ(backings.erase(id), 1u); }

  bool able = true;
  bool refuses = false;
  int32_t last = 0;
  std::set<int32_t> backings;
};

class ReferenceDirTest : public ::testing::Test {
 protected:
  ReferenceDirTest() {
    reader_->values["small"] = Inline("few bytes");
    reader_->values["large"] = Sealed(std::string(20'000, 'x'), 20'000);
  }
  uint64_t Look(const std::string& name) {
    auto node = dir_.Lookup(ReferenceDir::kRefNode, name);
    EXPECT_OK(node);
    return node.ok() ? node->id : 0;
  }
  Result<OpenOutcome> Open(uint64_t node, int flags = O_RDONLY) {
    Result<OpenOutcome> out = Status::Internal("it was not answered");
    dir_.Open(node, flags, [&out](Result<OpenOutcome> outcome) { out = std::move(outcome); });
    return out;
  }
  std::string Read(HandleId handle, uint64_t offset, size_t size) {
    std::string text(size, '\0');
    auto read = dir_.Read(handle, offset, std::as_writable_bytes(std::span(text)));
    EXPECT_OK(read);
    return text.substr(0, read.ok() ? *read : 0);
  }

  std::shared_ptr<FakeReader> reader_ = std::make_shared<FakeReader>();
  FakeKernel kernel_;
  ReferenceDir dir_{reader_, &kernel_};
};

TEST_F(ReferenceDirTest, NamesAreReferences) {
  auto ref = dir_.Lookup(ReferenceDir::kTopNode, "ref");
  ASSERT_OK(ref);
  EXPECT_TRUE(ref->directory);
  EXPECT_EQ(ref->id, ReferenceDir::kRefNode);
  auto file = dir_.Lookup(ref->id, "small");
  ASSERT_OK(file);
  EXPECT_FALSE(file->directory);
  EXPECT_EQ(file->bytes, 9u);
  EXPECT_TRUE(ReferenceDir::Owns(file->id));
  // The same file as long as it is remembered.
  EXPECT_EQ(Look("small"), file->id);
  EXPECT_NE(Look("large"), file->id);
  for (const uint64_t parent : {ReferenceDir::kTopNode, ReferenceDir::kRefNode, file->id}) {
    EXPECT_EQ(dir_.Lookup(parent, "nothing").status().code(), Code::kNotFound);
  }
  EXPECT_EQ(dir_.Lookup(ReferenceDir::kTopNode, "small").status().code(), Code::kNotFound);
  EXPECT_EQ(reader_->gets, 0);
}

TEST_F(ReferenceDirTest, InodesAreNotItsNodes) {
  EXPECT_FALSE(ReferenceDir::Owns(1));
  EXPECT_FALSE(ReferenceDir::Owns(kMaxIno));
  EXPECT_FALSE(ReferenceDir::Owns(kMaxIno | 14ull << 60));
}

TEST_F(ReferenceDirTest, RefusalsAreAsTheReaderSays) {
  for (const Status& refusal :
       {Status::RefNotAuthentic("x"), Status::RefExpired("x"), Status::RefOutOfScope("x")}) {
    reader_->refusals["refused"] = refusal;
    EXPECT_EQ(dir_.Lookup(ReferenceDir::kRefNode, "refused").status().code(), refusal.code());
  }
  const uint64_t node = Look("small");
  reader_->failure = Status::RefExhausted("x");
  EXPECT_EQ(Open(node).status().code(), Code::kRefExhausted);
  EXPECT_EQ(reader_->held, 0);
}

TEST_F(ReferenceDirTest, OneRetrievalAnOpenAndNoneARead) {
  const uint64_t node = Look("small");
  auto first = Open(node), second = Open(node);
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_NE(first->handle, second->handle);
  EXPECT_TRUE(first->keep_cache);
  EXPECT_EQ(Read(first->handle, 0, 100), "few bytes");
  EXPECT_EQ(Read(second->handle, 4, 3), "byt");
  EXPECT_EQ(Read(second->handle, 9, 3), "");
  EXPECT_EQ(Read(second->handle, UINT64_MAX, 3), "");
  EXPECT_EQ(reader_->gets, 2);
  dir_.Release(first->handle);
  EXPECT_EQ(Read(second->handle, 0, 3), "few");
  dir_.Release(second->handle);
  EXPECT_EQ(reader_->held, 0);
  std::byte byte;
  EXPECT_EQ(dir_.Read(second->handle, 0, {&byte, 1}).status().code(), Code::kInvalidArgument);
}

TEST_F(ReferenceDirTest, NobodyWrites) {
  const uint64_t node = Look("small");
  for (const int flags : {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC}) {
    EXPECT_EQ(Open(node, flags).status().code(), Code::kReadOnly);
  }
  EXPECT_EQ(reader_->gets, 0);
}

TEST_F(ReferenceDirTest, TheKernelReadsBuffersByItself) {
  const uint64_t node = Look("large");
  auto first = Open(node), second = Open(node);
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_GT(first->backing_id, 0);
  EXPECT_FALSE(first->keep_cache);  // the kernel takes one of the two
  EXPECT_EQ(first->backing_id, second->backing_id);
  EXPECT_EQ(kernel_.backings.size(), 1u);
  // What the second open got is the same bytes, and is held once.
  EXPECT_EQ(reader_->held, 1);
  dir_.Release(first->handle);
  EXPECT_EQ(kernel_.backings.size(), 1u);
  dir_.Release(second->handle);
  EXPECT_EQ(kernel_.backings.size(), 0u);
  EXPECT_EQ(reader_->held, 0);
}

TEST_F(ReferenceDirTest, TheKernelNeverReadsPastTheValue) {
  reader_->values["short"] = Sealed(std::string(100, 's'), 20'000);
  auto open = Open(Look("short"));
  ASSERT_OK(open);
  EXPECT_EQ(open->backing_id, 0);
  EXPECT_EQ(Read(open->handle, 0, 20'000), std::string(100, 's'));
  dir_.Release(open->handle);
}

TEST_F(ReferenceDirTest, WithoutPassthroughItIsReadAsWell) {
  for (const bool able : {false, true}) {
    kernel_.able = able;
    kernel_.refuses = able;
    auto open = Open(Look("large"));
    ASSERT_OK(open);
    EXPECT_EQ(open->backing_id, 0);
    // Another must be served as the first is, even if the kernel could by now.
    kernel_.able = true;
    kernel_.refuses = false;
    auto another = Open(Look("large"));
    ASSERT_OK(another);
    EXPECT_EQ(another->backing_id, 0);
    EXPECT_EQ(Read(another->handle, 19'990, 100), std::string(10, 'x'));
    dir_.Release(open->handle);
    dir_.Release(another->handle);
  }
}

TEST_F(ReferenceDirTest, OpensAtTheSameTimeShareOneBackingFile) {
  const uint64_t node = Look("large");
  reader_->hold = true;
  std::vector<OpenOutcome> opened;
  for (int i = 0; i < 3; ++i) {
    dir_.Open(node, O_RDONLY, [&](Result<OpenOutcome> outcome) {
      ASSERT_OK(outcome);
      opened.push_back(*outcome);
    });
  }
  reader_->Answer();
  ASSERT_EQ(opened.size(), 3u);
  EXPECT_EQ(kernel_.backings.size(), 1u);
  dir_.ReleaseAll();
  EXPECT_EQ(kernel_.backings.size(), 0u);
  EXPECT_EQ(reader_->held, 0);
}

TEST_F(ReferenceDirTest, WhatTheKernelForgetsIsForgotten) {
  const uint64_t node = Look("small");
  EXPECT_EQ(Look("small"), node);
  EXPECT_OK(dir_.Find(node));
  dir_.Forget(node, 1);
  EXPECT_OK(dir_.Find(node));
  dir_.Forget(node, 1);
  EXPECT_EQ(dir_.Find(node).status().code(), Code::kStale);
  EXPECT_EQ(Open(node).status().code(), Code::kStale);
  dir_.Forget(node, 1);
  EXPECT_NE(Look("small"), node);
}

TEST_F(ReferenceDirTest, ItIsFoundAgainByItself) {
  auto again = dir_.Lookup(ReferenceDir::kRefNode, ".");
  ASSERT_OK(again);
  EXPECT_EQ(again->id, ReferenceDir::kRefNode);
  EXPECT_EQ(dir_.Lookup(Look("small"), ".").status().code(), Code::kStale);
  EXPECT_EQ(dir_.Lookup(ReferenceDir::kRefNode, "..").status().code(), Code::kStale);
}

}  // namespace
}  // namespace f3::fs
