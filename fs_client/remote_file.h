// RemoteFile: a file whose bytes are at another node, its home: reads, writes and small operations
// through the transfer engine.
//
// Holds address and capability, and asks the metadata server for fresh ones when the home refuses
// or cannot be reached. Every operation ends within the timeout. Thread-safe; nothing blocks but
// the short wait for a buffer. Callbacks run once, on any thread, possibly before the call returns.
#ifndef F3_FS_CLIENT_REMOTE_FILE_H_
#define F3_FS_CLIENT_REMOTE_FILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "common/clock.h"
#include "common/executor.h"
#include "common/ids.h"
#include "common/mutex.h"
#include "common/status.h"
#include "hwalloc/buffer_arena.h"
#include "metadata/client.h"
#include "xdt/transfer_engine.h"

namespace f3::fs {

class RemoteFile : public std::enable_shared_from_this<RemoteFile> {
 public:
  struct Parts {
    meta::MetaClient* meta = nullptr;
    xdt::TransferEngine* engine = nullptr;
    hwalloc::BufferArena* buffers = nullptr;
    Executor* executor = nullptr;  // waits for buffers
    Clock* clock = Clock::Real();
    int64_t timeout_micros = 10'000'000;
  };
  using ReadDone = std::function<void(Result<xdt::ReadResult>)>;
  using WriteDone = std::function<void(Result<xdt::WriteResult>)>;
  using ControlDone = std::function<void(Result<xdt::ControlResult>)>;

  // `write`: with the right to write. `holder`: the home, as the metadata server named it.
  RemoteFile(const Parts& parts, const ObjectKey& key, bool write, const meta::Holder& holder);

  const ObjectKey& key() const { return key_; }
  const std::string& node() const { return node_; }

  // Reads up to `into.size()` bytes; short only at the end. `into` stays valid until `done`.
  // `follow`: waits at the written end (up to the timeout) while there is a writer.
  void Read(uint64_t offset, std::span<std::byte> into, bool follow, ReadDone done);
  // Writes all or fails. `append`: at the end, wherever that is; at most kMaxTransferBytes then
  // stay together.
  void Write(uint64_t offset, bool append, std::span<const std::byte> from, WriteDone done);
  void Control(xdt::ControlOp op, uint64_t a, uint64_t b, uint32_t c, ControlDone done);

 private:
  struct Target {
    xdt::Peer peer;
    std::string token;
  };
  struct ReadAll;
  struct WriteAll;

  Target target() const;
  // Asks for a new address and capability; OK when there is one.
  void Refresh(std::function<void(Status)> done);
  // Runs `attempt`, and once more after Refresh when it failed in a way that this may cure.
  // `repeatable`: it does no harm to do it twice.
  void Attempt(bool repeatable,
               std::function<void(const Target&, std::function<void(const Status&)>)> attempt,
               std::function<void(const Status&)> done);
  void WithBuffer(size_t bytes, std::function<void(Result<hwalloc::Buffer>)> then);
  void ReadPiece(uint64_t offset, std::span<std::byte> into, bool follow, int64_t deadline,
                 ReadDone done);
  void WritePiece(uint64_t offset, bool append, std::span<const std::byte> from, int64_t deadline,
                  WriteDone done);
  void WriteRest(std::shared_ptr<WriteAll> all);
  int64_t Deadline() const { return parts_.clock->MonotonicMicros() + parts_.timeout_micros; }
  Status AsIoError(const Status& status, const char* what) const;

  const Parts parts_;
  const ObjectKey key_;
  const bool write_;
  const std::string node_;
  mutable Mutex mutex_;
  Target target_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_REMOTE_FILE_H_
