// Random histories of the namespace against a map of names.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <string>
#include <vector>

#include "tests/metadata/op_world.h"

namespace f3::meta {

// One step of a history; the numbers choose directories and names.
struct Step {
  int op = 0;
  uint32_t dir = 0, name = 0, new_dir = 0, new_name = 0;
};

void showValue(const Step& step, std::ostream& out) {
  out << "{" << step.op << ", " << step.dir << "/" << step.name << ", " << step.new_dir << "/"
      << step.new_name << "}";
}

namespace {

constexpr int kOps = 12;
constexpr uint32_t kNames = 4;

rc::Gen<Step> AnyStep() {
  const auto number = rc::gen::inRange(0u, 1000u);
  const auto name = rc::gen::inRange(0u, kNames);
  return rc::gen::build<Step>(rc::gen::set(&Step::op, rc::gen::inRange(0, kOps)),
                              rc::gen::set(&Step::dir, number), rc::gen::set(&Step::name, name),
                              rc::gen::set(&Step::new_dir, number),
                              rc::gen::set(&Step::new_name, name));
}

// What POSIX says of the names, in the plainest way.
class Model {
 public:
  explicit Model(Ino root) : root_(root) { nodes_[root] = {true, root, {}}; }

  struct Node {
    bool is_dir = false;
    Ino parent = 0;                    // of a directory
    std::map<std::string, Ino> names;  // likewise
  };

  Ino Find(Ino dir, const std::string& name) const {
    const auto& names = nodes_.at(dir).names;
    auto it = names.find(name);
    return it == names.end() ? 0 : it->second;
  }
  bool IsDir(Ino ino) const { return nodes_.at(ino).is_dir; }
  bool IsEmpty(Ino dir) const { return nodes_.at(dir).names.empty(); }
  // Whether `ino` is `dir` or above it.
  bool IsAbove(Ino ino, Ino dir) const {
    for (;; dir = nodes_.at(dir).parent) {
      if (dir == ino) return true;
      if (dir == root_) return false;
    }
  }
  uint32_t Links(Ino ino) const {
    uint32_t links = IsDir(ino) ? 2 : 0;
    for (const auto& [number, node] : nodes_) {
      for (const auto& [name, target] : node.names) {
        if (IsDir(ino)) {
          links += number == ino && IsDir(target) ? 1 : 0;
        } else {
          links += target == ino ? 1 : 0;
        }
      }
    }
    return links;
  }

  void Make(Ino dir, const std::string& name, Ino ino, bool is_dir) {
    nodes_[ino] = {is_dir, dir, {}};
    nodes_[dir].names[name] = ino;
  }
  void Set(Ino dir, const std::string& name, Ino ino) {
    nodes_[dir].names[name] = ino;
    if (IsDir(ino)) nodes_[ino].parent = dir;
  }
  // Takes a name away; and what has none left, unless it only moves.
  void Remove(Ino dir, const std::string& name, bool moves = false) {
    const Ino ino = Find(dir, name);
    nodes_[dir].names.erase(name);
    if (!moves && (IsDir(ino) || Links(ino) == 0)) nodes_.erase(ino);
  }

  // The code that each operation gives.
  Code MayMake(Ino dir, const std::string& name) const {
    return Find(dir, name) != 0 ? Code::kExists : Code::kOk;
  }
  Code MayRemove(Ino dir, const std::string& name, bool rmdir) const {
    const Ino ino = Find(dir, name);
    if (ino == 0) return Code::kNotFound;
    if (!rmdir) return IsDir(ino) ? Code::kIsDirectory : Code::kOk;
    if (!IsDir(ino)) return Code::kNotDirectory;
    return IsEmpty(ino) ? Code::kOk : Code::kNotEmpty;
  }
  Code MayRename(Ino from, Ino to, Ino new_dir) const {
    if (from == 0) return Code::kNotFound;
    if (IsDir(from) && IsAbove(from, new_dir)) return Code::kInvalidArgument;
    if (to == 0 || to == from) return Code::kOk;
    if (!IsDir(to)) return IsDir(from) ? Code::kNotDirectory : Code::kOk;
    if (!IsDir(from)) return Code::kIsDirectory;
    return IsEmpty(to) ? Code::kOk : Code::kNotEmpty;
  }
  Code MayExchange(Ino from, Ino to, Ino dir, Ino new_dir) const {
    if (from == 0) return Code::kNotFound;
    if (IsDir(from) && IsAbove(from, new_dir)) return Code::kInvalidArgument;
    if (to == 0) return Code::kNotFound;
    if (from != to && IsDir(to) && IsAbove(to, dir)) return Code::kInvalidArgument;
    return Code::kOk;
  }

  const std::map<Ino, Node>& nodes() const { return nodes_; }
  Ino root() const { return root_; }

 private:
  const Ino root_;
  std::map<Ino, Node> nodes_;
};

class History : private OpWorld {
 public:
  void Run(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      Apply(step);
      Check();
    }
  }

 private:
  void Apply(const Step& step) {
    const Ino dir = Directory(step.dir), new_dir = Directory(step.new_dir);
    const std::string name = Name(step.name), new_name = Name(step.new_name);
    const Ino from = model_.Find(dir, name), to = model_.Find(new_dir, new_name);
    switch (step.op) {
      case 0:
      case 1: {
        const Ino made = Expect(MkDir(dir, name), model_.MayMake(dir, name));
        if (made != 0) model_.Make(dir, name, made, true);
        return;
      }
      case 2: {
        const Ino made = Expect(Create(dir, name, 0644, true), model_.MayMake(dir, name));
        if (made != 0) model_.Make(dir, name, made, false);
        return;
      }
      case 3: {  // opens what is there
        const bool is_dir = from != 0 && model_.IsDir(from);
        const Ino found = Expect(Create(dir, name), is_dir ? Code::kIsDirectory : Code::kOk);
        if (from == 0) model_.Make(dir, name, found, false);
        if (from != 0 && !is_dir) RC_ASSERT(found == from);
        return;
      }
      case 4:
      case 5: {
        const bool rmdir = step.op == 5;
        const Code code = model_.MayRemove(dir, name, rmdir);
        Expect(Unlink(dir, name, rmdir), code);
        if (code == Code::kOk) model_.Remove(dir, name);
        return;
      }
      case 6: {
        if (from == 0) return;
        const Code code =
            model_.IsDir(from) ? Code::kNotPermitted : model_.MayMake(new_dir, new_name);
        const Ino linked = Expect(Link(from, new_dir, new_name), code);
        if (linked == 0) return;
        RC_ASSERT(linked == from);
        model_.Set(new_dir, new_name, from);
        return;
      }
      case 7:
      case 8:
        Expect(Rename(dir, name, new_dir, new_name), model_.MayRename(from, to, new_dir));
        if (last_ == Code::kOk) Move(dir, name, new_dir, new_name);
        return;
      case 9: {
        Code code = model_.MayRename(from, to, new_dir);
        if (from != 0 && to != 0) code = Code::kExists;
        Expect(NoReplace(dir, name, new_dir, new_name), code);
        if (code == Code::kOk) Move(dir, name, new_dir, new_name);
        return;
      }
      case 10:
        Expect(Exchange(dir, name, new_dir, new_name), model_.MayExchange(from, to, dir, new_dir));
        if (last_ != Code::kOk) return;
        model_.Set(dir, name, to);
        model_.Set(new_dir, new_name, from);
        return;
      default: {
        const Ino found = Expect(Lookup(dir, name), from == 0 ? Code::kNotFound : Code::kOk);
        RC_ASSERT(found == from);
        RC_ASSERT(Expect(Lookup(dir, ".."), Code::kOk) == model_.nodes().at(dir).parent);
        return;
      }
    }
  }

  void Move(Ino dir, const std::string& name, Ino new_dir, const std::string& new_name) {
    const Ino from = model_.Find(dir, name), to = model_.Find(new_dir, new_name);
    if (from == to) return;
    model_.Remove(dir, name, true);
    if (to != 0) model_.Remove(new_dir, new_name);
    model_.Set(new_dir, new_name, from);
  }

  // The inode that the reply names.
  Ino Expect(const Request& request, Code code) {
    Reply reply;
    last_ = Call(request, &reply).code();
    if (last_ != code) RC_LOG() << CodeName(last_) << " instead of " << CodeName(code) << "\n";
    RC_ASSERT(last_ == code);
    if (reply.has_open() && last_ == Code::kOk) {
      // What stays open would stay when its last name goes.
      const Ino ino = reply.entry().attr().ino();
      Reply closed;
      RC_ASSERT(Call(Close(ino, reply.open(), 1, 0), &closed).ok());
    }
    return last_ == Code::kOk ? reply.entry().attr().ino() : 0;
  }

  // Every directory page by page, every inode, and nothing else.
  void Check() {
    for (const auto& [ino, node] : model_.nodes()) {
      Attr attr;
      RC_ASSERT(Stat(ino, &attr) == Code::kOk);
      RC_ASSERT(S_ISDIR(attr.mode()) == node.is_dir);
      RC_ASSERT(attr.nlink() == model_.Links(ino));
      if (node.is_dir) RC_ASSERT(Listing(ino, node.parent) == node.names);
    }
    RC_ASSERT(Inodes() == model_.nodes().size());
    RC_ASSERT(Problems().empty());
  }

  std::map<std::string, Ino> Listing(Ino dir, Ino parent) {
    std::map<std::string, Ino> names;
    for (std::string after;;) {
      Reply page;
      RC_ASSERT(Call(ReadDir(dir, 2, after), &page).ok());
      RC_ASSERT(page.number() == parent);
      for (const DirEntry& entry : page.entries()) {
        RC_ASSERT(after < entry.name());
        after = entry.name();
        names[after] = entry.ino();
      }
      if (page.last()) return names;
    }
  }

  static std::string Name(uint32_t n) { return std::string(1, static_cast<char>('a' + n)); }
  Ino Directory(uint32_t n) const {
    std::vector<Ino> directories;
    for (const auto& [ino, node] : model_.nodes()) {
      if (node.is_dir) directories.push_back(ino);
    }
    return directories[n % directories.size()];
  }

  Model model_{root()};
  Code last_ = Code::kOk;
};

TEST(NamespaceModelTest, AgreesWithAMap) {
  ASSERT_TRUE(rc::check("the namespace agrees with a map of names",
                        [] { History().Run(*rc::gen::container<std::vector<Step>>(AnyStep())); }));
}

}  // namespace
}  // namespace f3::meta
