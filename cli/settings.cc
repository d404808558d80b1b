#include "cli/settings.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <CLI/CLI.hpp>

#include "cli/table.h"
#include "common/units.h"

namespace f3::cli {
namespace {

std::string FlagName(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return "--" + key;
}

std::string Where(const std::string& origin, const toml::source_region& source) {
  return origin + ":" + std::to_string(source.begin.line);
}

}  // namespace

void Settings::Add(std::string key, std::string help, std::function<Status(const std::string&)> set,
                   bool is_flag) {
  Setting setting;
  setting.key = std::move(key);
  setting.help = std::move(help);
  setting.set = std::move(set);
  setting.is_flag = is_flag;
  settings_.push_back(std::move(setting));
}

void Settings::Text(std::string key, std::string* target, std::string help) {
  Add(std::move(key), std::move(help), [target](const std::string& value) {
    *target = value;
    return Status();
  });
}

void Settings::Texts(std::string key, std::vector<std::string>* target, std::string help) {
  lists_.insert(key);
  Add(std::move(key), std::move(help), [target](const std::string& value) {
    target->clear();
    for (size_t at = 0; at < value.size();) {
      const size_t comma = std::min(value.find(',', at), value.size());
      if (comma > at) target->push_back(value.substr(at, comma - at));
      at = comma + 1;
    }
    return Status();
  });
}

void Settings::Path(std::string key, std::string* target, std::string help) {
  Add(std::move(key), std::move(help), [target](const std::string& value) {
    std::error_code error;
    *target =
        value.empty() ? "" : std::filesystem::absolute(value, error).lexically_normal().string();
    if (target->size() > 1 && target->back() == '/') target->pop_back();
    if (error) return Status::BadConfig("\"" + value + "\" is not a path");
    return Status();
  });
}

void Settings::Flag(std::string key, bool* target, std::string help) {
  Add(
      std::move(key), std::move(help),
      [target](const std::string& value) {
        if (value != "true" && value != "false") {
          return Status::BadConfig("\"" + value + "\" is neither true nor false");
        }
        *target = value == "true";
        return Status();
      },
      true);
}

void Settings::Bytes(std::string key, uint64_t* target, uint64_t min, uint64_t max,
                     std::string help) {
  Add(std::move(key), std::move(help), [target, min, max](const std::string& value) {
    auto bytes = ParseBytes(value);
    if (!bytes.ok()) return Status::BadConfig(bytes.status().message());
    if (*bytes < min || *bytes > max) {
      return Status::BadConfig("\"" + value + "\" is not between " + FormatBytes(min) + " and " +
                               FormatBytes(max));
    }
    *target = *bytes;
    return Status();
  });
}

void Settings::Micros(std::string key, int64_t* target, int64_t min, int64_t max,
                      std::string help) {
  Add(std::move(key), std::move(help), [target, min, max](const std::string& value) {
    auto micros = ParseMicros(value);
    if (!micros.ok()) return Status::BadConfig(micros.status().message());
    if (*micros < min || *micros > max) {
      return Status::BadConfig("\"" + value + "\" is not between " + FormatMicros(min) + " and " +
                               FormatMicros(max));
    }
    *target = *micros;
    return Status();
  });
}

void Settings::Number(std::string key, uint64_t* target, uint64_t min, uint64_t max,
                      std::string help) {
  Add(std::move(key), std::move(help), [target, min, max](const std::string& value) {
    bool digits = !value.empty() && value.size() < 19 &&
                  value.find_first_not_of("0123456789") == std::string::npos;
    uint64_t number = digits ? std::stoull(value) : 0;
    if (!digits || number < min || number > max) {
      return Status::BadConfig("\"" + value + "\" is not a number between " + std::to_string(min) +
                               " and " + std::to_string(max));
    }
    *target = number;
    return Status();
  });
}

void Settings::Choice(std::string key, std::vector<std::string> choices,
                      std::function<void(size_t)> set, std::string help) {
  Add(std::move(key), std::move(help),
      [choices = std::move(choices), set = std::move(set)](const std::string& value) {
        auto it = std::find(choices.begin(), choices.end(), value);
        if (it == choices.end()) {
          std::string list;
          for (const auto& choice : choices) list += (list.empty() ? "" : ", ") + choice;
          return Status::BadConfig("\"" + value + "\" is not one of " + list);
        }
        set(static_cast<size_t>(it - choices.begin()));
        return Status();
      });
}

void Settings::Tables(std::string key, std::function<Settings*()> begin) {
  Setting setting;
  setting.key = std::move(key);
  setting.begin = std::move(begin);
  settings_.push_back(std::move(setting));
}

void Settings::AddFlags(CLI::App* app) {
  for (auto& setting : settings_) {
    if (!setting.set) continue;
    if (setting.is_flag) {
      app->add_flag_callback(
          FlagName(setting.key),
          [&setting] {
            setting.from_flag = "true";
            setting.given = true;
          },
          setting.help);
    } else {
      app->add_option_function<std::string>(
             FlagName(setting.key),
             [&setting](const std::string& value) {
               setting.from_flag = value;
               setting.given = true;
             },
             setting.help)
          ->type_name("VALUE");
    }
  }
}

Status Settings::ApplyFlags() {
  for (const auto& setting : settings_) {
    if (!setting.given) continue;
    Status status = setting.set(setting.from_flag);
    if (!status.ok()) return status.WithContext(FlagName(setting.key));
  }
  return Status();
}

const Settings::Setting* Settings::Find(const std::string& key) const {
  for (const auto& setting : settings_) {
    if (setting.key == key) return &setting;
  }
  return nullptr;
}

std::vector<std::string> Settings::keys() const {
  std::vector<std::string> keys;
  for (const auto& setting : settings_) keys.push_back(setting.key);
  return keys;
}

Status Settings::Set(const std::string& key, const std::string& value) {
  const Setting* setting = Find(key);
  if (setting == nullptr || !setting->set) {
    std::string near = Nearest(key, keys());
    return Status::BadConfig("\"" + key + "\" is unknown" +
                             (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
  }
  return setting->set(value).WithContext(key);
}

Status Settings::ApplyTable(const void* opaque, const std::string& origin) {
  const auto& table = *static_cast<const toml::table*>(opaque);
  for (const auto& [name, node] : table) {
    std::string key(name.str());
    std::string where = Where(origin, node.source());
    const Setting* setting = Find(key);
    if (setting == nullptr) {
      std::string near = Nearest(key, keys());
      std::string list;
      for (const auto& known : keys()) list += (list.empty() ? "" : ", ") + known;
      return Status::BadConfig(
          where + ": the key \"" + key + "\" is unknown; " +
          (near.empty() ? "known are " + list : "did you mean \"" + near + "\"?"));
    }
    if (!setting->set) {
      const toml::array* elements = node.as_array();
      if (elements == nullptr || !elements->is_homogeneous(toml::node_type::table)) {
        return Status::BadConfig(where + ": write [[" + key + "]] and its keys below");
      }
      for (const auto& element : *elements) {
        F3_RETURN_IF_ERROR(setting->begin()->ApplyTable(element.as_table(), origin));
      }
      continue;
    }
    std::string value;
    if (const auto* text = node.as_string()) {
      value = text->get();
    } else if (const auto* number = node.as_integer()) {
      value = std::to_string(number->get());
    } else if (const auto* boolean = node.as_boolean()) {
      value = boolean->get() ? "true" : "false";
    } else if (const auto* list = node.as_array(); list != nullptr && lists_.contains(key)) {
      for (const auto& element : *list) {
        if (!element.is_string())
          return Status::BadConfig(where + ": " + key + " is a list of texts");
        value += *element.value<std::string>() + ",";
      }
    } else {
      return Status::BadConfig(where + ": " + key + " wants a text, a number, true or false");
    }
    Status status = setting->set(value);
    if (!status.ok()) return status.WithContext(where + ": " + key);
  }
  return Status();
}

Status Settings::ApplyToml(std::string_view text, const std::string& origin) {
  toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    return Status::BadConfig(Where(origin, parsed.error().source()) + ": " +
                             std::string(parsed.error().description()));
  }
  return ApplyTable(&parsed.table(), origin);
}

Status Settings::ApplyTomlFile(const std::string& path) {
  std::ifstream in(path);
  if (!in) return Status::BadConfig("cannot read the configuration " + path);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return ApplyToml(text, path);
}

}  // namespace f3::cli
