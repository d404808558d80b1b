// The trace format: what is written is read; what is damaged is refused with a reason.
#include "hwalloc/model/trace.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "hwalloc/model/record/reference_filter.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"
#include "tests/hwalloc/model/trace_bytes.h"

namespace f3::hwmodel {
namespace {

// Writes down what it is told.
class Log : public TraceSink {
 public:
  void Reference(uint32_t thread, uint64_t address, bool store, bool in_call) override {
    Say("ref", {thread, address, store, in_call});
  }
  void EnterCall(const Call& call, uint64_t instructions) override {
    Say("enter", {call.thread, static_cast<uint64_t>(call.op), call.bytes, call.old, call.alignment,
                  instructions});
  }
  void ExitCall(const Call& call, uint64_t instructions, uint64_t pointer) override {
    Say("exit", {call.thread, static_cast<uint64_t>(call.op), instructions, pointer});
  }
  void Map(uint64_t address, uint64_t bytes, uint64_t flags) override {
    Say("map", {address, bytes, flags});
  }
  void Unmap(uint64_t address, uint64_t bytes) override { Say("unmap", {address, bytes}); }
  void Discard(uint64_t address, uint64_t bytes) override { Say("discard", {address, bytes}); }
  void Move(uint64_t from, uint64_t from_bytes, uint64_t to, uint64_t to_bytes) override {
    Say("move", {from, from_bytes, to, to_bytes});
  }
  void ReferencesEnd() override { Say("references end", {}); }
  void End(uint64_t instructions) override { Say("end", {instructions}); }

  std::vector<std::string> lines;

 private:
  void Say(std::string line, const std::vector<uint64_t>& numbers) {
    for (uint64_t number : numbers) line += " " + std::to_string(number);
    lines.push_back(line);
  }
};

class TraceTest : public ::testing::Test {
 protected:
  std::string Path() const { return dir_ / "t.trace"; }
  Status Replay(const TraceBytes& bytes) {
    bytes.Write(Path());
    log_ = Log();
    return ReplayTrace(Path(), &log_);
  }
  std::string Contents() {
    std::ifstream file(Path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  Status ReplayFile(const std::string& contents) {
    std::ofstream(Path(), std::ios::binary) << contents;
    log_ = Log();
    return ReplayTrace(Path(), &log_);
  }

  TempDir dir_;
  Log log_;
};

TraceBytes Sample() {
  TraceBytes bytes;
  bytes.Thread(0)
      .Called(Op::kMalloc, 100, 20, 48, 0, 0x1000)
      .Reference(0x1000, true)
      .Reference(0x7ffffffff000, false)
      .Reference(0x1020, false)
      .Thread(3)
      .Record(Tag::kEnter, {static_cast<uint64_t>(Op::kRealloc), 7, 64, 0x1000, 0})
      .Reference(0xffffffffff600000, true, true)
      .Thread(0)
      .Reference(0x20, true)
      .Thread(3)
      .Record(Tag::kExit, {static_cast<uint64_t>(Op::kRealloc), 9, 0x2000})
      .Record(Tag::kMap, {0x10000, 0x2000, 3})
      .Record(Tag::kUnmap, {0x10000, 0x1000})
      .Record(Tag::kDiscard, {0x11000, 0x1000})
      .Record(Tag::kMove, {0x11000, 0x1000, UINT64_MAX - 0xffff, 0x2000})
      .Record(Tag::kReferencesEnd, {})
      .Called(Op::kFree, UINT64_MAX, 1, 0, 0x2000, 0)
      .End(12);
  return bytes;
}

TEST_F(TraceTest, WhatIsWrittenIsRead) {
  Sample().Write(Path(), {"python3", "-c", "a b"});
  std::vector<std::string> command;
  ASSERT_OK(ReplayTrace(Path(), &log_, &command));
  EXPECT_EQ(command, (std::vector<std::string>{"python3", "-c", "a b"}));
  EXPECT_EQ(log_.lines, (std::vector<std::string>{
                            "enter 0 0 48 0 0 100", "exit 0 0 20 4096", "ref 0 4096 1 0",
                            "ref 0 140737488351232 0 0", "ref 0 4128 0 0", "enter 3 2 64 4096 0 7",
                            "ref 3 18446744073699065856 1 1", "ref 0 32 1 0", "exit 3 2 9 8192",
                            "map 65536 8192 3", "unmap 65536 4096", "discard 69632 4096",
                            "move 69632 4096 18446744073709486080 8192", "references end",
                            "enter 3 3 0 8192 0 18446744073709551615", "exit 3 3 1 0", "end 12"}));
}

TEST_F(TraceTest, LongTracesCrossTheReadersBuffer) {
  TraceBytes bytes;
  bytes.Thread(0);
  constexpr uint64_t kReferences = 400'000;
  uint64_t address = 0;
  for (uint64_t i = 0; i < kReferences; ++i) {
    address += (i * i) << 20;
    bytes.Reference(address, i % 3 == 0);
  }
  ASSERT_OK(Replay(bytes.End()));
  EXPECT_GT(bytes.bytes().size(), size_t{2} << 20);
  ASSERT_EQ(log_.lines.size(), kReferences + 1);
  EXPECT_EQ(log_.lines[kReferences - 1], "ref 0 " + std::to_string(address >> 4 << 4) + " 1 0");
}

TEST_F(TraceTest, EveryPrefixIsRefused) {
  Sample().Write(Path());
  std::string whole = Contents();
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_CODE(ReplayFile(whole.substr(0, length)), kCorruption) << length;
  }
  EXPECT_OK(ReplayFile(whole));
}

// The checksum of the frame finds what the checks of single records do not. Some bits of a frame
// mean nothing, or only how much memory its reader needs: then what is read is the same.
TEST_F(TraceTest, AFlippedBitIsRefusedOrChangesNothing) {
  Sample().Write(Path());
  std::string whole = Contents();
  ASSERT_OK(ReplayFile(whole));
  const std::vector<std::string> lines = log_.lines;
  size_t refused = 0, bits = 0;
  for (size_t bit = (16 + sizeof("test")) * 8; bit < whole.size() * 8; ++bit, ++bits) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    Status status = ReplayFile(damaged);
    refused += !status.ok();
    if (status.ok()) {
      EXPECT_EQ(log_.lines, lines) << bit;
    } else {
      EXPECT_CODE(status, kCorruption) << bit;
    }
  }
  EXPECT_GT(refused, bits * 9 / 10);
}

TEST_F(TraceTest, RandomBytesInAFrameAreReadOrRefused) {
  ASSERT_TRUE(rc::check("no bytes crash the reader", [this] {
    auto bytes = *rc::gen::container<std::string>(rc::gen::arbitrary<char>());
    Status status = Replay(TraceBytes().Thread(0).Raw(bytes));
    RC_ASSERT(status.ok() || status.Is(Code::kCorruption));
  }));
}

TEST_F(TraceTest, OtherFilesAreRefusedWithAReason) {
  EXPECT_CODE(ReplayTrace(dir_ / "none", &log_), kNotFound);
  Status status = ReplayFile("a text file of some length, which is no trace");
  EXPECT_CODE(status, kCorruption);
  EXPECT_NE(status.message().find(Path()), std::string::npos);
  EXPECT_NE(status.message().find("f3 hwalloc record"), std::string::npos);
  Sample().Write(Path());
  std::string other = Contents();
  other[8] = 2;
  status = ReplayFile(other);
  EXPECT_CODE(status, kCorruption);
  EXPECT_NE(status.message().find("version 2"), std::string::npos);
  other[8] = 1;
  other[15] = 0x7f;  // a command line of 2 GB
  EXPECT_CODE(ReplayFile(other), kCorruption);
  Sample().Write(Path());
  EXPECT_CODE(ReplayFile(Contents() + "x"), kCorruption);
}

TEST_F(TraceTest, ContradictionsAreRefused) {
  const auto malloc = static_cast<uint64_t>(Op::kMalloc);
  const std::string kTooLong(10, '\xff');
  struct Case {
    const char* what;
    TraceBytes bytes;
  };
  const Case cases[] = {
      {"no thread", TraceBytes().End()},
      {"no end", TraceBytes().Thread(0)},
      {"records after the end", TraceBytes().Thread(0).End().Thread(0)},
      {"much after the end", TraceBytes().Thread(0).End().Raw(std::string(1000, 'x'))},
      {"thread number", TraceBytes().Thread(kMaxThreads).End()},
      {"unknown record", TraceBytes().Thread(0).Record(static_cast<Tag>(10), {}).End()},
      {"unknown record 0", TraceBytes().Thread(0).Record(static_cast<Tag>(0), {}).End()},
      {"unknown operation", TraceBytes().Thread(0).Record(Tag::kEnter, {kOps, 0, 0, 0, 0}).End()},
      {"exit without enter", TraceBytes().Thread(0).Record(Tag::kExit, {malloc, 0, 0}).End()},
      {"exit of another operation", TraceBytes()
                                        .Thread(0)
                                        .Record(Tag::kEnter, {malloc, 0, 0, 0, 0})
                                        .Record(Tag::kExit, {malloc + 1, 0, 0})
                                        .End()},
      {"enter within a call", TraceBytes()
                                  .Thread(0)
                                  .Record(Tag::kEnter, {malloc, 0, 0, 0, 0})
                                  .Record(Tag::kEnter, {malloc, 0, 0, 0, 0})
                                  .End()},
      {"in a call, outside", TraceBytes().Thread(0).Reference(16, false, true).End()},
      {"outside, in a call", TraceBytes()
                                 .Thread(0)
                                 .Record(Tag::kEnter, {malloc, 0, 0, 0, 0})
                                 .Reference(16, false, false)
                                 .End()},
      {"reference after their end",
       TraceBytes().Thread(0).Record(Tag::kReferencesEnd, {}).Reference(16, false).End()},
      {"map flags", TraceBytes().Thread(0).Record(Tag::kMap, {0, 1, 4}).End()},
      {"range", TraceBytes().Thread(0).Record(Tag::kUnmap, {UINT64_MAX, 2}).End()},
      {"target range", TraceBytes().Thread(0).Record(Tag::kMove, {0, 1, UINT64_MAX, 2}).End()},
      {"long number", TraceBytes().Thread(0).Record(Tag::kEnd, {}).Raw(kTooLong)},
      {"long distance", TraceBytes().Thread(0).Raw("\x90" + std::string(8, '\xff') + "\x7f").End()},
  };
  for (const Case& c : cases) EXPECT_CODE(Replay(c.bytes), kCorruption) << c.what;
}

TEST_F(TraceTest, AnUnfinishedTraceLeavesNothing) {
  {
    auto writer = TraceWriter::Create(Path(), {"x"});
    ASSERT_OK(writer);
    ASSERT_OK((*writer)->Append("abc"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
  EXPECT_FALSE(TraceWriter::Create(dir_ / "no/such/place", {"x"}).ok());
}

TEST(ReferenceFilter, PassesTheFirstLoadAndTheFirstStoreOfAGranule) {
  ReferenceFilter filter;
  EXPECT_TRUE(filter.Passes(100, false, false));
  EXPECT_FALSE(filter.Passes(100, false, false));
  EXPECT_TRUE(filter.Passes(100, true, false));
  EXPECT_FALSE(filter.Passes(100, true, false));
  EXPECT_FALSE(filter.Passes(100, false, false));
  EXPECT_TRUE(filter.Passes(101, false, false));  // the same line, another granule
  EXPECT_TRUE(filter.Passes(100, false, true));   // the allocator
  EXPECT_FALSE(filter.Passes(100, false, true));
}

TEST(ReferenceFilter, AnotherLineOfTheSetOrANewObjectMakesItForget) {
  ReferenceFilter filter;
  EXPECT_TRUE(filter.Passes(100, false, false));
  EXPECT_TRUE(filter.Passes(100 + 64 * 4, false, false));  // 64 lines on
  EXPECT_TRUE(filter.Passes(100, false, false));
  EXPECT_TRUE(filter.Passes(104, false, false));  // another set
  EXPECT_FALSE(filter.Passes(100, false, false));
  filter.Forget(100 * 16 + 8, 4);
  EXPECT_TRUE(filter.Passes(100, false, false));
  EXPECT_FALSE(filter.Passes(104, false, false));
  filter.Forget(0, 1 << 20);  // more than it knows
  EXPECT_TRUE(filter.Passes(104, false, false));
}

}  // namespace
}  // namespace f3::hwmodel
