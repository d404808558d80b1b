#include "hwalloc/model/recorder.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "common/unique_fd.h"
#include "hwalloc/model/characterise.h"
#include "hwalloc/model/trace.h"

extern char** environ;

namespace f3::hwmodel {
namespace {

// The socket's number in the emulator, until the plugin moves it away.
constexpr int kSocketNumber = 99;

bool IsProgram(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::access(path.c_str(), X_OK) == 0;
}

// Where `name` is, as a shell started in `directory` would find it.
Result<std::string> FindProgram(const std::string& name, const std::string& directory) {
  if (name.find('/') != std::string::npos) {
    std::string path = name[0] == '/' || directory.empty() ? name : directory + "/" + name;
    if (IsProgram(path)) return path;
    return Status::NotFound("there is no program " + path);
  }
  const char* path = std::getenv("PATH");
  std::istringstream directories(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string at; std::getline(directories, at, ':');) {
    if (IsProgram(at + "/" + name)) return at + "/" + name;
  }
  return Status::NotFound("there is no program " + name + " in PATH" +
                          (name == "qemu-x86_64" ? "; install the package qemu-user" : ""));
}

// The emulator loads the shim by the program's own dynamic linker, so there must be one.
Status CheckProgram(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Elf64_Ehdr header = {};
  file.read(reinterpret_cast<char*>(&header), sizeof(header));
  if (std::memcmp(header.e_ident, "#!", 2) == 0) {
    return Status::InvalidArgument(path + " is a script; name its interpreter's program instead");
  }
  if (!file || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64) {
    return Status::InvalidArgument(path + " is not an x86-64 program");
  }
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr part = {};
    file.seekg(static_cast<std::streamoff>(header.e_phoff) + i * header.e_phentsize);
    if (!file.read(reinterpret_cast<char*>(&part), sizeof(part))) break;
    if (part.p_type == PT_INTERP) return Status();
  }
  return Status::InvalidArgument(path +
                                 " is linked statically, so its allocator cannot be watched");
}

Result<std::string> FindLibrary(const std::string& directory, const std::string& name) {
  std::string path = directory + "/" + name;
  if (::access(path.c_str(), R_OK) == 0) return path;
  return Status::NotFound(path + " is missing; build the target f3");
}

struct Child {
  pid_t pid = -1;
  UniqueFd socket;
};

// Starts the emulator with the plugin's end of a socket; the other is ours.
Result<Child> Start(const RecordOptions& options) {
  F3_ASSIGN_OR_RETURN(std::string program, FindProgram(options.command.at(0), options.directory));
  F3_RETURN_IF_ERROR(CheckProgram(program));
  F3_ASSIGN_OR_RETURN(std::string emulator, FindProgram(options.emulator, ""));
  F3_ASSIGN_OR_RETURN(std::string shim, FindLibrary(options.libraries, "f3_record_shim.so"));
  F3_ASSIGN_OR_RETURN(std::string plugin, FindLibrary(options.libraries, "f3_record_plugin.so"));
  if (program[0] != '/') {
    // It runs in another directory perhaps.
    std::string here(PATH_MAX, '\0');
    if (::realpath(program.c_str(), here.data()) != nullptr) program = here.c_str();
  }
  std::vector<std::string> words = {emulator, "-E", "LD_PRELOAD=" + shim, "-plugin",
                                    plugin + ",fd=" + std::to_string(kSocketNumber) +
                                        ",limit=" + std::to_string(options.reference_limit)};
  words.insert(words.end(), {"-0", options.command[0], program});
  words.insert(words.end(), options.command.begin() + 1, options.command.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return Status::FromErrno(errno, "make a socket");
  }
  Child child;
  child.socket = UniqueFd(ends[0]);
  UniqueFd theirs(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), kSocketNumber);
  if (!options.directory.empty()) {
    posix_spawn_file_actions_addchdir_np(&actions, options.directory.c_str());
  }
  if (!options.program_output.empty()) {
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, options.program_output.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0644);
  }
  int error = posix_spawn(&child.pid, emulator.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Status::FromErrno(error, "run " + emulator);
  return child;
}

// Everything that comes from the socket, until all who hold it are gone.
Status Receive(const UniqueFd& socket, TraceWriter* writer) {
  std::string buffer(1 << 18, '\0');
  for (;;) {
    ssize_t n = ::read(socket.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "read from the emulator");
    if (n == 0) return writer->Finish();
    F3_RETURN_IF_ERROR(writer->Append({buffer.data(), static_cast<size_t>(n)}));
  }
}

int Reap(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

Result<RecordSummary> RecordTrace(const RecordOptions& options) {
  if (options.command.empty()) return Status::InvalidArgument("no program to record is named");
  F3_ASSIGN_OR_RETURN(auto writer, TraceWriter::Create(options.output, options.command));
  F3_ASSIGN_OR_RETURN(Child child, Start(options));
  Status status = Receive(child.socket, writer.get());
  if (!status.ok()) ::kill(child.pid, SIGKILL);
  int ended = Reap(child.pid);
  if (!status.ok()) return status;

  // Only a trace that can be read to its end is kept.
  Characterisation program;
  status = ReplayTrace(options.output, &program);
  if (!status.ok()) {
    ::unlink(options.output.c_str());
    if (WIFSIGNALED(ended)) {
      return Status::Io("the program was killed by signal " + std::to_string(WTERMSIG(ended)) +
                        ", so its trace has no end");
    }
    return Status::Io(
        "there is no complete trace (did the program run another in its place, or "
        "end by a signal?): " +
        status.message());
  }
  RecordSummary summary;
  summary.exit_code = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
  summary.calls = program.counts().allocations + program.counts().frees;
  summary.references = program.counts().references;
  summary.instructions = program.counts().instructions;
  summary.references_cut = program.counts().references_cut;
  summary.trace_bytes = writer->written_bytes();
  return summary;
}

}  // namespace f3::hwmodel
