// Directories of a volume, through the metadata server and without a mount: made, removed,
// searched. Links are never followed. Used by any thread, as MetaClient is.
#ifndef F3_OPENWHISK_PLUGIN_SUBTREE_H_
#define F3_OPENWHISK_PLUGIN_SUBTREE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"
#include "metadata/client.h"

namespace f3::openwhisk {

// Makes the directory and those above it that are missing. Of `path` the last and, if it is
// "openwhisk/NAMESPACE/…", the namespace's are for everybody (mode 0777), since users within
// sandboxes differ from image to image and all of them are one namespace; the others are root's
// (0755). OK when it is there. NotFound: no such volume. NotDirectory: something else has the name.
Status MakeSubtree(meta::MetaClient* client, const std::string& volume, const std::string& path);

// Removes it and all that is in it. OK when it, or the volume, is not there.
Status RemoveSubtree(meta::MetaClient* client, const std::string& volume, const std::string& path);

struct FoundFile {
  std::string path;  // relative to the subtree
  meta::Attr attr;
};
// How many names a search may still look at; shared by those that belong together.
struct SearchBudget {
  uint64_t names = 10'000;
};
// The regular files below `subtree` whose path fits `glob` (fnmatch; `*` does not cross '/'),
// appended. Nothing when the subtree is not there. InvalidArgument when the budget is used up.
Status FindFiles(meta::MetaClient* client, const std::string& volume, const std::string& subtree,
                 const std::string& glob, SearchBudget* budget, std::vector<FoundFile>* found);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_SUBTREE_H_
