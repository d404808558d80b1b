// Settings: one table of named values that is read from flags and from a TOML file alike.
//
// A command declares each setting once (name, where it goes, what it is for, bounds); flags
// (`--session-timeout 10s`) and keys (`session_timeout = "10s"`) follow from it. Unknown keys are
// refused with the file's line and the nearest known key; values out of bounds with the bounds.
// Not thread-safe; the targets must outlive it.
#ifndef F3_CLI_SETTINGS_H_
#define F3_CLI_SETTINGS_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/nearest.h"
#include "common/status.h"

namespace CLI {
class App;
}

namespace f3::cli {

class Settings {
 public:
  void Text(std::string key, std::string* target, std::string help);
  // A list: "a,b" as a flag, ["a", "b"] in a file.
  void Texts(std::string key, std::vector<std::string>* target, std::string help);
  // An absolute path afterwards; empty stays empty.
  void Path(std::string key, std::string* target, std::string help);
  void Flag(std::string key, bool* target, std::string help);
  // Sizes as in common/units.h.
  void Bytes(std::string key, uint64_t* target, uint64_t min, uint64_t max, std::string help);
  // Durations as in common/units.h, to microseconds.
  void Micros(std::string key, int64_t* target, int64_t min, int64_t max, std::string help);
  void Number(std::string key, uint64_t* target, uint64_t min, uint64_t max, std::string help);
  // One of `choices`; `set` gets the index.
  void Choice(std::string key, std::vector<std::string> choices, std::function<void(size_t)> set,
              std::string help);
  // An array of tables `[[key]]`: `begin` returns the settings of a new element, valid until the
  // next call.
  void Tables(std::string key, std::function<Settings*()> begin);

  // Adds a flag for each setting but tables. Values are kept until ApplyFlags.
  void AddFlags(CLI::App* app);
  // BadConfig names the flag. Flags win over the file: call it after ApplyToml.
  Status ApplyFlags();
  // BadConfig names `origin`, the line, and the key.
  Status ApplyToml(std::string_view text, const std::string& origin);
  Status ApplyTomlFile(const std::string& path);
  // Sets one by name, as from "key=value" lists.
  Status Set(const std::string& key, const std::string& value);
  bool Has(const std::string& key) const { return Find(key) != nullptr; }

  std::vector<std::string> keys() const;

 private:
  struct Setting {
    std::string key;
    std::string help;
    bool is_flag = false;
    std::function<Status(const std::string&)> set;  // null: tables
    std::function<Settings*()> begin;
    std::string from_flag;
    bool given = false;
  };
  const Setting* Find(const std::string& key) const;
  void Add(std::string key, std::string help, std::function<Status(const std::string&)> set,
           bool is_flag = false);
  Status ApplyTable(const void* table, const std::string& origin);

  std::vector<Setting> settings_;
  std::set<std::string> lists_;  // keys that take arrays
};

}  // namespace f3::cli

#endif  // F3_CLI_SETTINGS_H_
