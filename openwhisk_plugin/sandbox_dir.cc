#include "openwhisk_plugin/sandbox_dir.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/mount_table.h"
#include "common/small_file.h"
#include "openwhisk_plugin/container_process.h"
#include "openwhisk_plugin/mount_into.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

Status MakeDir(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) {
    return Status::FromErrno(errno, "make the directory " + path);
  }
  // Whatever the umask is.
  if (::chmod(path.c_str(), mode) != 0) return Status::FromErrno(errno, "chmod " + path);
  return Status();
}

std::string TextOf(const json& object, const char* key) {
  auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

template <typename Number>
Number NumberOf(const json& object, const char* key) {
  auto at = object.find(key);
  return at != object.end() && at->is_number_integer() ? at->get<Number>() : Number{0};
}

std::string Dump(const json& value) {
  return value.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

Status WriteNote(const std::string& dir, const AttachNote& note) {
  return WriteFile(dir + "/" + kAttachedFile, Dump({{"container", note.container},
                                                    {"namespace", note.name_space},
                                                    {"action", note.action},
                                                    {"activation", note.activation},
                                                    {"workflow", note.workflow},
                                                    {"annotations", note.annotations},
                                                    {"call_hints", note.call_hints},
                                                    {"pid", note.pid},
                                                    {"started", note.started},
                                                    {"paths", note.paths}}));
}

Result<AttachNote> ReadNote(const std::string& dir) {
  const std::string path = dir + "/" + kAttachedFile;
  F3_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  AttachNote note;
  if (value.is_object()) note.container = TextOf(value, "container");
  if (!IsContainerId(note.container)) {
    return Status::Corruption(path + " is not what the agent writes; remove its directory");
  }
  note.name_space = TextOf(value, "namespace");
  note.action = TextOf(value, "action");
  note.activation = TextOf(value, "activation");
  note.workflow = TextOf(value, "workflow");
  note.annotations = TextOf(value, "annotations");
  note.call_hints = TextOf(value, "call_hints");
  note.pid = NumberOf<pid_t>(value, "pid");
  note.started = NumberOf<uint64_t>(value, "started");
  auto paths = value.find("paths");
  if (paths != value.end() && paths->is_array()) {
    for (const json& one : *paths) {
      if (one.is_string()) note.paths.push_back(one.get<std::string>());
    }
  }
  return note;
}

Status WriteBinds(const std::string& dir, const std::vector<Bind>& binds) {
  json list = json::array();
  for (const Bind& bind : binds) {
    list.push_back({{"source", bind.source}, {"destination", bind.destination}});
  }
  return WriteFile(dir + "/" + kBindsFile, Dump({{"binds", list}}));
}

std::vector<std::string> ListSandboxDirs(const std::string& sandboxes) {
  std::vector<std::string> ids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(sandboxes, error)) {
    const std::string name = entry.path().filename();
    if (IsContainerId(name)) ids.push_back(name);
  }
  return ids;
}

Status MakeSandboxDir(const std::string& dir) {
  F3_RETURN_IF_ERROR(MakeDir(dir, 0700));
  // Others than root look into these from inside.
  F3_RETURN_IF_ERROR(MakeDir(dir + "/" + kRunDir, 0755));
  return MakeDir(dir + "/" + kLateRootDir, 0755);
}

Status RemoveSandboxDir(const std::string& dir) {
  std::error_code error;
  std::filesystem::remove_all(dir, error);
  return error ? Status::FromErrno(error.value(), "remove " + dir) : Status();
}

Status ReleaseSandboxes(const std::string& sandboxes) {
  Status first;
  auto keep = [&first](Status status) {
    if (first.ok()) first = std::move(status);
  };
  for (const std::string& id : ListSandboxDirs(sandboxes)) {
    auto note = ReadNote(sandboxes + "/" + id);
    if (!note.ok() || note->pid == 0 || !IsAlive(note->pid, note->started)) continue;
    auto process = OpenContainer(note->pid);
    if (!process.ok()) continue;  // it has just ended
    std::vector<Placement> changes;
    for (const std::string& path : note->paths) changes.push_back({path, UniqueFd(), ""});
    Status status = MountInto(*process, id, std::move(changes));
    if (!status.Is(Code::kNotFound)) keep(std::move(status));
  }
  keep(DetachF3Below(sandboxes + "/" + kRootsDir));
  return first;
}

}  // namespace f3::openwhisk
