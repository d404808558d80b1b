// A trace: what one run of a program asked of its allocator and referenced in memory, in order.
// Written by Recorder (recorder.h), read by ReplayTrace. The file format is described in
// hwalloc/model/README.md; this is version 1.
//
// A trace file is not trusted: every length, number and order of records is checked, memory use is
// bounded, and the message of an error names the file and what is wrong with it.
//
// Each object is used by one thread at a time.
#ifndef F3_HWALLOC_MODEL_TRACE_H_
#define F3_HWALLOC_MODEL_TRACE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "hwalloc/model/record/marker.h"

namespace f3::hwmodel {

inline constexpr uint32_t kTraceVersion = 1;
inline constexpr uint32_t kMaxThreads = 1024;
inline constexpr uint64_t kMaxCommandBytes = 1 << 16;

// A call of the allocator. Which of bytes, old and alignment mean something depends on `op`.
struct Call {
  Op op = Op::kMalloc;
  uint32_t thread = 0;
  uint64_t bytes = 0;
  uint64_t old = 0;
  uint64_t alignment = 0;
};

// What a replay tells, in the order of the trace. A call and its references: EnterCall, References
// with `in_call` of the same thread, ExitCall. The base does nothing, so that a sink names what it
// wants.
class TraceSink {
 public:
  virtual ~TraceSink() = default;
  // `address` is a multiple of 16: that of the granule.
  virtual void Reference(uint32_t /*thread*/, uint64_t /*address*/, bool /*store*/,
                         bool /*in_call*/) {}
  // `instructions` that this thread ran since its last call.
  virtual void EnterCall(const Call&, uint64_t /*instructions*/) {}
  // `instructions` that it ran inside; what was returned (0: nothing).
  virtual void ExitCall(const Call&, uint64_t /*instructions*/, uint64_t /*pointer*/) {}
  virtual void Map(uint64_t /*address*/, uint64_t /*bytes*/, uint64_t /*flags*/) {}
  virtual void Unmap(uint64_t /*address*/, uint64_t /*bytes*/) {}
  virtual void Discard(uint64_t /*address*/, uint64_t /*bytes*/) {}
  virtual void Move(uint64_t /*from*/, uint64_t /*from_bytes*/, uint64_t /*to*/,
                    uint64_t /*to_bytes*/) {}
  // The recorder's limit was reached: there are no references in the rest.
  virtual void ReferencesEnd() {}
  // The program ended; `instructions` of all threads since their last calls.
  virtual void End(uint64_t /*instructions*/) {}
};

// Reads a trace to its end. NotFound, Io; Corruption when it is no trace, of another version,
// cut short or contradicts itself (the sink has then been told what came before). `command`, when
// given, receives the recorded command line.
Status ReplayTrace(const std::string& path, TraceSink* sink,
                   std::vector<std::string>* command = nullptr);

// The file as the recorder writes it: a header, then records compressed as one zstd frame.
class TraceWriter {
 public:
  // A new file at `path`; one that is there is replaced once Finish succeeds.
  static Result<std::unique_ptr<TraceWriter>> Create(const std::string& path,
                                                     const std::vector<std::string>& command);
  // Removes what was written unless Finish has succeeded.
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  // Appends records (record_format.h), which may be cut anywhere.
  Status Append(std::string_view records);
  // Ends the frame and puts the file in its place.
  Status Finish();
  uint64_t written_bytes() const { return written_bytes_; }

 private:
  struct Compressor;
  TraceWriter(std::string path, UniqueFd fd);
  Status WriteOut(const void* data, size_t bytes);
  Status Compress(std::string_view records, bool end);

  const std::string path_;
  UniqueFd fd_;
  std::unique_ptr<Compressor> compressor_;
  uint64_t written_bytes_ = 0;
  bool finished_ = false;
};

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_TRACE_H_
