// f3-runc: an OCI runtime that adds F3 to the containers it creates, and is the real runtime for
// all else.
//
//   f3-runc [--f3-sandboxes=DIR] [--f3-runtime=PROGRAM] ARGUMENTS OF runc
//
// DIR is the agent's directory of sandboxes: the option, else $F3_SANDBOXES, else the line in
// /etc/f3/runc.conf, else /var/lib/f3/sandboxes. PROGRAM: the option, else $F3_RUNTIME, else runc.
// It speaks to nobody: it reads what the agent has written there, makes two directories, edits
// config.json and executes the runtime.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "openwhisk_plugin/runc_config.h"
#include "openwhisk_plugin/sandbox_dir.h"

namespace f3::openwhisk {
namespace {

constexpr const char kConfigFile[] = "/etc/f3/runc.conf";
constexpr const char kDefaultSandboxes[] = "/var/lib/f3/sandboxes";

struct Settings {
  std::string sandboxes;
  std::string runtime;
  std::vector<std::string> arguments;  // for the runtime
};

bool ReadAll(const std::string& path, std::string* text) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return false;
  text->assign(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  return true;
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string ConfiguredSandboxes() {
  std::ifstream in(kConfigFile);
  std::string line;
  std::getline(in, line);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.pop_back();
  return line;
}

Settings ReadSettings(int argc, char** argv) {
  Settings settings;
  int at = 1;
  for (; at < argc; ++at) {
    const std::string word = argv[at];
    const size_t equals = word.find('=');
    if (word.starts_with("--f3-sandboxes=")) {
      settings.sandboxes = word.substr(equals + 1);
    } else if (word.starts_with("--f3-runtime=")) {
      settings.runtime = word.substr(equals + 1);
    } else {
      break;
    }
  }
  settings.arguments.assign(argv + at, argv + argc);
  if (settings.sandboxes.empty()) settings.sandboxes = Environment("F3_SANDBOXES");
  if (settings.sandboxes.empty()) settings.sandboxes = ConfiguredSandboxes();
  if (settings.sandboxes.empty()) settings.sandboxes = kDefaultSandboxes;
  while (settings.sandboxes.size() > 1 && settings.sandboxes.back() == '/') {
    settings.sandboxes.pop_back();
  }
  if (settings.runtime.empty()) settings.runtime = Environment("F3_RUNTIME");
  return settings;
}

bool IsSelf(const std::string& program) {
  struct stat own, other;
  return ::stat("/proc/self/exe", &own) == 0 && ::stat(program.c_str(), &other) == 0 &&
         own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

// runc in PATH, then where distributions put it; never this program under that name.
std::string FindRunc() {
  std::string path = Environment("PATH") + ":/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin";
  for (size_t at = 0; at <= path.size();) {
    const size_t colon = std::min(path.find(':', at), path.size());
    const std::string program = path.substr(at, colon - at) + "/runc";
    at = colon + 1;
    if (program[0] == '/' && ::access(program.c_str(), X_OK) == 0 && !IsSelf(program)) {
      return program;
    }
  }
  return "";
}

// Where docker and containerd look for what went wrong, and standard error.
int Fail(const std::string& log, const std::string& message) {
  std::fprintf(stderr, "f3-runc: %s\n", message.c_str());
  if (!log.empty()) {
    const nlohmann::json line = {{"level", "error"}, {"msg", "f3-runc: " + message}};
    std::ofstream(log, std::ios::app)
        << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  }
  return 1;
}

// Whatever the umask is; there is no harm in one that exists.
bool MakeDir(const std::string& path, mode_t mode) {
  return (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) && ::chmod(path.c_str(), mode) == 0;
}

std::string WhyNot(const std::string& what) { return what + ": " + std::strerror(errno); }

// Empty when it worked.
std::string ReplaceFile(const std::string& path, const std::string& text) {
  struct stat info;
  const mode_t mode = ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0644;
  const std::string temporary = path + ".f3";
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out << text;
    if (!out.flush()) return WhyNot("write " + temporary);
  }
  if (::chmod(temporary.c_str(), mode) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0) {
    return WhyNot("replace " + path);
  }
  return "";
}

// Empty when it worked.
std::string AddF3(const std::string& sandboxes, const RuncCall& call) {
  struct stat info;
  if (::stat(sandboxes.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return "the node agent's directory " + sandboxes +
           " is missing; start the agent (`f3 node` with agent_socket), or name its directory with "
           "--f3-sandboxes=DIR, $F3_SANDBOXES or in " +
           kConfigFile;
  }
  const std::string dir = sandboxes + "/" + call.id;
  if (!MakeDir(dir, 0700) || !MakeDir(dir + "/" + kRunDir, 0755) ||
      !MakeDir(dir + "/" + kLateRootDir, 0755)) {
    return WhyNot("make the directories of " + dir);
  }
  std::string text;
  std::vector<RuncBind> known;
  const bool is_known = ReadAll(dir + "/" + kBindsFile, &text);
  if (is_known && !ParseBinds(text, &known)) {
    return dir + "/" + kBindsFile + " is not what the agent writes";
  }
  const std::string file = call.bundle + "/config.json";
  if (!ReadAll(file, &text)) return WhyNot("read " + file);
  auto config = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!AddBinds(sandboxes, BindsOf(dir, is_known ? &known : nullptr), &config)) {
    return file + " is no OCI configuration";
  }
  const std::string problem = ReplaceFile(file, config.dump());
  return problem.empty() ? ReplaceFile(dir + "/" + kCreatedFile, "") : problem;
}

int Main(int argc, char** argv) {
  Settings settings = ReadSettings(argc, argv);
  const RuncCall call = ParseRuncCall(settings.arguments);
  // A name that the agent does not take is a container without F3.
  if (call.creates && IsContainerId(call.id)) {
    const std::string problem = AddF3(settings.sandboxes, call);
    if (!problem.empty()) return Fail(call.log, problem);
  }
  if (settings.runtime.empty()) settings.runtime = FindRunc();
  if (settings.runtime.empty()) {
    return Fail(call.log, "there is no runc; install it, or name the runtime with $F3_RUNTIME");
  }
  std::vector<char*> words = {settings.runtime.data()};
  for (std::string& argument : settings.arguments) words.push_back(argument.data());
  words.push_back(nullptr);
  ::execvp(words[0], words.data());
  return Fail(call.log, WhyNot("execute " + settings.runtime));
}

}  // namespace
}  // namespace f3::openwhisk

int main(int argc, char** argv) {
  try {
    return f3::openwhisk::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "f3-runc: %s\n", error.what());
    return 1;
  }
}
