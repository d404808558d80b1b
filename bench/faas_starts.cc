#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/faas.h"
#include "cli/process.h"
#include "common/small_file.h"
#include "openwhisk_plugin/gateway/agent_client.h"
#include "openwhisk_plugin/gateway/bundle.h"
#include "openwhisk_plugin/gateway/container.h"

namespace f3::bench {
namespace {

using nlohmann::json;
using openwhisk::AgentClient;
using openwhisk::Container;
using openwhisk::ContainerOptions;

constexpr int64_t kCallMicros = 30'000'000;
constexpr int kColdRuns = 30;
constexpr int kWarmCalls = 20;  // of each sandbox; the first does not count
constexpr char kCode[] = "def main(args):\n    return {\"n\": args[\"n\"] + 1}\n";

// One way to make a sandbox.
struct Way {
  std::string name;
  bool with_f3 = false;
  std::string annotations;
};
const Way kWays[] = {{"without F3", false, ""},
                     {"F3, no mount", true, ""},
                     {"F3, one mount", true, R"({"f3-mounts": [{"path": "/mnt/f3"}]})"}};

// Milliseconds of every part of every run, by part.
using Parts = std::map<std::string, std::vector<double>>;

// Where and with what sandboxes are made; its directory and namespace go with it.
class Site {
 public:
  static Result<std::unique_ptr<Site>> Make(const Options& options) {
    std::unique_ptr<Site> site(new Site(options));
    std::error_code error;
    std::filesystem::create_directories(site->dir_ + "/bundle", error);
    if (error) return Status::FromErrno(error.value(), "make " + site->dir_);
    return site;
  }
  ~Site() {
    std::error_code error;
    std::filesystem::remove_all(dir_, error);
    std::filesystem::remove_all(files_, error);
  }
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  ContainerOptions NextSandbox(bool with_f3) {
    ContainerOptions options;
    options.id = name_ + "-" + std::to_string(++made_);
    options.runtime = with_f3 ? wrapper_ : "runc";
    options.rootfs = rootfs_;
    options.kind = "python:3";
    options.state_dir = dir_;
    if (with_f3) options.sandbox_dir = sandboxes_;
    return options;
  }
  AgentClient* agent() { return &agent_; }
  const std::string& name() const { return name_; }
  const std::string& wrapper() const { return wrapper_; }
  const std::string& sandboxes() const { return sandboxes_; }
  const std::string& rootfs() const { return rootfs_; }
  std::string bundle() const { return dir_ + "/bundle"; }

 private:
  explicit Site(const Options& options)
      : name_("f3-bench-" + std::to_string(::getpid()) + "-starts"),
        dir_(options.layout.dir + "/" + name_),
        files_(options.layout.mount(options.layout.nodes[0]) + "/openwhisk/" + name_),
        rootfs_(options.rootfs),
        sandboxes_(options.layout.sandboxes(options.layout.nodes[0])),
        wrapper_((std::filesystem::path(cli::SelfPath()).parent_path() / "f3-runc").string()),
        agent_(options.layout.nodes[0].name, options.layout.agent_socket(options.layout.nodes[0])) {
  }

  const std::string name_;  // of the namespace too
  const std::string dir_;
  const std::string files_;
  const std::string rootfs_;
  const std::string sandboxes_;
  const std::string wrapper_;
  AgentClient agent_;
  int made_ = 0;
};

Status Timed(const std::function<Status()>& body, const std::string& part, Parts* parts,
             double* total) {
  F3_ASSIGN_OR_RETURN(const double seconds, Time(body));
  if (parts != nullptr) (*parts)[part].push_back(seconds * 1000);
  *total += seconds * 1000;
  return Status();
}

// A sandbox from its making to its end, as the gateway's Sandbox does it.
class Trial {
 public:
  Trial(Site* site, const Way& way, Parts* parts)
      : site_(site), way_(way), parts_(parts), options_(site->NextSandbox(way.with_f3)) {}
  ~Trial() {
    if (container_ != nullptr) container_->Destroy();
    if (way_.with_f3) site_->agent()->Detach(options_.id).PermitUnchecked();
  }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  Status Cold() {
    double total = 0;
    if (way_.with_f3) {
      F3_RETURN_IF_ERROR(Timed([&] { return Attach(); }, "attach before", parts_, &total));
    }
    F3_RETURN_IF_ERROR(Timed([&] { return Create(); }, "create", parts_, &total));
    if (way_.with_f3) {
      F3_RETURN_IF_ERROR(Timed([&] { return Attach(); }, "attach after", parts_, &total));
    }
    F3_RETURN_IF_ERROR(Timed([&] { return Init(); }, "init", parts_, &total));
    F3_RETURN_IF_ERROR(Call(&total, "first "));
    if (parts_ != nullptr) (*parts_)["cold"].push_back(total);
    return Status();
  }

  Status Warm(bool counts) {
    double total = 0;
    Parts* all = parts_;
    if (!counts) parts_ = nullptr;
    const Status status = Call(&total, "");
    parts_ = all;
    if (status.ok() && counts && parts_ != nullptr) (*parts_)["warm"].push_back(total);
    return status;
  }

 private:
  Status Attach() {
    openwhisk::AttachRequest request;
    request.set_container(options_.id);
    request.set_namespace_(site_->name());
    request.set_action("plus");
    request.set_activation("a" + std::to_string(calls_));
    request.set_annotations(way_.annotations);
    if (container_ != nullptr) request.set_pid(container_->pid());
    return site_->agent()->Attach(request);
  }
  Status Create() {
    F3_ASSIGN_OR_RETURN(container_, Container::Create(options_));
    return Status();
  }
  Status Init() {
    const json value = {{"name", "plus"},
                        {"main", "main"},
                        {"code", kCode},
                        {"binary", false},
                        {"env", json::object()}};
    F3_ASSIGN_OR_RETURN(auto outcome, container_->Init({{"value", value}}, kCallMicros));
    return outcome.http_status == 200 ? Status() : Status::Io("/init failed: " + outcome.logs);
  }
  Status Update() {
    openwhisk::UpdateRequest request;
    request.set_container(options_.id);
    request.set_activation("a" + std::to_string(calls_));
    return site_->agent()->Update(request);
  }
  Status Run() {
    F3_ASSIGN_OR_RETURN(auto outcome, container_->Run({{"value", {{"n", calls_}}}}, kCallMicros));
    if (outcome.http_status == 200 && outcome.response.value("n", -1) == calls_ + 1) {
      return Status();
    }
    return Status::Io("/run failed: " + outcome.logs);
  }
  Status Call(double* total, const std::string& prefix) {
    ++calls_;
    if (way_.with_f3) {
      F3_RETURN_IF_ERROR(Timed([&] { return Update(); }, prefix + "update", parts_, total));
    }
    return Timed([&] { return Run(); }, prefix + "run", parts_, total);
  }

  Site* const site_;
  const Way& way_;
  Parts* parts_;
  const ContainerOptions options_;
  std::unique_ptr<Container> container_;
  int calls_ = 0;
};

Status MeasureSandboxes(const Options& options, Site* site, int runs,
                        std::map<std::string, Parts>* all) {
  for (int run = 0; run <= runs; ++run) {
    options.say("starts, run " + std::to_string(run) + " of " + std::to_string(runs));
    for (const Way& way : kWays) {
      Trial trial(site, way, run == 0 ? nullptr : &(*all)[way.name]);
      F3_RETURN_IF_ERROR(trial.Cold().WithContext("a sandbox " + way.name));
      for (int call = 0; call <= kWarmCalls; ++call) {
        F3_RETURN_IF_ERROR(trial.Warm(call > 0).WithContext("a call " + way.name));
      }
    }
  }
  return Status();
}

// A container that does nothing, from runc's or the wrapper's start to its end.
Status RunTrue(Site* site, bool with_f3, const std::string& id) {
  std::vector<std::string> command = {"runc"};
  if (with_f3) command = {site->wrapper(), "--f3-sandboxes=" + site->sandboxes()};
  command.insert(command.end(), {"run", "--bundle", site->bundle(), id});
  return cli::RunOrFail(command);
}

Status WriteTrueBundle(Site* site, const std::string& id) {
  ContainerOptions options = site->NextSandbox(false);
  options.id = id;
  F3_ASSIGN_OR_RETURN(json config, openwhisk::OciConfig(options, site->rootfs()));
  config["process"]["args"] = {"/bin/true"};
  config["root"]["readonly"] = true;
  return WriteFile(site->bundle() + "/config.json", config.dump());
}

Status MeasureWrapper(const Options& options, Site* site, int runs, Parts* parts) {
  const std::string id = site->name() + "-wrapper";
  double ignored = 0;
  for (int run = 0; run <= runs; ++run) {
    options.say("f3-runc, run " + std::to_string(run) + " of " + std::to_string(runs));
    Parts* into = run == 0 ? nullptr : parts;
    for (const auto& program : {std::string("runc"), site->wrapper()}) {
      const std::string name = program == "runc" ? "runc" : "f3-runc";
      F3_RETURN_IF_ERROR(Timed(
          [&] {
            return cli::RunOrFail({program, "--version"});
          },
          name + " --version", into, &ignored));
      F3_RETURN_IF_ERROR(WriteTrueBundle(site, id));  // the wrapper has edited it
      F3_RETURN_IF_ERROR(
          Timed([&] { return RunTrue(site, name != "runc", id); }, name + " run", into, &ignored));
    }
    F3_RETURN_IF_ERROR(site->agent()->Detach(id));
  }
  return Status();
}

json PartFigures(const Parts& parts) {
  json figures = json::object();
  for (const auto& [part, millis] : parts) {
    figures[part] = {
        {"p50_ms", Median(millis)}, {"p99_ms", Percentile(millis, 0.99)}, {"runs", millis.size()}};
  }
  return figures;
}

// A comparison whose two medians' difference is what F3 adds.
void Compare(const std::string& what, const std::string& against, const std::vector<double>& ours,
             const std::vector<double>& theirs, Report* report) {
  report->measurements.push_back({what, "ms", against, ours, theirs, true, 0});
  report->extra["added"][what] = {{"p50_ms", Median(ours) - Median(theirs)},
                                  {"p99_ms", Percentile(ours, 0.99) - Percentile(theirs, 0.99)}};
}

}  // namespace

Status MeasureStarts(const Options& options, Report* report) {
  const int runs = options.runs > 0 ? options.runs : kColdRuns;
  F3_ASSIGN_OR_RETURN(auto site, Site::Make(options));
  std::map<std::string, Parts> ways;
  F3_RETURN_IF_ERROR(MeasureSandboxes(options, site.get(), runs, &ways));
  Parts wrapper;
  F3_RETURN_IF_ERROR(MeasureWrapper(options, site.get(), runs, &wrapper));

  const std::string plain = kWays[0].name;
  for (const auto& [way, parts] : ways) {
    report->extra["starts"][way] = PartFigures(parts);
    if (way == plain) continue;
    for (const std::string kind : {"cold", "warm"}) {
      Compare(kind + (kind == "cold" ? " start, " : " call, ") + way, plain, parts.at(kind),
              ways[plain][kind], report);
    }
  }
  report->extra["wrapper"] = PartFigures(wrapper);
  for (const std::string command : {"--version", "run"}) {
    Compare("f3-runc " + command, "runc " + command, wrapper["f3-runc " + command],
            wrapper["runc " + command], report);
  }
  return Status();
}

}  // namespace f3::bench
