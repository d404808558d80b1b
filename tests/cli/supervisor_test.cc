#include "cli/supervisor.h"

#include <gtest/gtest.h>

namespace f3::cli {
namespace {

TEST(BackoffTest, PausesGrowToTheLongestAndThenItGivesUp) {
  Backoff backoff;
  EXPECT_EQ(backoff.AfterEnd(0), 100'000);
  EXPECT_EQ(backoff.AfterEnd(0), 200'000);
  int64_t last = 0, pause = 0;
  int ends = 2;
  while ((pause = backoff.AfterEnd(0)) >= 0) {
    EXPECT_GE(pause, last);
    EXPECT_LE(pause, Backoff::kLongestPauseMicros);
    last = pause;
    ++ends;
  }
  EXPECT_EQ(last, Backoff::kLongestPauseMicros);
  EXPECT_EQ(ends, Backoff::kMaxFailures);
}

TEST(BackoffTest, AHealthyRunForgetsEarlierFailures) {
  Backoff backoff;
  for (int i = 0; i < 10; ++i) backoff.AfterEnd(0);
  EXPECT_EQ(backoff.AfterEnd(Backoff::kHealthyRunMicros), Backoff::kFirstPauseMicros);
  backoff.Reset();
  EXPECT_EQ(backoff.failures(), 0);
}

}  // namespace
}  // namespace f3::cli
