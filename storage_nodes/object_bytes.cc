#include "storage_nodes/object_bytes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <utility>

#include "common/crc32c.h"

namespace f3::storage {
namespace {

// Called for each checksummed piece with its bytes; an empty span stands for zeros from a hole.
using VisitPiece =
    std::function<Status(uint64_t offset, size_t length, std::span<const std::byte> bytes)>;

Status ReadFully(int fd, const std::string& path, uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    ssize_t n = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "read " + path);
    if (n == 0) return Status::Corruption(path + " is shorter than recorded");
    into = into.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return Status();
}

Status VisitPieces(int fd, const std::string& path, uint64_t size, const StopCheck& stop,
                   const VisitPiece& visit) {
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(kChecksumBytes);
  uint64_t next_data = 0;  // no data in [offset, next_data)
  for (uint64_t offset = 0; offset < size; offset += kChecksumBytes) {
    if (stop && stop()) return Status::Interrupted("reading " + path + " was stopped");
    const size_t length = static_cast<size_t>(std::min(kChecksumBytes, size - offset));
    if (next_data <= offset) {
      off_t at = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
      if (at < 0 && errno != ENXIO) return Status::FromErrno(errno, "seek data in " + path);
      next_data = at < 0 ? size : static_cast<uint64_t>(at);
    }
    if (next_data >= offset + length) {
      F3_RETURN_IF_ERROR(visit(offset, length, {}));
      continue;
    }
    next_data = 0;
    std::span<std::byte> bytes(buffer.get(), length);
    F3_RETURN_IF_ERROR(ReadFully(fd, path, offset, bytes));
    F3_RETURN_IF_ERROR(visit(offset, length, bytes));
  }
  return Status();
}

// CRC32C of zeros, remembering the one of a whole piece.
class ZeroChecksum {
 public:
  uint32_t Of(size_t length) {
    if (length != kChecksumBytes) return Compute(length);
    if (!whole_) whole_ = Compute(length);
    return *whole_;
  }

 private:
  static uint32_t Compute(size_t length) {
    static constexpr std::byte kZeros[4096] = {};
    uint32_t crc = 0;
    for (; length > 0; length -= std::min(length, sizeof(kZeros))) {
      crc = Crc32c(std::span(kZeros, std::min(length, sizeof(kZeros))), crc);
    }
    return crc;
  }
  std::optional<uint32_t> whole_;
};

}  // namespace

Result<std::vector<uint32_t>> ComputeChecksums(int fd, const std::string& path, uint64_t size,
                                               const StopCheck& stop) {
  std::vector<uint32_t> checksums;
  checksums.reserve((size + kChecksumBytes - 1) / kChecksumBytes);
  ZeroChecksum zeros;
  F3_RETURN_IF_ERROR(VisitPieces(
      fd, path, size, stop, [&](uint64_t, size_t length, std::span<const std::byte> bytes) {
        checksums.push_back(bytes.empty() ? zeros.Of(length) : Crc32c(bytes));
        return Status();
      }));
  return checksums;
}

Status CompareChecksums(int fd, const std::string& path, uint64_t size,
                        const std::vector<uint32_t>& expected, const StopCheck& stop) {
  if (expected.size() != (size + kChecksumBytes - 1) / kChecksumBytes) {
    return Status::Corruption(path + " has " + std::to_string(size) + " bytes but " +
                              std::to_string(expected.size()) + " checksums");
  }
  ZeroChecksum zeros;
  return VisitPieces(fd, path, size, stop,
                     [&](uint64_t offset, size_t length, std::span<const std::byte> bytes) {
                       uint32_t actual = bytes.empty() ? zeros.Of(length) : Crc32c(bytes);
                       uint32_t wanted = expected[offset / kChecksumBytes];
                       if (actual == wanted) return Status();
                       char text[96];
                       snprintf(text, sizeof(text),
                                " is corrupted in the %zu bytes at %llu: CRC32C %08x, not %08x",
                                length, static_cast<unsigned long long>(offset), actual, wanted);
                       return Status::Corruption(path + text);
                     });
}

Result<std::vector<uint32_t>> CopyContent(int from, int to, const std::string& path, uint64_t size,
                                          const StopCheck& stop) {
  struct stat st;
  if (::fstat(from, &st) != 0) return Status::FromErrno(errno, "stat " + path);
  if (::ftruncate(to, static_cast<off_t>(size)) != 0) {
    return Status::FromErrno(errno, "size a copy of " + path);
  }
  std::vector<uint32_t> checksums;
  ZeroChecksum zeros;
  F3_RETURN_IF_ERROR(VisitPieces(
      from, path, size, stop,
      [&](uint64_t offset, size_t length, std::span<const std::byte> bytes) {
        checksums.push_back(bytes.empty() ? zeros.Of(length) : Crc32c(bytes));
        while (!bytes.empty()) {
          ssize_t n = ::pwrite(to, bytes.data(), bytes.size(), static_cast<off_t>(offset));
          if (n < 0 && errno == EINTR) continue;
          if (n < 0) return Status::FromErrno(errno, "write a copy of " + path);
          bytes = bytes.subspan(static_cast<size_t>(n));
          offset += static_cast<uint64_t>(n);
        }
        return Status();
      }));
  const struct timespec times[2] = {st.st_atim, st.st_mtim};
  if (::futimens(to, times) != 0) return Status::FromErrno(errno, "set times of a copy of " + path);
  return checksums;
}

Result<size_t> ReadObject(const Object& object, uint64_t offset, std::span<std::byte> into) {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::pread(object.read_fd(), into.data() + done, into.size() - done,
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "read object " + ToString(object.key()));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<uint64_t> WriteObject(const Object& object, uint64_t offset, bool append,
                             std::span<const std::byte> from) {
  size_t done = 0;
  while (done < from.size()) {
    struct iovec piece;
    piece.iov_base = const_cast<std::byte*>(from.data() + done);
    piece.iov_len = from.size() - done;
    // The offset is ignored with RWF_APPEND but must not be -1.
    const ssize_t n =
        ::pwritev2(object.fd(), &piece, 1, append ? 0 : static_cast<off_t>(offset + done),
                   append ? RWF_APPEND : 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "write object " + ToString(object.key()));
    if (n == 0) return Status::Io("object " + ToString(object.key()) + " takes no more bytes");
    done += static_cast<size_t>(n);
  }
  if (!append) return offset;
  // Only appenders run at once here, each knows at least that its bytes are before the end.
  struct stat st;
  if (::fstat(object.read_fd(), &st) != 0) {
    return Status::FromErrno(errno, "stat object " + ToString(object.key()));
  }
  return static_cast<uint64_t>(st.st_size) - from.size();
}

}  // namespace f3::storage
