#include "cli/table.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "cli/progress.h"

namespace f3::cli {
namespace {

TEST(TableTest, AlignsTextLeftAndNumbersRight) {
  Table table({"node", "bytes"});
  table.Add({"n1", "5"});
  table.Add({"node-10", "12345"});
  EXPECT_EQ(table.ToString(),
            "node     bytes\n"
            "n1           5\n"
            "node-10  12345\n");
}

TEST(TableTest, SizesAreNumbersAndTextThatBeginsWithADigitIsNot) {
  Table table({"what", "size"});
  table.Add({"4 KiB random read", "1.5 GiB"});
  table.Add({"1 MiB write", "12 B"});
  EXPECT_EQ(table.ToString(),
            "what                  size\n"
            "4 KiB random read  1.5 GiB\n"
            "1 MiB write           12 B\n");
}

TEST(TableTest, CountsCharactersNotBytes) {
  Table table({"a", "b"});
  table.Add({"é█", "x"});
  table.Add({"abc", "y"});
  EXPECT_EQ(table.ToString(),
            "a    b\n"
            "é█   x\n"
            "abc  y\n");
}

TEST(TableTest, MissingCellsAreEmptyAndLinesHaveNoTrailingBlanks) {
  Table table({"a", "b"});
  table.Add({"only"});
  EXPECT_EQ(table.ToString(2), "  a     b\n  only\n");
}

TEST(BarTest, DrawsShares) {
  EXPECT_EQ(Bar(0, 10), "░░░░░░░░░░ 0 %");
  EXPECT_EQ(Bar(7, 10), "███████░░░ 70 %");
  EXPECT_EQ(Bar(20, 10), "██████████ 100 %");
  EXPECT_EQ(Bar(3, 0), "-");
}

TEST(FormatTest, ShortKeepsThreeDigits) {
  EXPECT_EQ(Short(1.4321), "1.43");
  EXPECT_EQ(Short(12.34), "12.3");
  EXPECT_EQ(Short(385.4), "385");
}

TEST(FormatTest, MicrosAsPeopleSayThem) {
  EXPECT_EQ(FormatMicros(15), "15 us");
  EXPECT_EQ(FormatMicros(14'000), "14 ms");
  EXPECT_EQ(FormatMicros(3'200'000), "3.2 s");
  EXPECT_EQ(FormatMicros(125'000'000), "2 min 5 s");
}

class ProgressTest : public testing::Test {
 protected:
  void SetUp() override { out_ = open_memstream(&text_, &size_); }
  void TearDown() override {
    if (out_ != nullptr) fclose(out_);
    free(text_);
  }
  std::string Text() {
    fflush(out_);
    return std::string(text_, size_);
  }
  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* out_ = nullptr;
  ManualClock clock_;
};

TEST_F(ProgressTest, PrintsEachStageOnceWhereThereIsNoTerminal) {
  {
    Progress progress("Working", 4, false, out_, &clock_);
    progress.Update(1, "one");
    progress.Update(2, "one");
    progress.Update(3, "two");
    clock_.AdvanceMicros(2'500'000);
    progress.Done("done");
  }
  EXPECT_EQ(Text(), "Working: one\nWorking: two\nWorking: done (2.5 s)\n");
}

TEST_F(ProgressTest, TheLineHasABarWhenTheEndIsKnown) {
  Progress known("Copying", 10, false, out_, &clock_);
  known.Update(5, "file");
  EXPECT_EQ(known.Line(), "Copying  █████░░░░░ 50 %  file");
  Progress open("Waiting", 0, false, out_, &clock_);
  open.Update(5, "n1");
  EXPECT_EQ(open.Line(), "Waiting  n1");
}

TEST_F(ProgressTest, QuietPrintsNothing) {
  {
    Progress progress("Working", 4, true, out_, &clock_);
    progress.Update(1, "one");
    progress.Done("done");
  }
  EXPECT_EQ(Text(), "");
}

}  // namespace
}  // namespace f3::cli
