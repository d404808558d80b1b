// f3 down and f3 destroy: the ends of a cluster of `f3 up`.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/lifecycle.h"
#include "cli/process.h"
#include "cli/progress.h"

namespace f3::cli {
namespace {

Status End(const std::string& flag, bool destroy) {
  std::string dir = ClusterDir(flag);
  std::error_code error;
  if (!std::filesystem::exists(dir + "/run/cluster.toml", error)) {
    std::printf("There is no cluster at %s.\n", dir.c_str());
    return Status();
  }
  F3_ASSIGN_OR_RETURN(OperationLock lock, OperationLock::Take(dir));
  F3_ASSIGN_OR_RETURN(ClusterLayout layout, ClusterLayout::Load(dir));
  Progress progress(destroy ? "Destroying " + dir : "Stopping " + dir, 0);
  uint64_t step = 0;
  Say say = [&](const std::string& what) { progress.Update(++step, what); };
  Status status = StopDaemons(layout, !destroy, say);
  if (status.ok()) status = ReleaseSystem(layout, !destroy, say);
  if (status.ok() && destroy) {
    say("removing files");
    status = RemoveFiles(layout);
  }
  progress.Done(!status.ok() ? "failed" : destroy ? "gone" : "stopped, data kept");
  return status;
}

void Add(CLI::App* app, int* exit_code, bool destroy) {
  auto dir = std::make_shared<std::string>();
  const char* name = destroy ? "destroy" : "down";
  CLI::App* command = app->add_subcommand(
      name, destroy
                ? "Stop a cluster of `f3 up` and remove its data\n"
                  "Removes what `f3 up` made: processes, mounts, namespaces, files. Other things "
                  "in the directory stay. Works whatever has died before."
                : "Stop a cluster of `f3 up`, keeping its data\n"
                  "Agents publish what is open and move their memory tiers' files to disk; mounts "
                  "and namespaces go. `f3 up` starts it again. Works whatever has died before.");
  AddDirFlag(command, dir.get());
  if (destroy) {
    AddExamples(command, {{"f3 destroy --dir /tmp/f3", "nothing of the cluster is left"}});
  } else {
    AddExamples(command, {{"f3 down --dir /tmp/f3", "`f3 up --dir /tmp/f3` brings it back"}});
  }
  command->callback(
      [dir, destroy, name, exit_code] { *exit_code = Report(name, End(*dir, destroy)); });
}

}  // namespace

void AddDown(CLI::App* app, int* exit_code) { Add(app, exit_code, false); }
void AddDestroy(CLI::App* app, int* exit_code) { Add(app, exit_code, true); }

}  // namespace f3::cli
