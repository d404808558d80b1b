// POSIX access control lists as Linux keeps them in xattrs (version 2: tag, permission, id).
// Pure functions; thread-safe.
#ifndef F3_METADATA_ACL_H_
#define F3_METADATA_ACL_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace f3::meta {

inline constexpr std::string_view kAclAccess = "system.posix_acl_access";
inline constexpr std::string_view kAclDefault = "system.posix_acl_default";

struct AclEntry {
  uint16_t tag = 0;
  uint16_t permission = 0;
  uint32_t id = 0;
};
using Acl = std::vector<AclEntry>;

// InvalidArgument when the bytes are no well-formed list.
Result<Acl> ParseAcl(std::string_view bytes);
std::string FormatAcl(const Acl& acl);

// The permission bits that the list amounts to; `extended` when it says more than they can.
uint32_t AclMode(const Acl& acl, bool* extended);
// The list after chmod to `mode`.
void ChmodAcl(Acl* acl, uint32_t mode);
// What a new inode with `mode` gets from its directory's default list: the list and the mode, each
// limited by the other (as POSIX.1e 23.3.1 says).
void InheritAcl(Acl* acl, uint32_t* mode);

}  // namespace f3::meta

#endif  // F3_METADATA_ACL_H_
