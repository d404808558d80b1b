#include "common/units.h"

#include <gtest/gtest.h>

#include "tests/common/status_matchers.h"

namespace f3 {
namespace {

TEST(Units, ParsesSizes) {
  EXPECT_EQ(*ParseBytes("0"), 0u);
  EXPECT_EQ(*ParseBytes("4096"), 4096u);
  EXPECT_EQ(*ParseBytes("12B"), 12u);
  EXPECT_EQ(*ParseBytes("64K"), 64u << 10);
  EXPECT_EQ(*ParseBytes("64KiB"), 64u << 10);
  EXPECT_EQ(*ParseBytes("64MB"), 64u << 20);
  EXPECT_EQ(*ParseBytes("1.5G"), 3ull << 29);
  EXPECT_EQ(*ParseBytes("2T"), 2ull << 40);
  EXPECT_EQ(*ParseBytes("1P"), 1ull << 50);
}

TEST(Units, RefusesWhatIsNoSizeAndNamesIt) {
  for (const char* text : {"", "K", "-1", "1X", "1KK", "1 K", "0x10", "1.2.3", "1e3", "9000000P",
                           "nan", "inf", "K1", "1KiBs"}) {
    auto parsed = ParseBytes(text);
    EXPECT_CODE(parsed, kInvalidArgument) << text;
    EXPECT_NE(parsed.status().message().find("\"" + std::string(text) + "\""), std::string::npos);
  }
}

TEST(Units, FormatsSizes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(3ull << 29), "1.5 GiB");
  EXPECT_EQ(FormatBytes(~0ull), "16384.0 PiB");
}

TEST(Units, ParsesDurations) {
  EXPECT_EQ(*ParseMicros("3"), 3'000'000);
  EXPECT_EQ(*ParseMicros("250ms"), 250'000);
  EXPECT_EQ(*ParseMicros("7us"), 7);
  EXPECT_EQ(*ParseMicros("0.5s"), 500'000);
  EXPECT_EQ(*ParseMicros("5m"), 300'000'000);
  EXPECT_EQ(*ParseMicros("2h"), 7'200'000'000);
  for (const char* text : {"", "s", "5 s", "-3", "5d", "1e9", "99999999999999999h"}) {
    EXPECT_CODE(ParseMicros(text), kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace f3
