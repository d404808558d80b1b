// f3 put, f3 get, f3 ref: values passed by reference, from the command line.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "cli/commands.h"
#include "cli/target.h"
#include "cli/xdt_socket.h"
#include "common/unique_fd.h"
#include "common/units.h"
#include "xdt/libxdt/xdt.h"

namespace f3::cli {
namespace {

constexpr size_t kMostBytes = size_t{1} << 40;
constexpr size_t kWriteBytes = 1 << 20;
constexpr int kVersionTries = 5;

struct Client {
  ~Client() { xdt_close(handle); }
  xdt* handle = nullptr;
};

struct Args {
  std::string socket;
  std::string dir;
  std::string node;
  std::string path;  // of the file, or the reference
  std::string output;
  std::string action;
  std::string ttl;
  uint64_t times = 1;
  double timeout_s = 10;
  int timeout_ms() const { return static_cast<int>(timeout_s * 1000); }
};

Status FromXdt(int code) {
  if (code == 0) return Status();
  const Code known = CodeFromNumber(code);
  return Status(known == Code::kOk ? Code::kInternal : known, xdt_last_message());
}

// --socket, else $F3_XDT_SOCKET, else the socket of a node of `f3 up`, else where libxdt looks.
std::string FindSocket(const Args& args) {
  if (!args.socket.empty()) return args.socket;
  if (args.node.empty() && args.dir.empty() && std::getenv("F3_XDT_SOCKET") != nullptr) return "";
  auto layout = ClusterLayout::Load(ClusterDir(args.dir));
  if (!layout.ok()) return "";
  const std::string name = args.node.empty() ? layout->nodes.front().name : args.node;
  return XdtSocketBeside(layout->run(name + ".sock"));
}

Status Open(const std::string& socket, Client* client) {
  return FromXdt(xdt_open(socket.empty() ? nullptr : socket.c_str(), &client->handle));
}

Result<std::string> PutFd(const Args& args, Client* client, int fd) {
  xdt_put_options options{};
  if (!args.ttl.empty()) {
    F3_ASSIGN_OR_RETURN(int64_t micros, ParseMicros(args.ttl));
    options.lifetime_ms = static_cast<uint64_t>(std::max<int64_t>(micros / 1000, 1));
  }
  options.retrievals = args.times == 0 ? XDT_UNLIMITED : static_cast<uint32_t>(args.times);
  options.action = args.action.empty() ? nullptr : args.action.c_str();
  char reference[XDT_REF_CHARS];
  F3_RETURN_IF_ERROR(
      FromXdt(xdt_put_fd(client->handle, fd, kMostBytes, &options, args.timeout_ms(), reference)));
  return std::string(reference);
}

Status Put(const Args& args) {
  Client client;
  F3_RETURN_IF_ERROR(Open(FindSocket(args), &client));
  UniqueFd file;
  if (args.path != "-") {
    file.Reset(::open(args.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return Status::FromErrno(errno, "open " + args.path);
  }
  F3_ASSIGN_OR_RETURN(std::string reference,
                      PutFd(args, &client, file.valid() ? file.get() : STDIN_FILENO));
  std::printf("%s\n", reference.c_str());
  return Status();
}

Status WriteOut(int fd, const char* bytes, size_t size, const std::string& name) {
  while (size > 0) {
    const ssize_t n = ::write(fd, bytes, std::min(size, kWriteBytes));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "write " + name);
    bytes += n;
    size -= static_cast<size_t>(n);
  }
  return Status();
}

// Writes as the bytes come.
Status CopyOut(xdt_view* view, int fd, const Args& args, const std::string& name) {
  const char* bytes = static_cast<const char*>(xdt_view_data(view));
  size_t done = 0;
  while (done < xdt_view_bytes(view)) {
    F3_RETURN_IF_ERROR(FromXdt(xdt_wait(view, done + 1, args.timeout_ms())));
    const size_t here = xdt_view_available(view);
    F3_RETURN_IF_ERROR(WriteOut(fd, bytes + done, here - done, name));
    done = here;
  }
  return Status();
}

Status Get(const Args& args) {
  Client client;
  F3_RETURN_IF_ERROR(Open(FindSocket(args), &client));
  xdt_view* raw = nullptr;
  F3_RETURN_IF_ERROR(
      FromXdt(xdt_get_stream(client.handle, args.path.c_str(), args.timeout_ms(), &raw)));
  std::unique_ptr<xdt_view, decltype(&xdt_release)> view(raw, xdt_release);
  if (args.output.empty()) return CopyOut(view.get(), STDOUT_FILENO, args, "standard output");
  UniqueFd file(::open(args.output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file.valid()) return Status::FromErrno(errno, "create " + args.output);
  Status status = CopyOut(view.get(), file.get(), args, args.output);
  if (status.ok() && ::close(file.Release()) != 0) {
    status = Status::FromErrno(errno, "close " + args.output);
  }
  // A part of a value is nothing that anybody asked for.
  if (!status.ok()) ::unlink(args.output.c_str());
  return status;
}

std::string Attribute(int fd, const char* name) {
  char value[64];
  const ssize_t n = ::fgetxattr(fd, name, value, sizeof(value));
  return n < 0 ? "" : std::string(value, static_cast<size_t>(n));
}

// The bytes of one version: if another was published meanwhile, what was read is given up.
Result<std::string> PutVersion(const Args& args, Client* client) {
  for (int i = 0; i < kVersionTries; ++i) {
    UniqueFd file(::open(args.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return Status::FromErrno(errno, "open " + args.path);
    struct stat info {};
    if (::fstat(file.get(), &info) != 0) return Status::FromErrno(errno, "stat " + args.path);
    if (!S_ISREG(info.st_mode)) return Status::InvalidArgument(args.path + " is no regular file");
    const std::string version = Attribute(file.get(), "user.f3.version");
    if (Attribute(file.get(), "user.f3.state") == "writing") {
      return Status::Busy(args.path + " is being written; close it first");
    }
    F3_ASSIGN_OR_RETURN(std::string reference, PutFd(args, client, file.get()));
    UniqueFd again(::open(args.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (again.valid() && Attribute(again.get(), "user.f3.version") == version &&
        Attribute(again.get(), "user.f3.state") != "writing") {
      return reference;
    }
    xdt_delete(client->handle, reference.c_str(), args.timeout_ms());
  }
  return Status::Busy(args.path + " changes all the time");
}

Status Ref(const Args& args) {
  Client client;
  std::string socket = args.socket;
  if (socket.empty()) {
    F3_ASSIGN_OR_RETURN(PathLocation location, LocatePath(args.path));
    std::error_code error;  // the control socket may be a link to where the agent has it
    socket = XdtSocketBeside(std::filesystem::weakly_canonical(location.control, error).string());
  }
  F3_RETURN_IF_ERROR(Open(socket, &client));
  F3_ASSIGN_OR_RETURN(std::string reference, PutVersion(args, &client));
  std::printf("%s\n", reference.c_str());
  return Status();
}

void AddSocketFlags(CLI::App* command, Args* args) {
  command
      ->add_option("--socket", args->socket,
                   "The node's XDT socket (default: $F3_XDT_SOCKET, else the node's)")
      ->type_name("PATH");
  command->add_option("--timeout", args->timeout_s, "Seconds to wait (default: 10)")
      ->type_name("SECONDS");
}

void AddNodeFlags(CLI::App* command, Args* args) {
  AddDirFlag(command, &args->dir);
  command->add_option("--node", args->node, "A node of that cluster (default: its first)")
      ->type_name("NAME");
}

void AddTermsFlags(CLI::App* command, Args* args) {
  command->add_option("--ttl", args->ttl, "How long it can be got, as 90s or 2h (default: 10m)")
      ->type_name("TIME");
  command
      ->add_option("--times", args->times,
                   "How often it can be got; 0: any number of times (default: once)")
      ->check(CLI::Range(uint64_t{0}, uint64_t{4'000'000'000}))
      ->type_name("N");
  command->add_option("--action", args->action, "The only action that may get it")
      ->type_name("NAME");
}

}  // namespace

void AddPut(CLI::App* app, int* exit_code) {
  auto args = std::make_shared<Args>();
  CLI::App* command =
      app->add_subcommand("put",
                          "Hand a value over by reference\n"
                          "The node keeps the bytes and prints a reference, which whoever is let "
                          "gets them with, on any node.");
  command->add_option("FILE", args->path, "The value; - for standard input")->required();
  AddSocketFlags(command, args.get());
  AddNodeFlags(command, args.get());
  AddTermsFlags(command, args.get());
  AddExamples(command, {{"ref=$(f3 put model.bin --times 3)", "for three readers"},
                        {"tar c src | f3 put - --ttl 1h", "whatever a pipe carries"}});
  command->callback([args, exit_code] { *exit_code = Report("put", Put(*args)); });
}

void AddGet(CLI::App* app, int* exit_code) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app->add_subcommand(
      "get",
      "Get a value by its reference\n"
      "Bytes are written as they come; the exit code says whether it was all of them.");
  command->add_option("REF", args->path, "The reference")->required();
  command->add_option("-o,--output", args->output, "Where to (default: standard output)")
      ->type_name("FILE");
  AddSocketFlags(command, args.get());
  AddNodeFlags(command, args.get());
  AddExamples(command, {{"f3 get \"$ref\" -o model.bin", "into a file"},
                        {"f3 get \"$ref\" --node n2 | tar x", "at another node of `f3 up`"}});
  command->callback([args, exit_code] { *exit_code = Report("get", Get(*args)); });
}

void AddRef(CLI::App* app, int* exit_code) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app->add_subcommand(
      "ref",
      "Make a reference to a file's present version\n"
      "The reference gives these bytes whatever becomes of the file: the node keeps a copy of them "
      "as long as the reference can be used.");
  command->add_option("PATH", args->path, "A file in an F3 mount")->required();
  AddSocketFlags(command, args.get());
  AddTermsFlags(command, args.get());
  AddExamples(command, {{"f3 ref /var/lib/f3/n1/result.csv", "to hand a result on"}});
  command->callback([args, exit_code] { *exit_code = Report("ref", Ref(*args)); });
}

}  // namespace f3::cli
