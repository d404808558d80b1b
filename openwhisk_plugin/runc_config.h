// What f3-runc reads of runc's command line and changes in an OCI configuration. Pure functions on
// values; nothing here throws but for lack of memory.
#ifndef F3_OPENWHISK_PLUGIN_RUNC_CONFIG_H_
#define F3_OPENWHISK_PLUGIN_RUNC_CONFIG_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace f3::openwhisk {

// A command of runc, as far as the wrapper has to know it.
struct RuncCall {
  bool creates = false;      // `create` or `run`
  std::string id;            // of the container; empty: none is given
  std::string bundle = ".";  // directory of config.json
  std::string log;           // file for errors that the caller shows; empty: none
};
// `arguments`: without the program's name. Options that are not known are taken to have no value,
// or one after '='.
RuncCall ParseRuncCall(const std::vector<std::string>& arguments);

struct RuncBind {
  std::string source;
  std::string destination;
  bool read_only = false;  // also without set-user-id, devices and programs
};
// The binds of binds.json. False when the text is not what the agent writes.
bool ParseBinds(const std::string& text, std::vector<RuncBind>* binds);
// What a container gets that the agent does not know yet, or knows (`binds`).
std::vector<RuncBind> BindsOf(const std::string& sandbox_dir, const std::vector<RuncBind>* binds);

// Adds the binds at the end of `mounts` and changes nothing else. A bind that is there already is
// not added again; one from below `sandboxes` at the same place is replaced. False when `config` is
// no OCI configuration.
bool AddBinds(const std::string& sandboxes, const std::vector<RuncBind>& binds,
              nlohmann::ordered_json* config);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_RUNC_CONFIG_H_
