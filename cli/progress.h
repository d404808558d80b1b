// Progress: one line on a terminal that says how far long work is. Not thread-safe.
//
// On a terminal the line is redrawn in place, at most ten times a second; elsewhere each stage is
// printed once, so that logs stay readable. Goes to standard error: results go to standard output.
#ifndef F3_CLI_PROGRESS_H_
#define F3_CLI_PROGRESS_H_

#include <cstdint>
#include <cstdio>
#include <string>

#include "common/clock.h"

namespace f3::cli {

class Progress {
 public:
  // `total` 0: the end is not known. `quiet`: prints nothing (--json).
  Progress(std::string title, uint64_t total, bool quiet = false, std::FILE* out = stderr,
           Clock* clock = Clock::Real());
  // Ends the line when Done was not called.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of the total; `note` says what is being worked at.
  void Update(uint64_t done, const std::string& note = "");
  // Replaces the line by "TITLE: RESULT (time)".
  void Done(const std::string& result);

  // What the line looks like, without control characters.
  std::string Line() const;

 private:
  void Draw(bool now);

  const std::string title_;
  const uint64_t total_;
  const bool quiet_;
  std::FILE* const out_;
  Clock* const clock_;
  const bool terminal_;
  const int64_t started_micros_;
  int64_t drawn_micros_ = 0;
  uint64_t done_ = 0;
  std::string note_;
  std::string printed_note_;
  bool ended_ = false;
};

}  // namespace f3::cli

#endif  // F3_CLI_PROGRESS_H_
