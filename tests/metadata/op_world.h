// OpWorld: the metadata server's operations over a store in memory, one request at a time, without
// sessions, leases or a network. Not thread-safe.
#ifndef F3_TESTS_METADATA_OP_WORLD_H_
#define F3_TESTS_METADATA_OP_WORLD_H_

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "metadata/inode_ops.h"
#include "metadata/kv_store.h"
#include "metadata/op_context.h"
#include "tests/common/status_matchers.h"

namespace f3::meta {

class OpWorld : public IdSource, public OpenView, public NodeView {
 public:
  static constexpr SessionId kSession = 7;
  static constexpr NodeId kNode = 3;

  OpWorld() {
    Request request;
    request.mutable_create_volume()->set_name("volume");
    request.mutable_create_volume()->set_mode(0755);
    root_ = Do(std::move(request)).entry().attr().ino();
    caller.set_uid(1000);
    caller.set_gid(100);
    caller.set_umask(022);
  }

  // Each request happens a second after the last.
  Status Call(const Request& request, Reply* reply) {
    now_ns += 1'000'000'000;
    return Run([&](OpContext& context) {
      *reply = Reply();
      return ExecuteOp(context, request, reply);
    });
  }
  // Ends the files whose time is over, and says which these are.
  std::vector<Ino> Expire() {
    auto txn = store_->Begin();
    auto expired = ExpiredFiles(*txn, now_ns, SIZE_MAX);
    EXPECT_OK(expired.status());
    for (Ino ino : *expired) {
      EXPECT_OK(Run([&](OpContext& context) { return ExpireFile(context, ino); }));
    }
    return *expired;
  }
  Status Run(const std::function<Status(OpContext&)>& body) {
    effects = Effects();
    auto committed = RunTxn(store_.get(), Durability::kBuffered, [&](Transaction& txn) -> Status {
      OpContext context;
      context.txn = &txn;
      context.session = session;
      context.node = NodeOfSession(session);
      context.caller = caller;
      context.now_ns = now_ns;
      context.ids = this;
      context.opens = this;
      context.nodes = this;
      context.leased_elsewhere = &leased_elsewhere;
      Status status = body(context);
      effects = std::move(context.effects);
      return status;
    });
    if (!committed.ok()) return committed.status();
    for (const OpenChange& change : effects.opens) Apply(change);
    return Status();
  }
  // For what must succeed.
  Reply Do(const Request& request) {
    Reply reply;
    EXPECT_OK(Call(request, &reply));
    return reply;
  }
  Code Try(const Request& request) {
    Reply reply;
    return Call(request, &reply).code();
  }

  // Requests, by their arguments.
  static Request Lookup(Ino parent, const std::string& name) {
    Request request;
    request.mutable_lookup()->set_parent(parent);
    request.mutable_lookup()->set_name(name);
    return request;
  }
  static Request Create(Ino parent, const std::string& name, uint32_t mode = 0644,
                        bool exclusive = false) {
    Request request;
    CreateOp* op = request.mutable_create();
    op->set_parent(parent);
    op->set_name(name);
    op->set_mode(mode);
    op->set_exclusive(exclusive);
    op->mutable_flags()->set_read(true);
    return request;
  }
  // A file that nobody opens.
  static Request MakeNode(Ino parent, const std::string& name, uint32_t mode) {
    Request request;
    MakeNodeOp* op = request.mutable_make_node();
    op->set_parent(parent);
    op->set_name(name);
    op->set_mode(mode);
    return request;
  }
  static Request MkDir(Ino parent, const std::string& name, uint32_t mode = 0755) {
    return MakeNode(parent, name, S_IFDIR | mode);
  }
  static Request MkFile(Ino parent, const std::string& name, uint32_t mode = 0644) {
    return MakeNode(parent, name, S_IFREG | mode);
  }
  static Request Symlink(Ino parent, const std::string& name, const std::string& target) {
    Request request = MakeNode(parent, name, S_IFLNK | 0777);
    request.mutable_make_node()->set_target(target);
    return request;
  }
  static Request Link(Ino ino, Ino parent, const std::string& name) {
    Request request;
    request.mutable_link()->set_ino(ino);
    request.mutable_link()->set_new_parent(parent);
    request.mutable_link()->set_new_name(name);
    return request;
  }
  static Request Unlink(Ino parent, const std::string& name, bool directory = false) {
    Request request;
    request.mutable_unlink()->set_parent(parent);
    request.mutable_unlink()->set_name(name);
    request.mutable_unlink()->set_directory(directory);
    return request;
  }
  static Request RmDir(Ino parent, const std::string& name) { return Unlink(parent, name, true); }
  static Request Rename(Ino parent, const std::string& name, Ino new_parent,
                        const std::string& new_name) {
    Request request;
    RenameOp* op = request.mutable_rename();
    op->set_parent(parent);
    op->set_name(name);
    op->set_new_parent(new_parent);
    op->set_new_name(new_name);
    return request;
  }
  static Request Exchange(Ino parent, const std::string& name, Ino new_parent,
                          const std::string& new_name) {
    Request request = Rename(parent, name, new_parent, new_name);
    request.mutable_rename()->set_exchange(true);
    return request;
  }
  static Request NoReplace(Ino parent, const std::string& name, Ino new_parent,
                           const std::string& new_name) {
    Request request = Rename(parent, name, new_parent, new_name);
    request.mutable_rename()->set_no_replace(true);
    return request;
  }
  static Request ReadDir(Ino ino, uint32_t max_entries = 1000, const std::string& after = "") {
    Request request;
    request.mutable_readdir()->set_ino(ino);
    request.mutable_readdir()->set_max_entries(max_entries);
    request.mutable_readdir()->set_after(after);
    return request;
  }
  static Request SetXattr(Ino ino, const std::string& name, const std::string& value) {
    Request request;
    request.mutable_setxattr()->set_ino(ino);
    request.mutable_setxattr()->set_name(name);
    request.mutable_setxattr()->set_value(value);
    return request;
  }
  static Request GetXattr(Ino ino, const std::string& name) {
    Request request;
    request.mutable_getxattr()->set_ino(ino);
    request.mutable_getxattr()->set_name(name);
    return request;
  }
  static Request RemoveXattr(Ino ino, const std::string& name) {
    Request request;
    request.mutable_removexattr()->set_ino(ino);
    request.mutable_removexattr()->set_name(name);
    return request;
  }
  // Writes as much as a publish of the home does, keeping the file open.
  static Request Publish(Ino ino, const OpenReply& open, uint64_t size, bool kill_suid = false) {
    Request request;
    PublishOp* op = request.mutable_publish();
    op->set_ino(ino);
    op->set_incarnation(open.incarnation());
    op->set_size(size);
    op->set_content_changed(true);
    op->set_kill_suid(kill_suid);
    return request;
  }
  static Request Close(Ino ino, const OpenReply& open, uint32_t readers, uint32_t writers) {
    Request request;
    request.mutable_close()->set_ino(ino);
    request.mutable_close()->set_incarnation(open.incarnation());
    request.mutable_close()->set_readers(readers);
    request.mutable_close()->set_writers(writers);
    return request;
  }

  Code Stat(Ino ino, Attr* attr) {
    Request request;
    request.mutable_getattr()->set_ino(ino);
    Reply reply;
    Status status = Call(request, &reply);
    *attr = reply.attr();
    return status.code();
  }
  // Of an inode that is there.
  Attr Get(Ino ino) {
    Attr attr;
    EXPECT_EQ(Stat(ino, &attr), Code::kOk);
    return attr;
  }
  // What the store's own check finds wrong.
  std::vector<std::string> Problems() {
    Request request;
    request.mutable_scan()->set_kind(SCAN_CHECK);
    request.mutable_scan()->set_max_items(1000);
    const Reply reply = Do(request);
    EXPECT_TRUE(reply.scan().next().empty());
    return {reply.scan().problems().begin(), reply.scan().problems().end()};
  }
  size_t Inodes() {
    const std::string prefix = RowKey(Row::kInode);
    return store_->Begin()->Scan(prefix, PrefixEnd(prefix), SIZE_MAX)->size();
  }
  // Whether a row with this key's beginning is there.
  bool HasRows(const std::string& prefix) {
    return !store_->Begin()->Scan(prefix, PrefixEnd(prefix), 1)->empty();
  }
  Ino root() const { return root_; }

  Ino NextIno() override { return next_++; }
  uint64_t NextUnique() override { return next_++; }
  std::vector<OpenCount> Opens(Ino ino) const override {
    std::vector<OpenCount> counts;
    for (const auto& [key, count] : opens_) {
      if (key.first == ino) counts.push_back(count);
    }
    return counts;
  }
  NodeId NodeOfSession(SessionId of) const override {
    return of == 0 ? 0 : static_cast<NodeId>(of - kSession + kNode);
  }
  bool FillHolder(NodeId node, const ObjectKey&, SessionId, bool, Holder* holder) const override {
    holder->set_node(node);
    holder->set_name("node" + std::to_string(node));
    holder->set_up(true);
    return true;
  }

  Caller caller;                 // root until the constructor is done
  SessionId session = kSession;  // who calls; the next session is of the next node
  int64_t now_ns = 1'000'000'000'000;
  std::set<Ino> leased_elsewhere;
  Effects effects;  // of the last request

 private:
  void Apply(const OpenChange& change) {
    OpenCount& count = opens_[{change.ino, session}];
    count.session = session;
    count.incarnation = change.incarnation;
    count.readers += static_cast<uint32_t>(change.readers);
    count.writers += static_cast<uint32_t>(change.writers);
    if (count.readers == 0 && count.writers == 0) opens_.erase({change.ino, session});
  }

  const std::unique_ptr<KvStore> store_ = NewMemoryKvStore();
  uint64_t next_ = 1;
  std::map<std::pair<Ino, SessionId>, OpenCount> opens_;
  Ino root_ = 0;
};

}  // namespace f3::meta

#endif  // F3_TESTS_METADATA_OP_WORLD_H_
