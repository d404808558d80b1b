// Open directories.
//
// The server lists a directory by name, the kernel reads it by 64-bit positions. A position counts
// entries from the start (1 and 2 are "." and ".."); where each page of the server's listing began
// is remembered by name, so that reading on is exact whatever is created or removed meanwhile, and
// going back is exact while the page there is unchanged.
#include <cerrno>
#include <cstring>
#include <utility>

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {
namespace {

constexpr uint64_t kFirstCookie = 2;  // before the first name
constexpr uint32_t kPageEntries = 512;

size_t Padded(size_t size) { return (size + 7) & ~size_t{7}; }

void AppendDirent(uint64_t ino, uint64_t next, uint32_t mode, const std::string& name,
                  std::string* out) {
  fuse_dirent entry = {};
  entry.ino = ino;
  entry.off = next;
  entry.namelen = static_cast<uint32_t>(name.size());
  entry.type = (mode & S_IFMT) >> 12;
  out->append(reinterpret_cast<const char*>(&entry), FUSE_NAME_OFFSET);
  out->append(name);
  out->resize(Padded(out->size()));
}

}  // namespace

std::shared_ptr<DirHandle> FuseImpl::FindDir(uint64_t handle) {
  MutexLock lock(mutex_);
  auto found = dirs_.find(handle);
  return found == dirs_.end() ? nullptr : found->second;
}

void FuseImpl::OpenDir(const ReqRef& req, uint64_t node) {
  auto dir = std::make_shared<DirHandle>();
  dir->ino = nodes_->ToIno(node);
  {
    MutexLock lock(dir->mutex);
    dir->starts[kFirstCookie] = "";
  }
  kernel::OpenOut out;
  {
    MutexLock lock(mutex_);
    out.fh = next_dir_++;
    dirs_[out.fh] = dir;
  }
  if (req->Send(&out, sizeof(out)) == 0) return;
  MutexLock lock(mutex_);
  dirs_.erase(out.fh);
}

void FuseImpl::ReleaseDir(const ReqRef& req, uint64_t handle) {
  {
    MutexLock lock(mutex_);
    dirs_.erase(handle);
  }
  req->Ok();
}

void FuseImpl::SyncDir(const ReqRef& req) {
  meta::Request request;
  request.mutable_sync();
  CallMeta(req, std::move(request),
           [req](const Status& status, const meta::Reply&) { req->Error(status); });
}

void FuseImpl::ReadDir(const ReqRef& req, uint64_t handle, size_t size, uint64_t offset,
                       bool plus) {
  std::shared_ptr<DirHandle> dir = FindDir(handle);
  if (dir == nullptr) return req->Error(EBADF);
  std::shared_ptr<const DirHandle::Page> page;
  {
    MutexLock lock(dir->mutex);
    if (offset == 0) {  // rewinddir: what was read is void
      dir->page = nullptr;
      dir->before = nullptr;
      dir->starts.clear();
      dir->starts[kFirstCookie] = "";
    }
    const uint64_t wanted = std::max(offset, kFirstCookie);
    for (const auto& held : {dir->page, dir->before}) {
      if (held == nullptr || (plus && !held->plus)) continue;
      const uint64_t end = held->first + held->entries.size();
      if (wanted >= held->first && (wanted < end || (wanted == end && held->last))) page = held;
    }
  }
  if (page != nullptr) return ServePage(req, dir, page, size, offset, plus);
  FetchPage(req, dir, size, offset, plus);
}

void FuseImpl::FetchPage(const ReqRef& req, const std::shared_ptr<DirHandle>& dir, size_t size,
                         uint64_t offset, bool plus) {
  auto page = std::make_shared<DirHandle::Page>();
  page->plus = plus;
  page->since = req->since();
  meta::Request request;
  meta::ReadDirOp* op = request.mutable_readdir();
  op->set_ino(dir->ino);
  op->set_max_entries(kPageEntries);
  op->set_with_attrs(plus);
  {
    MutexLock lock(dir->mutex);
    auto start = dir->starts.upper_bound(std::max(offset, kFirstCookie));
    if (start == dir->starts.begin()) return req->Error(EINVAL);
    --start;
    page->first = start->first;
    op->set_after(start->second);
  }
  CallMeta(req, std::move(request), [=, this](const Status& status, meta::Reply reply) {
    if (!status.ok()) return req->Error(status);
    page->last = reply.last() || reply.entries_size() == 0;
    page->parent = reply.number();
    page->entries.assign(std::make_move_iterator(reply.mutable_entries()->begin()),
                         std::make_move_iterator(reply.mutable_entries()->end()));
    if (dir->ino == root_) {
      // Made where this directory is no root; here the name is another's.
      std::erase_if(page->entries, [](const meta::DirEntry& entry) {
        return entry.name() == ReferenceDir::kTopName;
      });
    }
    const uint64_t end = page->first + page->entries.size();
    {
      MutexLock lock(dir->mutex);
      if (!page->entries.empty()) dir->starts[end] = page->entries.back().name();
      dir->before = std::move(dir->page);
      dir->page = page;
    }
    if (offset > end || (offset == end && !page->last)) {
      // The page shrank since this position was given: go on after it.
      if (page->last) return req->Send(nullptr, 0), void();
      return FetchPage(req, dir, size, end, plus);
    }
    ServePage(req, dir, page, size, offset, plus);
  });
}

void FuseImpl::AddEntry(const DirHandle& dir, const DirHandle::Page& page,
                        const meta::DirEntry& entry, uint64_t cookie, bool plus, std::string* out,
                        std::vector<uint64_t>* counted) {
  if (plus) {
    fuse_entry_out full = {};
    const meta::Attr& attr = entry.entry().attr();
    // Attributes of a file that is being written are its writer's to say: the kernel asks for
    // them one by one.
    if (attr.ino() != 0 && attr.state() != meta::STATE_WRITING) {
      Placed(entry.entry(), dir.ino, entry.name());
      FillEntry(entry.entry(), dir.ino, page.since, false, &full);
      counted->push_back(full.nodeid);
    }
    out->append(reinterpret_cast<const char*>(&full), sizeof(full));
  }
  AppendDirent(entry.ino(), cookie, entry.mode(), entry.name(), out);
}

void FuseImpl::ServePage(const ReqRef& req, const std::shared_ptr<DirHandle>& dir,
                         const std::shared_ptr<const DirHandle::Page>& page, size_t size,
                         uint64_t offset, bool plus) {
  std::string out;
  std::vector<uint64_t> counted;
  const size_t extra = plus ? sizeof(fuse_entry_out) : 0;
  auto dot = [&](const char* name, Ino ino, uint64_t next) {
    out.append(extra, '\0');  // node 0: no attributes with it
    AppendDirent(ino, next, S_IFDIR, name, &out);
  };
  int error = 0;
  {
    GrantGuard::Writing writing(&guard_);
    if (offset == 0) dot(".", dir->ino, 1);
    if (offset <= 1) dot("..", dir->ino == root_ ? root_ : page->parent, kFirstCookie);
    uint64_t at = std::max(offset, kFirstCookie);
    for (; at < page->first + page->entries.size(); ++at) {
      const meta::DirEntry& entry = page->entries[at - page->first];
      if (out.size() + extra + Padded(FUSE_NAME_OFFSET + entry.name().size()) > size) break;
      AddEntry(*dir, *page, entry, at + 1, plus, &out, &counted);
    }
    error = req->Send(out.data(), out.size());
  }
  if (error == 0) return;
  for (uint64_t node : counted) Forget(node, 1);
}

void FuseImpl::ReplyFixedNames(const ReqRef& req, const std::vector<FixedName>& names,
                               uint64_t offset, bool plus) {
  std::string out;
  for (uint64_t at = offset; at < names.size(); ++at) {
    if (plus) out.append(sizeof(fuse_entry_out), '\0');  // node 0: no attributes with it
    AppendDirent(names[at].ino, at + 1, S_IFDIR, names[at].name, &out);
  }
  req->Send(out.data(), out.size());
}

}  // namespace f3::fs
