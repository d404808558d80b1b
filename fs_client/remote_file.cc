#include "fs_client/remote_file.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace f3::fs {
namespace {

// The home certainly did nothing, and a fresh capability or address may help.
bool WasRefused(Code code) {
  return code == Code::kTokenExpired || code == Code::kTokenInvalid || code == Code::kWrongEpoch ||
         code == Code::kStale;
}

bool MayHaveRun(Code code) { return code == Code::kPeerUnreachable; }

}  // namespace

RemoteFile::RemoteFile(const Parts& parts, const ObjectKey& key, bool write,
                       const meta::Holder& holder)
    : parts_(parts), key_(key), write_(write), node_(holder.name()) {
  target_.peer.address = holder.fabric_address();
  target_.peer.epoch = holder.epoch();
  target_.token = holder.token();
}

RemoteFile::Target RemoteFile::target() const {
  MutexLock lock(mutex_);
  return target_;
}

// A caller of read or write shall see EIO for what the network does, and the home's own answers
// (no space, say) as they are.
Status RemoteFile::AsIoError(const Status& status, const char* what) const {
  if (status.ok()) return status;
  spdlog::warn("{} of object {} at its home {} failed: {}", what, ToString(key_), node_,
               status.ToString());
  switch (status.code()) {
    case Code::kTimeout:
    case Code::kTokenExpired:
    case Code::kTokenInvalid:
    case Code::kStale:
    case Code::kUnauthenticated:
    case Code::kNotFound:
      return Status::Io(std::string(what) + " at the file's home " + node_ + ": " +
                        status.message());
    default:
      return status;
  }
}

void RemoteFile::Refresh(std::function<void(Status)> done) {
  meta::Request request;
  request.mutable_location()->set_ino(key_.ino);
  request.mutable_location()->set_incarnation(key_.incarnation);
  request.mutable_location()->set_write(write_);
  auto self = shared_from_this();
  parts_.meta->CallAsync(std::move(request), [self, done = std::move(done)](
                                                 const Status& status, const meta::Reply& reply) {
    if (!status.ok()) {
      done(status);
      return;
    }
    if (reply.open().incarnation() != self->key_.incarnation) {
      done(Status::Stale("the file's content was replaced"));
      return;
    }
    for (const meta::Holder& holder : reply.open().holders()) {
      if (!holder.home()) continue;
      MutexLock lock(self->mutex_);
      self->target_ = {{holder.fabric_address(), holder.epoch()}, holder.token()};
      break;
    }
    done(Status());
  });
}

void RemoteFile::Attempt(
    bool repeatable, std::function<void(const Target&, std::function<void(const Status&)>)> attempt,
    std::function<void(const Status&)> done) {
  auto self = shared_from_this();
  attempt(target(), [self, repeatable, attempt, done](const Status& status) {
    if (status.ok() || !(WasRefused(status.code()) || (repeatable && MayHaveRun(status.code())))) {
      done(status);
      return;
    }
    self->Refresh([self, attempt, done, status](const Status& refreshed) {
      if (!refreshed.ok()) {
        done(status);
        return;
      }
      attempt(self->target(), done);
    });
  });
}

void RemoteFile::WithBuffer(size_t bytes, std::function<void(Result<hwalloc::Buffer>)> then) {
  auto buffer = parts_.buffers->Allocate(bytes, 0);
  if (buffer.ok() || !buffer.status().Is(Code::kAgain)) {
    then(std::move(buffer));
    return;
  }
  auto self = shared_from_this();
  auto shared_then =
      std::make_shared<std::function<void(Result<hwalloc::Buffer>)>>(std::move(then));
  if (!parts_.executor->TrySubmit([self, bytes, shared_then] {
        (*shared_then)(self->parts_.buffers->Allocate(bytes, self->parts_.timeout_micros));
      })) {
    (*shared_then)(Status::Io("too many requests wait for a transfer buffer"));
  }
}

void RemoteFile::ReadPiece(uint64_t offset, std::span<std::byte> into, bool follow,
                           int64_t deadline, ReadDone done) {
  auto self = shared_from_this();
  WithBuffer(into.size(), [self, offset, into, follow, deadline,
                           done = std::move(done)](Result<hwalloc::Buffer> got) {
    if (!got.ok()) {
      done(self->AsIoError(got.status(), "read"));
      return;
    }
    auto buffer = std::make_shared<hwalloc::Buffer>(std::move(got).value());
    auto result = std::make_shared<xdt::ReadResult>();
    self->Attempt(
        /*repeatable=*/true,
        [self, offset, follow, deadline, buffer, result](
            const Target& target, const std::function<void(const Status&)>& over) {
          xdt::ReadRequest request;
          request.token = target.token;
          request.object = self->key_;
          request.offset = offset;
          request.length = static_cast<uint32_t>(buffer->size());
          request.follow = follow;
          self->parts_.engine->Read(target.peer, request, buffer->span(), deadline,
                                    [buffer, result, over](const Result<xdt::ReadResult>& read) {
                                      if (read.ok()) *result = *read;
                                      over(read.status());
                                    });
        },
        [self, into, buffer, result, done](const Status& status) {
          if (!status.ok()) {
            done(self->AsIoError(status, "read"));
            return;
          }
          const size_t n = std::min<size_t>(result->length, into.size());
          if (n > 0) memcpy(into.data(), buffer->data(), n);
          done(*result);
        });
  });
}

struct RemoteFile::ReadAll {
  Mutex mutex;
  size_t left F3_GUARDED_BY(mutex) = 0;
  std::vector<Result<xdt::ReadResult>> pieces F3_GUARDED_BY(mutex);
};

void RemoteFile::Read(uint64_t offset, std::span<std::byte> into, bool follow, ReadDone done) {
  const int64_t deadline = Deadline();
  if (into.empty()) {
    done(xdt::ReadResult{});
    return;
  }
  // A follower takes what there is of the first piece: it must not wait in several places.
  if (follow || into.size() <= xdt::kMaxTransferBytes) {
    ReadPiece(offset, into.first(std::min<size_t>(into.size(), xdt::kMaxTransferBytes)), follow,
              deadline, std::move(done));
    return;
  }
  const size_t count = (into.size() + xdt::kMaxTransferBytes - 1) / xdt::kMaxTransferBytes;
  auto all = std::make_shared<ReadAll>();
  {
    MutexLock lock(all->mutex);
    all->left = count;
    all->pieces.assign(count, Result<xdt::ReadResult>(xdt::ReadResult{}));
  }
  for (size_t i = 0; i < count; ++i) {
    const size_t at = i * xdt::kMaxTransferBytes;
    const size_t length = std::min<size_t>(xdt::kMaxTransferBytes, into.size() - at);
    ReadPiece(offset + at, into.subspan(at, length), false, deadline,
              [all, i, done](Result<xdt::ReadResult> piece) {
                xdt::ReadResult sum;
                Status status;
                {
                  MutexLock lock(all->mutex);
                  all->pieces[i] = std::move(piece);
                  if (--all->left > 0) return;
                  for (const auto& each : all->pieces) {
                    if (!each.ok()) {
                      status = each.status();
                      break;
                    }
                    const uint32_t before = sum.length;
                    sum = *each;
                    sum.length = before + each->length;
                    if (each->length < xdt::kMaxTransferBytes) break;
                  }
                }
                if (!status.ok()) {
                  done(status);
                } else {
                  done(sum);
                }
              });
  }
}

void RemoteFile::WritePiece(uint64_t offset, bool append, std::span<const std::byte> from,
                            int64_t deadline, WriteDone done) {
  auto self = shared_from_this();
  WithBuffer(from.size(), [self, offset, append, from, deadline,
                           done = std::move(done)](Result<hwalloc::Buffer> got) {
    if (!got.ok()) {
      done(self->AsIoError(got.status(), "write"));
      return;
    }
    auto buffer = std::make_shared<hwalloc::Buffer>(std::move(got).value());
    memcpy(buffer->data(), from.data(), from.size());
    auto result = std::make_shared<xdt::WriteResult>();
    self->Attempt(
        /*repeatable=*/!append,
        [self, offset, append, deadline, buffer, result](
            const Target& target, const std::function<void(const Status&)>& over) {
          xdt::WriteRequest request;
          request.token = target.token;
          request.object = self->key_;
          request.offset = offset;
          request.append = append;
          self->parts_.engine->Write(target.peer, request, buffer->span(), deadline,
                                     [buffer, result, over](const Result<xdt::WriteResult>& wrote) {
                                       if (wrote.ok()) *result = *wrote;
                                       over(wrote.status());
                                     });
        },
        [self, result, done](const Status& status) {
          if (!status.ok()) {
            done(self->AsIoError(status, "write"));
          } else {
            done(*result);
          }
        });
  });
}

struct RemoteFile::WriteAll {
  uint64_t offset = 0;
  bool append = false;
  std::span<const std::byte> left;
  int64_t deadline = 0;
  bool first = true;
  xdt::WriteResult result;
  WriteDone done;
};

void RemoteFile::Write(uint64_t offset, bool append, std::span<const std::byte> from,
                       WriteDone done) {
  auto all = std::make_shared<WriteAll>();
  all->offset = offset;
  all->append = append;
  all->left = from;
  all->deadline = Deadline();
  all->done = std::move(done);
  WriteRest(std::move(all));
}

// One piece after the other: the kernel's requests are hardly ever larger than one, and a failure
// then leaves a prefix.
void RemoteFile::WriteRest(std::shared_ptr<WriteAll> all) {
  auto piece = all->left.first(std::min<size_t>(all->left.size(), xdt::kMaxTransferBytes));
  auto self = shared_from_this();
  WritePiece(all->offset, all->append, piece, all->deadline,
             [self, all, piece](const Result<xdt::WriteResult>& wrote) {
               if (!wrote.ok()) {
                 all->done(wrote.status());
                 return;
               }
               if (all->first) all->result.offset = wrote->offset;
               all->first = false;
               all->result.object_bytes = wrote->object_bytes;
               all->offset += piece.size();
               all->left = all->left.subspan(piece.size());
               if (all->left.empty()) {
                 all->done(all->result);
               } else {
                 self->WriteRest(all);
               }
             });
}

void RemoteFile::Control(xdt::ControlOp op, uint64_t a, uint64_t b, uint32_t c, ControlDone done) {
  auto self = shared_from_this();
  const int64_t deadline = Deadline();
  auto result = std::make_shared<xdt::ControlResult>();
  Attempt(
      /*repeatable=*/true,
      [self, op, a, b, c, deadline, result](const Target& target,
                                            const std::function<void(const Status&)>& over) {
        xdt::ControlRequest request;
        request.token = target.token;
        request.object = self->key_;
        request.op = op;
        request.a = a;
        request.b = b;
        request.c = c;
        self->parts_.engine->Control(target.peer, request, deadline,
                                     [result, over](const Result<xdt::ControlResult>& answer) {
                                       if (answer.ok()) *result = *answer;
                                       over(answer.status());
                                     });
      },
      [self, op, result, done = std::move(done)](const Status& status) {
        const bool seek = op == xdt::ControlOp::kSeekData || op == xdt::ControlOp::kSeekHole;
        if (status.ok()) {
          done(*result);
        } else if (seek && status.Is(Code::kNotFound)) {
          done(status);
        } else {
          done(self->AsIoError(status, "control"));
        }
      });
}

}  // namespace f3::fs
