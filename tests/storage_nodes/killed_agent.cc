// A process that opens an object store, does something with it and dies without closing anything.
//
// killed_agent DISK_DIR BOOT_ID nothing|roles|history SEED; `history` goes on until it is killed
// and writes to standard output, as int64_t, each inode whose object is sealed, and negated before
// it may be removed.
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "storage_nodes/object_store.h"

namespace f3::storage {
namespace {

void Check(const Status& status) {
  if (status.ok()) return;
  fprintf(stderr, "%s\n", status.ToString().c_str());
  _exit(1);
}

void Make(ObjectStore& store, const ObjectKey& key, Role role, bool seal,
          const std::string& content) {
  auto object = store.Create(key, role, TierKind::kDisk, 0);
  Check(object.status());
  if (::pwrite((*object)->fd(), content.data(), content.size(), 0) < 0) _exit(1);
  if (seal) Check((*object)->Seal(1, role));
}

void MakeOneOfEachRole(ObjectStore& store) {
  Make(store, {1, 1}, Role::kHome, true, "sealed home");
  Make(store, {2, 1}, Role::kHome, false, "home being written");
  Make(store, {3, 1}, Role::kStaging, false, "staging");
  Make(store, {4, 1}, Role::kCopy, true, "copy");
  Make(store, {5, 1}, Role::kFilling, false, "half a copy");
  Make(store, {6, 1}, Role::kHome, true, "removed");
  Check(store.Remove({6, 1}));
}

void Acknowledge(int64_t ino) {
  if (::write(STDOUT_FILENO, &ino, sizeof(ino)) != sizeof(ino)) _exit(1);
}

[[noreturn]] void RunHistory(ObjectStore& store, unsigned seed) {
  std::mt19937 choose(seed);
  for (Ino step = 1;; ++step) {
    const Ino ino = static_cast<Ino>(seed) << 32 | step;
    Make(store, {ino, 1}, Role::kHome, true, std::to_string(ino));
    Acknowledge(static_cast<int64_t>(ino));
    if (choose() % 3 == 0) {
      Check(store.Rekey({ino, 1}, {ino, 2}));
      Check(store.Rekey({ino, 2}, {ino, 1}));
    }
    if (choose() % 2 == 0) {
      Acknowledge(-static_cast<int64_t>(ino));
      Check(store.Remove({ino, 1}));
    }
  }
}

int Main(char** argv) {
  spdlog::set_level(spdlog::level::off);  // standard output belongs to Acknowledge
  ObjectStore::Options options;
  options.disk_dir = argv[1];
  options.boot_id = argv[2];
  const std::string work = argv[3];
  auto opened = ObjectStore::Open(options);
  Check(opened.status());
  if (work == "roles") MakeOneOfEachRole(**opened);
  if (work == "history") RunHistory(**opened, static_cast<unsigned>(atoi(argv[4])));
  ::kill(::getpid(), SIGKILL);
  return 1;
}

}  // namespace
}  // namespace f3::storage

int main(int argc, char** argv) { return argc == 5 ? f3::storage::Main(argv) : 2; }
