#include "cli/progress.h"

#include <unistd.h>

#include <utility>

#include "cli/table.h"

namespace f3::cli {
namespace {
constexpr int64_t kRedrawMicros = 100'000;
}  // namespace

Progress::Progress(std::string title, uint64_t total, bool quiet, std::FILE* out, Clock* clock)
    : title_(std::move(title)),
      total_(total),
      quiet_(quiet),
      out_(out),
      clock_(clock),
      terminal_(::isatty(::fileno(out)) == 1),
      started_micros_(clock->MonotonicMicros()) {
  Draw(true);
}

Progress::~Progress() {
  if (!ended_ && !quiet_ && terminal_) std::fputs("\n", out_);
}

void Progress::Update(uint64_t done, const std::string& note) {
  done_ = done;
  note_ = note;
  Draw(false);
}

void Progress::Done(const std::string& result) {
  ended_ = true;
  if (quiet_) return;
  std::fprintf(out_, "%s%s: %s (%s)\n", terminal_ ? "\r\033[K" : "", title_.c_str(), result.c_str(),
               FormatMicros(clock_->MonotonicMicros() - started_micros_).c_str());
  std::fflush(out_);
}

std::string Progress::Line() const {
  std::string line = title_;
  if (total_ > 0) line += "  " + Bar(done_, total_);
  if (!note_.empty()) line += "  " + note_;
  return line;
}

void Progress::Draw(bool now) {
  if (quiet_ || ended_) return;
  int64_t time = clock_->MonotonicMicros();
  if (terminal_) {
    if (!now && time - drawn_micros_ < kRedrawMicros && done_ < total_) return;
    std::fprintf(out_, "\r\033[K%s", Line().c_str());
  } else {
    if (note_.empty() || note_ == printed_note_) return;
    std::fprintf(out_, "%s: %s\n", title_.c_str(), note_.c_str());
    printed_note_ = note_;
  }
  drawn_micros_ = time;
  std::fflush(out_);
}

}  // namespace f3::cli
