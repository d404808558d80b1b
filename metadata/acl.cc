#include "metadata/acl.h"

#include <sys/types.h>

namespace f3::meta {
namespace {

constexpr uint32_t kAclVersion = 2;
constexpr size_t kEntryBytes = 8;
constexpr uint16_t kUserObj = 0x01, kUser = 0x02, kGroupObj = 0x04, kGroup = 0x08, kMask = 0x10,
                   kOther = 0x20;

uint32_t Little(std::string_view bytes, size_t offset, size_t width) {
  uint32_t number = 0;
  for (size_t i = width; i > 0; --i) {
    number = number << 8 | static_cast<unsigned char>(bytes[offset + i - 1]);
  }
  return number;
}

void AppendLittle(std::string* out, uint32_t number, size_t width) {
  for (size_t i = 0; i < width; ++i) out->push_back(static_cast<char>(number >> (8 * i)));
}

AclEntry* Find(Acl* acl, uint16_t tag) {
  for (AclEntry& entry : *acl) {
    if (entry.tag == tag) return &entry;
  }
  return nullptr;
}

}  // namespace

Result<Acl> ParseAcl(std::string_view bytes) {
  const Status bad = Status::InvalidArgument("the access control list is malformed");
  if (bytes.size() < 4 || (bytes.size() - 4) % kEntryBytes != 0) return bad;
  if (Little(bytes, 0, 4) != kAclVersion) return bad;
  Acl acl;
  int user_obj = 0, group_obj = 0, other = 0, mask = 0, named = 0;
  uint16_t last_tag = 0;
  for (size_t at = 4; at < bytes.size(); at += kEntryBytes) {
    AclEntry entry{static_cast<uint16_t>(Little(bytes, at, 2)),
                   static_cast<uint16_t>(Little(bytes, at + 2, 2)), Little(bytes, at + 4, 4)};
    if (entry.permission > 7 || entry.tag < last_tag) return bad;
    last_tag = entry.tag;
    switch (entry.tag) {
      case kUserObj:
        ++user_obj;
        break;
      case kGroupObj:
        ++group_obj;
        break;
      case kOther:
        ++other;
        break;
      case kMask:
        ++mask;
        break;
      case kUser:
      case kGroup:
        ++named;
        break;
      default:
        return bad;
    }
    acl.push_back(entry);
  }
  if (acl.empty()) return acl;
  if (user_obj != 1 || group_obj != 1 || other != 1 || mask > 1 || (named > 0 && mask == 0)) {
    return bad;
  }
  return acl;
}

std::string FormatAcl(const Acl& acl) {
  std::string bytes;
  AppendLittle(&bytes, kAclVersion, 4);
  for (const AclEntry& entry : acl) {
    AppendLittle(&bytes, entry.tag, 2);
    AppendLittle(&bytes, entry.permission, 2);
    AppendLittle(&bytes, entry.id, 4);
  }
  return bytes;
}

uint32_t AclMode(const Acl& acl, bool* extended) {
  uint32_t mode = 0;
  *extended = acl.size() > 3;
  for (const AclEntry& entry : acl) {
    if (entry.tag == kUserObj) mode |= entry.permission << 6;
    if (entry.tag == kGroupObj) mode |= entry.permission << 3;
    if (entry.tag == kOther) mode |= entry.permission;
  }
  // With a mask the group bits of the mode show the mask.
  for (const AclEntry& entry : acl) {
    if (entry.tag == kMask) mode = (mode & ~070u) | entry.permission << 3;
  }
  return mode;
}

void ChmodAcl(Acl* acl, uint32_t mode) {
  AclEntry* group = Find(acl, kMask);
  if (group == nullptr) group = Find(acl, kGroupObj);
  if (group != nullptr) group->permission = (mode >> 3) & 7;
  if (AclEntry* entry = Find(acl, kUserObj)) entry->permission = (mode >> 6) & 7;
  if (AclEntry* entry = Find(acl, kOther)) entry->permission = mode & 7;
}

void InheritAcl(Acl* acl, uint32_t* mode) {
  AclEntry* group = Find(acl, kMask);
  if (group == nullptr) group = Find(acl, kGroupObj);
  AclEntry* user = Find(acl, kUserObj);
  AclEntry* other = Find(acl, kOther);
  auto limit = [&](AclEntry* entry, int shift) {
    if (entry == nullptr) return;
    entry->permission &= (*mode >> shift) & 7;
    *mode = (*mode & ~(7u << shift)) | static_cast<uint32_t>(entry->permission) << shift;
  };
  limit(user, 6);
  limit(group, 3);
  limit(other, 0);
}

}  // namespace f3::meta
