#include "openwhisk_plugin/gateway/sandbox_files.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <string_view>
#include <system_error>

#include "openwhisk_plugin/gateway/bundle.h"
#include "openwhisk_plugin/gateway/cgroup.h"
#include "openwhisk_plugin/gateway/run_program.h"

namespace f3::openwhisk {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kDeleteMicros = 20'000'000;
constexpr const char kRuntimeDir[] = "runc";
constexpr size_t kMaxIdBytes = 128;

Status CheckId(std::string_view id) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
  if (id.empty() || id.size() > kMaxIdBytes || id[0] == '.' || id == kRuntimeDir ||
      id.find_first_not_of(kAllowed) != std::string_view::npos) {
    return Status::InvalidArgument("the container id \"" + std::string(id) +
                                   "\" is not 1 to 128 of [A-Za-z0-9_.-]");
  }
  return Status();
}

// What stands in a mount option must not end it.
Status CheckPath(const char* what, const std::string& path) {
  if (path.empty() || path[0] != '/' || path.find_first_of(",:\\") != std::string::npos) {
    return Status::InvalidArgument(std::string(what) + " \"" + path +
                                   "\" is not an absolute path without ',', ':' and '\\'");
  }
  return Status();
}

Status MakeDir(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0) return Status::FromErrno(errno, "making " + path);
  return Status();
}

Status MountOverlay(const SandboxFiles& files, const std::string& image) {
  const std::string dir = files.Dir();
  for (const char* name : {"/upper", "/work", "/rootfs"}) {
    F3_RETURN_IF_ERROR(MakeDir(dir + name));
  }
  // Nothing of it outlives the sandbox, so nothing of it has to reach the disk ("volatile").
  const std::string options =
      "lowerdir=" + image + ",upperdir=" + dir + "/upper,workdir=" + dir + "/work,volatile";
  if (::mount("overlay", files.Root().c_str(), "overlay", MS_NODEV | MS_NOSUID, options.c_str()) !=
      0) {
    return Status::FromErrno(errno, "mounting an overlay of " + image + " at " + files.Root());
  }
  return Status();
}

}  // namespace

std::vector<std::string> SandboxFiles::Runtime(const std::vector<std::string>& command) const {
  std::vector<std::string> words = {runtime, "--root", state_dir + "/" + kRuntimeDir, "--log",
                                    LogFile()};
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

Status ClaimSandbox(const SandboxFiles& files, const ContainerOptions& options) {
  F3_RETURN_IF_ERROR(CheckId(files.id));
  F3_RETURN_IF_ERROR(CheckPath("state_dir", files.state_dir));
  F3_RETURN_IF_ERROR(CheckPath("rootfs", options.rootfs));
  std::error_code error;
  if (!fs::exists(options.rootfs + "/usr/lib/f3", error)) {
    return Status::NotFound(options.rootfs +
                            " is no root file system with F3's runtimes; make it with "
                            "scripts/make_rootfs.sh " +
                            options.rootfs);
  }
  fs::create_directories(files.state_dir + "/" + kRuntimeDir, error);
  if (error) return Status::FromErrno(error.value(), "making " + files.state_dir);
  return MakeDir(files.Dir());
}

Status MakeSandbox(const SandboxFiles& files, const ContainerOptions& options) {
  F3_ASSIGN_OR_RETURN(const auto config, OciConfig(options, files.Root()));
  F3_RETURN_IF_ERROR(MountOverlay(files, options.rootfs));
  std::ofstream out(files.Dir() + "/config.json");
  out << config.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  out.close();
  if (!out) return Status::Io("cannot write " + files.Dir() + "/config.json");
  return Status();
}

Status RemoveSandbox(const SandboxFiles& files) {
  F3_RETURN_IF_ERROR(CheckId(files.id));
  // runc waits in steps of 100 ms for what it kills itself.
  KillGroups(files.id);
  std::error_code error;
  fs::create_directories(files.Dir(), error);  // runc's log goes there
  // Of a container that it does not know, runc says nothing with --force.
  const Status deleted = RunProgram(
      {.argv = files.Runtime({"delete", "--force", files.id}), .environment = {}, .log_file = ""},
      kDeleteMicros);
  RemoveGroups(files.id);
  while (::umount2(files.Root().c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) continue;
  if (errno != EINVAL && errno != ENOENT) {
    return Status::FromErrno(errno, "unmounting " + files.Root());
  }
  fs::remove_all(files.Dir(), error);
  if (error) return Status::FromErrno(error.value(), "removing " + files.Dir());
  if (deleted.Is(Code::kNotFound)) return Status();  // then it has made no container either
  return deleted;
}

std::vector<std::string> ListSandboxes(const std::string& state_dir) {
  std::set<std::string> ids;
  std::error_code error;
  for (const auto& dir : {state_dir, state_dir + "/" + kRuntimeDir}) {
    for (const auto& entry : fs::directory_iterator(dir, error)) {
      const std::string name = entry.path().filename();
      if (entry.is_directory(error) && CheckId(name).ok()) ids.insert(name);
    }
  }
  return {ids.begin(), ids.end()};
}

}  // namespace f3::openwhisk
