// Assertions on Status and Result that print the message.
#ifndef F3_TESTS_COMMON_STATUS_MATCHERS_H_
#define F3_TESTS_COMMON_STATUS_MATCHERS_H_

#include <gtest/gtest.h>

#include <ostream>

#include "common/status.h"

namespace f3 {

inline void PrintTo(Code code, std::ostream* out) { *out << CodeName(code); }

inline const Status& StatusOf(const Status& status) { return status; }
template <typename T>
const Status& StatusOf(const Result<T>& result) {
  return result.status();
}

template <typename T>
::testing::AssertionResult HasCode(const T& result, Code expected) {
  const Status& status = StatusOf(result);
  if (status.code() == expected) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << status.ToString() << " instead of " << CodeName(expected);
}

}  // namespace f3

#define EXPECT_OK(expr) EXPECT_TRUE(::f3::HasCode(expr, ::f3::Code::kOk))
#define ASSERT_OK(expr) ASSERT_TRUE(::f3::HasCode(expr, ::f3::Code::kOk))
// EXPECT_CODE(store->Find(key), kObjectMissing)
#define EXPECT_CODE(expr, expected) EXPECT_TRUE(::f3::HasCode(expr, ::f3::Code::expected))

#endif  // F3_TESTS_COMMON_STATUS_MATCHERS_H_
