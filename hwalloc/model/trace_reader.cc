#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "hwalloc/model/record/record_format.h"
#include "hwalloc/model/trace.h"
#include "hwalloc/model/trace_file.h"

namespace f3::hwmodel {
namespace {

// The frame's window, and so the reader's memory, is at most 2^27 bytes.
constexpr int kMaxWindowLog = 27;
constexpr size_t kRecordBufferBytes = 1 << 20;

// The bytes of the records, decompressed as they are asked for.
class RecordBytes {
 public:
  RecordBytes() : in_(ZSTD_DStreamInSize(), '\0'), out_(kRecordBufferBytes, '\0') {
    ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, kMaxWindowLog);
  }
  ~RecordBytes() { ZSTD_freeDCtx(context_); }
  RecordBytes(const RecordBytes&) = delete;
  RecordBytes& operator=(const RecordBytes&) = delete;

  Status Open(const std::string& path, std::vector<std::string>* command);
  // Makes the next kMaxRecordBytes available, or all that are left when these are fewer.
  Status Fill();
  // Corruption unless everything has been taken, of the frame and of the file.
  Status CheckEnd();
  const uint8_t* at() const { return reinterpret_cast<const uint8_t*>(out_.data()) + begin_; }
  size_t available() const { return end_ - begin_; }
  void Skip(size_t bytes) { begin_ += bytes; }

 private:
  Status ReadHeader(std::vector<std::string>* command);
  Status ReadFully(char* to, size_t bytes);
  // More of the file into in_; false at its end.
  Result<bool> ReadMore();

  UniqueFd fd_;
  ZSTD_DCtx* context_ = ZSTD_createDCtx();
  std::string in_;
  size_t in_begin_ = 0, in_end_ = 0;
  std::string out_;
  size_t begin_ = 0, end_ = 0;
  bool frame_ended_ = false;
};

uint32_t Number32(const char* at) {
  uint32_t number = 0;
  for (int i = 3; i >= 0; --i) number = number << 8 | static_cast<uint8_t>(at[i]);
  return number;
}

Status RecordBytes::ReadFully(char* to, size_t bytes) {
  while (bytes > 0) {
    ssize_t n = ::read(fd_.get(), to, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "read");
    if (n == 0) return Status::Corruption("it ends within the header");
    to += n;
    bytes -= static_cast<size_t>(n);
  }
  return Status();
}

Status RecordBytes::ReadHeader(std::vector<std::string>* command) {
  char header[kTraceHeaderBytes];
  F3_RETURN_IF_ERROR(ReadFully(header, sizeof(header)));
  if (std::memcmp(header, kTraceMagic.data(), kTraceMagic.size()) != 0) {
    return Status::Corruption("this is not a trace of `f3 hwalloc record`");
  }
  uint32_t version = Number32(header + kTraceMagic.size());
  if (version != kTraceVersion) {
    return Status::Corruption("its format is version " + std::to_string(version) +
                              ", this program reads version " + std::to_string(kTraceVersion) +
                              "; record it again");
  }
  uint32_t bytes = Number32(header + kTraceMagic.size() + 4);
  if (bytes > kMaxCommandBytes) return Status::Corruption("its command line is too long");
  std::string words(bytes, '\0');
  F3_RETURN_IF_ERROR(ReadFully(words.data(), bytes));
  if (command == nullptr) return Status();
  command->clear();
  for (size_t at = 0; at < words.size();) {
    size_t end = std::min(words.find('\0', at), words.size());
    command->push_back(words.substr(at, end - at));
    at = end + 1;
  }
  return Status();
}

Status RecordBytes::Open(const std::string& path, std::vector<std::string>* command) {
  if (context_ == nullptr) return Status::NoMemory("no memory for the decompressor");
  fd_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd_.valid()) return Status::FromErrno(errno, "open");
  return ReadHeader(command);
}

Result<bool> RecordBytes::ReadMore() {
  ssize_t n;
  do {
    n = ::read(fd_.get(), in_.data(), in_.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) return Status::FromErrno(errno, "read");
  in_begin_ = 0;
  in_end_ = static_cast<size_t>(n);
  return n > 0;
}

Status RecordBytes::Fill() {
  if (available() >= kMaxRecordBytes) return Status();
  std::memmove(out_.data(), out_.data() + begin_, available());
  end_ -= begin_;
  begin_ = 0;
  while (available() < kMaxRecordBytes && !frame_ended_) {
    if (in_begin_ == in_end_) {
      F3_ASSIGN_OR_RETURN(bool more, ReadMore());
      if (!more) return Status::Corruption("it is cut short: its compressed part has no end");
    }
    ZSTD_inBuffer in = {in_.data(), in_end_, in_begin_};
    ZSTD_outBuffer out = {out_.data(), out_.size(), end_};
    size_t left = ZSTD_decompressStream(context_, &out, &in);
    if (ZSTD_isError(left)) {
      return Status::Corruption(std::string("its compressed part is damaged: ") +
                                ZSTD_getErrorName(left));
    }
    in_begin_ = in.pos;
    end_ = out.pos;
    frame_ended_ = left == 0;
  }
  return Status();
}

Status RecordBytes::CheckEnd() {
  F3_RETURN_IF_ERROR(Fill());
  if (available() != 0) return Status::Corruption("records follow the one that ends it");
  bool more = in_begin_ != in_end_;
  if (!more) {
    F3_ASSIGN_OR_RETURN(more, ReadMore());
  }
  return more ? Status::Corruption("bytes follow its compressed part") : Status();
}

// Turns bytes into calls of the sink, and checks them.
class Replay {
 public:
  Replay(RecordBytes* bytes, TraceSink* sink) : bytes_(*bytes), sink_(*sink) {}
  Status Run();

 private:
  struct Thread {
    bool in_call = false;
    Call call;
  };

  // Each takes one record, which begins at at_.
  Status One();
  Status OneReference(uint8_t first);
  Status OneEnter();
  Status OneExit();
  Status OneRange(Tag tag);
  Status OneEnd();

  Status Take(uint64_t* number);
  Status TakeOp(Op* op);
  Status TakeRange(uint64_t* address, uint64_t* bytes);

  RecordBytes& bytes_;
  TraceSink& sink_;
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
  std::vector<Thread> threads_;
  uint32_t thread_ = 0;
  bool thread_named_ = false;
  bool references_ended_ = false;
  bool ended_ = false;
  uint64_t granule_ = 0;
};

Status Replay::Take(uint64_t* number) {
  *number = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (at_ == end_) return Status::Corruption("it ends within a record");
    uint8_t byte = *at_++;
    if (shift == 63 && byte > 1) break;
    *number |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return Status();
  }
  return Status::Corruption("a number in it has more than 64 bits");
}

Status Replay::TakeOp(Op* op) {
  uint64_t number;
  F3_RETURN_IF_ERROR(Take(&number));
  if (number >= kOps)
    return Status::Corruption("operation " + std::to_string(number) + " is unknown");
  *op = static_cast<Op>(number);
  return Status();
}

Status Replay::TakeRange(uint64_t* address, uint64_t* bytes) {
  F3_RETURN_IF_ERROR(Take(address));
  F3_RETURN_IF_ERROR(Take(bytes));
  if (*address + *bytes < *address) return Status::Corruption("a range in it is beyond all memory");
  return Status();
}

Status Replay::OneReference(uint8_t first) {
  uint64_t coded = first & 0x0f;
  if ((first & kReferenceMore) != 0) {
    uint64_t more;
    F3_RETURN_IF_ERROR(Take(&more));
    if (more >> 60 != 0) return Status::Corruption("a distance in it has more than 64 bits");
    coded |= more << 4;
  }
  granule_ += static_cast<uint64_t>(UnZigZag(coded));
  if (references_ended_) return Status::Corruption("references follow their end");
  bool in_call = (first & kReferenceInCall) != 0;
  if (in_call != threads_[thread_].in_call) {
    return Status::Corruption("a reference of the allocator is outside a call, or one inside");
  }
  sink_.Reference(thread_, granule_ << kGranuleShift, (first & kReferenceStore) != 0, in_call);
  return Status();
}

Status Replay::OneEnter() {
  Thread& thread = threads_[thread_];
  if (thread.in_call) return Status::Corruption("a call in it begins within another");
  thread.call = Call();
  thread.call.thread = thread_;
  uint64_t instructions;
  F3_RETURN_IF_ERROR(TakeOp(&thread.call.op));
  F3_RETURN_IF_ERROR(Take(&instructions));
  F3_RETURN_IF_ERROR(Take(&thread.call.bytes));
  F3_RETURN_IF_ERROR(Take(&thread.call.old));
  F3_RETURN_IF_ERROR(Take(&thread.call.alignment));
  thread.in_call = true;
  sink_.EnterCall(thread.call, instructions);
  return Status();
}

Status Replay::OneExit() {
  Thread& thread = threads_[thread_];
  Op op;
  uint64_t instructions, pointer;
  F3_RETURN_IF_ERROR(TakeOp(&op));
  F3_RETURN_IF_ERROR(Take(&instructions));
  F3_RETURN_IF_ERROR(Take(&pointer));
  if (!thread.in_call || thread.call.op != op) {
    return Status::Corruption("a call in it ends that did not begin");
  }
  thread.in_call = false;
  sink_.ExitCall(thread.call, instructions, pointer);
  return Status();
}

Status Replay::OneRange(Tag tag) {
  uint64_t address, bytes, flags, to, to_bytes;
  F3_RETURN_IF_ERROR(TakeRange(&address, &bytes));
  if (tag == Tag::kUnmap) {
    sink_.Unmap(address, bytes);
  } else if (tag == Tag::kDiscard) {
    sink_.Discard(address, bytes);
  } else if (tag == Tag::kMap) {
    F3_RETURN_IF_ERROR(Take(&flags));
    if ((flags & ~kMapFlagsKnown) != 0) return Status::Corruption("a mapping has unknown flags");
    sink_.Map(address, bytes, flags);
  } else {
    F3_RETURN_IF_ERROR(TakeRange(&to, &to_bytes));
    sink_.Move(address, bytes, to, to_bytes);
  }
  return Status();
}

Status Replay::OneEnd() {
  uint64_t instructions;
  F3_RETURN_IF_ERROR(Take(&instructions));
  ended_ = true;
  sink_.End(instructions);
  return Status();
}

Status Replay::One() {
  uint8_t first = *at_++;
  if (first != static_cast<uint8_t>(Tag::kThread) && !thread_named_) {
    return Status::Corruption("its first record names no thread");
  }
  if ((first & kReference) != 0) return OneReference(first);
  switch (static_cast<Tag>(first)) {
    case Tag::kThread: {
      uint64_t thread;
      F3_RETURN_IF_ERROR(Take(&thread));
      if (thread >= kMaxThreads) {
        return Status::Corruption("it has a thread number of " + std::to_string(thread));
      }
      thread_ = static_cast<uint32_t>(thread);
      thread_named_ = true;
      if (threads_.size() <= thread) threads_.resize(thread + 1);
      return Status();
    }
    case Tag::kEnter:
      return OneEnter();
    case Tag::kExit:
      return OneExit();
    case Tag::kMap:
    case Tag::kUnmap:
    case Tag::kDiscard:
    case Tag::kMove:
      return OneRange(static_cast<Tag>(first));
    case Tag::kReferencesEnd:
      references_ended_ = true;
      sink_.ReferencesEnd();
      return Status();
    case Tag::kEnd:
      return OneEnd();
  }
  return Status::Corruption("a record of kind " + std::to_string(first) + " is unknown");
}

Status Replay::Run() {
  while (!ended_) {
    F3_RETURN_IF_ERROR(bytes_.Fill());
    if (bytes_.available() == 0) return Status::Corruption("it is cut short: no record ends it");
    at_ = bytes_.at();
    end_ = at_ + bytes_.available();
    // As many records as are surely complete without another Fill.
    do {
      F3_RETURN_IF_ERROR(One());
    } while (!ended_ && end_ - at_ >= kMaxRecordBytes);
    bytes_.Skip(static_cast<size_t>(at_ - bytes_.at()));
  }
  return bytes_.CheckEnd();
}

}  // namespace

Status ReplayTrace(const std::string& path, TraceSink* sink, std::vector<std::string>* command) {
  RecordBytes bytes;
  Status status = bytes.Open(path, command);
  if (status.ok()) status = Replay(&bytes, sink).Run();
  return status.WithContext(path);
}

}  // namespace f3::hwmodel
