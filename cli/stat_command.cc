// f3 stat: what F3 knows of a path.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/call_meta.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/inspect.h"
#include "common/units.h"

namespace f3::cli {
namespace {

using nlohmann::json;

Result<json> Describe(const std::string& path, const Target& target) {
  F3_ASSIGN_OR_RETURN(Subject subject, ResolvePath(path, target));
  const meta::Attr& attr = subject.attr;
  json out = {{"path", subject.location.path},
              {"type", FileType(attr.mode())},
              {"ino", attr.ino()},
              {"class", Name(attr.file_class())},
              {"volume", subject.volume},
              {"follow", attr.follow()},
              {"ttl_s", attr.ttl_s()},
              {"tier", Name(attr.tier())}};
  if (out["type"] == "directory") return out;
  out["size"] = attr.size();
  if (out["type"] != "file") return out;
  out["version"] = attr.version();
  out["incarnation"] = attr.incarnation();
  out["state"] = Name(attr.state());
  out["home"] = "";
  out["home_up"] = false;
  out["copies"] = json::array();
  if (attr.incarnation() != 0) {
    meta::Request request;
    request.mutable_location()->set_ino(attr.ino());
    request.mutable_location()->set_incarnation(attr.incarnation());
    auto reply = CallMeta(subject.client.get(), request);
    // A file whose holders are all gone still has a state to show.
    if (reply.ok()) {
      for (const auto& holder : reply->open().holders()) {
        if (holder.home()) {
          out["home"] = holder.name();
          out["home_up"] = holder.up();
        } else {
          out["copies"].push_back(holder.name());
        }
      }
    }
  }
  // What only the agent of this mount knows: which tier the local object is in.
  auto local = AskControl(
      subject.location.control,
      {{"op", "stat"}, {"ino", attr.ino()}, {"incarnation", attr.incarnation()}}, 3'000'000);
  if (local.ok()) out["local"] = *local;
  return out;
}

Status Show(const std::vector<std::string>& paths, const Target& target, bool as_json) {
  json all = json::array();
  for (const auto& path : paths) {
    F3_ASSIGN_OR_RETURN(json one, Describe(path, target));
    all.push_back(std::move(one));
  }
  if (as_json) {
    std::printf("%s\n", (all.size() == 1 ? all[0] : all).dump(2).c_str());
    return Status();
  }
  for (const auto& one : all) {
    std::printf("%s\n", one["path"].get<std::string>().c_str());
    auto line = [](const char* name, const std::string& value) {
      if (!value.empty()) std::printf("  %-8s  %s\n", name, value.c_str());
    };
    line("type", one.value("type", ""));
    line("class", one.value("class", ""));
    line("state", one.value("state", ""));
    if (one.contains("size")) line("size", FormatBytes(one.value("size", uint64_t{0})));
    if (one.contains("version")) line("version", std::to_string(one.value("version", uint64_t{0})));
    std::string home = one.value("home", "");
    if (!home.empty() && !one.value("home_up", false)) home += " (down)";
    line("home", home);
    std::string copies;
    for (const auto& copy : one.value("copies", json::array())) {
      copies += (copies.empty() ? "" : ", ") + copy.get<std::string>();
    }
    line("copies", copies);
    if (one.contains("local")) {
      const json& local = one["local"];
      line("here", local.value("role", "") + ", " + local.value("tier", "") + " tier, " +
                       FormatBytes(local.value("allocated_bytes", uint64_t{0})) + " allocated");
    }
    line("tier", one.value("tier", ""));
    if (one.value("ttl_s", uint64_t{0}) > 0) {
      line("ttl", std::to_string(one.value("ttl_s", uint64_t{0})) + " s");
    }
    if (one.value("follow", false)) line("follow", "yes");
    line("inode", std::to_string(one.value("ino", uint64_t{0})));
  }
  return Status();
}

}  // namespace

void AddStat(CLI::App* app, int* exit_code) {
  struct Options {
    Target target;
    std::vector<std::string> paths;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app->add_subcommand(
      "stat",
      "Show class, state, version, home, copies and tier of a file\n"
      "Asks the metadata server, not the mount, so it answers while the mount does not. Links are "
      "not followed.");
  options->target.AddFlags(command);
  AddJsonFlag(command, &options->json);
  command->add_option("PATH", options->paths, "A path in a mount")->required();
  AddExamples(command, {{"f3 stat /var/lib/f3/n1/a", "for people"},
                        {"f3 stat --json /var/lib/f3/n1/a | jq -r .home", "for scripts"}});
  command->callback([options, exit_code] {
    *exit_code = Report("stat", Show(options->paths, options->target, options->json));
  });
}

}  // namespace f3::cli
