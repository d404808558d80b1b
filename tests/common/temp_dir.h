// TempDir: a directory of its own for one test, removed with everything in it.
#ifndef F3_TESTS_COMMON_TEMP_DIR_H_
#define F3_TESTS_COMMON_TEMP_DIR_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

namespace f3 {

class TempDir {
 public:
  TempDir() {
    // As the kernel would write it: GoogleTest's ends with a slash.
    std::string pattern = std::filesystem::path(::testing::TempDir()) / "f3-test-XXXXXX";
    const char* made = ::mkdtemp(pattern.data());
    EXPECT_NE(made, nullptr) << "cannot make " << pattern;
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace f3

#endif  // F3_TESTS_COMMON_TEMP_DIR_H_
