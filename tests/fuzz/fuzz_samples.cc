#include <google/protobuf/text_format.h>

#include "tests/fuzz/fuzz_server.h"

namespace f3::meta::fuzz {

const std::vector<std::string>& SampleRequests() {
  // The first three make what is there when an input begins: inodes 2, 3 and 4; 1 is the root.
  static const char* const kTexts[] = {
      "session: 1 make_node { parent: 1 name: 'd' mode: 0x41ed }",
      "session: 1 create { parent: 1 name: 'durable' mode: 420 flags { write: true } "
      "hint_class: CLASS_DURABLE }",
      "session: 1 create { parent: 2 name: 'ephemeral' mode: 420 flags { write: true } "
      "hint_class: CLASS_EPHEMERAL }",
      "session: 2 lookup { parent: 1 name: 'd' }",
      "session: 2 getattr { ino: 3 }",
      "resolve { volume: 'default' path: 'd/ephemeral' }",
      "session: 1 setattr { ino: 3 mode: 511 uid: 1 gid: 2 atime_ns: 1 mtime_ns: 2 }",
      "session: 1 setattr { ino: 3 size: 100000000 }",
      "session: 1 setattr { ino: 4 kill_suid: true atime_now: true mtime_now: true }",
      "session: 2 create { parent: 1 name: 'durable' flags { write: true truncate: true } }",
      "session: 2 create { parent: 2 mode: 420 flags { read: true } tmpfile: true }",
      "session: 2 create { parent: 2 name: 'x' mode: 420 flags { write: true } exclusive: true "
      "hint_tier: TIER_MEMORY hint_follow: true hint_ttl_s: 5 }",
      "session: 2 make_node { parent: 2 name: 'e' mode: 0x41ff }",
      "session: 2 make_node { parent: 2 name: 'l' mode: 0xa1ff target: 'durable' }",
      "session: 2 make_node { parent: 1 name: 'dev' mode: 0x2180 rdev: 259 }",
      "session: 2 make_node { parent: 2 name: 'f' mode: 0x81a4 hint_class: CLASS_EPHEMERAL }",
      "session: 1 link { ino: 3 new_parent: 2 new_name: 'again' }",
      "session: 1 link { ino: 4 new_parent: 2 new_name: 'again' hint_class: CLASS_EPHEMERAL }",
      "session: 1 unlink { parent: 1 name: 'durable' }",
      "session: 1 unlink { parent: 2 name: 'ephemeral' }",
      "session: 1 unlink { parent: 1 name: 'd' directory: true }",
      "session: 1 rename { parent: 1 name: 'durable' new_parent: 2 new_name: 'ephemeral' }",
      "session: 1 rename { parent: 1 name: 'd' new_parent: 2 new_name: 'e' no_replace: true }",
      "session: 1 rename { parent: 1 name: 'd' new_parent: 1 new_name: 'durable' exchange: true }",
      "session: 1 rename { parent: 2 name: 'e' new_parent: 1 new_name: 'd' }",
      "session: 1 readlink { ino: 5 }",
      "session: 1 readdir { ino: 1 max_entries: 2 with_attrs: true }",
      "session: 1 readdir { ino: 1 after: 'd' }",
      "session: 1 getxattr { ino: 3 name: 'user.f3.state' }",
      "session: 1 listxattr { ino: 2 }",
      "session: 1 setxattr { ino: 3 name: 'user.a' value: 'v' create: true }",
      "session: 1 setxattr { ino: 2 name: 'user.f3.class' value: 'ephemeral' }",
      "session: 1 setxattr { ino: 2 name: 'user.f3.ttl' value: '5' }",
      "session: 1 setxattr { ino: 2 name: 'system.posix_acl_default' value: '\\002\\000\\000\\000"
      "\\001\\000\\007\\000\\000\\000\\000\\000\\004\\000\\005\\000\\000\\000\\000\\000"
      "\\040\\000\\005\\000\\000\\000\\000\\000' }",
      "session: 1 removexattr { ino: 3 name: 'user.a' }",
      "session: 1 statfs { root: 1 }",
      "session: 2 open { ino: 3 flags { read: true } }",
      "session: 2 open { ino: 4 flags { write: true have_incarnation: 1 have_version: 1 } }",
      "session: 2 open { ino: 4 flags { write: true truncate: true } }",
      "session: 1 close { ino: 3 incarnation: 1 writers: 1 }",
      "session: 1 close { ino: 4 incarnation: 2 writers: 1 }",
      "session: 2 close { ino: 3 incarnation: 1 readers: 1 }",
      "session: 2 location { ino: 4 incarnation: 2 write: true }",
      "session: 2 block_map { ino: 3 first: 0 count: 10 }",
      "session: 1 begin_publish { ino: 3 }",
      "session: 1 publish { ino: 3 incarnation: 1 size: 5000000 generation: 3 changed { index: 0 "
      "generation: 3 crc: 1 length: 4194304 } changed { index: 1 generation: 3 length: 9 } "
      "content_changed: true }",
      "session: 1 publish { ino: 3 incarnation: 1 size: 100 replace_blocks: true dropped: 1 "
      "kill_suid: true close_writers: 1 }",
      "session: 1 publish { ino: 4 incarnation: 2 size: 7 allocated_bytes: 8 content_changed: true "
      "sync: true mtime_ns: 5 }",
      "session: 1 publish { ino: 4 incarnation: 2 size: 7 file_class: CLASS_DURABLE }",
      "session: 2 add_copy { ino: 4 incarnation: 2 version: 1 }",
      "session: 2 drop_copy { ino: 4 incarnation: 2 }",
      "session: 2 get_lock { ino: 3 owner: 1 range { type: LOCK_TYPE_WRITE end: 9 } }",
      "session: 1 set_lock { ino: 3 owner: 1 range { type: LOCK_TYPE_READ start: 2 end: 99 } }",
      "session: 2 set_lock { ino: 3 owner: 2 kind: LOCK_FLOCK range { type: LOCK_TYPE_WRITE } "
      "wait: true }",
      "session: 2 release_locks { ino: 3 owner: 2 }",
      "session: 1 sync { }",
      "register_node { name: 'b' tier_uuid: 'another' }",
      "register_node { name: 'c' tier_uuid: 'tier of c' fabric_address: 'x:1' }",
      "session: 1 inventory { items { ino: 4 incarnation: 2 version: 1 home: true } last: true }",
      "session: 2 inventory { items { ino: 4 incarnation: 2 version: 1 } }",
      "forget_node { name: 'b' }",
      "create_volume { name: 'v' mode: 493 }",
      "list_volumes { }",
      "list_nodes { }",
      "locate { inos: 3 inos: 4 }",
      "scan { max_items: 2 kind: SCAN_BLOCKS }",
      "scan { kind: SCAN_INTENTS }",
      "scan { kind: SCAN_GARBAGE max_items: 9 }",
      "session: 1 forget { inos: 1 inos: 3 }",
      "drop_garbage { blocks { ino: 3 block { index: 0 generation: 3 } } }",
      "session: 2 token: 7 acked_token: 6 replay_ino: 3 replay_unique: 9 create { parent: 1 "
      "name: 'replayed' flags { write: true } }",
      "",
  };
  static const std::vector<std::string> samples = [] {
    std::vector<std::string> made;
    for (const char* text : kTexts) {
      Request request;
      Check(google::protobuf::TextFormat::ParseFromString(text, &request), text);
      made.push_back(request.SerializeAsString());
    }
    return made;
  }();
  return samples;
}

}  // namespace f3::meta::fuzz
