#include "common/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <memory>

namespace f3 {
namespace {

TEST(Status, OkIsEmptyAndStaysOk) {
  Status ok;
  EXPECT_TRUE(ok.ok());
  EXPECT_EQ(ok.code(), Code::kOk);
  EXPECT_EQ(ok.Errno(), 0);
  EXPECT_EQ(ok.message(), "");
  EXPECT_EQ(ok.ToString(), "OK");
  EXPECT_TRUE(ok.WithContext("anything").ok());
  EXPECT_TRUE(Status(Code::kOk, "ignored").ok());
}

TEST(Status, ContextGoesInFrontAndKeepsTheCode) {
  Status status = Status::NotFound("no such name").WithContext("/a/b");
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_EQ(status.message(), "/a/b: no such name");
  EXPECT_EQ(status.ToString(), "NotFound: /a/b: no such name");
}

TEST(Status, NumbersAreUniqueAndFoundAgain) {
  std::map<int, std::string_view> seen;
#define F3_CHECK_CODE(name, number, err)                                               \
  EXPECT_TRUE(seen.emplace(number, #name).second) << #name << " and " << seen[number]; \
  EXPECT_EQ(CodeFromNumber(number), Code::k##name);                                    \
  EXPECT_EQ(CodeName(Code::k##name), #name);                                           \
  EXPECT_EQ(Status::name("m").code(), Code::k##name);                                  \
  EXPECT_EQ(Status::name("m").Errno(), err);                                           \
  EXPECT_GT(Status::name("m").Errno(), 0);
  F3_STATUS_CODES(F3_CHECK_CODE)
#undef F3_CHECK_CODE
  EXPECT_GT(seen.size(), 40u);
}

TEST(Status, NumbersOfANewerPeerAreInternal) {
  EXPECT_EQ(CodeFromNumber(99'999), Code::kInternal);
  EXPECT_EQ(CodeFromNumber(-1), Code::kInternal);
  EXPECT_EQ(CodeName(static_cast<Code>(99'999)), "Unknown");
}

TEST(Status, ErrnoRoundTripsWhereACodeExists) {
  for (int err : {ENOENT, EEXIST,  ENOSPC, EACCES,    EPERM,        EBUSY,     ENOMEM,
                  EINVAL, ENOTDIR, EISDIR, ENOTEMPTY, ENAMETOOLONG, ELOOP,     EROFS,
                  EFBIG,  EAGAIN,  EINTR,  ENODATA,   EOPNOTSUPP,   ETIMEDOUT, ENODEV}) {
    EXPECT_EQ(Status::FromErrno(err, "x").Errno(), err) << err;
  }
  EXPECT_EQ(Status::FromErrno(EDQUOT, "x").Errno(), ENOSPC);
  EXPECT_EQ(Status::FromErrno(EPIPE, "x").Errno(), EIO);
  EXPECT_EQ(Status::FromErrno(ENOENT, "open /x").message(), "open /x: No such file or directory");
}

Result<int> Half(int n) {
  if (n % 2 != 0) return Status::InvalidArgument("odd");
  return n / 2;
}
Result<int> Quarter(int n) {
  F3_ASSIGN_OR_RETURN(int half, Half(n));
  F3_ASSIGN_OR_RETURN(int quarter, Half(half));
  return quarter;
}
Status Check(int n) {
  F3_RETURN_IF_ERROR(Quarter(n).status());
  return Status();
}

TEST(Result, HoldsAValueOrAStatus) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_TRUE(Quarter(8).status().ok());
  EXPECT_EQ(Quarter(6).status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(Check(4).ok());
  EXPECT_EQ(Check(3).message(), "odd");
}

TEST(Result, MovesWhatCannotBeCopied) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(5));
  std::unique_ptr<int> value = *std::move(result);
  EXPECT_EQ(*value, 5);
}

}  // namespace
}  // namespace f3
