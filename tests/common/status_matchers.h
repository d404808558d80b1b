// Assertions on Status and Result that print the message.
#ifndef F3_TESTS_COMMON_STATUS_MATCHERS_H_
#define F3_TESTS_COMMON_STATUS_MATCHERS_H_

#include <gtest/gtest.h>

#include <ostream>

#include "common/status.h"

namespace f3 {

inline void PrintTo(const Status& status, std::ostream* out) { *out << status.ToString(); }
inline void PrintTo(Code code, std::ostream* out) { *out << CodeName(code); }

inline const Status& StatusOf(const Status& status) { return status; }
template <typename T>
const Status& StatusOf(const Result<T>& result) {
  return result.status();
}

}  // namespace f3

#define ASSERT_OK(expr)                                             \
  do {                                                              \
    const auto& f3_checked_ = (expr);                               \
    ASSERT_TRUE(::f3::StatusOf(f3_checked_).ok())                   \
        << #expr << ": " << ::f3::StatusOf(f3_checked_).ToString(); \
  } while (0)
#define EXPECT_OK(expr)                                             \
  do {                                                              \
    const auto& f3_checked_ = (expr);                               \
    EXPECT_TRUE(::f3::StatusOf(f3_checked_).ok())                   \
        << #expr << ": " << ::f3::StatusOf(f3_checked_).ToString(); \
  } while (0)
// The code of a Status or Result, for EXPECT_CODE(store->Find(key), kObjectMissing).
#define EXPECT_CODE(expr, expected)                                     \
  do {                                                                  \
    const auto& f3_checked_ = (expr);                                   \
    EXPECT_EQ(::f3::StatusOf(f3_checked_).code(), ::f3::Code::expected) \
        << #expr << ": " << ::f3::StatusOf(f3_checked_).ToString();     \
  } while (0)

#endif  // F3_TESTS_COMMON_STATUS_MATCHERS_H_
