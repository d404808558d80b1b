// Status and Result<T>: how every F3 function reports failure.
//
// A Status is OK or holds a code, numbered per subsystem, and a message that says what failed,
// on which path or node, and what to do next. Codes map to errno in one place (Status::Errno).
// Both types are values, cheap when OK, and safe to read from several threads.
#ifndef F3_COMMON_STATUS_H_
#define F3_COMMON_STATUS_H_

#include <cassert>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace f3 {

// X(name, number, errno). 1xx common, 2xx metadata, 3xx storage, 4xx transfer.
#define F3_STATUS_CODES(X)          \
  X(InvalidArgument, 101, EINVAL)   \
  X(Io, 102, EIO)                   \
  X(Timeout, 103, ETIMEDOUT)        \
  X(Interrupted, 104, EINTR)        \
  X(Again, 105, EAGAIN)             \
  X(NoMemory, 106, ENOMEM)          \
  X(NotSupported, 107, EOPNOTSUPP)  \
  X(Internal, 108, EIO)             \
  X(Corruption, 109, EIO)           \
  X(AccessDenied, 110, EACCES)      \
  X(NotPermitted, 111, EPERM)       \
  X(Busy, 112, EBUSY)               \
  X(NoSpace, 113, ENOSPC)           \
  X(Unauthenticated, 114, EACCES)   \
  X(BadConfig, 115, EINVAL)         \
  X(NoDevice, 116, ENODEV)          \
  X(NotFound, 201, ENOENT)          \
  X(Exists, 202, EEXIST)            \
  X(NotDirectory, 203, ENOTDIR)     \
  X(IsDirectory, 204, EISDIR)       \
  X(NotEmpty, 205, ENOTEMPTY)       \
  X(NameTooLong, 206, ENAMETOOLONG) \
  X(TooManyLinks, 207, EMLINK)      \
  X(CrossDevice, 208, EXDEV)        \
  X(Stale, 209, ESTALE)             \
  X(NoAttribute, 210, ENODATA)      \
  X(Range, 211, ERANGE)             \
  X(Loop, 212, ELOOP)               \
  X(FileTooBig, 213, EFBIG)         \
  X(Deadlock, 214, EDEADLK)         \
  X(Conflict, 215, EAGAIN)          \
  X(SessionExpired, 216, EIO)       \
  X(Grace, 217, EAGAIN)             \
  X(ReadOnly, 218, EROFS)           \
  X(NoLocks, 219, ENOLCK)           \
  X(NeedsConversion, 220, EXDEV)    \
  X(Lost, 301, EIO)                 \
  X(Unavailable, 302, EIO)          \
  X(TierFull, 303, ENOSPC)          \
  X(ObjectMissing, 304, EIO)        \
  X(WrongVersion, 305, ESTALE)      \
  X(PeerUnreachable, 401, EIO)      \
  X(WrongEpoch, 402, EIO)           \
  X(TokenInvalid, 403, EACCES)      \
  X(TokenExpired, 404, EACCES)      \
  X(Checksum, 405, EIO)             \
  X(WriterVanished, 406, EIO)       \
  X(BadMessage, 407, EBADMSG)       \
  X(RefMalformed, 408, EINVAL)      \
  X(RefNotAuthentic, 409, EACCES)   \
  X(RefExpired, 410, ETIME)         \
  X(RefExhausted, 411, ENOENT)      \
  X(RefOutOfScope, 412, EPERM)      \
  X(RefEarlierEpoch, 413, ESTALE)

enum class Code : int {
  kOk = 0,
#define F3_STATUS_ENUM(name, number, err) k##name = number,
  F3_STATUS_CODES(F3_STATUS_ENUM)
#undef F3_STATUS_ENUM
};

// "NotFound" and so on; "Unknown" for a number that is no code.
std::string_view CodeName(Code code);
// The code with this number; kInternal for a number that is no code (a reply of a newer peer).
Code CodeFromNumber(int number);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message);

  // Status::NotFound("...") and so on, one per code.
#define F3_STATUS_FACTORY(name, number, err) \
  static Status name(std::string message) { return Status(Code::k##name, std::move(message)); }
  F3_STATUS_CODES(F3_STATUS_FACTORY)
#undef F3_STATUS_FACTORY

  // From errno `err`; the message is "WHAT: strerror".
  static Status FromErrno(int err, std::string_view what);

  bool ok() const { return rep_ == nullptr; }
  Code code() const { return rep_ ? rep_->code : Code::kOk; }
  bool Is(Code code) const { return this->code() == code; }
  const std::string& message() const;
  // 0 when OK, else the positive errno for callers of POSIX interfaces.
  int Errno() const;
  // "OK" or "NotFound: message".
  std::string ToString() const;
  // The same code with "CONTEXT: " before the message. OK stays OK.
  Status WithContext(std::string_view context) const;
  // Says in the source that this error is swallowed on purpose.
  void PermitUnchecked() const {}

 private:
  struct Rep {
    Code code;
    std::string message;
  };
  std::shared_ptr<const Rep> rep_;
};

// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) { assert(!status_.ok()); }  // NOLINT

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  // REQUIRES: ok().
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return *std::move(value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

#define F3_CONCAT_(a, b) a##b
#define F3_CONCAT(a, b) F3_CONCAT_(a, b)
#define F3_RETURN_IF_ERROR(expr)             \
  do {                                       \
    ::f3::Status f3_status_ = (expr);        \
    if (!f3_status_.ok()) return f3_status_; \
  } while (0)
#define F3_ASSIGN_OR_RETURN(lhs, expr) \
  F3_ASSIGN_OR_RETURN_(F3_CONCAT(f3_result_, __LINE__), lhs, expr)
#define F3_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                         \
  if (!tmp.ok()) return tmp.status();        \
  lhs = std::move(tmp).value()

}  // namespace f3

#endif  // F3_COMMON_STATUS_H_
