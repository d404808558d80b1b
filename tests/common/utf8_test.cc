#include "common/utf8.h"

#include <gtest/gtest.h>

namespace f3 {
namespace {

TEST(Utf8Test, KeepsTextAsItIs) {
  for (const char* text :
       {"", "plain\n", "z\u00fcrich", "\u20ac\U0001f600", "\u07ff\ud7fb\U0010ffff"}) {
    EXPECT_EQ(ValidUtf8(text), text);
  }
  EXPECT_EQ(ValidUtf8(std::string(3, '\0')), std::string(3, '\0'));
}

TEST(Utf8Test, ReplacesEachByteThatIsNoText) {
  EXPECT_EQ(ValidUtf8("z\xfcrich"), "z?rich");
  EXPECT_EQ(ValidUtf8("\x80"), "?");
  EXPECT_EQ(ValidUtf8("a\xe2\x82"), "a??");               // cut short
  EXPECT_EQ(ValidUtf8("\xe2\x28\xa1"), "?(?");            // interrupted
  EXPECT_EQ(ValidUtf8("\xc0\xaf\xe0\x80\x80"), "?????");  // over-long
  EXPECT_EQ(ValidUtf8("\xed\xa0\x80"), "???");            // a surrogate
  EXPECT_EQ(ValidUtf8("\xf4\x90\x80\x80"), "????");       // beyond the last
  EXPECT_EQ(ValidUtf8("\xff\xfe"), "??");
}

}  // namespace
}  // namespace f3
