#include "common/units.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace f3 {
namespace {

// Splits "1.5GiB" into 1.5 and "GiB". False when it does not begin with a plain number.
bool SplitNumber(std::string_view text, double* number, std::string* unit) {
  size_t digits = text.find_first_not_of("0123456789.");
  if (digits == 0 || text.empty()) return false;
  std::string head(text.substr(0, digits));
  char* end = nullptr;
  *number = std::strtod(head.c_str(), &end);
  if (end != head.c_str() + head.size() || !std::isfinite(*number)) return false;
  *unit = digits == std::string_view::npos ? "" : std::string(text.substr(digits));
  return true;
}

}  // namespace

Result<uint64_t> ParseBytes(std::string_view text) {
  Status bad = Status::InvalidArgument("\"" + std::string(text) +
                                       "\" is not a size; write for example 512M or 4G");
  double number = 0;
  std::string unit;
  if (!SplitNumber(text, &number, &unit)) return bad;
  double scale = 1;
  if (!unit.empty() && unit != "B") {
    static constexpr std::string_view kUnits = "KMGTP";
    size_t power = kUnits.find(unit[0]);
    std::string rest = unit.substr(1);
    if (power == std::string_view::npos || (!rest.empty() && rest != "B" && rest != "iB")) {
      return bad;
    }
    scale = std::pow(1024.0, static_cast<double>(power + 1));
  }
  double bytes = number * scale;
  if (bytes >= 9.2e18) return bad;
  return static_cast<uint64_t>(bytes);
}

std::string FormatBytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 5) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

Result<int64_t> ParseMicros(std::string_view text) {
  double number = 0;
  std::string unit;
  if (SplitNumber(text, &number, &unit)) {
    double scale = -1;
    if (unit.empty() || unit == "s") scale = 1e6;
    if (unit == "ms") scale = 1e3;
    if (unit == "us") scale = 1;
    if (unit == "m") scale = 60e6;
    if (unit == "h") scale = 3600e6;
    if (scale > 0 && number * scale < 9e18) return static_cast<int64_t>(number * scale);
  }
  return Status::InvalidArgument("\"" + std::string(text) +
                                 "\" is not a duration; write for example 250ms, 10s or 5m");
}

}  // namespace f3
