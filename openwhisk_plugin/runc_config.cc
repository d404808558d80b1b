#include "openwhisk_plugin/runc_config.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "openwhisk_plugin/sandbox_dir.h"

namespace f3::openwhisk {
namespace {

using Json = nlohmann::ordered_json;

// Options of runc, crun and youki that have a value in the next word.
const std::set<std::string_view> kGlobalWithValue = {"root", "log",      "log-format",    "criu",
                                                     "l",    "rootless", "cgroup-manager"};
const std::set<std::string_view> kCreateWithValue = {
    "bundle", "b", "console-socket", "pid-file", "preserve-fds", "config", "f"};

struct Option {
  std::string_view name;
  std::string_view value;
  bool has_value = false;
};

// "--name", "-name", "--name=value"
Option ReadOption(std::string_view word) {
  Option option;
  word.remove_prefix(word.starts_with("--") ? 2 : 1);
  const size_t equals = word.find('=');
  option.name = word.substr(0, equals);
  option.has_value = equals != std::string_view::npos;
  if (option.has_value) option.value = word.substr(equals + 1);
  return option;
}

std::string TextOf(const Json& object, const char* key) {
  if (!object.is_object()) return "";
  auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

Json BindJson(const RuncBind& bind) {
  Json options = {"rbind", "rprivate"};
  if (bind.read_only) {
    for (const char* option : {"ro", "nosuid", "nodev", "noexec"}) options.push_back(option);
  }
  return {{"destination", bind.destination},
          {"type", "bind"},
          {"source", bind.source},
          {"options", options}};
}

}  // namespace

RuncCall ParseRuncCall(const std::vector<std::string>& arguments) {
  RuncCall call;
  std::string command;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word.size() < 2 || word[0] != '-') {
      if (command.empty()) {
        command = word;
        call.creates = word == "create" || word == "run";
        if (!call.creates) return call;
        continue;
      }
      call.id = word;
      return call;
    }
    Option option = ReadOption(word);
    const auto& with_value = command.empty() ? kGlobalWithValue : kCreateWithValue;
    if (!option.has_value && with_value.contains(option.name) && i + 1 < arguments.size()) {
      option.value = arguments[++i];
    }
    if (command.empty() && option.name == "log") call.log = option.value;
    if (!command.empty() && (option.name == "bundle" || option.name == "b")) {
      call.bundle = option.value;
    }
  }
  return call;
}

bool ParseBinds(const std::string& text, std::vector<RuncBind>* binds) {
  const Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return false;
  auto list = value.find("binds");
  if (list == value.end() || !list->is_array()) return false;
  for (const Json& one : *list) {
    RuncBind bind{TextOf(one, "source"), TextOf(one, "destination"), false};
    if (!bind.source.starts_with('/') || !bind.destination.starts_with('/')) return false;
    binds->push_back(std::move(bind));
  }
  return true;
}

std::vector<RuncBind> BindsOf(const std::string& sandbox_dir, const std::vector<RuncBind>* binds) {
  std::vector<RuncBind> all = {{sandbox_dir + "/" + kRunDir, kRunPath, true}};
  if (binds != nullptr) {
    all.insert(all.end(), binds->begin(), binds->end());
  } else {
    all.push_back({sandbox_dir + "/" + kLateRootDir, kLateRootPath, true});
  }
  return all;
}

bool AddBinds(const std::string& sandboxes, const std::vector<RuncBind>& binds, Json* config) {
  if (!config->is_object()) return false;
  Json& mounts = (*config)["mounts"];
  if (mounts.is_null()) mounts = Json::array();
  if (!mounts.is_array()) return false;
  for (const RuncBind& bind : binds) {
    Json added = BindJson(bind);
    auto ours = std::find_if(mounts.begin(), mounts.end(), [&](const Json& mount) {
      return TextOf(mount, "destination") == bind.destination &&
             TextOf(mount, "source").starts_with(sandboxes + "/");
    });
    if (ours != mounts.end()) {
      *ours = std::move(added);
    } else {
      mounts.push_back(std::move(added));
    }
  }
  return true;
}

}  // namespace f3::openwhisk
