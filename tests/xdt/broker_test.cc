// One node's broker, through libxdt.
#include "xdt/broker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <random>
#include <set>

#include "common/timers.h"
#include "tests/xdt/broker_fixture.h"
#include "xdt/broker_session.h"
#include "xdt/libxdt/protocol.h"

namespace f3::xdt {
namespace {

// A connection to a broker without libxdt.
class Connected {
 public:
  explicit Connected(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

TEST_F(BrokerTest, WhatWasPutIsGot) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{1000}, size_t{XDT_INLINE_BYTES},
                             size_t{XDT_INLINE_BYTES + 1}, kMiB, 5 * kMiB + 7}) {
    const std::string value = Pattern(bytes);
    const std::string reference = client.Put(value);
    EXPECT_LE(reference.size(), 256u);
    EXPECT_TRUE(client.Get(reference).text() == value) << bytes;
  }
  EXPECT_TRUE(Eventually([&] { return node.broker->used_bytes() == 0; }));
}

TEST_F(BrokerTest, ABufferIsHandedOverWithoutACopy) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  f3xdt::Buffer buffer = client.Alloc(3 * kMiB);
  std::memset(buffer.bytes().data(), 'x', 2 * kMiB);
  const std::string reference = client.Put(std::move(buffer), 2 * kMiB);
  f3xdt::View view = client.Get(reference);
  EXPECT_EQ(view.size(), 2 * kMiB);
  EXPECT_EQ(view.text(), std::string(2 * kMiB, 'x'));
  // Not more than was allocated, whoever has it mapped.
  EXPECT_EQ(node.broker->used_bytes(), SharedBuffer::MemoryOf(3 * kMiB));
}

TEST_F(BrokerTest, TheAllowanceIsKept) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  const std::string twice = client.Put("v", Times(2));
  EXPECT_EQ(client.Stat(twice).retrievals_left, 2u);
  client.Get(twice);
  EXPECT_EQ(client.Stat(twice).retrievals_left, 1u);
  client.Get(twice);
  EXPECT_EQ(CodeOf([&] { client.Get(twice); }), XDT_REF_EXHAUSTED);
  EXPECT_EQ(CodeOf([&] { client.Stat(twice); }), XDT_REF_EXHAUSTED);
  const std::string often = client.Put("v", Times(XDT_UNLIMITED));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(client.Get(often).text(), "v");
  client.Delete(often);
  EXPECT_EQ(CodeOf([&] { client.Get(often); }), XDT_REF_EXHAUSTED);
  EXPECT_EQ(node.broker->used_bytes(), 0u);
}

TEST_F(BrokerTest, EachRefusalHasItsError) {
  ManualClock clock;
  BrokerNode node(1, &directory_, dir_.path(), [&](Broker::Options* options) {
    options->clock = &clock;
    options->keys.clock = &clock;
  });
  ASSERT_OK(node.broker->OpenSocket(dir_ / "sum", {"guest", "sum"}, 0600, 0));
  ASSERT_OK(node.broker->OpenSocket(dir_ / "other", {"other", "sum"}, 0600, 0));
  Client client = node.Client();
  Client sum(dir_ / "sum");
  Client other(dir_ / "other");

  EXPECT_EQ(CodeOf([&] { client.Get("no reference"); }), XDT_REF_MALFORMED);
  std::string reference = client.Put("v");
  std::string changed = reference;
  changed[100] = changed[100] == 'A' ? 'B' : 'A';
  EXPECT_EQ(CodeOf([&] { client.Get(changed); }), XDT_REF_NOT_AUTHENTIC);

  EXPECT_EQ(CodeOf([&] { other.Get(reference); }), XDT_REF_OUT_OF_SCOPE);
  EXPECT_EQ(CodeOf([&] { other.Delete(reference); }), XDT_REF_OUT_OF_SCOPE);
  EXPECT_EQ(CodeOf([&] { other.Stat(reference); }), XDT_REF_OUT_OF_SCOPE);
  EXPECT_EQ(sum.Get(reference).text(), "v");
  Options for_sum;
  for_sum.action = "sum";
  reference = client.Put("v", for_sum);
  EXPECT_EQ(CodeOf([&] { client.Get(reference); }), XDT_REF_OUT_OF_SCOPE);
  EXPECT_EQ(CodeOf([&] { other.Get(reference); }), XDT_REF_OUT_OF_SCOPE);
  EXPECT_EQ(sum.Get(reference).text(), "v");
  // Used up, and out of scope: only the second is told.
  EXPECT_EQ(CodeOf([&] { sum.Get(reference); }), XDT_REF_EXHAUSTED);
  EXPECT_EQ(CodeOf([&] { other.Get(reference); }), XDT_REF_OUT_OF_SCOPE);

  Options brief;
  brief.lifetime_ms = 5000;
  reference = client.Put("v", brief);
  clock.AdvanceMicros(4'900'000);
  EXPECT_GT(client.Stat(reference).expires_in_ms, 0u);
  clock.AdvanceMicros(200'000);
  EXPECT_EQ(CodeOf([&] { client.Get(reference); }), XDT_REF_EXPIRED);
  EXPECT_EQ(CodeOf([&] { other.Get(reference); }), XDT_REF_OUT_OF_SCOPE);
  EXPECT_TRUE(Eventually([&] { return node.broker->used_bytes() == 0; }));

  reference = client.Put("v");
  node.Restart();
  Client again = node.Client();
  EXPECT_EQ(CodeOf([&] { again.Get(reference); }), XDT_REF_EARLIER_EPOCH);
}

// Nobody who has the descriptor of a buffer can change it after the put.
TEST_F(BrokerTest, APutBufferCannotBeAltered) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  f3xdt::Buffer buffer = client.Alloc(kMiB);
  std::memset(buffer.bytes().data(), 'x', kMiB);
  // The function's own descriptor of it, as /proc shows it.
  int own = -1;
  for (int fd = 3; fd < 200 && own < 0; ++fd) {
    const int seals = ::fcntl(fd, F_GET_SEALS);
    if (seals == (F_SEAL_GROW | F_SEAL_SHRINK)) {
      own = ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDWR);
    }
  }
  ASSERT_GE(own, 0);
  EXPECT_NE(::ftruncate(own, 2 * kMiB), 0) << "the sender may take more memory than it asked for";
  EXPECT_NE(::ftruncate(own, 0), 0);
  const std::string reference = client.Put(std::move(buffer), kMiB);
  EXPECT_EQ(::pwrite(own, "y", 1, 0), -1);
  EXPECT_EQ(::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0), MAP_FAILED);
  EXPECT_NE(::fallocate(own, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  ::close(own);
  EXPECT_EQ(client.Get(reference).text(), std::string(kMiB, 'x'));
}

// A child that the sender forked keeps a writable mapping: what was there at the put is handed out.
TEST_F(BrokerTest, AMappingLeftInAForkedChildChangesNothing) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  f3xdt::Buffer buffer = client.Alloc(kMiB);
  std::memset(buffer.bytes().data(), 'x', kMiB);
  int go[2];
  ASSERT_EQ(::pipe(go), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char c;
    if (::read(go[0], &c, 1) == 1) std::memset(buffer.bytes().data(), 'y', kMiB);
    ::_exit(0);
  }
  const std::string reference = client.Put(std::move(buffer), kMiB);
  ASSERT_EQ(::write(go[1], "g", 1), 1);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(client.Get(reference).text(), std::string(kMiB, 'x'));
  ::close(go[0]);
  ::close(go[1]);
}

TEST_F(BrokerTest, AChildOfForkConnectsAnew) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  const std::string reference = client.Put("of the parent", Times(2));
  f3xdt::Buffer mine = client.Alloc(100'000);
  int out[2];
  ASSERT_EQ(::pipe(out), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::string text;
    const int code = CodeOf([&] { text = client.Put(client.Get(reference).text() + "'s child"); });
    if (code != 0) text = "code " + std::to_string(code);
    // The parent's buffer is not the child's to put.
    if (CodeOf([&] { client.Put(std::move(mine), 1); }) != XDT_INVALID) text = "put it";
    const bool written = ::write(out[1], text.data(), text.size()) > 0;
    ::_exit(written ? 0 : 1);
  }
  char text[512] = {};
  ASSERT_GT(::read(out[0], text, sizeof(text) - 1), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(client.Get(text).text(), "of the parent's child");
  EXPECT_EQ(client.Get(reference).text(), "of the parent");
  client.Put(std::move(mine), 1);
  ::close(out[0]);
  ::close(out[1]);
}

TEST_F(BrokerTest, ASenderThatDiesLeavesWhatItPutAndNothingElse) {
  BrokerNode node(1, &directory_, dir_.path());
  int out[2];
  ASSERT_EQ(::pipe(out), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    Client client(node.socket);
    const std::string reference = client.Put(Pattern(kMiB));
    f3xdt::Buffer half = client.Alloc(8 * kMiB);
    std::memset(half.bytes().data(), 1, 4 * kMiB);
    if (::write(out[1], reference.data(), reference.size()) < 0) ::_exit(1);
    ::raise(SIGKILL);
  }
  char text[512] = {};
  ASSERT_GT(::read(out[0], text, sizeof(text) - 1), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(
      Eventually([&] { return node.broker->used_bytes() == SharedBuffer::MemoryOf(kMiB); }));
  Client client = node.Client();
  EXPECT_EQ(client.Get(text).text(), Pattern(kMiB));
  EXPECT_TRUE(Eventually([&] { return node.broker->used_bytes() == 0; }));
  ::close(out[0]);
  ::close(out[1]);
}

TEST_F(BrokerTest, AFullPoolMakesPutsWaitUntilTheirDeadline) {
  BrokerNode node(1, &directory_, dir_.path(),
                  [](Broker::Options* options) { options->memory_bytes = 8 * kMiB; });
  Client client = node.Client();
  const std::string first = client.Put(Pattern(6 * kMiB));
  EXPECT_EQ(CodeOf([&] { client.Alloc(4 * kMiB, 50); }), XDT_TIMEOUT);
  EXPECT_EQ(CodeOf([&] { client.Alloc(9 * kMiB, 50); }), XDT_TOO_BIG);
  std::thread waiter([&] {
    f3xdt::Buffer buffer = client.Alloc(4 * kMiB, 20'000);
    EXPECT_EQ(buffer.bytes().size(), 4 * kMiB);
  });
  // The waiter is there once a smaller request, which would fit, has to stand behind it.
  EXPECT_TRUE(Eventually([&] { return CodeOf([&] { client.Alloc(kMiB, 0); }) == XDT_TIMEOUT; }));
  client.Delete(first);
  waiter.join();
  EXPECT_TRUE(Eventually([&] { return node.broker->used_bytes() == 0; }));
}

// Bytes of the buffers of functions that this process has open.
std::map<ino_t, uint64_t> OpenBuffers() {
  std::map<ino_t, uint64_t> taken;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const auto link = std::filesystem::read_symlink(entry.path(), error);
    if (error || link.string().rfind("/memfd:f3-xdt", 0) != 0) continue;
    struct stat info {};
    if (::stat(entry.path().c_str(), &info) != 0) continue;
    taken[info.st_ino] = static_cast<uint64_t>(info.st_blocks) * 512;
  }
  return taken;
}

// What was there at one moment: the directory is no snapshot, and while it is read one buffer may
// make way for another that is listed after it. What both readings have was there between them.
uint64_t OpenBufferBytes() {
  const auto before = OpenBuffers();
  uint64_t sum = 0;
  for (const auto& [inode, bytes] : OpenBuffers()) {
    const auto at = before.find(inode);
    if (at != before.end()) sum += std::min(bytes, at->second);
  }
  return sum;
}

TEST_F(BrokerTest, WhatIsCountedIsWhatIsTaken) {
  BrokerNode node(1, &directory_, dir_.path(),
                  [](Broker::Options* options) { options->memory_bytes = kMiB; });
  Client client = node.Client();
  std::vector<f3xdt::Buffer> buffers;
  for (const size_t bytes : {size_t{1}, size_t{4095}, size_t{4096}, size_t{4097}, size_t{20'000}}) {
    buffers.push_back(client.Alloc(bytes));
    EXPECT_EQ(node.broker->used_bytes(), OpenBufferBytes()) << bytes;
  }
  for (f3xdt::Buffer& buffer : buffers) client.Put(std::move(buffer), 1);
  buffers.clear();
  EXPECT_EQ(node.broker->used_bytes(), OpenBufferBytes());
  // As many of a byte each as there are pages left, and no more.
  const uint64_t left = (kMiB - node.broker->used_bytes()) / 4096;
  for (uint64_t i = 0; i < left; ++i) buffers.push_back(client.Alloc(1));
  EXPECT_EQ(CodeOf([&] { client.Alloc(1, 20); }), XDT_TIMEOUT);
  EXPECT_EQ(OpenBufferBytes(), kMiB);
}

// Whoever waits is told of room when there is some, not before the memory is free.
TEST(MemoryTest, IsFreeBeforeOthersMayTakeIt) {
  uint64_t taken_at_wake = 0;
  BufferPool pool({2 * kMiB, Clock::Real(), [&] { taken_at_wake = OpenBufferBytes(); }});
  Timers timers(Clock::Real(), false);
  auto account = std::make_shared<BufferPool::Account>(UINT64_MAX);
  const auto share = [&] { return std::move(pool.TryReserve(kMiB, account)).value(); };
  const auto buffer = [] { return std::move(SharedBuffer::Create(kMiB)).value(); };
  const auto ends = [&](auto* holder) {
    pool.Wait(2 * kMiB, account, INT64_MAX, [](Result<BufferPool::Share>) {});
    taken_at_wake = kMiB;
    *holder = {};
    EXPECT_EQ(taken_at_wake, 0u);
    EXPECT_EQ(pool.Pump(), 0u);
  };
  ASSERT_EQ(OpenBufferBytes(), 0u);
  auto content = std::make_shared<Content>(buffer(), kMiB, share());
  ends(&content);
  auto filling = std::make_unique<Filling>(Filling{share(), buffer()});
  ends(&filling);
  IncomingRef incoming = std::move(Incoming::Create(kMiB, share(), &timers)).value();
  ends(&incoming);
}

TEST_F(BrokerTest, ManyPuttersAndGettersNeverTakeMoreThanThePool) {
  constexpr uint64_t kPool = 16 * kMiB;
  BrokerNode node(1, &directory_, dir_.path(),
                  [](Broker::Options* options) { options->memory_bytes = kPool; });
  std::atomic<int> running{16};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      Client client = node.Client();
      for (uint32_t i = 0; i < 6; ++i) {
        const std::string value = Pattern(3 * kMiB + t * 1000, t * 100 + i);
        EXPECT_EQ(CodeOf([&] {
                    Options options;
                    options.timeout_ms = 60'000;
                    EXPECT_TRUE(client.Get(client.Put(value, options), 60'000).text() == value);
                  }),
                  0);
      }
      --running;
    });
  }
  while (running > 0) {
    EXPECT_LE(OpenBufferBytes(), kPool);
    EXPECT_LE(node.broker->used_bytes(), kPool);
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(Eventually([&] { return node.broker->used_bytes() == 0; }));
  EXPECT_EQ(OpenBufferBytes(), 0u);
}

TEST_F(BrokerTest, AFullPoolSpillsToDiskWhereThatIsThePolicy) {
  BrokerNode node(1, &directory_, dir_.path(), [&](Broker::Options* options) {
    options->memory_bytes = 8 * kMiB;
    options->spill_dir = dir_.path();
  });
  Client client = node.Client();
  std::vector<std::string> references;
  for (uint32_t i = 0; i < 12; ++i) references.push_back(client.Put(Pattern(3 * kMiB, i)));
  EXPECT_LE(node.broker->used_bytes(), 8 * kMiB);
  EXPECT_GT(node.broker->counters().spilled_bytes, 20 * kMiB);
  for (uint32_t i = 0; i < 12; ++i) {
    EXPECT_TRUE(client.Get(references[i]).text() == Pattern(3 * kMiB, i)) << i;
  }
  EXPECT_TRUE(Eventually([&] { return node.broker->used_bytes() == 0; }));
}

TEST_F(BrokerTest, OneSandboxCannotTakeAll) {
  BrokerNode node(1, &directory_, dir_.path(),
                  [](Broker::Options* options) { options->memory_bytes = 16 * kMiB; });
  ASSERT_OK(node.broker->OpenSocket(dir_ / "greedy", {"greedy", ""}, 0600, 4 * kMiB));
  Client greedy(dir_ / "greedy");
  f3xdt::Buffer held = greedy.Alloc(3 * kMiB);
  EXPECT_EQ(CodeOf([&] { greedy.Alloc(2 * kMiB, 20); }), XDT_TIMEOUT);
  // Others are not held up by its waiting.
  std::thread waiter([&] { EXPECT_EQ(CodeOf([&] { greedy.Alloc(2 * kMiB, 500); }), XDT_TIMEOUT); });
  Client client = node.Client();
  EXPECT_EQ(client.Get(client.Put(Pattern(6 * kMiB))).size(), 6 * kMiB);
  waiter.join();
}

TEST_F(BrokerTest, AReaderThatNeverReleasesHoldsHalfOfThePoolAtMost) {
  BrokerNode node(1, &directory_, dir_.path(),
                  [](Broker::Options* options) { options->memory_bytes = 16 * kMiB; });
  Client sender = node.Client();
  Client slow = node.Client();
  std::vector<f3xdt::View> views;
  for (int i = 0; i < 4; ++i) views.push_back(slow.Get(sender.Put(Pattern(2 * kMiB))));
  const std::string more = sender.Put(Pattern(2 * kMiB), Times(2));
  EXPECT_EQ(CodeOf([&] { slow.Get(more); }), XDT_AGAIN);
  // The refused get cost no retrieval.
  EXPECT_EQ(sender.Stat(more).retrievals_left, 2u);
  views.pop_back();
  EXPECT_EQ(slow.Get(more).size(), 2 * kMiB);
}

// A function that asks on and on and reads nothing: its requests stay where they are, and with them
// what they would cost. When it reads, it gets all.
TEST_F(BrokerTest, WhoReadsNoRepliesIsAskedToWait) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  const std::string value = Pattern(XDT_INLINE_BYTES);
  const std::string reference = client.Put(value, Times(XDT_UNLIMITED));
  constexpr int kGets = 200;  // 25 MiB
  Connected socket(node.socket);
  xdt_request head{};
  head.magic = XDT_MAGIC;
  head.op = XDT_OP_GET;
  head.text_bytes = static_cast<uint32_t>(reference.size());
  int sent = 0, received = 0;
  std::vector<char> packet(XDT_PACKET_BYTES);
  while (received < kGets) {
    while (sent < kGets) {
      head.id = static_cast<uint64_t>(sent) + 1;
      std::string request(reinterpret_cast<const char*>(&head), sizeof(head));
      request += reference;
      if (::send(socket.fd(), request.data(), request.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        ASSERT_EQ(errno, EAGAIN);
        break;
      }
      ++sent;
    }
    if (received == 0) {
      EXPECT_LT(sent, kGets) << "nothing keeps it from asking for more";
      EXPECT_EQ(client.Get(reference).text(), value);  // others go on
    }
    const ssize_t n = ::recv(socket.fd(), packet.data(), packet.size(), 0);
    xdt_reply reply{};
    ASSERT_EQ(n, static_cast<ssize_t>(sizeof(reply) + value.size()));
    std::memcpy(&reply, packet.data(), sizeof(reply));
    EXPECT_EQ(reply.id, static_cast<uint64_t>(++received));
    ASSERT_EQ(std::memcmp(packet.data() + sizeof(reply), value.data(), value.size()), 0);
  }
}

TEST_F(BrokerTest, GarbageHurtsItsSenderAlone) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  const std::string reference = client.Put("v");
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    Connected socket(node.socket);
    xdt_request head{};
    head.magic = XDT_MAGIC;
    head.op = static_cast<uint16_t>(random() % 12);
    std::string packet(reinterpret_cast<const char*>(&head), sizeof(head));
    packet.resize(random() % 30'000, 'g');
    for (int j = 0; j < 3 && !packet.empty(); ++j) {
      packet[random() % packet.size()] = static_cast<char>(random());
    }
    ::send(socket.fd(), packet.data(), packet.size(), MSG_NOSIGNAL);
  }
  EXPECT_EQ(client.Get(reference).text(), "v");
  EXPECT_TRUE(Eventually([&] { return node.broker->counters().connections == 1; }));
  EXPECT_TRUE(Eventually([&] { return node.broker->used_bytes() == 0; }));
}

TEST_F(BrokerTest, ClosingASocketEndsItsConnections) {
  BrokerNode node(1, &directory_, dir_.path());
  const std::string path = dir_ / "sandbox";
  ASSERT_OK(node.broker->OpenSocket(path, {"guest", "a"}, 0600, 0));
  EXPECT_CODE(node.broker->OpenSocket(path, {"guest", "a"}, 0600, 0), kBusy);
  Client sandbox(path);
  const std::string reference = sandbox.Put("stays");
  f3xdt::Buffer unfinished = sandbox.Alloc(kMiB);
  ASSERT_OK(node.broker->CloseSocket(path));
  EXPECT_EQ(CodeOf([&] { sandbox.Put("more"); }), XDT_UNAVAILABLE);
  EXPECT_CODE(node.broker->CloseSocket(path), kNotFound);
  EXPECT_TRUE(Eventually([&] { return node.broker->used_bytes() < kMiB; }));
  EXPECT_EQ(node.Client().Get(reference).text(), "stays");
}

TEST_F(BrokerTest, ManyThreadsShareOneClient) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 8; ++t) {
    threads.emplace_back([&client, t] {
      for (uint32_t i = 0; i < 100; ++i) {
        const std::string value = Pattern((i * 977 + t) % 60'000, i);
        EXPECT_TRUE(client.Get(client.Put(value)).text() == value);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(Eventually([&] { return node.broker->used_bytes() == 0; }));
}

TEST_F(BrokerTest, ABatchAndAnAsynchronousGet) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  std::vector<std::string> references;
  for (uint32_t i = 0; i < 100; ++i) references.push_back(client.Put(Pattern(i * 1000, i)));
  auto views = client.GetMany(references);
  for (uint32_t i = 0; i < 100; ++i) EXPECT_TRUE(views[i].text() == Pattern(i * 1000, i)) << i;
  EXPECT_EQ(CodeOf([&] { client.GetMany(references); }), XDT_REF_EXHAUSTED);

  const std::string reference = client.Put("later");
  xdt_async* async = nullptr;
  ASSERT_EQ(xdt_get_async(client.raw(), reference.c_str(), 5000, &async), 0);
  pollfd ready = {xdt_async_fd(async), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 5000), 1);
  xdt_view* view = nullptr;
  ASSERT_EQ(xdt_async_finish(async, &view), 0);
  EXPECT_EQ(f3xdt::View(view).text(), "later");
}

TEST_F(BrokerTest, ADescriptorIsPut) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  const std::string value = Pattern(3 * kMiB + 5);
  const int file = ::open(dir_.path().c_str(), O_TMPFILE | O_RDWR, 0600);
  ASSERT_EQ(::write(file, value.data(), value.size()), static_cast<ssize_t>(value.size()));
  ASSERT_EQ(::lseek(file, 5, SEEK_SET), 5);
  EXPECT_TRUE(client.Get(client.PutFd(file, 100 * kMiB)).text() == value.substr(5));
  ASSERT_EQ(::lseek(file, 0, SEEK_SET), 0);
  EXPECT_EQ(CodeOf([&] { client.PutFd(file, kMiB); }), XDT_TOO_BIG);
  ::close(file);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  std::thread writer([&] {
    size_t done = 0;
    while (done < value.size()) {
      const ssize_t n = ::write(ends[1], value.data() + done, value.size() - done);
      if (n < 0) break;
      done += static_cast<size_t>(n);
    }
    ::close(ends[1]);
  });
  EXPECT_TRUE(client.Get(client.PutFd(ends[0], 100 * kMiB)).text() == value);
  writer.join();
  ::close(ends[0]);
  EXPECT_TRUE(Eventually([&] { return node.broker->used_bytes() == 0; }));
}

// The connection that a client has is over by then.
TEST_F(BrokerTest, ABrokerThatRestartedIsFoundAgainAtOnce) {
  BrokerNode node(1, &directory_, dir_.path());
  Client client = node.Client();
  for (int i = 0; i < 3; ++i) {
    f3xdt::Buffer held = client.Alloc(kMiB);
    f3xdt::View view = client.Get(client.Put(Pattern(kMiB)));
    node.Restart();
    std::string reference;
    EXPECT_EQ(CodeOf([&] { reference = client.Put(Pattern(kMiB)); }), 0) << xdt_last_message();
    EXPECT_TRUE(client.Get(reference).text() == Pattern(kMiB));
    // What belonged to the old one says so; what was read stays.
    EXPECT_EQ(CodeOf([&] { client.Put(std::move(held), kMiB); }), XDT_UNAVAILABLE);
    EXPECT_TRUE(view.text() == Pattern(kMiB));
  }
}

TEST_F(BrokerTest, NoBrokerIsAnErrorThatSaysSo) {
  EXPECT_EQ(CodeOf([&] { Client client(dir_ / "nobody"); }), XDT_UNAVAILABLE);
  EXPECT_NE(std::string(xdt_last_message()).find("is the node agent running?"), std::string::npos);
}

}  // namespace
}  // namespace f3::xdt
