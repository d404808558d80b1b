// Sandboxes for real, through runc: needs root, runc and the root file system that F3_ROOTFS names.
#include "openwhisk_plugin/gateway/container.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "common/unique_fd.h"
#include "openwhisk_plugin/gateway/cgroup.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int64_t kPatience = 60'000'000;

std::string ReadAll(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The empty groups that sandboxes share are taken away at the end.
class SharedGroups : public ::testing::Environment {
  void TearDown() override {
    std::error_code error;
    for (const auto& hierarchy : fs::directory_iterator("/sys/fs/cgroup", error)) {
      ::rmdir((hierarchy.path() / "f3-sandboxes").c_str());
    }
    ::rmdir("/sys/fs/cgroup/f3-sandboxes");
  }
};
[[maybe_unused]] const auto* const kSharedGroups =
    ::testing::AddGlobalTestEnvironment(new SharedGroups);

class ContainerTest : public ::testing::Test {
 protected:
  ContainerTest() {
    const char* rootfs = std::getenv("F3_ROOTFS");
    EXPECT_NE(rootfs, nullptr) << "F3_ROOTFS names what scripts/make_rootfs.sh has made";
    options_.runtime = "runc";
    options_.rootfs = rootfs == nullptr ? "" : rootfs;
    options_.kind = "python:3";
    options_.state_dir = dir_ / "state";
    options_.id = "f3-test-" + std::to_string(::getpid());
    options_.memory_bytes = 128ull << 20;
  }
  ~ContainerTest() override { ExpectNothingLeft(options_.id); }

  void ExpectNothingLeft(const std::string& id) const {
    EXPECT_FALSE(fs::exists(options_.state_dir + "/" + id));
    EXPECT_FALSE(fs::exists(options_.state_dir + "/runc/" + id));
    EXPECT_EQ(ReadAll("/proc/self/mountinfo").find(options_.state_dir), std::string::npos);
    std::error_code error;
    for (const auto& hierarchy : fs::directory_iterator("/sys/fs/cgroup", error)) {
      EXPECT_FALSE(fs::exists(hierarchy.path() / "f3-sandboxes" / id, error)) << hierarchy.path();
    }
  }

  std::unique_ptr<Container> Make() {
    auto container = Container::Create(options_);
    EXPECT_OK(container);
    return container.ok() ? *std::move(container) : nullptr;
  }

  // A container with this action in it.
  std::unique_ptr<Container> MakeWith(const std::string& code) {
    auto container = Make();
    if (container == nullptr) return nullptr;
    auto outcome = container->Init(InitOf(code), kPatience);
    EXPECT_OK(outcome);
    if (outcome.ok()) {
      EXPECT_EQ(outcome->http_status, 200) << outcome->logs;
    }
    return container;
  }

  static json InitOf(const std::string& code) {
    return {{"value", {{"name", "a"}, {"main", "main"}, {"code", code}, {"binary", false}}}};
  }

  static RunOutcome RunIt(Container* container, const json& value = json::object(),
                          int64_t timeout_micros = kPatience) {
    auto outcome = container->Run({{"value", value}, {"activation_id", "a1"}}, timeout_micros);
    EXPECT_OK(outcome);
    return outcome.ok() ? *outcome : RunOutcome{};
  }

  TempDir dir_;
  ContainerOptions options_;
};

TEST_F(ContainerTest, RunsPython) {
  auto container = MakeWith(
      "import os\nprint('loading')\n"
      "def main(args):\n    print('hello', args['name'])\n"
      "    return {'hello': args['name'], 'id': os.environ['__OW_ACTIVATION_ID']}\n");
  ASSERT_NE(container, nullptr);
  EXPECT_TRUE(container->alive());
  EXPECT_GT(container->pid(), 0);
  RunOutcome outcome = RunIt(container.get(), {{"name", "Ada"}});
  EXPECT_EQ(outcome.http_status, 200);
  EXPECT_EQ(outcome.response, (json{{"hello", "Ada"}, {"id", "a1"}}));
  EXPECT_NE(outcome.logs.find("Z stdout: loading\n"), std::string::npos) << outcome.logs;
  EXPECT_NE(outcome.logs.find("Z stdout: hello Ada\n"), std::string::npos) << outcome.logs;
  outcome = RunIt(container.get(), {{"name", "Bob"}});
  EXPECT_EQ(outcome.logs.find("loading"), std::string::npos) << outcome.logs;
  EXPECT_EQ(std::count(outcome.logs.begin(), outcome.logs.end(), '\n'), 1) << outcome.logs;
  EXPECT_FALSE(outcome.timed_out || outcome.out_of_memory);
  container->Destroy();
  EXPECT_FALSE(container->alive());
  ExpectNothingLeft(options_.id);
  container->Destroy();
}

TEST_F(ContainerTest, RunsNode) {
  options_.kind = "nodejs:18";
  auto container = MakeWith(
      "async function main(args) { console.error('on', process.version); "
      "return { sum: args.a + args.b }; }");
  ASSERT_NE(container, nullptr);
  const RunOutcome outcome = RunIt(container.get(), {{"a", 2}, {"b", 3}});
  EXPECT_EQ(outcome.response, (json{{"sum", 5}}));
  EXPECT_NE(outcome.logs.find("stderr: on v"), std::string::npos) << outcome.logs;
}

TEST_F(ContainerTest, AFailedInitHasLogs) {
  auto container = Make();
  ASSERT_NE(container, nullptr);
  auto outcome = container->Init(InitOf("raise ValueError('no luck')"), kPatience);
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->http_status, 502);
  EXPECT_TRUE(outcome->response.contains("error"));
  EXPECT_NE(outcome->logs.find("stderr: ValueError: no luck"), std::string::npos) << outcome->logs;
}

TEST_F(ContainerTest, TimesOut) {
  auto container = MakeWith(
      "import time\ndef main(args):\n    print('begun', flush=True)\n"
      "    while True:\n        time.sleep(1)\n");
  ASSERT_NE(container, nullptr);
  const RunOutcome outcome = RunIt(container.get(), json::object(), 2'000'000);
  EXPECT_TRUE(outcome.timed_out);
  EXPECT_EQ(outcome.http_status, 0);
  EXPECT_NE(outcome.logs.find("begun"), std::string::npos) << outcome.logs;
  EXPECT_TRUE(container->alive());
}

TEST_F(ContainerTest, DiesDuringARun) {
  auto container = MakeWith(
      "import os\ndef main(args):\n    print('last words', flush=True)\n    os._exit(1)\n");
  ASSERT_NE(container, nullptr);
  RunOutcome outcome = RunIt(container.get());
  EXPECT_EQ(outcome.http_status, 0);
  EXPECT_FALSE(outcome.timed_out || outcome.out_of_memory);
  EXPECT_TRUE(outcome.response.is_null());
  EXPECT_NE(outcome.logs.find("last words"), std::string::npos) << outcome.logs;
  EXPECT_FALSE(container->alive());
  outcome = RunIt(container.get());
  EXPECT_EQ(outcome.http_status, 0);
}

constexpr const char kEatsMemory[] =
    "import subprocess, sys\n"
    "EAT = 'x = bytearray(1 << 20)\\nwhile True: x += bytes(b\"y\" * (1 << 20))'\n"
    "def main(args):\n"
    "    if args['child']:\n"
    "        return {'code': subprocess.run([sys.executable, '-c', EAT]).returncode}\n"
    "    exec(EAT)\n";

TEST_F(ContainerTest, RunsOutOfMemory) {
  auto container = MakeWith(kEatsMemory);
  ASSERT_NE(container, nullptr);
  const RunOutcome outcome = RunIt(container.get(), {{"child", false}});
  // Python may notice in time: then MemoryError is the action's own error.
  EXPECT_TRUE(outcome.out_of_memory);
  EXPECT_EQ(outcome.http_status, 0);
  EXPECT_FALSE(container->alive());
}

TEST_F(ContainerTest, AChildRunsOutOfMemory) {
  auto container = MakeWith(kEatsMemory);
  ASSERT_NE(container, nullptr);
  const RunOutcome outcome = RunIt(container.get(), {{"child", true}});
  EXPECT_TRUE(outcome.out_of_memory);
  EXPECT_EQ(outcome.response, (json{{"code", -9}}));
  EXPECT_TRUE(container->alive());
}

TEST_F(ContainerTest, PausesAndResumes) {
  auto container = MakeWith(
      "import threading, time\nticks = 0\ndef tick():\n    global ticks\n"
      "    while True:\n        ticks += 1\n        time.sleep(0.001)\n"
      "threading.Thread(target=tick, daemon=True).start()\n"
      "def main(args):\n    return {'ticks': ticks}\n");
  ASSERT_NE(container, nullptr);
  ASSERT_OK(container->Pause());
  const RunOutcome frozen = RunIt(container.get(), json::object(), 500'000);
  EXPECT_TRUE(frozen.timed_out);
  ASSERT_OK(container->Resume());
  const RunOutcome outcome = RunIt(container.get());
  EXPECT_EQ(outcome.http_status, 200);
  EXPECT_GT(outcome.response["ticks"], 0);
  // It is destroyed while it is paused.
  ASSERT_OK(container->Pause());
  container->Destroy();
  ExpectNothingLeft(options_.id);
}

TEST_F(ContainerTest, DestroyEndsARun) {
  auto container = MakeWith("import time\ndef main(args):\n    time.sleep(1000)\n");
  ASSERT_NE(container, nullptr);
  Status status;
  std::thread runner([&] {
    auto outcome = container->Run({{"value", json::object()}}, 900'000'000);
    status = outcome.status();
  });
  container->Destroy();
  runner.join();
  EXPECT_CODE(status, kInterrupted);
}

TEST_F(ContainerTest, IsASandbox) {
  auto container = MakeWith(R"(
import ctypes, os, resource, socket
libc = ctypes.CDLL(None, use_errno=True)

def refused(call):
    return ctypes.get_errno() if call != 0 else 0

def readable(path):
    try:
        with open(path, 'rb') as file:
            return len(file.read(10)) > 0
    except OSError:
        return False

def main(args):
    status = dict(line.split(':\t', 1) for line in open('/proc/self/status') if ':\t' in line)
    with open('/written', 'w') as file:
        file.write('x')
    return {
        'pid': os.getpid(), 'host': socket.gethostname(), 'files': resource.getrlimit(7)[1],
        'net': [name for _, name in socket.if_nameindex()],
        'caps': status['CapEff'].strip(), 'bound': status['CapBnd'].strip(),
        'nnp': status['NoNewPrivs'].strip(), 'seccomp': status['Seccomp'].strip(),
        'kcore': readable('/proc/kcore'),
        'disk': any(d.startswith('vd') for d in os.listdir('/dev')),
        'mount': refused(libc.mount(b'none', b'/mnt', b'tmpfs', 0, None)),
        'user': refused(libc.unshare(0x10000000)),
        'sysrq': os.access('/proc/sysrq-trigger', os.W_OK),
        'processes': sum(name.isdigit() for name in os.listdir('/proc')),
        'memory': int(open('/sys/fs/cgroup/memory/memory.limit_in_bytes').read())
            if os.path.exists('/sys/fs/cgroup/memory')
            else int(open('/sys/fs/cgroup/memory.max').read()),
    }
)");
  ASSERT_NE(container, nullptr);
  const RunOutcome outcome = RunIt(container.get());
  ASSERT_EQ(outcome.http_status, 200) << outcome.response << outcome.logs;
  const json& seen = outcome.response;
  EXPECT_EQ(seen["pid"], 1) << outcome.logs;
  EXPECT_EQ(seen["host"], "action");
  EXPECT_EQ(seen["files"], 1024);
  EXPECT_EQ(seen["net"], json::array({"lo"}));
  // Docker's fourteen without NET_RAW, which is bit 13.
  EXPECT_EQ(seen["caps"], "00000000a80405fb");
  EXPECT_EQ(seen["bound"], "00000000a80405fb");
  EXPECT_EQ(seen["nnp"], "1");
  EXPECT_EQ(seen["seccomp"], "2");
  EXPECT_EQ(seen["kcore"], false);
  EXPECT_EQ(seen["disk"], false);
  EXPECT_EQ(seen["mount"], EPERM);
  EXPECT_EQ(seen["user"], EPERM);
  EXPECT_EQ(seen["sysrq"], false);
  EXPECT_EQ(seen["processes"], 1);
  EXPECT_EQ(seen["memory"], 128 << 20);
  EXPECT_FALSE(fs::exists(options_.rootfs + "/written"));
}

TEST_F(ContainerTest, HasNoMoreThanAThousandProcesses) {
  options_.memory_bytes = 1ull << 30;  // their page tables and stacks count
  auto container = MakeWith(R"(
import os, signal
def main(args):
    children = []
    try:
        while len(children) < 2000:
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except BlockingIOError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {'children': len(children)}
)");
  ASSERT_NE(container, nullptr);
  const RunOutcome outcome = RunIt(container.get());
  ASSERT_EQ(outcome.http_status, 200) << outcome.logs;
  EXPECT_EQ(outcome.response, (json{{"children", 1023}}));  // and the runtime
}

TEST_F(ContainerTest, TwoDoNotSeeEachOther) {
  const std::string code =
      "import os\ndef main(args):\n    seen = os.path.exists('/tmp/mark')\n"
      "    open('/tmp/mark', 'w').close()\n    return {'seen': seen}\n";
  auto first = MakeWith(code);
  ContainerOptions other = options_;
  other.id += "-other";
  options_ = other;
  auto second = MakeWith(code);
  ASSERT_TRUE(first != nullptr && second != nullptr);
  EXPECT_EQ(RunIt(first.get()).response, (json{{"seen", false}}));
  EXPECT_EQ(RunIt(second.get()).response, (json{{"seen", false}}));
  EXPECT_EQ(RunIt(first.get()).response, (json{{"seen", true}}));
}

TEST_F(ContainerTest, ManyLogsAreCutAndBlockNobody) {
  options_.log_bytes = 10'000;
  auto container = MakeWith(
      "def main(args):\n    for i in range(60000):\n        print('x' * 99)\n    return {}\n");
  ASSERT_NE(container, nullptr);
  const RunOutcome outcome = RunIt(container.get());
  EXPECT_EQ(outcome.http_status, 200);
  EXPECT_LT(outcome.logs.size(), 20'000U);
  EXPECT_NE(outcome.logs.find("exceeds the limit of 10000 bytes"), std::string::npos);
}

TEST_F(ContainerTest, LogsWithoutAnEndAreAwaitedForAWhile) {
  auto container =
      MakeWith("import os\ndef main(args):\n    os.close(2)\n    print('out')\n    return {}\n");
  ASSERT_NE(container, nullptr);
  const RunOutcome outcome = RunIt(container.get());
  EXPECT_EQ(outcome.http_status, 200);
  EXPECT_NE(outcome.logs.find("stdout: out"), std::string::npos) << outcome.logs;
  EXPECT_NE(outcome.logs.find("stderr: There was an issue while collecting"), std::string::npos);
}

TEST_F(ContainerTest, LargeArgumentsAndResults) {
  const size_t size = std::getenv("F3_FULL") != nullptr ? 50 << 20 : 2 << 20;
  options_.memory_bytes = 1ull << 30;
  auto container = MakeWith("def main(args):\n    return args\n");
  ASSERT_NE(container, nullptr);
  const json value = {{"x", std::string(size, 'x')}};
  EXPECT_EQ(RunIt(container.get(), value).response, value);
}

// The example's actions, each in a sandbox with a quarter of a gigabyte.
TEST_F(ContainerTest, AnInputOfAHundredMegabytesByPath) {
  const char* actions = std::getenv("F3_EXAMPLE_ACTIONS");
  ASSERT_NE(actions, nullptr) << "F3_EXAMPLE_ACTIONS names openwhisk_plugin/examples/actions";
  constexpr size_t kBytes = 100 << 20;
  options_.memory_bytes = 256ull << 20;
  json digests = json::array();
  for (const auto& [kind, file] :
       {std::pair("python:3", "/digest.py"), {"nodejs:18", "/digest.js"}}) {
    options_.kind = kind;
    auto container = MakeWith(ReadAll(std::string(actions) + file));
    ASSERT_NE(container, nullptr);
    std::ofstream out(options_.state_dir + "/" + options_.id + "/rootfs/input");
    const std::string block(1 << 20, 'x');
    for (size_t written = 0; written < kBytes; written += block.size()) out << block;
    out.close();
    ASSERT_TRUE(out.good());
    const RunOutcome outcome = RunIt(container.get(), {{"path", "/input"}});
    ASSERT_EQ(outcome.http_status, 200) << outcome.logs;
    EXPECT_FALSE(outcome.out_of_memory);
    EXPECT_EQ(outcome.response.value("bytes", size_t{0}), kBytes) << outcome.response;
    digests.push_back(outcome.response.value("sha256", kind));
  }
  EXPECT_EQ(digests[0], digests[1]);
}

TEST_F(ContainerTest, AnAnswerThatIsNoObject) {
  // The action takes the place of its runtime.
  auto container = MakeWith(R"(
import os, socket, sys
def main(args):
    for fd in range(3, 50):
        try:
            sock = socket.socket(fileno=os.dup(fd))
            sock.getpeername()
            sock.sendall(args['bytes'].encode())
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    return {}
)");
  ASSERT_NE(container, nullptr);
  RunOutcome outcome =
      RunIt(container.get(), {{"bytes", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]"}});
  EXPECT_TRUE(outcome.response.is_null()) << outcome.response;
  outcome = RunIt(container.get(), {{"bytes", "garbage\r\n\r\n"}});
  EXPECT_TRUE(outcome.response.is_null());
  EXPECT_EQ(outcome.http_status, 0);
  EXPECT_TRUE(container->alive());
}

TEST_F(ContainerTest, OneOfEachId) {
  auto container = MakeWith("def main(args):\n    return {}\n");
  ASSERT_NE(container, nullptr);
  EXPECT_CODE(Container::Create(options_), kExists);
  EXPECT_EQ(RunIt(container.get()).http_status, 200);
}

TEST_F(ContainerTest, WhatCannotBeStarted) {
  const ContainerOptions good = options_;
  const auto refused = [&](Code code, const std::string& text) {
    auto container = Container::Create(options_);
    EXPECT_EQ(container.status().code(), code) << container.status().ToString();
    EXPECT_NE(container.status().message().find(text), std::string::npos)
        << container.status().message();
    ExpectNothingLeft(good.id);
    options_ = good;
  };
  options_.id = "../x";
  refused(Code::kInvalidArgument, "../x");
  options_.kind = "cobol:60";
  refused(Code::kInvalidArgument, "cobol:60");
  options_.rootfs = "/nowhere";
  refused(Code::kNotFound, "make_rootfs.sh");
  options_.state_dir = dir_ / "a,b";
  refused(Code::kInvalidArgument, "state_dir");
  options_.runtime = "no-such-runc";
  refused(Code::kNotFound, "no-such-runc");
  options_.runtime = "false";
  refused(Code::kIo, "false");
  options_.environment["PYTHONHOME"] = "/nowhere";
  refused(Code::kUnavailable, "PYTHONHOME");
}

TEST_F(ContainerTest, ManyAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([this, i] {
      ContainerOptions options = options_;
      options.id += "-" + std::to_string(i);
      auto container = Container::Create(options);
      ASSERT_OK(container);
      ASSERT_OK((*container)->Init(InitOf("def main(args):\n    return args\n"), kPatience));
      EXPECT_EQ(RunIt(container->get(), {{"i", i}}).response, (json{{"i", i}}));
    });
  }
  for (auto& thread : threads) thread.join();
  for (int i = 0; i < 3; ++i) ExpectNothingLeft(options_.id + "-" + std::to_string(i));
}

TEST_F(ContainerTest, WhatAKilledProcessLeftIsDestroyed) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto container = Container::Create(options_);
    const pid_t pid = container.ok() ? (*container)->pid() : 0;
    if (pid == 0 || !(*container)->Pause().ok()) ::_exit(1);
    if (::write(fds[1], &pid, sizeof pid) != sizeof pid) ::_exit(2);
    ::pause();
    ::_exit(3);
  }
  ::close(fds[1]);
  pid_t pid = 0;
  ASSERT_EQ(::read(fds[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
  ::close(fds[0]);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(::kill(pid, 0), 0);  // it has outlived its owner
  EXPECT_OK(DestroyLeftContainers(options_.runtime, options_.state_dir));
  ExpectNothingLeft(options_.id);
  EXPECT_OK(DestroyLeftContainers(options_.runtime, options_.state_dir));
  EXPECT_OK(DestroyLeftContainers(options_.runtime, dir_ / "never"));
}

}  // namespace
}  // namespace f3::openwhisk
