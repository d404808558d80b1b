// The parts below FileManager: strand, timers, follow, kernel modes, processes, staging blocks.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "common/crc32c.h"
#include "common/timers.h"
#include "common/unique_fd.h"
#include "fs_client/follow.h"
#include "fs_client/kernel_modes.h"
#include "fs_client/process_probe.h"
#include "fs_client/staging_fill.h"
#include "fs_client/strand.h"
#include "tests/fs_client/file_world.h"

namespace f3::fs {
namespace {

using test::Waiter;

TEST(Strand, RunsTasksInOrderOneAtATime) {
  Strand strand;
  std::vector<int> ran;
  Strand::Next first_next;
  strand.Post([&](Strand::Next next) {
    ran.push_back(1);
    first_next = std::move(next);
  });
  for (int i = 2; i <= 5; ++i) {
    strand.Post([&ran, i](const Strand::Next& next) {
      ran.push_back(i);
      next();
    });
  }
  EXPECT_EQ(ran, std::vector<int>{1});
  first_next();
  EXPECT_EQ(ran, (std::vector<int>{1, 2, 3, 4, 5}));
  strand.Post([&](const Strand::Next& next) {
    ran.push_back(6);
    next();
  });
  EXPECT_EQ(ran.back(), 6);
}

TEST(Strand, ManyTasksThatEndAtOnceNeedNoStack) {
  Strand strand;
  Strand::Next first;
  int ran = 0;
  strand.Post([&](Strand::Next next) { first = std::move(next); });
  for (int i = 0; i < 200'000; ++i) {
    strand.Post([&](const Strand::Next& next) {
      ++ran;
      next();
    });
  }
  first();
  EXPECT_EQ(ran, 200'000);
}

TEST(Strand, ThreadsShareIt) {
  Strand strand;
  int ran = 0;  // guarded by the strand
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        strand.Post([&](const Strand::Next& next) {
          ++ran;
          next();
        });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  Waiter<int> waiter;
  strand.Post([&, callback = waiter.callback()](const Strand::Next& next) {
    callback(ran);
    next();
  });
  EXPECT_EQ(waiter.Get(), 4000);
}

TEST(Timers, RunsWhatIsDueInOrder) {
  ManualClock clock;
  Timers timers(&clock, /*own_thread=*/false);
  std::vector<int> ran;
  timers.After(200, [&] { ran.push_back(2); });
  timers.After(100, [&] { ran.push_back(1); });
  EXPECT_EQ(timers.RunDue(), 0u);
  clock.AdvanceMicros(150);
  EXPECT_EQ(timers.RunDue(), 1u);
  clock.AdvanceMicros(100);
  timers.RunDue();
  EXPECT_EQ(ran, (std::vector<int>{1, 2}));
  timers.Shutdown();
  timers.After(0, [&] { ran.push_back(3); });
  EXPECT_EQ(timers.RunDue(), 0u);
}

Result<Follow::Progress> Now(Follow& follow, uint64_t offset, uint64_t epoch) {
  Waiter<Result<Follow::Progress>> waiter;
  const uint64_t wait = follow.Await(offset, epoch, waiter.callback());
  if (wait != 0) follow.Cancel(wait, Status::Again("waits"));
  return waiter.Get();
}

TEST(Follow, WatermarkIsWithoutGaps) {
  Follow follow;
  follow.WriterOpened(0);
  const uint64_t epoch = follow.epoch();
  EXPECT_TRUE(Now(follow, 0, epoch).status().Is(Code::kAgain));
  follow.Wrote(0, 10);
  EXPECT_EQ(Now(follow, 0, epoch)->readable_bytes, 10u);
  follow.Wrote(30, 10);  // out of order
  follow.Wrote(20, 5);
  EXPECT_TRUE(Now(follow, 10, epoch).status().Is(Code::kAgain));
  follow.Wrote(10, 10);
  EXPECT_EQ(Now(follow, 10, epoch)->readable_bytes, 25u);
  follow.Wrote(25, 5);
  EXPECT_EQ(Now(follow, 10, epoch)->readable_bytes, 40u);
  follow.WriterClosed(false, 40);
  EXPECT_EQ(Now(follow, 40, epoch)->readable_bytes, 40u);
  EXPECT_FALSE(Now(follow, 40, epoch)->writing);
}

TEST(Follow, WaitersWakeWithBytesAndAtTheEnd) {
  Follow follow;
  follow.WriterOpened(100);  // appended to
  Waiter<Result<Follow::Progress>> more, end;
  EXPECT_NE(follow.Await(100, follow.epoch(), more.callback()), 0u);
  EXPECT_FALSE(more.ready());
  follow.Wrote(100, 1);
  EXPECT_EQ(more.Get()->readable_bytes, 101u);
  EXPECT_NE(follow.Await(101, follow.epoch(), end.callback()), 0u);
  follow.WriterClosed(false, 101);
  auto last = end.Get();
  EXPECT_EQ(last->readable_bytes, 101u);
  EXPECT_FALSE(last->writing);
}

TEST(Follow, AVanishedWriterIsAnErrorForThoseWhoFollowNow) {
  Follow follow;
  follow.WriterOpened(0);
  follow.Wrote(0, 5);
  const uint64_t epoch = follow.epoch();
  Waiter<Result<Follow::Progress>> local, remote;
  follow.Await(5, epoch, local.callback());
  follow.AwaitRemote(5, remote.callback());
  follow.WriterClosed(true, 5);
  EXPECT_TRUE(local.Get().status().Is(Code::kWriterVanished));
  EXPECT_TRUE(remote.Get().status().Is(Code::kWriterVanished));
  EXPECT_TRUE(follow.vanished());
  // Who comes later sees a file that nobody writes; the next writer begins anew.
  EXPECT_EQ(Now(follow, 0, follow.epoch())->readable_bytes, 5u);
  follow.WriterOpened(0);
  EXPECT_FALSE(follow.vanished());
}

TEST(Follow, RewritingWhatMayHaveBeenReadBreaksFollowers) {
  Follow follow;
  follow.WriterOpened(0);
  follow.Wrote(0, 100);
  const uint64_t epoch = follow.epoch();
  follow.Wrote(50, 10);
  EXPECT_TRUE(Now(follow, 0, epoch).status().Is(Code::kWriterVanished));
  EXPECT_TRUE(Now(follow, 0, follow.epoch()).ok());
  Waiter<Result<Follow::Progress>> behind, before;
  follow.AwaitRemote(60, behind.callback());
  EXPECT_TRUE(behind.Get().status().Is(Code::kWriterVanished));
  follow.AwaitRemote(10, before.callback());
  EXPECT_TRUE(before.Get().ok());
  const uint64_t later = follow.epoch();
  follow.Truncated(20);
  EXPECT_TRUE(Now(follow, 0, later).status().Is(Code::kWriterVanished));
}

TEST(KernelModes, SameObjectSharesTheBackingId) {
  KernelModes modes;
  test::SimKernel* mount = nullptr;
  const KernelModes::Key key{mount, 7};
  int object = 0, newer = 0;
  auto first = modes.Resolve(key, ServeMode::kPassthrough, &object, true);
  EXPECT_EQ(first->backing_id, 0);
  modes.Add(key, ServeMode::kPassthrough, &object, 11);
  auto second = modes.Resolve(key, ServeMode::kPassthrough, &object, true);
  EXPECT_EQ(second->backing_id, 11);
  auto cached = modes.Resolve(key, ServeMode::kCached, &object, true);
  EXPECT_EQ(cached->mode, ServeMode::kPassthroughDirect);
  EXPECT_EQ(cached->backing_id, 11);
  EXPECT_TRUE(modes.Resolve(key, ServeMode::kPassthrough, &newer, true).status().Is(Code::kStale));
  EXPECT_TRUE(modes.Resolve(key, ServeMode::kDirect, &newer, false).status().Is(Code::kStale));
  // Another node id is another kernel inode.
  EXPECT_TRUE(modes.Resolve({mount, 8}, ServeMode::kDirect, &newer, false).ok());
  modes.Add(key, ServeMode::kPassthroughDirect, &object, 11);
  EXPECT_EQ(modes.Remove(key, ServeMode::kPassthrough), 0);
  EXPECT_EQ(modes.Remove(key, ServeMode::kPassthroughDirect), 11);
  EXPECT_FALSE(modes.has_passthrough());
}

TEST(KernelModes, CachedHandlesStayCached) {
  KernelModes modes;
  const KernelModes::Key key{nullptr, 7};
  int object = 0, newer = 0;
  modes.Add(key, ServeMode::kCached, &object, 0);
  EXPECT_EQ(modes.Resolve(key, ServeMode::kPassthrough, &object, true)->mode, ServeMode::kCached);
  EXPECT_EQ(modes.Resolve(key, ServeMode::kDirect, &newer, false)->mode, ServeMode::kDirect);
  EXPECT_TRUE(modes.Resolve(key, ServeMode::kCached, &newer, true).status().Is(Code::kStale));
  modes.SwitchCached(&newer);
  EXPECT_TRUE(modes.Resolve(key, ServeMode::kCached, &newer, true).ok());
  modes.Remove(key, ServeMode::kCached);
  EXPECT_EQ(modes.Resolve(key, ServeMode::kPassthrough, &newer, true)->mode,
            ServeMode::kPassthrough);
}

TEST(ProcessProbe, ParsesStatus) {
  auto stat = ParseProcessStatus(
      "Name:\ta (b) Pid:\nUmask:\t0022\nTgid:\t41\nPid:\t42\nPPid:\t7\nNSsid:\t13\t1\n");
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->pid, 42);
  EXPECT_EQ(stat->parent, 7);
  EXPECT_EQ(stat->session, 13);
  EXPECT_FALSE(ParseProcessStatus("nothing").ok());
  auto self = ProcessProbe::Real()->Stat(::getpid());
  ASSERT_TRUE(self.ok());
  EXPECT_EQ(self->parent, ::getppid());
  EXPECT_EQ(self->session, ::getsid(0));
  EXPECT_FALSE(self->dying_from_signal);
  EXPECT_FALSE(ProcessProbe::Real()->Stat(-5).ok());
}

TEST(ProcessProbe, TellsDeathBySignalFromExit) {
  std::string text = "42 (a) b (c) S 7 42 13 0 -1 4194560";
  for (int field = 10; field <= 51; ++field) text += " 0";
  text += " 9\n";
  EXPECT_FALSE(ExitsBySignal(text));  // an exit code, but it is not exiting
  auto dying = text;
  dying.replace(dying.find("4194560"), 7, "4194308");  // PF_EXITING
  EXPECT_TRUE(ExitsBySignal(dying));
  auto exited = dying;
  exited.replace(exited.rfind(" 9"), 2, " 256");  // exit(1)
  EXPECT_FALSE(ExitsBySignal(exited));
  EXPECT_FALSE(ExitsBySignal("nothing"));
}

TEST(ProcessProbe, WhoBelongsTogether) {
  test::FakeProbe probe;
  probe.Set(10, 1, 10);
  probe.Set(11, 10, 10);
  probe.Set(12, 11, 12);  // a session of its own, but a descendant of 10
  probe.Set(20, 1, 20);
  EXPECT_TRUE(BelongTogether(&probe, 11, 10, 10));
  EXPECT_TRUE(BelongTogether(&probe, 12, 10, 10));
  EXPECT_FALSE(BelongTogether(&probe, 20, 10, 10));
  EXPECT_FALSE(BelongTogether(&probe, 10, 12, 12));
  EXPECT_FALSE(BelongTogether(&probe, 99, 10, 10));
}

class StagingFillTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/f3_fill_test_XXXXXX";
    dir_ = ::mkdtemp(name);
    std::filesystem::create_directories(dir_ + "/disk");
    std::filesystem::create_directories(dir_ + "/durable");
    storage::ObjectStore::Options options;
    options.disk_dir = dir_ + "/disk";
    objects_ = *storage::ObjectStore::Open(options);
    durable_ = *storage::DurableStore::OpenDirectory(dir_ + "/durable", Env::Real());
    buffers_ = *hwalloc::BufferArena::Create(16u << 20);
    object_ = *objects_->Create({5, 6}, storage::Role::kStaging, storage::TierKind::kDisk, 0);
    size_ = 2 * kBlockBytes + 1000;
    ASSERT_EQ(::ftruncate(object_->fd(), static_cast<off_t>(size_)), 0);
    for (uint64_t i = 0; i < 3; ++i) {
      const std::string bytes(i == 2 ? 1000 : kBlockBytes, static_cast<char>('a' + i));
      ASSERT_TRUE(durable_->Put({5, i, 1}, std::as_bytes(std::span(bytes))).ok());
      rows_.push_back(
          {i, 1, Crc32c(std::as_bytes(std::span(bytes))), static_cast<uint32_t>(bytes.size())});
    }
    fill_ = std::make_shared<StagingFill>(
        StagingFill::Parts{durable_.get(), buffers_.get(), &executor_}, object_, size_, rows_);
  }
  void TearDown() override {
    executor_.Shutdown();
    fill_.reset();
    object_.reset();
    objects_.reset();
    std::filesystem::remove_all(dir_);
  }
  Status Ensure(uint64_t offset, uint64_t length) {
    Waiter<Status> waiter;
    fill_->Ensure(offset, length, waiter.callback());
    return waiter.Get();
  }
  char At(uint64_t offset) {
    char byte = 0;
    EXPECT_EQ(::pread(object_->fd(), &byte, 1, static_cast<off_t>(offset)), 1);
    return byte;
  }

  std::string dir_;
  std::unique_ptr<storage::ObjectStore> objects_;
  std::unique_ptr<storage::DurableStore> durable_;
  std::unique_ptr<hwalloc::BufferArena> buffers_;
  Executor executor_{"fill", 2, 100};
  std::shared_ptr<storage::Object> object_;
  std::vector<storage::DurableBlock> rows_;
  uint64_t size_ = 0;
  std::shared_ptr<StagingFill> fill_;
};

TEST_F(StagingFillTest, BringsOnlyWhatIsAskedFor) {
  EXPECT_FALSE(fill_->complete());
  ASSERT_TRUE(Ensure(kBlockBytes + 5, 1).ok());
  EXPECT_EQ(At(0), '\0');
  EXPECT_EQ(At(kBlockBytes), 'b');
  EXPECT_EQ(At(2 * kBlockBytes), '\0');
  ASSERT_TRUE(Ensure(0, UINT64_MAX).ok());
  EXPECT_TRUE(fill_->complete());
  EXPECT_EQ(At(0), 'a');
  EXPECT_EQ(At(size_ - 1), 'c');
}

TEST_F(StagingFillTest, ABlockNeverArrivesOverNewerBytes) {
  ASSERT_TRUE(Ensure(0, 10).ok());
  ASSERT_TRUE(WriteObject(*object_, 3, false, std::as_bytes(std::span("new", 3))).ok());
  ASSERT_TRUE(Ensure(0, UINT64_MAX).ok());
  EXPECT_EQ(At(2), 'a');
  EXPECT_EQ(At(3), 'n');
}

TEST_F(StagingFillTest, TruncationForgetsBlocksAndKeepsFronts) {
  Waiter<Status> waiter;
  const uint64_t size = kBlockBytes + 10;
  fill_->Truncate(
      size,
      [&]() -> Status {
        return ::ftruncate(object_->fd(), static_cast<off_t>(size)) == 0
                   ? Status()
                   : Status::FromErrno(errno, "truncate");
      },
      waiter.callback());
  ASSERT_TRUE(waiter.Get().ok());
  EXPECT_EQ(At(kBlockBytes + 9), 'b');
  // What is written behind the cut is not overwritten by what was there before.
  ASSERT_EQ(::ftruncate(object_->fd(), static_cast<off_t>(size_)), 0);
  ASSERT_TRUE(Ensure(0, UINT64_MAX).ok());
  EXPECT_EQ(At(size), '\0');
  EXPECT_EQ(At(2 * kBlockBytes), '\0');
  EXPECT_TRUE(fill_->complete());
}

TEST_F(StagingFillTest, ACorruptedBlockIsAnErrorAndStaysAbsent) {
  rows_[0].crc ^= 1;
  fill_ = std::make_shared<StagingFill>(
      StagingFill::Parts{durable_.get(), buffers_.get(), &executor_}, object_, size_, rows_);
  EXPECT_TRUE(Ensure(0, 1).Is(Code::kCorruption));
  EXPECT_TRUE(Ensure(kBlockBytes, 1).ok());
  EXPECT_TRUE(Ensure(0, 1).Is(Code::kCorruption));
  EXPECT_FALSE(fill_->complete());
}

}  // namespace
}  // namespace f3::fs
