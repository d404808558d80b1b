#include "common/env.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "common/unique_fd.h"

namespace f3 {
namespace {

class RealEnv : public Env {
 public:
  Status WriteNewFile(const std::string& path, std::span<const std::byte> bytes) override {
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd.valid()) return Status::FromErrno(errno, "create " + path);
    Status status = WriteAndSync(fd.get(), path, bytes);
    if (!status.ok()) ::unlink(path.c_str());
    return status;
  }

  Result<size_t> ReadFile(const std::string& path, uint64_t offset,
                          std::span<std::byte> into) override {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return Status::FromErrno(errno, "open " + path);
    size_t done = 0;
    while (done < into.size()) {
      ssize_t n = ::pread(fd.get(), into.data() + done, into.size() - done,
                          static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Status::FromErrno(errno, "read " + path);
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }

  Result<uint64_t> FileSize(const std::string& path) override {
    struct stat st;
    if (::stat(path.c_str(), &st) != 0) return Status::FromErrno(errno, "stat " + path);
    return static_cast<uint64_t>(st.st_size);
  }

  Status Rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) {
      return Status::FromErrno(errno, "rename " + from + " to " + to);
    }
    return Status();
  }

  Status RenameNew(const std::string& from, const std::string& to) override {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) {
      return Status();
    }
    // Network file systems may not know the flag; a second name does not replace either.
    if (errno == EINVAL || errno == ENOSYS) {
      if (::link(from.c_str(), to.c_str()) == 0 && ::unlink(from.c_str()) == 0) return Status();
    }
    return Status::FromErrno(errno, "rename " + from + " to " + to);
  }

  Status RemoveFile(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) return Status::FromErrno(errno, "remove " + path);
    return Status();
  }

  Status RemoveDir(const std::string& path) override {
    if (::rmdir(path.c_str()) != 0) return Status::FromErrno(errno, "remove directory " + path);
    return Status();
  }

  Status MakeDirs(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) return Status::FromErrno(error.value(), "make directory " + path);
    return Status();
  }

  Status SyncDir(const std::string& path) override {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return Status::FromErrno(errno, "open " + path);
    if (::fsync(fd.get()) != 0) return Status::FromErrno(errno, "sync " + path);
    return Status();
  }

  Result<std::vector<std::string>> ListDir(const std::string& path) override {
    std::error_code error;
    std::vector<std::string> names;
    std::filesystem::directory_iterator it(path, error);
    for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
      names.push_back(it->path().filename().string());
    }
    if (error) return Status::FromErrno(error.value(), "list " + path);
    return names;
  }

 private:
  static Status WriteAndSync(int fd, const std::string& path, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      ssize_t n = ::write(fd, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Status::FromErrno(errno, "write " + path);
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
    if (::fdatasync(fd) != 0) return Status::FromErrno(errno, "sync " + path);
    return Status();
  }
};

}  // namespace

Env* Env::Real() {
  static RealEnv env;
  return &env;
}

}  // namespace f3
