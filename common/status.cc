#include "common/status.h"

#include <cerrno>
#include <cstring>

namespace f3 {

std::string_view CodeName(Code code) {
  switch (code) {
    case Code::kOk:
      return "OK";
#define F3_STATUS_NAME(name, number, err) \
  case Code::k##name:                     \
    return #name;
      F3_STATUS_CODES(F3_STATUS_NAME)
#undef F3_STATUS_NAME
  }
  return "Unknown";
}

Code CodeFromNumber(int number) {
  Code code = static_cast<Code>(number);
  return CodeName(code) == "Unknown" ? Code::kInternal : code;
}

Status::Status(Code code, std::string message) {
  if (code != Code::kOk) rep_ = std::make_shared<const Rep>(Rep{code, std::move(message)});
}

Status Status::FromErrno(int err, std::string_view what) {
  Code code = Code::kIo;
  switch (err) {
    case ENOENT:
      code = Code::kNotFound;
      break;
    case EEXIST:
      code = Code::kExists;
      break;
    case ENOSPC:
    case EDQUOT:
      code = Code::kNoSpace;
      break;
    case EACCES:
      code = Code::kAccessDenied;
      break;
    case EPERM:
      code = Code::kNotPermitted;
      break;
    case EBUSY:
      code = Code::kBusy;
      break;
    case ENOMEM:
      code = Code::kNoMemory;
      break;
    case EINVAL:
      code = Code::kInvalidArgument;
      break;
    case ENOTDIR:
      code = Code::kNotDirectory;
      break;
    case EISDIR:
      code = Code::kIsDirectory;
      break;
    case ENOTEMPTY:
      code = Code::kNotEmpty;
      break;
    case ENAMETOOLONG:
      code = Code::kNameTooLong;
      break;
    case ELOOP:
      code = Code::kLoop;
      break;
    case EROFS:
      code = Code::kReadOnly;
      break;
    case EFBIG:
      code = Code::kFileTooBig;
      break;
    case EAGAIN:
      code = Code::kAgain;
      break;
    case EINTR:
      code = Code::kInterrupted;
      break;
    case ENODATA:
      code = Code::kNoAttribute;
      break;
    case EOPNOTSUPP:
      code = Code::kNotSupported;
      break;
    case ETIMEDOUT:
      code = Code::kTimeout;
      break;
    case ENODEV:
    case ENXIO:
      code = Code::kNoDevice;
      break;
    default:
      break;
  }
  return Status(code, std::string(what) + ": " + std::strerror(err));
}

const std::string& Status::message() const {
  static const std::string kEmpty;
  return rep_ ? rep_->message : kEmpty;
}

int Status::Errno() const {
  switch (code()) {
    case Code::kOk:
      return 0;
#define F3_STATUS_ERRNO(name, number, err) \
  case Code::k##name:                      \
    return err;
      F3_STATUS_CODES(F3_STATUS_ERRNO)
#undef F3_STATUS_ERRNO
  }
  return EIO;
}

std::string Status::ToString() const {
  if (ok()) return "OK";
  return std::string(CodeName(code())) + ": " + message();
}

Status Status::WithContext(std::string_view context) const {
  if (ok()) return *this;
  return Status(code(), std::string(context) + ": " + message());
}

}  // namespace f3
