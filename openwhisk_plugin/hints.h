// Hints: what an action says about its data, by the annotations `f3-mounts` and `f3-hints` and the
// per-invocation parameter `__f3`. Values; not thread-safe. docs/hints.md is the page for users.
#ifndef F3_OPENWHISK_PLUGIN_HINTS_H_
#define F3_OPENWHISK_PLUGIN_HINTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/status.h"
#include "metadata/metadata.pb.h"

namespace f3::openwhisk {

enum class Lifetime { kNamespace, kWorkflow };
enum class Locality { kPrefer, kRequire, kOff };
// Inputs are pulled when they are read, or from the moment that the activation is announced.
enum class Transfer { kDirect, kPrefetch };

// One element of `f3-mounts`.
struct MountHint {
  std::string volume = "default";
  std::string path = "/mnt/f3";  // in the sandbox: absolute, no "..", not "/"
  bool read_only = false;        // "mode": "ro" | "rw"
  // kNamespace: the namespace's own directory of the volume, which stays. kWorkflow: an empty
  // directory that all activations of one workflow share and that is removed when it ends.
  Lifetime lifetime = Lifetime::kNamespace;
};

// `f3-hints`, and `__f3`, whose fields take the place of the annotation's.
struct Hints {
  // "class": "ephemeral" | "durable", or {"GLOB": class, …} in the order of the text, or a list of
  // such objects (OpenWhisk's own JSON library does not keep the order of fields); first match
  // wins. A glob without '/' is matched with the file's name, one with '/' with its path from the
  // mount's root; `*` does not cross '/'. A single class is the glob "*".
  std::vector<std::pair<std::string, meta::FileClass>> classes;
  std::optional<bool> follow;
  std::optional<uint64_t> ttl_s;  // "ttl": of ephemeral files, from their last close; 1 … 31536000
  std::optional<Locality> locality;
  std::optional<Transfer> transfer;
  std::vector<std::string> inputs;   // globs, as LocateRequest.paths
  std::vector<std::string> outputs;  // globs: durable, before any "class"
};

struct ActionHints {
  std::vector<MountHint> mounts;  // none: the action has no file system
  Hints hints;
};

// Errors are InvalidArgument and read "f3-hints.locality is \"near\"; allowed are prefer, require,
// off". Unknown fields are errors, with the nearest known one, as are unknown annotations that
// begin with "f3-"; other annotations mean nothing here. At most 16 mounts, 64 globs per list,
// 4,096 bytes per string, 1 MiB in all; mounts neither nested nor in /proc, /sys, /dev or /run/f3.
// Globs of files are relative to the mounts; inputs may be absolute too. Empty text: no hints.
Result<ActionHints> ParseAnnotations(std::string_view json);
// `base` with the fields of the `__f3` object in their place.
Result<Hints> ApplyCallHints(Hints base, std::string_view json);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_HINTS_H_
